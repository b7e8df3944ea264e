"""What `import textsr_jax` shows: its public names, without JAX until one of them needs it."""

import importlib.metadata
import pathlib
import pydoc
import re
import subprocess
import sys

import pytest

import textsr_jax


def test_the_package_says_what_it_has_before_jax_is_there():
    code = (
        "import sys, textsr_jax\n"
        "print(textsr_jax.__version__, textsr_jax.UserError.__name__, *dir(textsr_jax))\n"
        "assert 'jax' not in sys.modules\n"
        "assert textsr_jax.Reader is __import__('textsr_jax.reading').reading.Reader\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    version, error, *names = done.stdout.split()
    assert version == importlib.metadata.version("textsr_jax"), done.stderr
    assert error == "UserError"
    public = [name for name in names if not name.startswith("__")]
    assert public == textsr_jax.__all__


def test_every_public_name_is_there():
    for name in textsr_jax.__all__:
        assert getattr(textsr_jax, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = textsr_jax.lode


def test_help_shows_what_there_is():
    # From Python 3.13 on a long signature takes several lines.
    shown = re.sub(r"\(\s+", "(", pydoc.render_doc(textsr_jax, renderer=pydoc.plaintext))
    for line in ("class Reader", "class Network", "load(source", "build_sr(config"):
        assert line in shown, line
    assert textsr_jax.__version__ in shown


def test_type_checkers_see_the_types():
    assert (pathlib.Path(textsr_jax.__file__).parent / "py.typed").is_file()
