"""The published checkpoints that can be converted: their networks, name tables and tensors."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from textsr_jax.convert import (
    abinet,
    cdistnet,
    crnn,
    edsr,
    lemma,
    resampler,
    tatt,
    tbsrn,
    text_focus,
    tpgsr,
    tsrn,
)
from textsr_jax.convert.table import (
    bare_name,
    leaves,
    to_state_dict,
    to_tree,
)
from textsr_jax.errors import UserError
from textsr_jax.models import OCR_NETWORKS, Network, build_focus, build_ocr, build_prior, build_sr
from textsr_jax.models.resampler import Resampler

TABLES = {
    "edsr": edsr.TABLE,
    "tbsrn": tbsrn.TABLE,
    "tsrn": tsrn.TABLE,
    "tpgsr": tpgsr.TABLE,
    "tatt": tatt.TABLE,
    "lemma": lemma.TABLE,
    "abinet": abinet.TABLE,
    "resampler": resampler.TABLE,
    "crnn": crnn.TABLE,
    "text_focus": text_focus.TABLE,
    "cdistnet": cdistnet.TABLE,
}

# What checkpoints of the paper's networks hold beyond our networks.
PUBLISHED_ONLY = {
    "edsr": edsr.PUBLISHED_ONLY,
    "tbsrn": tbsrn.PUBLISHED_ONLY,
    "cdistnet": cdistnet.PUBLISHED_ONLY,
}

# Models whose checkpoints hold the STN, where they were trained with it.
WITH_STN = ("tbsrn", "tsrn", "tpgsr", "tatt", "lemma")
_STN_PREFIX = "stn_head."
_PRIOR = re.compile(r"prior\.(\d)\.")

# Fewer tensors than half of the smallest network's.
_FEWEST = 16


def network(model: str, *, stn: bool = False, stages: int = 1, dtype: str = "float32") -> Network:
    """Builds the network of a published checkpoint, in its published size.

    Args:
      model: a key of `TABLES`.
      stn: whether a super-resolution network has the STN in front.
      stages: how many stages a network with a text prior has.
      dtype: the compute dtype, float32 or bfloat16.
    """
    settings: dict[str, Any] = {"name": model, "dtype": dtype}
    if stages > 1:
        settings[model] = {"stages": stages}
    if model == "text_focus":
        return build_focus({"dtype": dtype})
    if model == "resampler":
        compute = None if dtype == "float32" else jnp.dtype(dtype)
        return Network(lambda rngs: Resampler(dtype=compute, rngs=rngs))
    if model == "abinet":
        return build_prior({"name": "lemma", "dtype": dtype})
    if model in OCR_NETWORKS:
        return build_ocr(settings)
    return build_sr({**settings, "apply_stn": "train" if stn else "never"})


def import_state_dict(
    model: str, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills the parameter tree of a network from a published checkpoint.

    Args:
      model: which checkpoint it is, a key of `TABLES`.
      state_dict: its tensors by name, in PyTorch's layout.
      template: the network's own tree of shapes (`Network.template`).

    Returns:
      A tree like `template` of numpy arrays.

    Raises:
      UserError: `model` is unknown, or the checkpoint does not fit. The message names the tensor,
        and the model that the checkpoint looks like.
    """
    if model not in TABLES:
        raise UserError(f"no name table for {model!r}; take one of {', '.join(TABLES)}")
    try:
        return to_tree(TABLES[model], state_dict, template)
    except UserError as error:
        raise UserError(f"{error}; {_recognize(model, state_dict)}") from error


def export_variables(model: str, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns a tree's tensors by their published names, in PyTorch's layout.

    An STN is left out where the published model has none. The network may be of any size. Published
    names that go on counting after the blocks do so after the blocks of this network.
    """
    variables = dict(variables)
    if model not in WITH_STN:
        for top, tree in variables.items():
            variables[top] = {name: branch for name, branch in tree.items() if name != "stn"}
    table = TABLES[model]
    if table.blocks:
        blocks = {path.split("/")[2] for path, _ in leaves(variables) if "/blocks/" in path}
        table = dataclasses.replace(table, blocks=len(blocks))
    return to_state_dict(table, variables)


def holds_stn(model: str, names: Mapping[str, Any]) -> bool:
    """Whether a published checkpoint of `model` holds an STN, by the names of its tensors."""
    return model in WITH_STN and any(bare_name(name).startswith(_STN_PREFIX) for name in names)


def published_network(model: str, names: Mapping[str, Any]) -> Network:
    """Builds the network of a published checkpoint of `model`, by the names of its tensors.

    It has an STN if they hold one, and a stage for each recogniser of a text prior.
    """
    stages = {found[1] for name in names if (found := _PRIOR.match(bare_name(name)))}
    return network(model, stn=holds_stn(model, names), stages=max(1, len(stages)))


def _recognize(asked: str, state_dict: Mapping[str, np.ndarray]) -> str:
    """A hint for messages: which published checkpoint a state dict looks like."""
    shapes = {bare_name(name): np.shape(tensor) for name, tensor in state_dict.items()}
    nothing = f"the file looks like none of {', '.join(TABLES)}"
    if len(shapes) < _FEWEST:
        return nothing
    fits, sizes = {}, {}
    for model in dict.fromkeys((asked, *TABLES)):
        table = TABLES[model]
        template = published_network(model, state_dict).template
        published = table.published(template)
        known = published.keys() & shapes.keys()
        foreign = [n for n in shapes.keys() - known if table.why_dropped(n) is None]
        everything = len(published) + len(foreign)
        fits[model] = sum(shapes[name] == published[name] for name in known) / everything
        sizes[model] = len(known) / everything
        if fits[model] > 0.9:
            # Networks take seconds to build.
            break
    best = max(fits, key=fits.__getitem__)
    if fits[best] > max(0.5, fits[asked]):
        return f"the file looks like {best}: name that model instead"
    if fits[best] > 0.5:
        return f"the rest of the file looks like {asked}: use a whole checkpoint of it"
    best = max(sizes, key=sizes.__getitem__)
    if sizes[best] > 0.5:
        return f"the file looks like {best} of another size; use one of the published size"
    return nothing
