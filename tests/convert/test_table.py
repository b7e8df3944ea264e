"""Name tables: layouts, complaints, and that every table covers its published checkpoint."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests import golden_vectors
from tests.golden import reference_tensors
from textsr_jax.convert import TABLES, NameTable, import_state_dict, to_tree
from textsr_jax.errors import UserError
from textsr_jax.models import Network
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.stn import STN
from textsr_jax.models.text_focus import TextFocusRecognizer


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
    assert "'surprise' (3,) is unknown" in complaint(checkpoint() | {"surprise": np.ones(3)})


def test_a_wrong_shape_is_told_with_the_right_one():
    wrong = checkpoint() | {"cnn.0.weight": np.ones((8, 3, 3, 5))}
    message = complaint(wrong)
    assert "'cnn.0.weight' has shape (8, 3, 3, 5)" in message
    assert "(4, 3, 3, 5) (for 'conv/kernel')" in message
    flat = checkpoint() | {"projection.weight": np.ones((2, 6))}
    assert "has shape (2, 6), but the network needs (2, 6, 1, 1)" in complaint(flat)


def test_a_tensor_that_is_there_twice_is_named():
    assert "'fc.bias' is there with and without" in complaint(
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


def test_unknown_model():
    with pytest.raises(UserError, match=r"'vgg'; take one of edsr"):
        import_state_dict("vgg", {}, {})


def leaves(tree):
    """Every leaf and its path below "params" or "stats"."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(key.key for key in keys[1:]), leaf


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "model", "module"),
    [
        ("edsr", "edsr", EDSR),
        ("tbsrn", "stn", STN),
        ("tsrn", "stn", STN),
        ("text_focus_recognizer", "text_focus", TextFocusRecognizer),
        ("cdistnet", "cdistnet", CDistNet),
    ],
)
def test_every_table_covers_its_checkpoint(checkpoint, model, module):
    published = json.loads((reference_tensors.HERE / f"{checkpoint}.json").read_text())
    table = TABLES[model]
    used = {}
    for path, leaf in leaves(Network(lambda rngs: module(rngs=rngs)).template):
        used[table.published_name(path)] = table.published_shape(path, leaf.shape)
    assert used == {name: tuple(published["tensors"][name]) for name in used}
    # With nothing to fill, what is left must be accepted and dropped; the constants, too.
    rest = (published["tensors"].keys() | published["constants"].keys()) - used.keys()
    nothing = {"params": {}, "stats": {}}
    assert import_state_dict(model, dict.fromkeys(rest, np.zeros(())), nothing) == nothing


def test_tables_can_be_read_backwards():
    table, tensors = TABLES["stn"], golden_vectors.state_dict("tbsrn", 3)
    network = Network(lambda rngs: STN(rngs=rngs))
    tree = import_state_dict("stn", tensors, network.template)
    for path, leaf in leaves(tree):
        back = leaf.transpose(np.argsort(table.axes(path, leaf.ndim)))
        np.testing.assert_array_equal(
            back.reshape(table.published_shape(path, leaf.shape)),
            tensors[table.published_name(path)],
        )
