"""Files of arrays that a training makes once and reads often: SR images, attention to HR images.

The workdir keeps a digest of each file, and of the model and the words that it was made from.
"""

import contextlib
import hashlib
import io
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import jax
import numpy as np
from tqdm import tqdm

from textsr_jax import text
from textsr_jax.data.batching import Subset, evaluation_batches
from textsr_jax.data.records import Records
from textsr_jax.data.synthetic.generation import HR_SHAPE
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Network, Variables
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.runtime import atomic, paths
from textsr_jax.storage import digests
from textsr_jax.train import mesh as meshes
from textsr_jax.train import stopping
from textsr_jax.train.specs import StageSpec
from textsr_jax.train.training import Training

_BLOCK = 64  # batches of SR images after which the disk is made sure of

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
def keeping(
    path: pathlib.Path, made_from: str, fix: str, *, resumes: bool = False
) -> Iterator[BinaryIO]:
    """Gives a stream that replaces the file when the block ends, and notes the file's digest.

    Args:
      path: the file; its folder is made if it is missing.
      made_from: as `is_kept` takes it.
      fix: what the user can do if the file cannot be written; the end of the error message.
      resumes: whether the stream holds what a stopped block for the same `made_from` wrote.
    """
    opened = (
        atomic.growing(path, made_from[:16], fix=fix)
        if resumes
        else atomic.replacing(path, parents=True, fix=fix)
    )
    with opened as stream:
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

    Images are written as they are made. A training that was stopped goes on behind those that are
    on the disk.

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
        shape = (len(source), *HR_SHAPE)
        fix = f"free {math.prod(shape) / 1e9:.1f} GB and run the same command again"
        with contextlib.ExitStack() as stack:
            file, blocks = None, 0
            if jax.process_index() == 0:
                file = stack.enter_context(keeping(path, made_from, fix, resumes=True))
                blocks = _written_blocks(file, shape, _BLOCK * training.evaluation_size)
            first = meshes.of_first(blocks) * _BLOCK * training.evaluation_size
            made = _enlarged(training, sr, variables, source, first)
            for number, images in enumerate(made, start=1):
                if file is not None:
                    file.write(images.tobytes())
                    if number % _BLOCK == 0:
                        file.flush()
                        os.fsync(file.fileno())
    meshes.wait_for_all(str(path))
    return _mapped(path)


def _written_blocks(file: BinaryIO, shape: tuple[int, ...], block: int) -> int:
    """Writes the head of a .npy file, or goes behind the images that a stopped training wrote.

    Args:
      file: where they are written.
      shape: of all images, uint8.
      block: how many images are written before the disk is made sure of.

    Returns:
      How many blocks the file has. The last whole one may not have reached the disk before a power
      cut, and is not counted.
    """
    size = block * math.prod(shape[1:])
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    start = file.tell()
    blocks = max(0, (end - start) // size - 1)
    file.seek(start + blocks * size)
    file.truncate()
    return blocks


def _enlarged(
    training: Training, sr: Network, variables: Variables, source: Records, first: int
) -> Iterator[np.ndarray]:
    """The SR images from record `first` on, batch by batch: uint8 (batch, 32, 128, 3)."""
    enlarge = jax.jit(lambda variables, lr: to_uint8(sr(variables, to_float(lr))))
    variables = training.placement.place(variables)
    size = training.evaluation_size
    batches = tqdm(
        evaluation_batches(
            Subset(source, range(first, len(source))),
            batch_size=size,
            max_length=training.config.max_length,
            alphabet=training.alphabet,
        ),
        initial=first // size,
        total=-(-len(source) // size),
        desc="SR images",
        leave=False,
        disable=True if jax.process_index() else None,
    )
    for batch in batches:
        stopping.check()
        images = enlarge(variables, training.placement.shard_whole(batch.lr))
        yield meshes.gather(images)[batch.valid]


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
