"""Conversion of files: a published checkpoint to a parameter file, and back.

The parameter file also keeps what the network does not use, so converting back is exact.
"""

import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textsr_jax import text
from textsr_jax.config.names import nearest
from textsr_jax.convert import checkpoint_files, joined
from textsr_jax.convert.checkpoint_files import Checkpoint
from textsr_jax.convert.published import (
    TABLES,
    WITH_STN,
    export_variables,
    import_state_dict,
    network,
    published_network,
)
from textsr_jax.convert.table import COMPUTED, UNUSED, bare_name, prefix
from textsr_jax.errors import UserError, escaped
from textsr_jax.models import Network, build_focus, build_ocr, build_sr, count_parameters
from textsr_jax.models.text_prior import PRIOR
from textsr_jax.runtime import atomic, paths
from textsr_jax.storage import checkpoints, parameter_files, workdirs
from textsr_jax.storage.parameter_files import Origin, ParameterFile


@dataclass(frozen=True)
class _Published:
    """How the published code stores a model, and what the model is here.

    Attributes:
      part: its part of a config, one of `parameter_files.PARTS`.
      key: the entry of the file that holds the tensors; None for the whole file.
      prefix: what is put before each name.
    """

    part: str
    key: str | None = None
    prefix: str = ""


PUBLISHED = {
    "edsr": _Published("sr", prefix="module."),
    "tbsrn": _Published("sr", key="state_dict_G"),
    "tsrn": _Published("sr", key="state_dict_G"),
    "tpgsr": _Published("sr", key="state_dict_G"),
    "tatt": _Published("sr", key="state_dict_G"),
    "lemma": _Published("sr", key="state_dict_G"),
    "resampler": _Published("resampler", prefix="module."),
    "text_focus": _Published("focus", prefix="module."),
    "cdistnet": _Published("ocr"),
    "crnn": _Published("ocr"),
    "abinet": _Published("prior", key="model"),
}

# How many other entries of a file, and how many lines on dropped tensors, are printed.
_MOST_TOLD, _MOST_LINES = 40, 200
# Names with more numbers than any network's names have are listed one by one.
_MOST_NUMBERS = 8

_BUILD: dict[str, Callable[[Mapping[str, Any]], Network]] = {
    "sr": build_sr,
    "ocr": build_ocr,
    "focus": build_focus,
}
# The stages of a workdir that may hold the model of each part. The first one there is taken.
_STAGES = {"sr": ("stage1",), "ocr": ("stage2", "pretrain_ocr"), "focus": ("pretrain_focus",)}


def import_file(model: str, source: str, out: str, entry: str | None = None) -> list[str]:
    """Converts a published checkpoint to a parameter file.

    Args:
      model: a key of `TABLES`.
      source: a .pth or .safetensors file as published; several for some models, see `joined`.
      out: the parameter file to write.
      entry: which entry of the file holds the tensors; None where there is one such entry.

    Returns:
      Lines that say what was found, dropped and written.

    Raises:
      UserError: a file cannot be read or written, or does not fit the model.
    """
    _check(model, source, out)
    if parameter_files.is_parameter_file(source):
        held = parameter_files.load(source)
        raise UserError(
            f"{source}: a parameter file already, of {held.model}: name it in "
            f"config.init.{held.part}; for the way back add --to-torch"
        )
    checkpoint, prior_keys = joined.read(model, joined.split(model, source), entry)
    template = published_network(model, checkpoint.tensors).template
    try:
        variables = import_state_dict(model, checkpoint.tensors, template)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    dropped, aside, dtypes = {}, {}, {}
    for name, tensor in checkpoint.tensors.items():
        if TABLES[model].why_dropped(bare_name(name)) is not None:
            dropped[name] = tensor
        elif tensor.dtype != np.float32:
            dtypes[name] = tensor.dtype.name
            if tensor.astype(np.float32).astype(tensor.dtype).tobytes() != tensor.tobytes():
                aside[name] = tensor
    part = PUBLISHED[model].part
    settings: dict[str, Any] = {"name": model} if part in ("sr", "ocr") else {}
    if (stages := _stages(variables)) > 1:
        settings[model] = {"stages": stages}
    record: dict[str, Any] = {
        "key": checkpoint.key,
        "names": list(checkpoint.tensors),
        "dtypes": dtypes,
    }
    if prior_keys:
        record["prior_keys"] = prior_keys
    file = ParameterFile(model, part, settings, variables)
    parameter_files.save(out, file, Origin(record, dropped | aside))
    live = len(checkpoint.tensors) - len(dropped)
    lines = [
        f"{source}: {model}, {_wrapping(checkpoint)}",
        f"{live} tensors taken, {count_parameters(variables):,} parameters",
    ]
    if dtypes:
        kinds = ", ".join(sorted(set(dtypes.values())))
        lines.append(f"{len(dtypes)} of them were {kinds} and are float32 now")
    lines += _list_dropped(model, dropped)
    if checkpoint.beside:
        told = ", ".join(escaped(name, 64) for name in checkpoint.beside[:_MOST_TOLD])
        more = len(checkpoint.beside) - _MOST_TOLD
        lines.append(f"left out: {told}{f' and {more:,} more' if more > 0 else ''}")
    return [*lines, f"written to {out}", *_usage(model, out, stages)]


