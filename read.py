"""Reads word images: python read.py --help

The command is in textsr_jax/cli/read.py, and is also installed as textsr-read.
"""

from textsr_jax.cli.read import run

if __name__ == "__main__":
    run()
