"""What this project computes for the parity vectors of the networks with a text prior."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.golden import reference_tensors
from benchmarks.golden import vectors as golden_vectors
from benchmarks.golden.bounds import L2
from configs import paper
from textsr_jax import convert
from textsr_jax.config.checks import checked
from textsr_jax.convert.table import to_state_dict
from textsr_jax.data.batching import Batch
from textsr_jax.images import to_float
from textsr_jax.models import Network, Variables, build_focus, build_prior, build_sr
from textsr_jax.models.crnn import prepare
from textsr_jax.models.layers.pixels import with_mask
from textsr_jax.train.guided import guided_loss
from textsr_jax.train.steps import Loss
from textsr_jax.train.turning import turn

# The network of tpgsr_loss.npz.
_SMALL_TPGSR = {
    "name": "tpgsr",
    "tpgsr": {"blocks": 1, "channels": 16, "prior_channels": 8},
    "prior": {"hidden": 16},
}
# The network of tatt_loss.npz.
_SMALL_TATT = {
    "name": "tatt",
    "apply_stn": "never",
    "tatt": {"blocks": 1, "channels": 8, "dropout": 0.0},
    "prior": {"hidden": 16},
}


def _first(array):
    return np.moveaxis(np.asarray(array), -1, 1)


def tpgsr(arrays, dtype):
    """The network in evaluation, three stages one after another, with the weights of one file."""
    lr = to_float(golden_vectors.images(arrays["image"]))
    network, variables = golden_vectors.imported("tpgsr", int(arrays["seed"]), dtype)

    @jax.jit
    def enlarge(variables, lr, prior):
        module = network.module(variables)
        size = lr.shape[1:3]
        return module.tpgsr(lr, prior), module.tpgsr.interpreter(prior, size, train=False)

    given, images, found = with_mask(lr), lr, []
    for stage in range(3):
        prior = _read(images, stage, arrays, dtype)
        made, features = enlarge(variables, given, prior)
        images = made[..., :3]
        found.append((prior, made, features))
    return {
        "mask": given[..., 3],
        "prior": found[0][0],
        "features": _first(found[0][2])[:1],
        "output": _first(found[0][1]),
        "prior_3": found[2][0],
        "output_3": _first(found[2][1]),
    }


@functools.cache
def _reader(dtype):
    recognizer = golden_vectors.network("crnn", dtype)
    return jax.jit(
        lambda variables, gray: jax.nn.softmax(recognizer.module(variables).classify(gray))
    )


def _read(images, stage, arrays, dtype):
    """The prior that the stand-in recogniser of a stage gives."""
    seed = int(arrays["seed"])
    state = {
        name: reference_tensors.tensor(f"prior.{stage}.{name}", tensor.shape, seed)
        for name, tensor in golden_vectors.state_dict("crnn", seed).items()
    }
    template = golden_vectors.network("crnn", dtype).template
    return _reader(dtype)(convert.import_state_dict("crnn", state, template), prepare(images))


def tpgsr_loss(arrays, dtype):
    """A training step of a small network, by the loss of stage 1 with the published weights."""
    del dtype
    hr = to_float(golden_vectors.images(arrays["hr"]))
    return {"mask": with_mask(hr)[..., 3], **_step(arrays, "tpgsr", _SMALL_TPGSR)}


def tatt(arrays, dtype):
    """The network in evaluation, with its attention to the frames of the prior."""
    lr = to_float(golden_vectors.images(arrays["image"]))
    network, variables = golden_vectors.imported("tatt", int(arrays["seed"]), dtype)

    @jax.jit
    def enlarge(variables, lr, prior):
        module = network.module(variables).tatt
        head = module.head(lr)
        head = jax.numpy.where(head > 0, head, head * module.slope[...])
        return module(lr, prior), *module.interpreter(head, prior)

    prior = _read(lr, 0, arrays, dtype)
    output, features, attention = enlarge(variables, with_mask(lr), prior)
    return {
        "prior": prior,
        "output": _first(output),
        "features": _first(features)[1:2],
        "attention": attention.reshape(len(lr), -1, attention.shape[-1])[1:2],
    }


def tatt_loss(arrays, dtype):
    """A training step of a small network without dropout, with the turns of the file."""
    del dtype
    lr = to_float(golden_vectors.images(arrays["lr"]))
    turns = arrays["angles"], arrays["shapes"]
    found = _step(arrays, "tatt", _SMALL_TATT, turns=lambda key, count, degrees: turns)
    return {"turned": _first(turn(with_mask(lr), *turns))[:2], **found}


def _step(arrays, model, sizes, **others):
    config = checked(paper.get_config(model)).replace(sr=sizes)
    network, teacher = build_sr(config.sr), build_prior(config.sr)
    crnn = convert.TABLES["crnn"]
    frozen = {
        "teacher": convert.to_tree(
            crnn, _stand_in(crnn, teacher, arrays, "teacher."), teacher.template
        )
    }
    loss = guided_loss(network, build_focus(config.focus), teacher, config.stage1, **others)
    return training_step(arrays, model, network, loss, frozen)


def stand_in(arrays: Mapping[str, Any], model: str, network: Network) -> Variables:
    """The stand-in variables of a network of one block, by the seed of a file."""
    table = dataclasses.replace(convert.TABLES[model], blocks=1)
    return convert.to_tree(table, _stand_in(table, network, arrays), network.template)


def training_step(
    arrays: Mapping[str, Any],
    model: str,
    network: Network,
    loss: Loss,
    frozen: Variables,
    characters: np.ndarray | None = None,
) -> dict[str, Any]:
    """What a file holds of a step by a stage's loss: its parts, gradients and statistics.

    Args:
      arrays: the file's, `lr` and `hr` images of 8 bits among them.
      model: a key of `convert.TABLES`.
      network: what is trained, of one block, from stand-in weights.
      loss: of the stage.
      frozen: what the loss reads.
      characters: the labels; None for none.
    """
    table = dataclasses.replace(convert.TABLES[model], blocks=1)
    variables = stand_in(arrays, model, network)
    lr, hr = (golden_vectors.images(arrays[name]) for name in ("lr", "hr"))
    batch = Batch(
        lr=lr,
        hr=hr,
        characters=np.zeros((len(lr), 1), np.int32) if characters is None else characters,
        index=np.arange(len(lr)),
        valid=np.ones(len(lr), bool),
    )

    @functools.partial(jax.grad, has_aux=True)
    def differentiate(params, stats, frozen, batch):
        given = {"params": params, "stats": stats}
        total, (parts, stats) = loss(given, frozen, batch, jax.random.key(0))
        return total, (total, parts, stats)

    @jax.jit
    def step(*arguments):
        gradient, (total, parts, stats) = differentiate(*arguments)
        # XLA computes nothing of what the file does not hold.
        return _picked(gradient, table, arrays), total, parts, _picked(stats, table, arrays)

    gradient, total, parts, stats = step(*variables.values(), frozen, batch)
    found = to_state_dict(table, {"params": gradient, "stats": stats})
    outputs = {name: parts[name] for name in parts if name in arrays} | {"total": total}
    return outputs | _tensors(found, arrays)


def _picked(tree, table, arrays):
    """The tree with None for every leaf whose gradient or value is not in the file."""

    def pick(keys, leaf):
        name = table.published_name("/".join(key.key for key in keys))
        return leaf if {f"grad_{name}", f"stat_{name}"} & arrays.keys() else None

    return jax.tree_util.tree_map_with_path(pick, tree)


def _stand_in(table, network, arrays, prefix=""):
    """A stand-in checkpoint of a network of any size."""
    return {
        name: reference_tensors.tensor(prefix + name, shape, int(arrays["seed"]))
        for name, shape in table.published(network.template).items()
    }


def _tensors(found, arrays):
    """The gradients and statistics that a file holds; a gradient in relative L2 too."""
    outputs = {}
    for name in arrays:
        kind, _, tensor = name.partition("_")
        if kind in ("grad", "stat"):
            outputs[name] = found[tensor]
        if kind == "grad":
            outputs[name + L2] = found[tensor]
    return outputs
