"""Checks the size accounts: the paper's figures, trees of shapes, and what packed trees hold."""

import json
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from textsr_jax.quantization import Rule, paper_size_mbit, quantize, size_mbit, stored_bits
from textsr_jax.quantization.sizes import PUBLISHED, Published

GOLDEN = Path(__file__).parents[1] / "golden"
BUFFER = r".*\.(running_mean|running_var|num_batches_tracked)"
STN = r"stn_head\..*"


def published(model, kinds=("tensors",)):
    """Parameters of a published checkpoint, {name: elements}, without running statistics."""
    spec = json.loads((GOLDEN / f"{model}.json").read_text())
    shapes = {name: shape for kind in kinds for name, shape in spec[kind].items()}
    return {n: math.prod(s) for n, s in shapes.items() if not re.fullmatch(BUFFER, n)}


def count(sizes, pattern):
    return sum(size for name, size in sizes.items() if re.fullmatch(pattern, name))


def test_published_edsr_counts():
    edsr = published("edsr", ("tensors", "constants"))
    stn = count(published("tbsrn"), STN)
    assert PUBLISHED["edsr"] == Published(
        parameters=count(edsr, ".*") + stn,
        selected=count(edsr, r"(head|body)\..*") + stn,
        unused=count(edsr, r"(sub|add)_mean\..*"),
    )


def test_published_tbsrn_counts():
    tbsrn = {n: size for n, size in published("tbsrn").items() if not re.search(r"\.gru\d", n)}
    left = r"block\d\.bn\d\..*|.*layernorm.*|block[178]\.\d\.(weight|bias)|bn\..*"
    unused = r"conv\..*|.*compress_attention_linear\..*"
    assert PUBLISHED["tbsrn"] == Published(
        parameters=count(tbsrn, ".*"),
        selected=count(tbsrn, ".*") - count(tbsrn, left),
        unused=count(tbsrn, rf"bn\..*|{unused}"),
        unused_selected=count(tbsrn, unused),
    )


def test_published_cdistnet_counts():
    cdistnet = published("cdistnet")
    attention = count(cdistnet, r".*\.(self|multihead)_attn\..*")
    linear = count(cdistnet, r".*\.(linear[12]|localization_fc\d(\.0)?)\..*")
    # Self-attention reads conv3 alone, cross-attention conv1 and conv2; neither reads in_proj.
    dead = count(
        cdistnet,
        r".*_attn\.in_proj.*"
        r"|.*(self_attn|layers_pos\.\d\.multihead_attn)\.conv[12]\..*"
        r"|.*layers[23]\.\d\.multihead_attn\.conv3\..*",
    )
    assert PUBLISHED["cdistnet"] == Published(
        parameters=count(cdistnet, ".*"),
        selected=attention + linear,
        unused=dead + count(cdistnet, r".*pos_embeding"),
        unused_selected=dead,
    )


@pytest.mark.parametrize(
    ("sr_model", "sr_bits", "ocr_bits", "figure"),
    [
        ("tbsrn", None, None, 2190.08),
        ("tbsrn", 4, None, 2108.64),
        ("tbsrn", None, 5, 1065.89),
        ("tbsrn", 6, 6, 1031.90),
        ("edsr", None, None, 3457.40),
        ("edsr", 4, None, 2331.32),
        ("edsr", None, 5, 2333.21),
        ("edsr", 7, 7, 1411.05),
        ("edsr", 6, 6, 1329.20),  # the paper's row says 7 bits
    ],
)
def test_paper_size_gives_the_size_column(sr_model, sr_bits, ocr_bits, figure):
    assert round(paper_size_mbit(sr_bits, ocr_bits, sr_model), 2) == figure


def test_sizes_by_hand():
    tree = {
        "params": {"kernel": jnp.arange(21.0).reshape(7, 3), "bias": jnp.ones(3)},
        "stats": {"mean": jnp.ones(3)},
    }
    rules = [Rule("kernel", 5, per_channel=True)]
    expected = (21 * 5 + 3 * 32) / 1e6
    assert size_mbit(tree) == 24 * 32 / 1e6
    assert size_mbit(tree, rules) == expected
    assert size_mbit(jax.eval_shape(lambda: tree), rules) == expected
    quantized = quantize(tree, rules)
    assert size_mbit(quantized) == expected
    # 105 bits take 14 bytes; an offset and a scale for each of 3 channels; 3 biases, 3 means.
    assert stored_bits(quantized) == 14 * 8 + 2 * 3 * 32 + 3 * 32 + 3 * 32
    assert stored_bits(tree) == 27 * 32
