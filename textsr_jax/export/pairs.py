"""Exporting a pair: its float32 graphs, calibration on training images, its int8 graphs, a record.

The folder counts as written once its record is there, which is put there last.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from textsr_jax import data, text
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError, needs
from textsr_jax.export import GRAPHS, PRECISIONS, RECORD, VERSION, activation_ranges, graph_file
from textsr_jax.export import graphs as float_graphs
from textsr_jax.export.int8 import quantize
from textsr_jax.export.runtime import Decoder, open_session, to_float, to_uint8
from textsr_jax.models import Network, Variables
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.runtime import provenance
from textsr_jax.storage import atomic
from textsr_jax.storage.models import Models

with needs("onnx"):
    import onnx

# Of images that a graph is calibrated on at once.
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a pair is exported.

    Attributes:
      data_root: TextZoom's LMDB folders to calibrate on; None for the source's own data.
      images: on how many of its training images; all, if there are fewer.
      calibration: one of `textsr_jax.export.CALIBRATIONS`.
      weight_bits: 7 or 8; see `textsr_jax.export.int8.quantize`.
    """

    data_root: str | None = None
    images: int = 300
    calibration: str = "aciq"
    weight_bits: int = 7


@dataclasses.dataclass(frozen=True)
class Source:
    """A pair to export.

    Attributes:
      name: of the file or folder, without its place.
      config: its experiment.
      sr, ocr: the networks, each with its variables, packed or not.
    """

    name: str
    config: ConfigDict
    sr: tuple[Network, Variables]
    ocr: tuple[Network, Variables]


def open_source(place: str | pathlib.Path) -> Source:
    """The pair in a workdir or packed file.

    Raises:
      UserError: it is neither, it is damaged, or lacks a model; or its recogniser does not write
        token by token.
    """
    models = Models.load(place)
    ocr = models.recognizer
    if models.sr_variables is None or ocr is None:
        what = "SR model" if models.sr_variables is None else "recogniser"
        raise UserError(f"{place} has no {what} yet; train it with train.py --workdir={place}")
    if not isinstance(models.ocr.skeleton(), CDistNet):
        raise UserError(
            f"{place}: config.ocr.name={models.config.ocr.name!r} cannot be exported, for it has "
            "no decoder; export a pair with cdistnet"
        )
    name = pathlib.Path(place).resolve().name
    return Source(name, models.config, (models.sr, models.sr_variables), (models.ocr, ocr))


def trace(source: Source) -> dict[str, onnx.ModelProto]:
    """The float32 graphs of a pair, by the names of `GRAPHS`.

    Raises:
      UserError: an SR network that ONNX has no words for.
    """
    try:
        sr = float_graphs.super_resolution(*source.sr)
    except Exception as error:  # whatever jax2onnx raises for an operation that it does not know
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{source.name}: config.sr.name={source.config.sr.name!r} with apply_stn="
            f"{source.config.sr.apply_stn!r} cannot be exported ({reason}); export a pair with "
            "edsr, tbsrn or tsrn"
        ) from error
    made = (
        sr,
        float_graphs.encoder(*source.ocr),
        float_graphs.decoder_start(*source.ocr),
        float_graphs.decoder_step(*source.ocr, source.config.decoding.steps),
    )
    return dict(zip(GRAPHS, made, strict=True))


def training_images(config: ConfigDict, data_root: str | None, count: int) -> np.ndarray:
    """LR images of words that are trained on, uint8 (at most `count`, 16, 64, 3), spread evenly.

    Raises:
      UserError: data that cannot be read, or that has no training part.
    """
    settings = config.data.copy_and_resolve_references()
    if data_root is not None:
        settings.root = data_root
    words = data.load(settings)
    part = words.train if len(words.train) else words.validation
    if not len(part):
        raise UserError(
            f"--data_root={settings.root}: has no training words, and tests are not calibrated on; "
            "name a folder with train folders"
        )
    chosen = np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(int)
    return np.stack([part[int(index)].lr for index in chosen])


def quantized(
    traced: dict[str, onnx.ModelProto], lr: np.ndarray, steps: int, method: str, weight_bits: int
) -> dict[str, onnx.ModelProto]:
    """The int8 graphs of a pair, each calibrated on what the float32 graphs before it give.

    Args:
      traced: the float32 graphs.
      lr: uint8 (n, 16, 64, 3), the images to calibrate on.
      steps: tokens per word at most.
      method, weight_bits: as `textsr_jax.export.int8.quantize` takes them.
    """
    sessions = {name: open_session(graph.SerializeToString()) for name, graph in traced.items()}
    parts = [to_float(lr[start : start + _BATCH]) for start in range(0, len(lr), _BATCH)]
    # The recogniser sees SR images as files hold them.
    images = [to_float(to_uint8(sessions["sr"].run(None, {"lr": part})[0])) for part in parts]
    memories = [sessions["encoder"].run(None, {"images": part})[0] for part in images]
    decoder = Decoder(sessions["decoder_start"], sessions["decoder_step"])
    # One beam: the steps of the words that are read, without the detours of the others.
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
            tqdm(feeds[name], desc=f"calibrating {name}", unit="batch", disable=None),
            method,
            weight_bits,
        )
        for name, graph in traced.items()
    }


def export(
    place: str | pathlib.Path, out: str | pathlib.Path, settings: Settings
) -> list[pathlib.Path]:
    """Writes the graphs and the record of a pair into a folder; those before them give way at once.

    Args:
      place: a workdir or packed file.
      out: the folder; made where it is missing.
      settings: how.

    Returns:
      The files.

    Raises:
      UserError: bad input, or a folder that cannot be written.
    """
    source = open_source(place)
    lr = training_images(source.config, settings.data_root, settings.images)
    traced = trace(source)
    steps = source.config.decoding.steps
    models = {
        "float32": traced,
        "int8": quantized(traced, lr, steps, settings.calibration, settings.weight_bits),
    }
    return write(out, *described(source, models, settings, len(lr)))


def described(
    source: Source, models: dict[str, dict[str, onnx.ModelProto]], settings: Settings, images: int
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a folder, and the record that says what they are.

    Args:
      source: the pair.
      models: the graphs of each of `PRECISIONS`.
      settings: how they were made.
      images: on how many images they were calibrated.
    """
    contents = {
        graph_file(name, precision): models[precision][name].SerializeToString()
        for precision in PRECISIONS
        for name in GRAPHS
    }
    search = WordSearch.of(source.config)
    record = {
        "version": VERSION,
        "source": source.name,
        "sr": source.config.sr.name,
        "ocr": source.config.ocr.name,
        "alphabet": text.ALPHABET,
        "decoding": {
            **dataclasses.asdict(search),
            "temperature": source.config.decoding.temperature,
        },
        "calibration": {"method": settings.calibration, "images": images},
        "weight_bits": settings.weight_bits,
        "provenance": provenance.code(),
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()},
    }
    return contents, record


def write(
    out: str | pathlib.Path, contents: dict[str, bytes], record: dict[str, Any]
) -> list[pathlib.Path]:
    """Puts files and their record into a folder, so that a stop never leaves a mixture that opens.

    Raises:
      UserError: the folder cannot be made or written, or its disk is full.
    """
    out = pathlib.Path(out)
    files = {**contents, RECORD: (json.dumps(record, indent=2) + "\n").encode()}
    atomic.write_together(out, files, fix="name a folder that can be written to and has space")
    return [out / file for file in files]
