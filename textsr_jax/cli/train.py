"""Trains a pair in stages: python train.py --config=configs/tiny.py --workdir=W

The same command goes on where an earlier run was stopped. --config.FIELD=VALUE changes a field of
the config, --print_config shows all of them, --dry_run says what the training would take.
"""

import pathlib

from absl import flags

from textsr_jax.cli.scripts import command, program, run_script
from textsr_jax.config import configuration
from textsr_jax.errors import UserError

_CONFIG = configuration.define_flag()
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and models go.")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Prints what each stage would take (memory, arithmetic, time), and ends."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    None,
    "Trains with other processes: auto finds them (SLURM, TPU pods, Open MPI, Kubernetes); "
    "HOST:PORT,COUNT,INDEX names process 0's address, how many there are, which one this is.",
)


def run() -> None:
    """Runs `textsr-train`, which is also `python train.py`."""
    run_script(main)


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: {program()} takes flags only; --help lists them")
    config = configuration.resolved(configuration.from_flag(_CONFIG))
    if not _WORKDIR.value and not _DRY_RUN.value:
        raise UserError("--workdir is missing; name a folder, for example --workdir=runs/demo")
    from textsr_jax.train import mesh, runner

    if _DISTRIBUTED.value:
        mesh.join_processes(_DISTRIBUTED.value)
    if _DRY_RUN.value:
        from textsr_jax.experiments import dry_run

        dry_run.report(config)
        return
    runner.train(config, pathlib.Path(_WORKDIR.value), command())
