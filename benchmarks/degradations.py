"""Each loss of the drawn camera: python -m benchmarks.degradations --data_root=TEXTZOOM

How well real training words are read after each loss of `textsr_jax.data.drawing.camera`, at the
strength that it is drawn with, beside the same pictures without it. Prints a table, writes JSON.
Choose no chance by words of a test.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from textsr_jax import reading, text
from textsr_jax.cli.scripts import run_script
from textsr_jax.data.synthetic.degradation import DIFFICULTIES
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, decode_rgb, resize
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

with needs_extra(__name__):
    from textsr_jax.data import lmdb_folders
    from textsr_jax.data.drawing.camera import photograph
    from textsr_jax.data.drawing.chances import CameraSettings, Chances
    from textsr_jax.data.drawing.degradation import degrade

LOSSES = tuple(Chances.__dataclass_fields__)
NONE, ALL = "none", "all, by their chances"
TITLE = "words read, in %: in photographs of HR images, and in LR images that the SR model enlarged"
_TOGETHER = 50  # words


def main(arguments: list[str]) -> None:
    asked = flags.FLAGS
    if arguments or not asked.data_root:
        wrong = f"{arguments[0]!r}: takes flags only; name" if arguments else "name"
        raise UserError(f"{wrong} training words in --data_root")
    words = training_words(asked.data_root, asked.limit)
    rows = measure(reading.load(asked.model), *words)
    table = Table(title=TITLE)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "loss" else "right")
    for row in rows:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()))
    print_table(table)
    if asked.out:
        model = pathlib.Path(asked.model or SHIPPED).name
        write_json(asked.out, {"model": model, "words": len(words[0]), "losses": rows})


def training_words(data_root: str, limit: int) -> tuple[np.ndarray, list[str]]:
    """About `limit` HR images, uint8 (n, 32, 128, 3), of the folders train*, and their labels."""
    folders = sorted(pathlib.Path(data_root).glob("train*"))
    if not folders:
        raise UserError(f"--data_root={data_root}: has no folder train*; name one that has")
    images, labels = [], []
    for folder in folders:
        expected = "expected keys such as image_hr-000000001"
        with lmdb_folders.open_samples(folder, expected) as samples:
            for number in samples.numbers[:: max(1, len(samples.numbers) * len(folders) // limit)]:
                image, label = samples.get("image_hr", number), samples.get("label", number)
                if image is not None and label is not None and text.normalize(label.decode()):
                    images.append(resize(decode_rgb(image, f"{folder}:{number}"), HR_SIZE))
                    labels.append(text.normalize(label.decode()))
    return np.stack(images), labels


def measure(reader: reading.Reader, hr: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """A row for each loss: the accuracy on photographs and on LR pictures that have it.

    Every row's pictures come from the same keys. So they differ by the loss alone.
    """
    rows = []
    for loss in tqdm((NONE, *LOSSES, ALL), desc="losses", disable=None):
        row: dict[str, Any] = {"loss": loss.replace("_", " ")}
        row["photograph"] = _accuracy(reader.read_enhanced(photographs(hr, loss)), labels)
        sr = reader.enhance(degraded(hr, loss))
        row["LR"] = _accuracy(reader.read_enhanced(sr), labels)
        rows.append(row)
    return rows


def photographs(hr: np.ndarray, loss: str) -> np.ndarray:
    """Photographs of the words, as large as their HR images, with one loss: uint8, as `hr`."""
    settings = CameraSettings()
    if loss != ALL:
        chances = Chances(**{name: float(name == loss) for name in LOSSES})
        height = float(HR_SIZE[1])
        settings = CameraSettings(photograph=chances, height=height, spread=0.0, soft=0.0, grey=0.0)
    scenes = jax.image.resize(hr.astype(np.float32), (len(hr), 64, 256, 3), "cubic")
    return _together(_photographs(), jnp.clip(scenes, 0, 255), settings)


def degraded(hr: np.ndarray, loss: str) -> np.ndarray:
    """LR pictures with noise, JPEG and one loss more, the difficulties in turns.

    Returns:
      uint8 (n, 16, 64, 3).
    """
    settings = CameraSettings()
    if loss != ALL:
        chances = {name: float(name in (loss, "noise", "jpeg")) for name in LOSSES}
        settings = CameraSettings(degrade=Chances(**chances))
    return _together(_degraded(), hr.astype(np.float32), settings)


@functools.cache
def _photographs() -> Any:
    # An HR image is 4 times as wide as it is high, whatever the word was.
    return jax.jit(
        jax.vmap(lambda key, scene, _, s: photograph(key, scene, 4.0, s), (0, 0, 0, None))
    )


@functools.cache
def _degraded() -> Any:
    return jax.jit(jax.vmap(degrade, (0, 0, 0, None)))


def _together(function: Any, images: Any, settings: CameraSettings) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0), len(images))
    turns = np.arange(len(images)) % len(DIFFICULTIES)
    parts = [slice(start, start + _TOGETHER) for start in range(0, len(images), _TOGETHER)]
    made = [function(keys[p], images[p], turns[p], settings) for p in parts]
    return np.concatenate([np.asarray(pictures, np.uint8) for pictures in made])


def _accuracy(readings: list[reading.Reading], labels: list[str]) -> float:
    return 100 * float(np.mean([a.text == b for a, b in zip(readings, labels, strict=True)]))


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders, of which train* are read.")
    flags.DEFINE_string("model", None, "A packed file or workdir; default: the shipped models.")
    flags.DEFINE_integer("limit", 300, "About how many words.", lower_bound=1)
    flags.DEFINE_string("out", None, "The JSON file; default: none.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
