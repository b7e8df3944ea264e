"""Checkpoints in an object store: folders of a disk, copied there and back object by object.

Orbax opens Google's store alone, and there by libraries of its own. Copies work in every store.
"""

import concurrent.futures
import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator

from textsr_jax.runtime import paths

# Orbax writes it into the folder of each step. A step that has it here is whole: it is copied last
# and deleted first.
_LAST = "_CHECKPOINT_METADATA"


class StepObjects:
    """The steps below a URL, each of which Orbax wrote as a folder.

    All methods raise `StoreError` if the store cannot be read or written.

    Args:
      directory: the URL, as `paths.named` returns it.
    """

    def __init__(self, directory: pathlib.Path):
        self._directory = directory

    def steps(self) -> list[int]:
        """Returns the steps that are whole, oldest first."""
        found = (name.split("/") for name in paths.objects(self._directory))
        return sorted(
            int(name[0])
            for name in found
            if len(name) == 2 and name[0].isdecimal() and name[1] == _LAST
        )

    @contextlib.contextmanager
    def on_disk(self, step: int, items: Iterable[str]) -> Iterator[pathlib.Path]:
        """Yields a folder with a copy of some items of a step, which is deleted after the block."""
        below = [_LAST, *(f"{item}/" for item in items)]
        with paths.folder_on_disk(self._directory / str(step), below) as folder:
            yield folder

    def write(self, step: int, folder: pathlib.Path) -> None:
        """Copies a step's folder there."""
        place = self._directory / str(step)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        for file in sorted(files, key=lambda file: file == folder / _LAST):
            paths.upload(file, place / file.relative_to(folder).as_posix())

    def delete(self, step: int) -> None:
        """Deletes a step; one that is not there is passed over."""
        place = self._directory / str(step)
        paths.remove(place, [_LAST])
        paths.remove(place, paths.objects(place))

    def delete_unfinished(self) -> None:
        """Deletes what a killed process left of steps that are not whole."""
        whole = set(map(str, self.steps()))
        names = paths.objects(self._directory)
        paths.remove(
            self._directory, [name for name in names if name.partition("/")[0] not in whole]
        )


class Uploads:
    """Copies the steps that Orbax writes on a disk, in the background, one at a time.

    Args:
      steps: where they go.
      keep: how many steps stay there; None for all.

    Attributes:
      folder: where Orbax writes, below the system's folder for temporary files.
    """

    def __init__(self, steps: StepObjects, keep: int | None):
        self._steps, self._keep = steps, keep
        self._temporary = tempfile.TemporaryDirectory(prefix="textsr_jax-")
        self.folder = pathlib.Path(self._temporary.name)
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._running: concurrent.futures.Future[None] | None = None

    def begin(self, step: int, written: Callable[[], object]) -> None:
        """Copies a step as soon as `written`, which waits for Orbax, returns."""
        self._running = self._thread.submit(self._copy, step, written)

    def wait(self) -> None:
        """Waits for the copy that was begun; raises its error."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Waits, and deletes the folder."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._temporary.cleanup()

    def _copy(self, step: int, written: Callable[[], object]) -> None:
        written()
        self._steps.write(step, self.folder / str(step))
        for old in self._steps.steps()[: -self._keep] if self._keep else ():
            self._steps.delete(old)
