"""Kept functions: used again as they are, made again where they are damaged or may not be kept."""

import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.reading.kept_functions import KeptFunctions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    return tmp_path


def doubling(traced: list[str]):
    def double(leaves, images):
        traced.append("again")
        return 2 * images + leaves[0]

    return double


ARGUMENTS = [jnp.float32(1)], np.arange(3, dtype=np.float32)


def test_a_function_is_traced_once(folder):
    traced = []
    for process in range(3):
        kept = KeptFunctions(b"model", ["settings"])
        assert kept.any() == (process > 0)
        function = kept.function("double", doubling(traced), *ARGUMENTS)
        np.testing.assert_array_equal(function(*ARGUMENTS), [1, 3, 5])
    assert len(traced) == 1


@pytest.mark.parametrize("model, settings", [(b"other", ["settings"]), (b"model", ["others"])])
def test_another_model_or_other_settings_have_their_own(folder, model, settings):
    traced = []
    KeptFunctions(b"model", ["settings"]).function("f", doubling(traced), *ARGUMENTS)
    other = KeptFunctions(model, settings)
    assert not other.any()
    other.function("f", doubling(traced), *ARGUMENTS)
    assert len(traced) == 2


def test_a_damaged_file_is_made_again(folder):
    traced = []
    for harm in (lambda content: content[:-5], lambda content: content[:40] + b"x", lambda _: b""):
        kept = KeptFunctions(b"model", [])
        kept.function("f", doubling(traced), *ARGUMENTS)
        (path,) = folder.rglob("f")
        path.write_bytes(harm(path.read_bytes()))
        function = kept.function("f", doubling(traced), *ARGUMENTS)
        np.testing.assert_array_equal(function(*ARGUMENTS), [1, 3, 5])
    assert len(traced) == 4


def test_where_nothing_can_be_kept_it_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file"))
    kept = KeptFunctions(b"model", [])
    function = kept.function("f", doubling([]), *ARGUMENTS)
    np.testing.assert_array_equal(function(*ARGUMENTS), [1, 3, 5])
    assert not kept.any()


def test_where_others_may_write_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "textsr_jax"
    folder.mkdir()
    folder.chmod(0o777)
    function = KeptFunctions(b"model", []).function("f", doubling([]), *ARGUMENTS)
    np.testing.assert_array_equal(function(*ARGUMENTS), [1, 3, 5])
    assert not any(folder.iterdir())
