"""The paper's baselines and ablations, as changes of any config: `--config=FILE:VARIANT`.

Each function changes the config that it is given and returns it. Its docstring has the command,
the cost and what it reaches. Each command takes --config.data.root=TEXTZOOM too. TEXTZOOM holds
the LMDB folders train1, train2, test/easy, test/medium and test/hard.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from textsr_jax.errors import UserError


def tbsrn(config: ConfigDict) -> ConfigDict:
    """The paper's baseline: STN + TBSRN in place of EDSR, from a fresh start.

    Command:
      python train.py --config=configs/paper.py:tbsrn --workdir=runs/tbsrn

    Cost: TBSRN has 1.1 million parameters, so a step of stage 1 costs a small part of EDSR's.
    Reaches: we have not trained it. The paper prints a mean accuracy of 69.85 % on TextZoom.
    """
    config.sr.name = "tbsrn"
    config.init.sr = ""
    return config


def tsrn(config: ConfigDict) -> ConfigDict:
    """STN + TSRN, the network published with TextZoom, in place of EDSR, from a fresh start.

    TSRN's authors train it with the squared error and a gradient prior. Here it is trained with
    the text-focus loss, as the other networks are.

    Command:
      python train.py --config=configs/paper.py:tsrn --workdir=runs/tsrn

    Cost: as TBSRN. Its recurrent layers run step by step, which is slow on accelerators.
    Reaches: we have not trained it.
    """
    config.sr.name = "tsrn"
    config.init.sr = ""
    return config


def tpgsr(config: ConfigDict) -> ConfigDict:
    """STN + TPGSR: TSRN guided by the text prior of a CRNN, trained as published.

    The squared error, the gradient prior and the distance of the text prior from that of the HR
    images train the network and its CRNN together. No text-focus recogniser is needed.

    Command:
      python train.py --config=configs/paper.py:tpgsr --workdir=runs/tpgsr
        --config.init.prior=crnn.params
    crnn.params is the published CRNN, converted, or a workdir whose recogniser is a CRNN of the
    sizes in config.sr.prior.

    Cost: 12 million parameters, 8.3 of them the CRNN's. Recurrent layers run step by step.
    Reaches: we have not trained it.
    """
    config.sr.name = "tpgsr"
    config.init.sr = ""
    stage = config.stage1
    # The published code: Adam 1e-3 all along, beta (0.5, 0.999), clip 0.25 for the network alone,
    # batch 48, images as they are.
    stage.batch_size, stage.learning_rate, stage.schedule = 48, 1e-3, "constant"
    stage.warmup, stage.b1, stage.clip, stage.augment = 0.0, 0.5, 0.25, False
    stage.error, stage.position, stage.recognition = "mse", 0.0, 0.0
    stage.gradient, stage.prior, stage.scale = 1e-4, 1.0, 100.0
    return config


def tpgsr3(config: ConfigDict) -> ConfigDict:
    """TPGSR of three stages: each reads the images of the one before with a CRNN of its own.

    Command:
      python train.py --config=configs/paper.py:tpgsr3 --workdir=runs/tpgsr3
        --config.init.prior=crnn.params

    Cost: three times that of the variant tpgsr in a step, and 28 million parameters.
    Reaches: we have not trained it.
    """
    config = tpgsr(config)
    config.sr.tpgsr.stages = 3
    return config


def tatt(config: ConfigDict) -> ConfigDict:
    """STN + TATT: TSRN whose pixels ask a transformer what a CRNN read, trained as published.

    The loss is that of the variant tpgsr, and the structure consistency of turned words. All words
    are turned by up to 5 degrees at random.

    Command:
      python train.py --config=configs/paper.py:tatt --workdir=runs/tatt
        --config.init.prior=crnn.params

    Cost: 16 million parameters, 8.3 of them the CRNN's. A step runs the network twice.
    Reaches: we have not trained it.
    """
    config = tpgsr(config)
    config.sr.name = "tatt"
    config.stage1.batch_size = 64
    config.stage1.structure, config.stage1.turn = 0.1, 5.0
    return config


def lemma(config: ConfigDict) -> ConfigDict:
    """STN + LEMMA: TSRN told what ABINet reads, and where the letters are, trained as published.

    The text-focus loss at half its weight and the loss of ABINet's two branches train the network
    and its ABINet together, ABINet at a tenth of the rate.

    Command:
      python train.py --config=configs/paper.py:lemma --workdir=runs/lemma
        --config.init.prior=abinet.params --config.init.focus=text_focus.params
    abinet.params holds the published branches of ABINet, converted.

    Cost: 40 million parameters, 36 of them ABINet's. Recurrent layers run step by step.
    Reaches: we have not trained it.
    """
    config.sr.name = "lemma"
    config.init.sr = ""
    stage = config.stage1
    # The published code: Adam 1e-3, and half of it from epoch 400 of 500 on, beta (0.5, 0.999),
    # clip 0.25 of both networks together, batch 64, images as they are.
    stage.batch_size, stage.learning_rate, stage.schedule = 64, 1e-3, "constant"
    stage.final_from, stage.final_learning_rate, stage.reader_rate = 0.8, 5e-4, 0.1
    stage.warmup, stage.b1, stage.clip, stage.augment = 0.0, 0.5, 0.25, False
    stage.error, stage.position, stage.recognition = "mse", 5.0, 0.00025
    stage.reading, stage.scale = 0.01, 100.0
    return config


def bicubic(config: ConfigDict) -> ConfigDict:
    """No super-resolution: the recogniser is fine-tuned on images enlarged by bicubic.

    Command:
      python train.py --config=configs/paper.py:bicubic --workdir=runs/bicubic

    Cost: that of the recogniser alone. Stage 1 has nothing to train.
    Reaches: we have not trained it. The paper prints a mean accuracy of 61.47 % on TextZoom.
    """
    config.sr.name = "bicubic"
    config.sr.apply_stn = "never"
    config.init.sr = ""
    return config


def hr(config: ConfigDict) -> ConfigDict:
    """The paper's ablation of fine-tuning: the recogniser is fine-tuned on HR images.

    It is evaluated on SR images. SR validation images choose the checkpoint, so only the training
    images differ from the paper's own models.

    Command:
      python train.py --config=configs/paper.py:hr --workdir=runs/hr
    The models of earlier stages may come from another workdir: add --config.stages=stage2
    --config.init.sr=runs/paper --config.init.ocr=runs/paper.

    Cost: as configs/paper.py. With stage 2 alone it is the cost of the recogniser.
    Reaches: we have not trained it. The paper prints a mean accuracy of 64.18 % on TextZoom,
    against 71.08 % for fine-tuning on SR images.
    """
    config.stage2.images = "hr"
    return config


def joint(config: ConfigDict) -> ConfigDict:
    """The paper's ablation of its two stages: one joint stage trains both networks.

    The recogniser reads the SR images of every step. Its loss, weighted by `joint.reading`, is
    added to the text-focus loss, and the sum trains both networks.

    Command:
      python train.py --config=configs/paper.py:joint --workdir=runs/joint

    Cost: a step costs as much as one of stage 1 and one of stage 2 at its batch size; for
    accelerators.
    Reaches: we have not trained it. The paper prints no figure. It finds that two separate stages
    give better images and better reading.
    """
    config.stages = "pretrain,joint"
    return config


def no_text_focus(config: ConfigDict) -> ConfigDict:
    """Stage 1 with the error of the images alone, without the text-focus loss's other parts.

    No text-focus recogniser is pre-trained, and none runs.

    Command:
      python train.py --config=configs/paper.py:no_text_focus --workdir=runs/mse

    Cost: configs/paper.py without the cost of the text-focus recogniser; for accelerators.
    Reaches: we have not trained it. The paper prints no figure for it.
    """
    config.stage1.position = config.stage1.recognition = 0.0
    return config


VARIANTS: dict[str, Callable[[ConfigDict], ConfigDict]] = {
    change.__name__: change
    for change in (tbsrn, tsrn, tpgsr, tpgsr3, tatt, lemma, bicubic, hr, joint, no_text_focus)
}


def varied(config: ConfigDict, variant: str) -> ConfigDict:
    """The config as the variant of this name; "" leaves it as it is.

    Raises:
      UserError: there is no such variant; names all of them.
    """
    if not variant:
        return config
    if variant not in VARIANTS:
        raise UserError(f"the config has no variant {variant!r}; take one of {', '.join(VARIANTS)}")
    return VARIANTS[variant](config)
