"""Files of arrays that a training makes once and reads often: SR images, attention to HR images.

The workdir keeps a digest of each file, and of the model and the words that it was made from.
"""

import contextlib
import hashlib
import io
import logging
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import jax
import numpy as np
from tqdm import tqdm

from textsr_jax import text
from textsr_jax.data import records
from textsr_jax.data.batching import evaluation_batches
from textsr_jax.data.records import Records
from textsr_jax.data.synthetic.generation import HR_SHAPE
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Network, Variables
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.runtime import atomic, paths
from textsr_jax.runtime.batches import fill
from textsr_jax.storage import digests
from textsr_jax.train import mesh as meshes
from textsr_jax.train import stopping
from textsr_jax.train.specs import StageSpec
from textsr_jax.train.training import Training

_logger = logging.getLogger(__name__)


def is_kept(path: pathlib.Path, made_from: str) -> bool:
    """Whether the file is there, unchanged, and was made from the same model and words.

    A warning says why a file is not taken. A file of an older version has no digest and is taken.

    Args:
      path: the file.
      made_from: a digest of all that decides what the file holds.
    """
    if not path.is_file():
        return False
    try:
        expected, *source = _digest_file(path).read_text().split()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        expected, source = "", []
    if source not in ([], [made_from]):
        _logger.warning("%s: was made from another model or other words; it is made again", path)
        return False
    with path.open("rb") as stream:
        sound = hashlib.file_digest(stream, "sha256").hexdigest() == expected
    if not sound:
        _logger.warning("%s: is damaged; it is made again", path)
    return sound


@contextlib.contextmanager
def keeping(path: pathlib.Path, made_from: str, fix: str) -> Iterator[BinaryIO]:
    """Gives a stream that replaces the file when the block ends, and notes the file's digest.

    Args:
      path: the file; its folder is made if it is missing.
      made_from: as `is_kept` takes it.
      fix: what the user can do if the file cannot be written; the end of the error message.
    """
    with atomic.replacing(path, parents=True, fix=fix) as stream:
        yield stream
        stream.seek(0)
        digest = hashlib.file_digest(cast(io.BytesIO, stream), "sha256").hexdigest()
        # Written before the file takes its place, so that no file lacks its digest.
        atomic.write_text(_digest_file(path), f"{digest} {made_from}\n", parents=True, fix=fix)


def _digest_file(path: pathlib.Path) -> pathlib.Path:
    # `path` is WORKDIR/STAGE/NAME.
    return path.parents[1] / ".digests" / f"{path.parent.name}_{path.name}.sha256"


def sr_images(
    training: Training,
    spec: StageSpec,
    sr: Network,
    variables: Variables,
    name: str,
    source: Records,
) -> np.ndarray:
    """The SR images of a source: made once, then read from a file in the stage's folder.

    Args:
      training: what all stages share.
      spec: the stage that learns from the images.
      sr, variables: the SR model.
      name: what the file is called after.
      source: words with LR images.

    Returns:
      uint8 (len(source), 32, 128, 3), memory-mapped.
    """
    path = training.workdir / spec.name / f"sr_{name}.npy"
    made_from = _made_from(training, spec, variables)
    # All processes have to make the images together, so they must agree on whether to.
    if training.placement.any(not is_kept(path, made_from)):
        made = make_sr_images(training, sr, variables, source)
        if jax.process_index() == 0:
            fix = f"free {made.nbytes / 1e9:.1f} GB and run the same command again"
            with keeping(path, made_from, fix) as file:
                np.save(file, made)
    meshes.wait_for_all(str(path))
    return _mapped(path)


def make_sr_images(
    training: Training, sr: Network, variables: Variables, source: Records
) -> np.ndarray:
    """The SR images of a source: uint8 (len(source), 32, 128, 3)."""
    enlarge = jax.jit(lambda variables, lr: to_uint8(sr(variables, to_float(lr))))
    variables = training.placement.place(variables)
    lr, size = records.images(source, "lr"), training.evaluation_size
    starts = tqdm(
        range(0, len(lr), size),
        desc="SR images",
        leave=False,
        disable=True if jax.process_index() else None,
    )
    made = np.empty((len(lr), *HR_SHAPE), np.uint8)
    for start in starts:
        stopping.check()
        part = lr[start : start + size]
        images = enlarge(variables, training.placement.shard_whole(fill(part, size)))
        made[start : start + size] = meshes.gather(images)[: len(part)]
    return made


def hr_attention(
    training: Training, spec: StageSpec, source: Records, variables: Variables
) -> np.ndarray | None:
    """The text-focus recogniser's attention to the HR images of a stage, from a file.

    It is computed once and kept where that saves work: augmentation leaves the images as they are,
    no words are drawn in the steps, which see more images than there are, and the file is within
    `stage1.hr_cache_gb`.

    Args:
      training: what all stages share.
      spec: the stage whose loss compares attention.
      source: the words that it learns from.
      variables: of the text-focus recogniser; empty where the loss does without it.

    Returns:
      float32 (len(source), heads, steps, positions), memory-mapped; None where steps compute it.
    """
    if not variables:
        return None
    config, settings = training.config, spec.settings_of(training.config)
    if spec.drawn(config):
        return None

    def attend(variables: Variables, hr: np.ndarray, characters: np.ndarray) -> jax.Array:
        inputs, _, _ = text.focus_tokens(characters)
        return training.focus(variables, to_gray(to_float(hr)), inputs)[1]

    image = jax.ShapeDtypeStruct((1, *HR_SHAPE), np.uint8)
    word = jax.ShapeDtypeStruct((1, config.max_length), np.int32)
    shape = (len(source), *jax.eval_shape(attend, variables, image, word).shape[1:])
    size_gb = 4 * math.prod(shape) / 1e9
    if (
        settings.augment
        or settings.steps * settings.batch_size <= len(source)
        or size_gb > config.stage1.hr_cache_gb
    ):
        return None
    path = training.workdir / spec.name / "hr_attention.npy"
    made_from = _made_from(training, spec, variables)
    if jax.process_index() == 0 and not is_kept(path, made_from):
        fix = f"free {size_gb:.1f} GB or set config.stage1.hr_cache_gb=0"
        with keeping(path, made_from, fix) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            _write_attention(training, jax.jit(attend), variables, source, file)
    meshes.wait_for_all(str(path))
    return _mapped(path)


def _mapped(path: pathlib.Path) -> np.ndarray:
    with paths.on_disk(path) as file:
        mapped: np.ndarray = np.load(file, mmap_mode="r")
    return mapped


def _write_attention(
    training: Training,
    attend: Callable[..., jax.Array],
    variables: Variables,
    source: Records,
    file: BinaryIO,
) -> None:
    """Writes float32 attention maps in the order of the source."""
    size = training.evaluation_size
    batches = tqdm(
        evaluation_batches(
            source,
            batch_size=size,
            max_length=training.config.max_length,
            alphabet=training.alphabet,
        ),
        total=-(-len(source) // size),
        desc="HR attention",
        leave=False,
        disable=None,
    )
    for batch in batches:
        made = np.asarray(attend(variables, batch.hr, batch.characters))
        file.write(made[batch.valid].astype("<f4").tobytes())


def _made_from(training: Training, spec: StageSpec, variables: Variables) -> str:
    """A digest of a model and of a stage's words, which decide what a file of arrays holds."""
    fingerprints = dict(spec.training_set(training).fingerprints)
    return digests.of_json([digests.of_arrays(variables), fingerprints])
