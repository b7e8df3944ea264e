"""Trains the two networks in stages: python train.py --help

The command is in textsr_jax/cli/train.py, and is also installed as textsr-train.
"""

from textsr_jax.cli.train import run

if __name__ == "__main__":
    run()
