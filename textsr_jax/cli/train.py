"""Trains the models in stages: python train.py --config=configs/tiny.py --workdir=W

The same command goes on where an earlier run was stopped. --config.FIELD=VALUE changes a field of
the config, --print_config shows all of them, --dry_run says what the training would take.
"""

from absl import flags

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import command, refuse, run_script
from textsr_jax.errors import UserError
from textsr_jax.runtime import paths

_CONFIG = config_flag.define_flag()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where checkpoints, logs and models go: a folder, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER.",
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Prints what each stage would take (memory, arithmetic, time), and ends."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    None,
    "Trains with other processes: auto finds them (SLURM, TPU pods, Open MPI, Kubernetes); "
    "HOST:PORT,COUNT,INDEX names process 0's address, how many there are, which one this is.",
)
_PROFILE_STEPS = flags.DEFINE_string(
    "profile_steps",
    None,
    "Traces these steps of each stage, the first and the last, such as 10,15, for TensorBoard's "
    "and Perfetto's viewers, and prints which operations took most time.",
)


def run() -> None:
    """Runs `textsr-train`, which is also `python train.py`."""
    run_script(main)


def main(arguments: list[str]) -> None:
    refuse(arguments)
    profile = None
    if _PROFILE_STEPS.value is not None:
        from textsr_jax.train import profiling

        profile = profiling.parse(_PROFILE_STEPS.value)
    config = config_flag.resolved(config_flag.from_flag(_CONFIG))
    workdir = _WORKDIR.value
    if _DRY_RUN.value:
        _join_processes()
        from textsr_jax.experiments import dry_run

        dry_run.report(config)
        return
    if not workdir:
        raise UserError("--workdir is missing; name a folder, for example --workdir=runs/demo")
    _join_processes()
    from textsr_jax.train import runner

    runner.train(config, paths.named(workdir), command(), profile)


def _join_processes() -> None:
    if _DISTRIBUTED.value:
        from textsr_jax.train import mesh

        mesh.join_processes(_DISTRIBUTED.value)
