"""Quantises models with ACIQ: python quantize.py --help

The command is in textsr_jax/cli/quantize.py, and is also installed as textsr-quantize.
"""

from textsr_jax.cli.quantize import run

if __name__ == "__main__":
    run()
