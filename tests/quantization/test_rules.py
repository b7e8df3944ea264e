"""Checks rules, and that the named sets select the paper's tensors in the full-size networks."""

import re

import jax
import pytest

from textsr_jax.errors import UserError
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.network import Network
from textsr_jax.models.stn import STN
from textsr_jax.models.super_resolution import SuperResolver
from textsr_jax.models.tbsrn import TBSRN
from textsr_jax.quantization import Rule, cdistnet_ocr, edsr_sr, selection, size_mbit, tbsrn_sr
from textsr_jax.quantization.rules import first_match
from textsr_jax.quantization.sizes import PUBLISHED
from textsr_jax.quantization.tree import leaf_path


@pytest.fixture(scope="module")
def sr_tree():
    """Shapes of the paper's super-resolution model."""
    build = lambda rngs: SuperResolver("edsr", EDSR(rngs=rngs), STN(rngs=rngs), "train")  # noqa: E731
    return Network(build).template


@pytest.fixture(scope="module")
def ocr_tree():
    """Shapes of the paper's recogniser."""
    return Network(lambda rngs: CDistNet(rngs=rngs)).template


def split(tree, rules):
    """The sizes {path: elements} of the leaves that the rules select, and of the others."""
    selected, others = {}, {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = leaf_path(keys)
        (selected if first_match(rules, path) else others)[path] = leaf.size
    return selected, others


def test_first_match_wins_and_whole_paths_count():
    rules = [Rule("head/bias", None), Rule("head/.*", 4), Rule(".*kernel", 6)]
    assert first_match(rules, "head/bias") is None
    assert first_match(rules, "head/kernel").bits == 4
    assert first_match(rules, "body/0/kernel").bits == 6
    assert first_match(rules, "body/head/bias") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "a(", "bits": 4}, r"rule 'a\(': not a regular expression"),
        ({"pattern": "a", "bits": 9}, "rule 'a': 9 bits; use 2 to 8"),
        ({"pattern": "a", "bits": 4, "prior": "cauchy"}, "rule 'a': prior 'cauchy'; use one of"),
    ],
)
def test_bad_rules_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Rule(**settings)


def test_named_sets_pass_their_settings_on():
    for rules in (edsr_sr(5, "auto", True), cdistnet_ocr(5, "auto", True)):
        assert {(rule.bits, rule.prior, rule.per_channel) for rule in rules} == {(5, "auto", True)}


def test_edsr_sr_selects_the_papers_tensors(sr_tree):
    selected, others = split(sr_tree, edsr_sr(4))
    assert sum(selected.values()) == PUBLISHED["edsr"].selected
    parameters = {path for path in others if not re.fullmatch(".*/(mean|var)", path)}
    assert {path.rsplit("/", 1)[0] for path in parameters} == {"edsr/upsample", "edsr/tail"}


def test_tbsrn_sr_selects_the_papers_tensors():
    build = lambda rngs: SuperResolver("tbsrn", TBSRN(rngs=rngs), STN(rngs=rngs), "train")  # noqa: E731
    selected, others = split(Network(build).template, tbsrn_sr(4))
    counts = PUBLISHED["tbsrn"]
    assert sum(selected.values()) == counts.selected - counts.unused_selected == 2_908_392
    parameters = {path for path in others if not re.fullmatch(".*/(mean|var)", path)}
    left = {re.sub(r"/\d+", "", path).removeprefix("tbsrn/") for path in parameters}
    assert {path.rsplit("/", 1)[0] for path in left} == {
        *(f"blocks/convs/{name}" for name in ("bn1", "bn2")),
        *(f"blocks/enhancer/{name}" for name in ("norm1", "norm2")),
        "head",
        "body_end",
        "body_end_bn",
        "tail",
        "slope",
    }


def test_networks_that_the_paper_left_alone_have_their_kernels_selected():
    for name, rules in (("edsr", edsr_sr), ("tbsrn", tbsrn_sr), ("cdistnet", cdistnet_ocr)):
        assert selection(name) is rules
    (rule,) = selection("crnn")(3, "minmax", True)
    assert (rule.bits, rule.prior, rule.per_channel) == (3, "minmax", True)
    assert first_match([rule], "convs/0/conv/kernel") is rule
    assert first_match([rule], "convs/0/conv/bias") is None


@pytest.mark.slow
def test_cdistnet_ocr_selects_the_papers_tensors(ocr_tree):
    selected, others = split(ocr_tree, cdistnet_ocr(4))
    counts = PUBLISHED["cdistnet"]
    assert sum(selected.values()) == counts.selected - counts.unused_selected == 22_725_416
    rooms = {re.sub(r"/\d+", "", path).rsplit("/", 1)[0] for path in selected}
    assert rooms == {
        "encoder/qkv",
        "encoder/out_proj",
        *(
            f"mdcdp/{name}/{part}"
            for name in ("positional", "visual", "semantic")
            for part in ("linear1", "linear2", "out_proj")
        ),
        "mdcdp/positional/qkv",
        *(
            f"mdcdp/{name}/{part}"
            for name in ("visual", "semantic")
            for part in ("query", "key_value")
        ),
        "positional_branch/linear1",
        "positional_branch/linear2",
        "rectifier/fc1",
        "rectifier/fc2",
    }
    assert not any(re.search("linear|qkv|proj|query|fc", p) for p in others if "encoder" not in p)


def test_live_networks_are_the_published_ones_without_what_is_unused(sr_tree, ocr_tree):
    for tree, counts in ((sr_tree, PUBLISHED["edsr"]), (ocr_tree, PUBLISHED["cdistnet"])):
        assert size_mbit(tree) == 32 * (counts.parameters - counts.unused) / 1e6


@pytest.mark.parametrize(("bits", "figure"), [(None, 2851.45), (7, 1277.89), (6, 1214.94)])
def test_live_size_of_the_pair(sr_tree, ocr_tree, bits, figure):
    sr_rules, ocr_rules = (edsr_sr(bits), cdistnet_ocr(bits)) if bits else ((), ())
    assert round(size_mbit(sr_tree, sr_rules) + size_mbit(ocr_tree, ocr_rules), 2) == figure
