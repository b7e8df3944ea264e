"""Trains a recogniser for some minutes, and writes it out as a packed file every two of them.

  python -m textsr_jax.experiments.train_reader --config=configs/small.py --workdir=W --minutes=12 \
      --out=FOLDER --config.pretrain.ocr.drawn=1

The same command goes on from the checkpoint in the workdir. Without one it goes on from the packed
file in the folder, so that a machine may be lost between two calls.
"""

import json
import multiprocessing
import os
import pathlib
import signal
import time

import jax
from absl import flags
from ml_collections import ConfigDict

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import command, refuse, run_script
from textsr_jax.config import checks, variants
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError, one_line_errors
from textsr_jax.runtime import paths

FILE = "reader.safetensors"

# Seconds between two packed files.
_EVERY = 120.0
# The exit statuses of a training that was stopped: in good order (`errors.one_line_errors`), and
# before it had begun.
_STOPPED = (130, -signal.SIGTERM)


def reader_config(config: Experiment, workdir: pathlib.Path, out: pathlib.Path) -> Experiment:
    """The config of a recogniser's training: pre-training alone, with bicubic images to read.

    It starts from what the workdir was started from, else from the packed file in `out`, else from
    what `config.init.pretrain` names.

    Raises:
      UserError: the workdir or the config cannot be read.
    """
    from textsr_jax.storage import workdirs

    changed = variants.bicubic(ConfigDict(config.to_dict()))
    changed.stages, changed.init.ocr = "pretrain", ""
    if (workdir / workdirs.CONFIG_FILE).is_file():
        changed.init.pretrain = workdirs.load_config(workdir).init.pretrain
    elif (out / FILE).is_file():
        changed.init.pretrain, changed.init.grow = str(out / FILE), False
    return checks.checked(changed)


def train(
    config: Experiment, workdir: pathlib.Path, out: pathlib.Path, minutes: float, again: str
) -> bool:
    """Trains in a process of its own until it ends or the time is up; packs what it saves.

    The training saves by `config.pretrain.ocr.checkpoint_every`; a packed file holds the newest
    checkpoint. When the time is up, the training saves and ends.

    Args:
      config: from `reader_config`.
      workdir: of the training.
      out: the folder of the packed file, `FILE`; made if it is missing.
      minutes: how long; a compilation that has begun is waited for.
      again: the command that goes on.

    Returns:
      Whether the training took all its steps.

    Raises:
      UserError: the training failed, for the reason that it printed; or the file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("spawn").Process(
        target=_trained, args=(config.to_dict(), workdir, again)
    )
    process.start()
    # The device is the training's alone; the child has taken over the environment.
    jax.config.update("jax_platforms", "cpu")
    end, packed, due = time.monotonic() + 60 * minutes, 0, time.monotonic() + _EVERY
    try:
        while process.is_alive() and time.monotonic() < end:
            process.join(max(0.0, min(end, due) - time.monotonic()))
            if time.monotonic() >= due:
                packed = pack(config, workdir, out, packed)
                due = time.monotonic() + _EVERY
    finally:
        # It saves and ends.
        if process.is_alive():
            process.terminate()
        process.join()
    if process.exitcode not in (0, *_STOPPED):
        raise UserError(f"{workdir}: the training ended with status {process.exitcode}; see above")
    pack(config, workdir, out, packed)
    return process.exitcode == 0


def _trained(config: dict[str, object], workdir: pathlib.Path, again: str) -> None:
    """The process that trains."""
    # Ctrl-C in a terminal reaches all processes of a group; this one is stopped by its parent.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from textsr_jax.train import runner

    with one_line_errors():
        runner.train(checks.checked(config), paths.named(workdir), again)


def pack(config: Experiment, workdir: pathlib.Path, out: pathlib.Path, before: int) -> int:
    """Writes the newest checkpoint as a packed file, by the rules of `config.quantization.ocr`.

    Args:
      config: from `reader_config`.
      workdir: of the training, which may be under way.
      out: the folder of the file.
      before: the step of the checkpoint that the file holds already.

    Returns:
      The step of the checkpoint that the file holds now; 0 without any.

    Raises:
      UserError: the file cannot be written.
    """
    from textsr_jax import quantization, text
    from textsr_jax.config.portable import portable
    from textsr_jax.models import build_ocr, build_sr
    from textsr_jax.quantization.rules import from_config, to_config
    from textsr_jax.runtime import provenance
    from textsr_jax.storage import checkpoints, packed_files
    from textsr_jax.train import names
    from textsr_jax.train import state as states

    saved = checkpoints.SavedCheckpoints(workdir / names.PRETRAIN_OCR / "checkpoints")
    if not saved.steps() or saved.steps()[-1] <= before:
        return before
    network = build_ocr(config.ocr, text.ALPHABETS[config.alphabet])
    settings = config.pretrain.ocr
    template = jax.eval_shape(
        lambda key: states.create(
            network.init(key), states.make_optimizer(settings), key, averaged=settings.average > 0
        ),
        jax.random.key(0),
    )
    restored = saved.restore(checkpoints.abstract(template))
    if restored is None:
        return before
    step, state, record = restored
    asked = config.quantization.ocr.to_dict()
    rules = {"sr": (), "ocr": from_config(asked, config.ocr.name, "config.quantization.ocr")}
    content = portable(config)
    for part in rules:
        settings_of = to_config(rules[part], config.quantization[part].to_dict(), config[part].name)
        content["quantization"][part] = json.loads(json.dumps(settings_of))
    models = packed_files.PackedModels(
        config=content,
        rules=rules,
        fine_tuned=False,
        provenance=provenance.code() | {"step": step, "best_score": record["best_score"]},
        sr=build_sr(config.sr).template,
        ocr=quantization.quantize(state.variables, rules["ocr"]),
    )
    size = packed_files.save(out / FILE, models)
    print(f"step {step:,}: {out / FILE}, {size / 2**20:.1f} MiB", flush=True)
    return step


def run() -> None:
    """The command."""
    run_script(main)


def main(arguments: list[str]) -> None:
    refuse(arguments)
    config = config_flag.from_flag(_CONFIG)
    if not (_WORKDIR.value and _OUT.value):
        raise UserError("--workdir and --out are needed; name a folder in each")
    workdir, out = paths.named(_WORKDIR.value), pathlib.Path(_OUT.value)
    config = config_flag.resolved(reader_config(config, workdir, out))
    ended = train(config, workdir, out, _MINUTES.value, command())
    print("the training took all its steps" if ended else f"go on with: {command()}")


if __name__ == "__main__":
    _CONFIG = config_flag.define_flag()
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints and logs go.")
    _OUT = flags.DEFINE_string("out", None, f"The folder of the packed file, {FILE}.")
    _MINUTES = flags.DEFINE_float("minutes", 12.0, "How long to train.", lower_bound=0.0)
    run()