def export_file(model: str, source: str, out: str) -> list[str]:
    """Writes a published checkpoint from a parameter file, or from the best model of a workdir.

    From a converted file, the tensors are exactly those that it was made from, wrapped as before.

    Args:
      model: a key of `TABLES`.
      source: a parameter file, or a workdir of train.py.
      out: the file to write, or several, see `joined`. `.safetensors` gives that format, any other
        ending PyTorch's own.

    Returns:
      Lines that say what was written.

    Raises:
      UserError: the source cannot be read or does not hold the model, or the file cannot be
        written.
    """
    _check(model, source, out)
    if paths.named(source).is_dir():
        stage, variables = _best(model, source)
        origin, title = None, f"{source}: {model}, the best of {stage}"
    else:
        file = parameter_files.load(source)
        if file.model != model:
            raise UserError(f"{source}: holds {file.model}, not {model}; name {file.model}")
        variables, origin = file.variables, parameter_files.load_origin(source)
        title = f"{source}: {model}"
    tensors = export_variables(model, variables)
    if origin is None:
        published = PUBLISHED[model]
        named = {published.prefix + name: tensor for name, tensor in tensors.items()}
        checkpoint = Checkpoint(named, published.key)
    else:
        checkpoint = _original(origin, tensors)
    outs = joined.split(model, out)
    keys = origin.record.get("prior_keys", ()) if origin else ()
    lines = [title]
    for path, content in zip(outs, joined.parts(model, checkpoint, outs, keys), strict=True):
        suffix = pathlib.Path(path).suffix
        if suffix == checkpoint_files.SAFETENSORS:
            content = Checkpoint(content.tensors)
        atomic.write_bytes(path, checkpoint_files.to_bytes(content, suffix))
        lines.append(f"written to {path}: {_wrapping(content)}")
    if origin is None:
        lines += _differences(model, variables)
    return lines


def _check(model: str, source: str, out: str) -> None:
    if model not in TABLES:
        hint = nearest(model, list(TABLES))
        raise UserError(f"{model!r}: there is no such model; {hint}")
    if os.path.exists(out) and os.path.exists(source) and os.path.samefile(out, source):
        raise UserError(f"--out={out}: is the file to convert; name another")


def _best(model: str, workdir: str) -> tuple[str, dict[str, Any]]:
    """The stage and the variables of a workdir's best model."""
    part = PUBLISHED[model].part
    if part not in _STAGES:
        raise UserError(f"{workdir}: a workdir holds no {model}; name a parameter file")
    config = workdirs.load_config(workdir)
    if part == "ocr" and config.alphabet != text.ALPHANUMERIC.name:
        raise UserError(
            f"{workdir}: its recogniser writes the {config.alphabet} alphabet, and published ones"
            f" write {text.ALPHANUMERIC.characters}; name a workdir with"
            f" config.alphabet={text.ALPHANUMERIC.name}"
        )
    settings = config[part]
    name = settings.get("name", model)
    if name != model:
        raise UserError(f"{workdir}: its config.{part}.name is {name}, not {model}; name {name}")
    template = checkpoints.abstract(_BUILD[part](settings).template)
    for stage in _STAGES[part]:
        loaded = checkpoints.load_best(workdir, stage, template)
        if loaded is not None:
            return stage, loaded[0]
    stages = " or ".join(_STAGES[part])
    raise UserError(f"{workdir}: no model of {stages} there; train it, or name another workdir")


def _original(origin: Origin, tensors: dict[str, np.ndarray]) -> Checkpoint:
    """The checkpoint that a parameter file was made from."""
    dtypes = origin.record["dtypes"]
    back = {}
    for name in origin.record["names"]:
        if name in origin.tensors:
            back[name] = origin.tensors[name]
        else:
            tensor = tensors[bare_name(name)]
            back[name] = tensor.astype(np.dtype(dtypes.get(name, "float32")))
    return Checkpoint(back, origin.record["key"])


