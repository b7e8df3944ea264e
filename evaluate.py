"""Scores models over test splits: python evaluate.py --help

The command is in textsr_jax/cli/evaluate.py, and is also installed as textsr-evaluate.
"""

from textsr_jax.cli.evaluate import run

if __name__ == "__main__":
    run()
