"""Where the models that a stage starts from come from: `config.init`, or a stage of the workdir."""

import sys

import jax

from textsr_jax import text
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.models import GUIDED, Network, Variables, build_ocr, build_prior, growth
from textsr_jax.storage import checkpoints, workdirs
from textsr_jax.storage.parameter_files import is_parameter_file
from textsr_jax.train import mesh as meshes
from textsr_jax.train import names
from textsr_jax.train.specs import StageSpec
from textsr_jax.train.training import Training


def load(training: Training, spec: StageSpec, part: str, network: Network) -> Variables:
    """The model that `config.init` names, else the best model of the stage that trains it.

    Args:
      training: what all stages share.
      spec: the stage that trains such a model.
      part: "sr", "ocr" or "focus", a field of `config.init`.
      network: the model's network.

    Raises:
      UserError: there is no such model.
    """
    init = getattr(training.config.init, part)
    if not init:
        return load_best(training, spec, part, network)
    if part == "ocr":
        return load_recognizer(training, spec, init, f"config.init.ocr={init}")
    name = getattr(getattr(training.config, part), "name", part)
    return checkpoints.load_start(init, spec.name, part, name, network.template)


def has_teacher(config: Experiment) -> bool:
    """Whether stage 1 trains a text prior to be like that of a teacher.

    Raises:
      UserError: the config names no teacher then.
    """
    if config.sr.name not in GUIDED or not config.stage1.prior:
        return False
    if not config.init.prior:
        raise UserError(
            f"config.stage1.prior={config.stage1.prior:g} needs a recogniser to learn from; name a "
            "CRNN for 0-9a-z in config.init.prior, or set it to 0"
        )
    return True


def load_prior(training: Training) -> Variables:
    """The recogniser that `config.init.prior` names, to guide the SR network.

    It is an ABINet of the sizes in `config.sr.abinet` for LEMMA, else a CRNN of those in
    `config.sr.prior`.

    Raises:
      UserError: there is no such recogniser.
    """
    config = training.config
    place = f"config.init.prior={config.init.prior}"
    template = build_prior(config.sr).template
    part, name = ("prior", "prior") if config.sr.name == "lemma" else ("ocr", "crnn")
    return checkpoints.load_start(
        config.init.prior, names.PRETRAIN_OCR, part, name, template, place
    )


def load_best(training: Training, spec: StageSpec, part: str, network: Network) -> Variables:
    """The best model of a stage of this workdir.

    Raises:
      UserError: the stage has not ended, or its model is gone.
    """
    if not spec.is_finished(training):
        raise UserError(
            f"{training.workdir}: {spec.name} has not run to its end there; run it first "
            f"(--config.stages) or name a model in config.init.{part}"
        )
    template = checkpoints.abstract(network.template)
    loaded = checkpoints.load_best(training.workdir, spec.name, template)
    if loaded is None:
        raise UserError(
            f"{training.workdir}: the model of {spec.name} is gone; run that stage again"
        )
    return loaded[0]


def load_recognizer(training: Training, spec: StageSpec, init: str, place: str) -> Variables:
    """The recogniser in a file or workdir; it grows if `config.init.grow` asks for that.

    Args:
      training: what all stages share.
      spec: the stage that trains recognisers. Its seed draws the parameters that growing adds.
      init: the file or workdir.
      place: where the user named it, for messages.

    Raises:
      UserError: there is no recogniser, it belongs to another network, or it cannot grow.
    """
    config, network = training.config, training.ocr
    if config.init.grow:
        if is_parameter_file(init):
            raise UserError(
                f"{place}: config.init.grow=True needs a workdir or a packed file, which say how "
                "large their recogniser is; name one, or set it False"
            )
        own = workdirs.load_config(init)
        smaller = own.ocr
        heads = [ocr.get("cdistnet", {}).get("heads") for ocr in (smaller, config.ocr)]
        if {smaller.name, config.ocr.name} != {"cdistnet"} or heads[0] != heads[1]:
            raise UserError(
                f"{place}: config.init.grow=True needs a CDistNet of as many heads as "
                f"config.ocr.cdistnet.heads={heads[1]}, and its heads are {heads[0]}; set it False"
            )
        network = build_ocr(smaller, text.ALPHABETS[own.alphabet])
    start = checkpoints.load_start(init, spec.name, "ocr", config.ocr.name, network.template, place)
    if not config.init.grow:
        return start
    return growth.grow(start, training.ocr, jax.random.key(spec.data_seed(config)), place)


def find_reader(training: Training, spec: StageSpec, stage: str) -> Variables | None:
    """The recogniser that can judge SR images, if there is one.

    It is the one that `config.init` names, or the one that this workdir pre-trained. Without one, a
    line on standard error says so.

    Args:
      training: what all stages share.
      spec: the stage that trains recognisers.
      stage: the stage that asks, for the line.
    """
    if training.config.init.ocr or spec.is_finished(training):
        return load(training, spec, "ocr", training.ocr)
    meshes.say(
        f"{stage}: there is no recogniser (pre-training, config.init.ocr), so PSNR alone chooses "
        "the model",
        file=sys.stderr,
    )
    return None
