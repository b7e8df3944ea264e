"""How Sphinx builds this documentation: `make docs`. Nothing here needs the network."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import docstrings  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import textsr_jax  # noqa: E402

project = "textsr_jax"
author = "the authors of textsr_jax"
copyright = "the authors of textsr_jax, Apache-2.0"
release = version = textsr_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
# A short name in a signature may stand for several objects: Sphinx then links to none of them.
suppress_warnings = ["ref.python"]

# Pages in Markdown. Headings can be linked to, as on GitHub.
# Without formulas: they would need the network where a page is read.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# Two dashes before a flag stay two dashes.
smartquotes = False

# Pages with code cells are run each time. A cell that fails fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# The pages of the API, from docstrings.
autosummary_generate = True
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
add_module_names = False

html_theme = "sphinx_book_theme"
html_title = "textsr_jax"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
}


def setup(app: Sphinx) -> None:
    # Before sphinx.ext.napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
