"""What the paper's sizes count beyond our networks: each row against the published checkpoint."""

import json
import math
import re

import pytest

from benchmarks.golden import vectors as golden_vectors
from textsr_jax import convert
from textsr_jax.convert.table import PublishedOnly, leaves
from textsr_jax.models import count_parameters
from textsr_jax.quantization import rule_set, selection
from textsr_jax.quantization.rules import first_match

MODELS = sorted(convert.PUBLISHED_ONLY)
BUFFERS = r".*\.(running_mean|running_var|num_batches_tracked)"
# Which published parameters the paper quantises in its Table 2.
QUANTIZED = {
    "edsr": r"(head|body)\..*|stn_head\..*",
    "tbsrn": r"(?!block\d\.bn\d\.|.*layernorm|block[178]\.\d\.(weight|bias)|bn\.).*",
    "cdistnet": r".*\.(self|multihead)_attn\..*|.*\.(linear[12]|localization_fc\d(\.0)?)\..*",
}


def published(model):
    """Parameters of a published checkpoint, {name: shape}: no running statistics, no GRUs."""
    spec = json.loads((golden_vectors.COPY / f"{model}.json").read_text())
    tensors = dict(spec["tensors"])
    if model == "edsr":
        # The mean shifts are parameters there that are never trained; other constants are buffers.
        tensors |= spec["constants"]
    return {
        name: tuple(shape)
        for name, shape in tensors.items()
        if not re.fullmatch(BUFFERS, name) and not re.fullmatch(r"block\d\.gru\d\..*", name)
    }


def row_of(model, name):
    """The one row that speaks of a published tensor, or None."""
    rows = [row for row in convert.PUBLISHED_ONLY[model] if re.fullmatch(row.names, name)]
    assert len(rows) <= 1
    return rows[0] if rows else None


def test_size_is_that_of_all_tensors_together():
    assert PublishedOnly(".*", (2, 3), 5).size == 30


@pytest.mark.parametrize("model", MODELS)
def test_rows_have_the_shape_and_count_of_what_they_name(model):
    shapes = published(model)
    for row in convert.PUBLISHED_ONLY[model]:
        named = [shape for name, shape in shapes.items() if re.fullmatch(row.names, name)]
        assert named == [row.shape] * row.count


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_rows_name_exactly_the_parameters_that_have_no_leaf(model):
    template = golden_vectors.network(model).template
    live = convert.TABLES[model].published(template)
    for name in published(model):
        assert (row_of(model, name) is None) == (name in live)


@pytest.mark.parametrize("model", MODELS)
def test_rows_say_what_the_paper_quantises_of_them(model):
    for name in published(model):
        if (row := row_of(model, name)) is not None:
            assert row.quantized == bool(re.fullmatch(QUANTIZED[model], name))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_papers_sets_select_the_live_ones_of_what_it_quantises(model):
    template = golden_vectors.network(model).template
    table, rules = convert.TABLES[model], rule_set(selection(model), 4)
    for path, _ in leaves(template):
        name = table.published_name(path)
        wanted = re.fullmatch(QUANTIZED[model], name) and not re.fullmatch(BUFFERS, name)
        assert bool(first_match(rules, path)) == bool(wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "unused"), [("edsr", 24), ("tbsrn", 115), ("cdistnet", 18_935_808)]
)
def test_live_and_published_only_parameters_add_up(model, unused):
    template = golden_vectors.network(model).template
    rows = convert.PUBLISHED_ONLY[model]
    assert sum(row.size for row in rows) == unused
    everything = sum(math.prod(shape) for shape in published(model).values())
    assert count_parameters(template) + unused == everything