def _wrapping(checkpoint: Checkpoint) -> str:
    place = "at its top" if checkpoint.key is None else f"under '{escaped(checkpoint.key, 200)}'"
    prefixes = sorted({prefix(name) for name in checkpoint.tensors} - {""})
    behind = f", behind {escaped(' and '.join(prefixes), 200)}" if prefixes else ""
    return f"{len(checkpoint.tensors)} tensors {place}{behind}"


def _list_dropped(model: str, dropped: dict[str, np.ndarray]) -> Iterator[str]:
    reasons = {
        UNUSED: "the network never uses them",
        COMPUTED: "the network computes them itself",
    }
    for kind, reason in reasons.items():
        names: dict[tuple[int, ...], list[str]] = {}
        for name, tensor in dropped.items():
            if TABLES[model].why_dropped(bare_name(name)) == kind:
                names.setdefault(tensor.shape, []).append(name)
        if names:
            yield f"{sum(map(len, names.values()))} tensors dropped, {reason}:"
        lines = [f"{name} {shape}" for shape in names for name in _together(names[shape])]
        yield from (f"  {escaped(line, 200)}" for line in lines[:_MOST_LINES])
        if len(lines) > _MOST_LINES:
            yield f"  and {len(lines) - _MOST_LINES:,} more"


def _together(names: Sequence[str]) -> Iterator[str]:
    """Joins names that differ in one number: block2.bias and block3.bias to block{2,3}.bias."""
    alike: dict[str, list[list[str]]] = {}
    for name in names:
        alike.setdefault(re.sub(r"\d+", "#", name), []).append(re.split(r"(\d+)", name))
    for rows in alike.values():
        if len(rows[0]) > 2 * _MOST_NUMBERS:
            yield from ("".join(row) for row in rows)
            continue
        for place in range(1, len(rows[0]), 2):
            merged: dict[tuple[str, ...], list[str]] = {}
            for row in rows:
                merged.setdefault((*row[:place], *row[place + 1 :]), []).append(row[place])
            rows = [[*r[:place], _one_of(numbers), *r[place:]] for r, numbers in merged.items()]
        yield from ("".join(row) for row in rows)


def _one_of(numbers: Sequence[str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    first, last = int(numbers[0]), int(numbers[-1])
    if len(numbers) > 2 and [*map(int, numbers)] == [*range(first, last + 1)]:
        return f"{{{first}-{last}}}"
    return f"{{{','.join(numbers)}}}"


def _differences(model: str, variables: dict[str, Any]) -> Iterator[str]:
    """How the checkpoint of a network that was trained here differs from the published one."""
    table, with_stn = TABLES[model], "stn" in variables["params"]
    if with_stn and model not in WITH_STN:
        yield f"the STN is left out: the published {model} has none"
    if not with_stn and model in WITH_STN:
        yield f"there is no STN in it: build the published {model} without one"
    like = network(model, stn=with_stn and model in WITH_STN, stages=_stages(variables))
    published = table.published(like.template)
    tensors = export_variables(model, variables)
    if published != {name: tensor.shape for name, tensor in tensors.items()}:
        yield f"it is of another size than the published {model}: build that in the same size"
    patterns = [*table.unused, *table.constants]
    if variables["stats"]:
        patterns.append(r".*\.num_batches_tracked")
    if patterns:
        # A regular expression as people write a group of names.
        readable = [re.sub(r"\\d\+?|\.\*", "*", p).replace("\\.", ".") for p in patterns]
        yield "load it with strict=False, for these published tensors are not in it:"
        yield from (f"  {pattern}" for pattern in readable)


def _stages(variables: Mapping[str, Any]) -> int:
    """The recognisers of a text prior, one for each stage; 1 for a model without them."""
    return max(1, len(variables["params"].get(PRIOR, {})))


def _usage(model: str, out: str, stages: int) -> Iterator[str]:
    part = PUBLISHED[model].part
    if part == "resampler":
        yield (
            f"use it: evaluate.py --config=configs/div2k.py --config.init.resampler={out} "
            "--config.init.sr=EDSR --photographs=FOLDER"
        )
        return
    name = f" --config.{part}.name={model}" if part in ("sr", "ocr") else ""
    if stages > 1:
        name += f" --config.{part}.{model}.stages={stages}"
    config = "configs/paper.py:lemma" if part == "prior" else "configs/paper.py"
    yield f"use it: --config={config}{name} --config.init.{part}={out}"
