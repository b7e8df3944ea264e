"""A store of objects in memory that opens gs:// URLs in this process, in place of Google's."""

import pathlib
from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from textsr_jax.runtime import paths


class Store(MemoryFileSystem):
    """Objects by name. There are no folders but the beginnings of names."""

    protocol = ("gs", "gcs")
    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).partition("://")[2] if "://" in path else path)

    def makedirs(self, path, exist_ok=False):
        pass

    mkdirs = makedirs

    def glob(self, path, **options):
        # Google's has no slash in front.
        return [name.lstrip("/") for name in super().glob(path, **options)]


@pytest.fixture
def bucket(monkeypatch) -> Iterator[pathlib.Path]:
    """An empty gs:// bucket."""
    for name in Store.protocol:
        fsspec.register_implementation(name, Store, clobber=True)
    Store.store.clear()
    yield paths.named("gs://bucket")
    Store.store.clear()
