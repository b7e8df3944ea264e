"""What two configs have in common: the same start of a model, the same network, the same values."""

import json
import os
import pathlib
from typing import Any

from textsr_jax.config import checks, recognizer_files, word_sources
from textsr_jax.config.kinds import Text
from textsr_jax.config.settings import FIELDS, Experiment

# Of a folder on another machine only its name is known.
ELSEWHERE = "elsewhere:"
# Fields that name a file or a folder, and what they may hold that stays as it is: `tfds:` names a
# prepared data set, `ELSEWHERE` a folder that is not here, a URL an object store.
_PLACES = frozenset(
    name for name, field in FIELDS.items() if field.role == "machine" and field.kind == Text()
)
_KEPT = ("tfds:", ELSEWHERE, "gs://", "s3://")

# These fields say what to do and where to keep things. They change no model.
_FREE = (
    "stages",
    "data.data_dir",
    "data.synthetic.workers",
    "parallel.pmap",
    "quantization.",
    "decoding.language_weight",
    "decoding.second_look",
    "decoding.temperature",
    "held_out.",
)
# The parts that name one of several networks, each with its sizes.
_NETWORKS = ("sr.", "ocr.")


def plain(config: Experiment) -> dict[str, Any]:
    """The config as JSON gives it back: nested dicts, lists for tuples, absolute paths."""
    values = dict(checks.leaves(config.to_dict()))
    for name in _PLACES:
        values[name] = _absolute(values[name])
    values["data.words"] = word_sources.with_paths(values["data.words"], _absolute)
    values["init.external"] = recognizer_files.with_paths(values["init.external"], _absolute)
    content: dict[str, Any] = json.loads(json.dumps(checks.nested(values)))
    return content


def _absolute(place: str) -> str:
    if not place or place.startswith(_KEPT):
        return place
    return str(pathlib.Path(os.path.expanduser(place)).resolve())


def first_difference(old: Experiment, new: Experiment) -> tuple[str, Any, Any] | None:
    """The first field that changes models and differs: its name and both values; None for none.

    Fields of networks that neither config uses change nothing: configs get new networks, whose
    sizes old workdirs do not have.
    """
    before, after = (dict(checks.leaves(plain(config))) for config in (old, new))
    for name in sorted(before):
        if name.startswith(_FREE) or before[name] == after[name]:
            continue
        if not name.startswith(_NETWORKS) or any(
            checks.in_use(name, values, values) for values in (before, after)
        ):
            return name, before[name], after[name]
    return None


def same_start(config: Experiment, other: Experiment, part: str) -> bool:
    """Whether `config.init` names the same start for a model in both, or none in both."""
    return bool(plain(config)["init"][part] == plain(other)["init"][part])


def same_network(config: Experiment, other: Experiment, part: str) -> bool:
    """Whether the networks of "sr" or "ocr" have the same name and sizes in both."""
    return checks.network_fields(config, part) == checks.network_fields(other, part)
