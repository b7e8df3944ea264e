"""A page on this machine that sharpens and reads crops: python -m textsr_jax.demo [SOURCE...]

A SOURCE is one more pair of models to choose from: a packed file of quantize.py, a workdir of
train.py, or a folder of python -m textsr_jax.export. The page listens on the loopback address
alone, asks no other machine for anything, and keeps nothing. Ctrl-C ends it.
"""

import threading

from absl import flags

from textsr_jax.cli.scripts import run_script

_PORT = flags.DEFINE_integer(
    "port", None, "The port; default: the first free one from 7860 on.", 1, 65535
)


def main(arguments: list[str]) -> None:
    from textsr_jax.demo import page
    from textsr_jax.demo.pairs import Pairs

    with page.serving(Pairs(arguments), _PORT.value) as address:
        print(f"demo: {address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    run_script(main)
