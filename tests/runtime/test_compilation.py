"""What is compiled is kept in a folder of the user alone; spoiled entries are made again."""

import os
import pathlib
import stat
import subprocess
import sys
import zlib

import pytest

from textsr_jax.runtime import compilation


def test_the_cache_folder_is_the_user_s(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folder = tmp_path / "home" / ".cache" / "textsr_jax"
    assert compilation.cache_folder() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert compilation.cache_folder() == tmp_path / "xdg" / "textsr_jax"
    # The user's own choice, as it is.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    assert compilation.cache_folder() == tmp_path / "jax"
    assert not (tmp_path / "jax").exists()


def test_where_others_may_write_nothing_is_kept_and_one_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "textsr_jax"
    folder.mkdir()
    folder.chmod(0o777)
    assert compilation.cache_folder() is None
    (record,) = caplog.records
    assert record.message.startswith(f"{folder}: compiled functions are not kept there")
    assert record.message.isprintable()


COMPILE = """
import sys
import jax
from textsr_jax.runtime import compilation
compilation.keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x * 2 + 1)(3.0))
"""


def compiled_in(home):
    """Compiles a function in a new process; the entries that are kept then."""
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=environment | {"XDG_CACHE_HOME": str(home)},
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7.0\n", "")
    return sorted((home / "textsr_jax").rglob("jit_*-cache"))


@pytest.mark.slow
def test_an_entry_that_a_kill_spoiled_is_replaced_without_a_word(tmp_path):
    entries = compiled_in(tmp_path / "one")
    assert entries
    content = entries[0].read_bytes()
    entries[0].write_bytes(content[: len(content) // 2])
    assert compiled_in(tmp_path / "one") == entries
    whole = entries[0].read_bytes()
    assert zlib.decompress(whole)
    # Read, not made again.
    before = entries[0].stat().st_mtime_ns
    assert compiled_in(tmp_path / "one") == entries
    assert entries[0].stat().st_mtime_ns == before
    # In another folder it has the same name.
    others = compiled_in(tmp_path / "two")
    assert [path.name for path in others] == [path.name for path in entries]
