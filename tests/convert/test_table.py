"""Name tables: layouts, complaints, and that every table covers its published checkpoint."""

import dataclasses
import json

import hypothesis
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from benchmarks.golden import reference_tensors
from tests.conftest import same
from textsr_jax import convert
from textsr_jax.convert import TABLES, NameTable, import_state_dict, to_tree
from textsr_jax.convert.table import COMPUTED, UNUSED, leaves, to_state_dict
from textsr_jax.errors import UserError
from textsr_jax.models import Network


class Reader(nnx.Module):
    """A convolution, BatchNorm, two linear layers and an embedding."""

    def __init__(self, *, rngs):
        self.conv = nnx.Conv(3, 4, (3, 5), rngs=rngs)
        self.bn = nnx.BatchNorm(4, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 2, rngs=rngs)])
        self.embedding = nnx.Embed(7, 2, rngs=rngs)


NETWORK = Network(lambda rngs: Reader(rngs=rngs))
TABLE = NameTable(
    renames=((r"^layers\.0\.", "fc."), (r"^layers\.1\.", "projection."), (r"^conv\.", "cnn.0.")),
    pointwise=(r"projection\.weight",),
    unused=(r"spare\..*",),
    constants=(r"pe",),
)


def checkpoint():
    rng = np.random.default_rng(0)
    shapes = {
        "cnn.0.weight": (4, 3, 3, 5),
        "cnn.0.bias": (4,),
        "bn.weight": (4,),
        "bn.bias": (4,),
        "bn.running_mean": (4,),
        "bn.running_var": (4,),
        "bn.num_batches_tracked": (),
        "fc.weight": (6, 4),
        "fc.bias": (6,),
        "projection.weight": (2, 6, 1, 1),
        "projection.bias": (2,),
        "embedding.weight": (7, 2),
        "spare.weight": (9,),
        "pe": (5, 5),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_layouts():
    tensors = checkpoint()
    tree = to_tree(TABLE, tensors, NETWORK.template)
    assert jax.tree.structure(tree) == jax.tree.structure(NETWORK.template)
    params, stats = tree["params"], tree["stats"]
    kernel = params["conv"]["kernel"]
    assert kernel.shape == (3, 5, 3, 4)
    assert kernel[2, 4, 1, 3] == tensors["cnn.0.weight"][3, 1, 2, 4]
    np.testing.assert_array_equal(params["layers"]["0"]["kernel"], tensors["fc.weight"].T)
    np.testing.assert_array_equal(
        params["layers"]["1"]["kernel"], tensors["projection.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(params["embedding"]["embedding"], tensors["embedding.weight"])
    np.testing.assert_array_equal(params["bn"]["scale"], tensors["bn.weight"])
    np.testing.assert_array_equal(params["bn"]["bias"], tensors["bn.bias"])
    np.testing.assert_array_equal(stats["bn"]["mean"], tensors["bn.running_mean"])
    np.testing.assert_array_equal(stats["bn"]["var"], tensors["bn.running_var"])


def test_the_prefix_of_data_parallel_training_falls_off_and_dtypes_are_the_network_s():
    tensors = {f"module.{name}": tensor.astype(np.float64) for name, tensor in checkpoint().items()}
    tree = to_tree(TABLE, tensors, NETWORK.template)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(tree))
    expected = to_tree(TABLE, checkpoint(), NETWORK.template)
    assert jax.tree.all(jax.tree.map(np.array_equal, tree, expected))


def test_the_template_may_hold_arrays():
    tree = to_tree(TABLE, checkpoint(), NETWORK.init(jax.random.key(0)))
    np.testing.assert_array_equal(tree["params"]["layers"]["0"]["bias"], checkpoint()["fc.bias"])


def complaint(tensors, table=TABLE):
    with pytest.raises(UserError) as error:
        to_tree(table, tensors, NETWORK.template)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_tensor_is_named():
    tensors = checkpoint()
    del tensors["bn.running_var"]
    assert "'bn.running_var' is missing (it fills 'bn/var')" in complaint(tensors)


def test_an_unknown_tensor_is_named():
    assert "'surprise' (3,) is unknown to the network" in complaint(
        checkpoint() | {"surprise": np.ones(3)}
    )


def test_a_wrong_shape_is_told_with_the_right_one():
    wrong = checkpoint() | {"cnn.0.weight": np.ones((8, 3, 3, 5))}
    message = complaint(wrong)
    assert "'cnn.0.weight' has shape (8, 3, 3, 5)" in message
    assert "(4, 3, 3, 5) (for 'conv/kernel')" in message
    flat = checkpoint() | {"projection.weight": np.ones((2, 6))}
    assert "has shape (2, 6), but the network needs (2, 6, 1, 1)" in complaint(flat)


def test_whole_numbers_are_no_weights():
    message = complaint(checkpoint() | {"fc.bias": np.ones(6, np.int8)})
    assert message == "tensor 'fc.bias' is int8, not of floating point"


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floating_point_is_cast(dtype):
    tensors = checkpoint() | {"fc.bias": np.arange(6).astype(dtype)}
    bias = to_tree(TABLE, tensors, NETWORK.template)["params"]["layers"]["0"]["bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, np.arange(6))


def test_a_tensor_that_is_there_twice_is_named():
    assert "'fc.bias' is there twice, as 'fc.bias' and 'module.fc.bias'" in complaint(
        checkpoint() | {"module.fc.bias": np.ones(6)}
    )


def test_a_table_must_keep_leaves_apart():
    table = NameTable(renames=((r"^layers\.\d\.", "fc."),))
    with pytest.raises(ValueError, match="two leaves to"):
        to_tree(
            table,
            checkpoint() | {"conv.weight": 0, "conv.bias": 0},
            {
                "params": {
                    "layers": {
                        str(i): {"bias": jax.ShapeDtypeStruct((6,), jnp.float32)} for i in range(2)
                    }
                }
            },
        )


def test_why_a_tensor_is_dropped():
    assert TABLE.why_dropped("spare.weight") == UNUSED
    assert TABLE.why_dropped("bn.num_batches_tracked") == UNUSED
    assert TABLE.why_dropped("num_batches_tracked") == UNUSED
    assert TABLE.why_dropped("pe") == COMPUTED
    assert TABLE.why_dropped("pe.weight") is None


def arrays(rank):
    return npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=rank, max_dims=rank, max_side=3),
        elements=st.floats(-2, 2, width=32),
    )


LAYERS = st.one_of(
    *(st.fixed_dictionaries({"kernel": arrays(rank), "bias": arrays(1)}) for rank in (2, 3, 4)),
    st.fixed_dictionaries({"scale": arrays(1), "bias": arrays(1)}),
    st.fixed_dictionaries({"embedding": arrays(2)}),
)
NAMES = st.sampled_from("abcd")


@hypothesis.given(
    params=st.dictionaries(NAMES, LAYERS, min_size=1),
    stats=st.dictionaries(NAMES, st.fixed_dictionaries({"mean": arrays(1)})),
    pointwise=st.sets(NAMES),
)
def test_there_and_back_is_the_same_tree(params, stats, pointwise):
    linear = [name for name in pointwise if np.ndim(params.get(name, {}).get("kernel")) == 2]
    table = NameTable(
        renames=((r"^([ab])\.", r"\1.block{1+2}."),),
        pointwise=tuple(rf"{name}\..*weight" for name in linear),
    )
    tree = {"params": params, "stats": stats}
    state_dict = to_state_dict(table, tree)
    assert all(("block3" in name) == (name[0] in "ab") for name in state_dict)
    assert same(to_tree(table, state_dict, tree), tree)


def test_names_count_on_behind_the_blocks():
    table = NameTable(
        renames=((r"^blocks\.(\d+)\.", r"block{\1+2}."), (r"^end\.", "block{blocks+2}.0.")),
        blocks=5,
    )
    assert table.published_name("blocks/9/conv/kernel") == "block11.conv.weight"
    assert table.published_name("end/bias") == "block7.0.bias"
    assert dataclasses.replace(table, blocks=2).published_name("end/bias") == "block4.0.bias"


def test_unknown_model():
    with pytest.raises(UserError, match=r"'vgg'; take one of edsr"):
        import_state_dict("vgg", {}, {})


def published(model):
    """Names and shapes of a published checkpoint: its tensors, and its constants."""
    file = "text_focus_recognizer" if model == "text_focus" else model
    spec = json.loads((reference_tensors.HERE / f"{file}.json").read_text())
    return [
        {name: tuple(shape) for name, shape in spec[kind].items()}
        for kind in ("tensors", "constants")
    ]


# Building the network takes some seconds.
LARGE = [
    pytest.param(model, marks=pytest.mark.slow)
    for model in ("edsr", "lemma", "abinet", "text_focus", "cdistnet")
]
SMALL = [model for model in TABLES if model not in [param.values[0] for param in LARGE]]


@pytest.mark.parametrize("model", [*SMALL, *LARGE])
def test_every_table_covers_its_checkpoint(model):
    tensors, constants = published(model)
    table = TABLES[model]
    network = convert.network(model, stn=model in convert.WITH_STN)
    used = table.published(network.template)
    # No two leaves have one name, so that the table can be read backwards.
    assert len(used) == len(list(leaves(network.template)))
    assert used == {name: tensors[name] for name in used}
    assert {table.why_dropped(name) for name in used} == {None}
    assert {table.why_dropped(name) for name in tensors.keys() - used.keys()} <= {UNUSED}
    assert {table.why_dropped(name) for name in constants} <= {COMPUTED}


def test_every_published_model_has_a_table():
    assert TABLES.keys() == {
        "edsr",
        "tbsrn",
        "tsrn",
        "tpgsr",
        "tatt",
        "lemma",
        "abinet",
        "resampler",
        "text_focus",
        "cdistnet",
        "crnn",
    }
