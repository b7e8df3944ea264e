"""Writes models as ONNX: float32 graphs, int8 graphs with activation ranges, and a record.

The record is written last, so a folder without one was not written to its end.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from textsr_jax import text
from textsr_jax.config.settings import Experiment
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError, needs
from textsr_jax.export import GRAPHS, PRECISIONS, RECORD, VERSION, activation_ranges, graph_file
from textsr_jax.export import graphs as float_graphs
from textsr_jax.export.engine import GraphDecoder, open_session, to_float, to_uint8
from textsr_jax.export.int8 import quantize
from textsr_jax.models import Network, Variables
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.runtime import atomic, provenance
from textsr_jax.storage.models import Models

with needs("onnx"):
    import onnx

# Images that go through a graph at once while its activation ranges are taken.
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """How int8 graphs are made.

    Attributes:
      range_method: how activation ranges are chosen, one of `textsr_jax.export.RANGE_METHODS`.
      weight_bits: 7 or 8; see `textsr_jax.export.int8.quantize`.
    """

    range_method: str = "aciq"
    weight_bits: int = 7


@dataclasses.dataclass(frozen=True)
class Exportable:
    """Models that can be exported: both are there, and the recogniser is a CDistNet.

    Attributes:
      name: of the file or folder they come from, without its path.
      config: the experiment.
      sr, ocr: the networks, each with its variables, quantised or not.
    """

    name: str
    config: Experiment
    sr: tuple[Network, Variables]
    ocr: tuple[Network, Variables]


def load_exportable(place: str | pathlib.Path) -> Exportable:
    """The models of a workdir or a packed file.

    Raises:
      UserError: `place` is neither, it is damaged, it lacks a model, or its recogniser is not a
        CDistNet.
    """
    models = Models.load(place)
    ocr = models.recognizer
    if models.sr_variables is None or ocr is None:
        what = "SR model" if models.sr_variables is None else "recogniser"
        raise UserError(f"{place} has no {what} yet; train it with train.py --workdir={place}")
    if not isinstance(models.ocr.skeleton(), CDistNet):
        raise UserError(
            f"{place}: config.ocr.name={models.config.ocr.name!r} cannot be exported, because it "
            "has no decoder; export models with cdistnet"
        )
    name = pathlib.Path(place).resolve().name
    return Exportable(name, models.config, (models.sr, models.sr_variables), (models.ocr, ocr))


def trace(models: Exportable) -> dict[str, onnx.ModelProto]:
    """The float32 graphs of models, by the names of `GRAPHS`.

    Raises:
      UserError: the SR network has an operation that ONNX lacks.
    """
    try:
        sr = float_graphs.super_resolution(*models.sr)
    except Exception as error:  # whatever jax2onnx raises for an operation that it does not know
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{models.name}: config.sr.name={models.config.sr.name!r} with apply_stn="
            f"{models.config.sr.apply_stn!r} cannot be exported ({reason}); export models with "
            "edsr, tbsrn, tsrn, tpgsr, tatt or lemma"
        ) from error
    traced = (
        sr,
        float_graphs.encoder(*models.ocr),
        float_graphs.decoder_start(*models.ocr),
        float_graphs.decoder_step(*models.ocr, models.config.decoding.steps),
    )
    return dict(zip(GRAPHS, traced, strict=True))


def quantize_graphs(
    traced: dict[str, onnx.ModelProto], lr: np.ndarray, steps: int, method: str, weight_bits: int
) -> dict[str, onnx.ModelProto]:
    """The int8 graphs. Each takes activation ranges from what the float32 graphs before it give.

    Args:
      traced: the float32 graphs, by the names of `GRAPHS`.
      lr: uint8 (n, 16, 64, 3), the images to take activation ranges from.
      steps: tokens for each word at most.
      method, weight_bits: as `textsr_jax.export.int8.quantize` takes them.
    """
    sessions = {name: open_session(graph.SerializeToString()) for name, graph in traced.items()}
    parts = [to_float(lr[start : start + _BATCH]) for start in range(0, len(lr), _BATCH)]
    # The recogniser sees SR images as files hold them.
    images = [to_float(to_uint8(sessions["sr"].run(None, {"lr": part})[0])) for part in parts]
    memories = [sessions["encoder"].run(None, {"images": part})[0] for part in images]
    decoder = GraphDecoder(sessions["decoder_start"], sessions["decoder_step"])
    # One beam: its steps are those of the words that are read; other beams take detours.
    greedy = WordSearch(beam=1, steps=steps)
    feeds: dict[str, Iterator[activation_ranges.Feed]] = {
        "sr": ({"lr": part} for part in parts),
        "encoder": ({"images": part} for part in images),
        "decoder_start": ({"memory": memory} for memory in memories),
        "decoder_step": (feed for memory in memories for feed in decoder.feeds(memory, greedy)),
    }
    return {
        name: quantize(
            graph,
            tqdm(feeds[name], desc=f"activation ranges of {name}", unit="batch", disable=None),
            method,
            weight_bits,
        )
        for name, graph in traced.items()
    }


def export(
    models: Exportable, lr: np.ndarray, out: str | pathlib.Path, settings: ExportSettings
) -> list[pathlib.Path]:
    """Writes the graphs of models and their record into a folder, in place of those before them.

    Args:
      models: what to export.
      lr: uint8 (n, 16, 64, 3), the images to take activation ranges from.
      out: the folder; it is made where it is missing.
      settings: how int8 graphs are made.

    Returns:
      The files.

    Raises:
      UserError: the models cannot be exported, or the folder cannot be written.
    """
    traced = trace(models)
    steps = models.config.decoding.steps
    graphs = {
        "float32": traced,
        "int8": quantize_graphs(traced, lr, steps, settings.range_method, settings.weight_bits),
    }
    return write(out, *describe(models, graphs, settings, len(lr)))


def describe(
    models: Exportable,
    graphs: dict[str, dict[str, onnx.ModelProto]],
    settings: ExportSettings,
    images: int,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a folder by name, and the record that says what they are.

    Args:
      models: what is exported.
      graphs: the graphs in each of `PRECISIONS`.
      settings: how they were made.
      images: how many images activation ranges were taken from.
    """
    contents = {
        graph_file(name, precision): graphs[precision][name].SerializeToString()
        for precision in PRECISIONS
        for name in GRAPHS
    }
    search = WordSearch.of(models.config.decoding, text.ALPHABETS[models.config.alphabet])
    record = {
        "version": VERSION,
        "source": models.name,
        "sr": models.config.sr.name,
        "ocr": models.config.ocr.name,
        "alphabet": search.alphabet.characters,
        "decoding": {**search.settings(), "temperature": models.config.decoding.temperature},
        "held_out": models.config.held_out.to_dict(),
        "calibration": {"method": settings.range_method, "images": images},
        "weight_bits": settings.weight_bits,
        "provenance": provenance.code(),
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()},
    }
    return contents, record


def write(
    out: str | pathlib.Path, contents: dict[str, bytes], record: dict[str, Any]
) -> list[pathlib.Path]:
    """Writes files and their record into a folder. A stop never leaves a mixture that opens.

    Raises:
      UserError: the folder cannot be made or written, or the disk is full.
    """
    out = pathlib.Path(out)
    files = {**contents, RECORD: (json.dumps(record, indent=2) + "\n").encode()}
    atomic.write_together(out, files, fix="name a folder that can be written to and has space")
    return [out / file for file in files]
