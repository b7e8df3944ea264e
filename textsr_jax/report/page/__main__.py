"""Writes a page about a workdir: python -m textsr_jax.report.page WORKDIR [--out=FILE]

The page is one HTML file, WORKDIR/page.html: scores, words with what was read in them, curves of
training, quantised models and the config. It needs neither a server nor a network.
"""

from absl import flags

from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError

_OUT = flags.DEFINE_string("out", None, "The HTML file; default: page.html in the workdir.")


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(
            f"{len(arguments)} arguments; use: python -m textsr_jax.report.page WORKDIR"
        )
    from textsr_jax.report.page import document

    print(f"page: {document.write(arguments[0], _OUT.value)}")


if __name__ == "__main__":
    run_script(main)
