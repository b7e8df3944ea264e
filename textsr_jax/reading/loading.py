"""Loads readers: of the shipped models, of a workdir or a packed file, and of a pickled reader."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from typing import TYPE_CHECKING, cast

import jax
from ml_collections import ConfigDict

from textsr_jax import text
from textsr_jax.config.differences import plain
from textsr_jax.config.settings import Experiment
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError
from textsr_jax.quantization import is_quantized
from textsr_jax.reading.abstention import Abstention
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.reading.kept_functions import KeptFunctions
from textsr_jax.reading.reader import Description, Reader
from textsr_jax.runtime import paths
from textsr_jax.runtime.concurrency import once
from textsr_jax.storage import packed_files, shipped
from textsr_jax.storage.models import Models, packed_config
from textsr_jax.storage.shipped import SHIPPED

if TYPE_CHECKING:
    # Flax and Orbax take a second to import: functions that need them do so themselves.
    from textsr_jax.models import Network, Variables

# `abstain` and `abstain_letters` of `load`.
Risks = tuple[float | None, float | None]


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    config: ConfigDict | Experiment | None = None,
    abstain: float | None = None,
    abstain_letters: float | None = None,
) -> Reader:
    """Loads the shipped models, a workdir of `train.py` or a packed file, to read with.

    The recogniser is the fine-tuned one, or the pre-trained one if stage 2 has not run. The weights
    of a packed file stay packed in memory; the networks expand them where they use them, or
    multiply the codes themselves where `config.quantization.compute` is "integer". Compiled
    functions of a packed file are kept in the user's cache folder (`compilation.cache_folder`).

    Args:
      source: the workdir or the file: a path, or a URL (gs://, s3://). "printable" for the shipped
        models that write case, punctuation and spaces. None for what `config.init` names, or
        without a config for the shipped models that write 0-9 and a-z.
      config: the experiment; None for the config of `source`.
      abstain: the risk of a wrong word, above 0 and below 1, such as 0.05. Words that are not sure
        enough for it are left out (`Reading.abstained`). None returns all words. See
        `reading.abstention.threshold` for what is promised.
      abstain_letters: instead, the risk of a wrong letter. Letters that are not sure enough become
        "?".

    Raises:
      UserError: `source` is neither, is damaged, has no SR model or recogniser yet, or does not fit
        the config; or a risk is asked for that is not in its bounds, or `source` does not say which
        held-out words it misread.
    """
    risks = abstain, abstain_letters
    if source is None and config is None:
        source = SHIPPED
    if source is not None:
        source = paths.named(shipped.find(os.fspath(source))).expanduser()
        if source.is_file():
            return _load_packed_reader(source, config, risks)
    models = Models.load(source, config)
    ocr = models.recognizer
    if models.sr_variables is None or ocr is None:
        part, stage = ("sr", "stage1") if models.sr_variables is None else ("ocr", "pretrain")
        what = {"sr": "SR model", "ocr": "recogniser"}[part]
        if source is None:
            raise UserError(f"config.init.{part} is empty; name the file of the {what} there")
        raise UserError(
            f"{source} has no {what} ({stage}) yet; train it with train.py --workdir={source}, "
            f"or name a file in config.init.{part}"
        )
    place = None if source is None else paths.absolute(source)
    return _unpacked_reader(models, models.sr_variables, ocr, place, risks)


def _unpacked_reader(
    models: Models, sr: Variables, ocr: Variables, source: str | None, risks: Risks
) -> Reader:
    config = models.config
    abstention = Abstention.of(config.held_out, *risks, source or "the config")
    search = _search(config)
    engine = JaxEngine(
        search,
        lambda: (models.sr, models.ocr),
        sr,
        ocr,
        name=source or "the models of config.init",
        again=(_unpacked_engine, (config, sr, ocr)),
    )
    description = _description(source, config, search, sr, ocr)
    return Reader(engine, config.decoding.temperature, description, abstention)


def _unpacked_engine(config: Experiment, sr: Variables, ocr: Variables) -> JaxEngine:
    """Returns the engine of a pickled reader of a workdir."""
    from textsr_jax.models import build_ocr, build_sr

    @functools.cache
    def networks() -> tuple[Network, Network]:
        return build_sr(config.sr, sr), build_ocr(config.ocr, text.ALPHABETS[config.alphabet])

    return JaxEngine(
        _search(config),
        networks,
        sr,
        ocr,
        again=(_unpacked_engine, (config, sr, ocr)),
    )


def _load_packed_reader(
    path: pathlib.Path,
    config: ConfigDict | Experiment | None,
    risks: Risks = (None, None),
) -> Reader:
    """Returns a reader that builds its networks only if their functions were not kept before."""
    packed = packed_files.load(path)
    used = packed_config(packed, path, config)
    own = packed.experiment(path)
    abstention = Abstention.of(own.held_out, *risks, str(path))
    if abstention and WordSearch.of(own.decoding) != WordSearch.of(used.decoding):
        raise searched_otherwise(abstention)

    @once
    def networks() -> tuple[Network, Network]:
        models = Models.of_packed(packed, path, config)
        return models.sr, models.ocr

    settings, search = plain(used), _search(used)
    content = path.read_bytes()
    compute = used.quantization.compute
    kept = KeptFunctions(
        content,
        [settings["sr"], settings["ocr"], search.beam, search.steps, search.margin, compute],
    )
    if not kept.any():
        # This checks the file. If functions of it were kept, the same file was checked before.
        networks()
    # A file of the package is elsewhere on another machine.
    place = path.name if path.parent == SHIPPED.parent else paths.absolute(path)
    again = (_packed_engine, (place, hashlib.sha256(content).hexdigest(), used))
    engine = JaxEngine(search, networks, packed.sr, packed.ocr, kept, str(path), again)
    description = _description(paths.absolute(path), used, search, packed.sr, packed.ocr)
    return Reader(engine, used.decoding.temperature, description, abstention)


def _packed_engine(place: str, digest: str, config: Experiment) -> JaxEngine:
    """Returns the engine of a pickled reader of a packed file, loaded from the file again."""
    path = paths.named(place) if "/" in place else SHIPPED.parent / place
    check_unchanged(path, digest, path)
    return cast("JaxEngine", _load_packed_reader(path, config)._engine)


def _search(config: Experiment) -> WordSearch:
    return WordSearch.of(config.decoding, text.ALPHABETS[config.alphabet])


def searched_otherwise(abstention: Abstention) -> UserError:
    """Returns the error for words that are searched otherwise than the held-out ones were."""
    name = "abstain_letters" if abstention.letters else "abstain"
    return UserError(
        f"{name}={abstention.risk:g}: the held-out words were read with another config.decoding; "
        "leave the beam and the other settings of decoding as they are in the file"
    )


def check_unchanged(file: pathlib.Path, digest: str, source: pathlib.Path) -> None:
    """Raises `UserError` if a file is not the one that a pickled reader was loaded from.

    Args:
      file: the file.
      digest: the SHA-256 of the file that the reader was loaded from.
      source: the file or folder that the user named, for messages.
    """
    fix = "put it there again, or load the reader anew with textsr_jax.load"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{source}: a pickled reader was loaded from it, and it is not here ({error.strerror});"
            f" {fix}"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{source}: has changed since a pickled reader was loaded from it; {fix}")


def _description(
    source: str | None, config: Experiment, search: WordSearch, sr: Variables, ocr: Variables
) -> Description:
    return Description(
        source, config.sr.name, config.ocr.name, _precision(sr), _precision(ocr), search.beam
    )


def _precision(variables: Variables) -> str:
    """Returns the bits of the weights, such as "2 to 8 bits"; "float32" if none is quantised."""
    leaves = jax.tree.leaves(variables, is_leaf=is_quantized)
    bits = [leaf.bits for leaf in leaves if is_quantized(leaf)]
    bits = [number for some in bits for number in (some if isinstance(some, tuple) else (some,))]
    if not bits:
        return "float32"
    return f"{min(bits)} bits" if min(bits) == max(bits) else f"{min(bits)} to {max(bits)} bits"
