"""Writes the ArrayRecord files of a prepared split in one pass, in memory of a fixed size."""

import os
from typing import Any

from textsr_jax.errors import needs

with needs("train"):
    from array_record.python import array_record_module
    from tensorflow_datasets.core import naming

# The most bytes of the examples in a file. TFDS writes files of 64 to 128 MiB too.
_SIZE = 128 << 20


class Shards:
    """The ArrayRecord files of a split, written one after the other as the examples come.

    TFDS's own writer keeps all examples of a split, in memory or in a file of the same size, until
    it knows their number. `tfds.core.SequentialWriter` does not wait, but names files in another
    way, and divides a split by a number of examples in place of a size. TFDS reads what is written
    here as it reads its own files.

    Args:
      place: names the files.

    Attributes:
      lengths: the number of examples in each file.
      size: the bytes of all examples.
    """

    def __init__(self, place: naming.ShardedFileTemplate) -> None:
        self._place = place
        self._paths: list[str] = []
        self._writer: Any = None
        self._left = 0
        self.lengths: list[int] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """Writes an example behind the others."""
        if self._left < len(data):
            self._close()
            # The last names tell how many files there are.
            name = f"{self._place.split}.{len(self._paths)}.tmp"
            self._paths.append(os.path.join(self._place.data_dir, name))
            # As TFDS writes them: each example can be read alone.
            self._writer = array_record_module.ArrayRecordWriter(self._paths[-1], "group_size:1")
            self.lengths.append(0)
            self._left = max(_SIZE, len(data))
        self._writer.write(data)
        self._left -= len(data)
        self.lengths[-1] += 1
        self.size += len(data)

    def finish(self) -> None:
        """Ends the last file, and gives all files their names."""
        self._close()
        for number, path in enumerate(self._paths):
            os.rename(
                path,
                self._place.sharded_filepath(shard_index=number, num_shards=len(self._paths)),
            )

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
