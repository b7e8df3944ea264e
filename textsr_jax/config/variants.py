"""The pairs that the paper compares with its own, as changes of any config: baselines, ablations.

Each function changes the config that it is given and returns it.
"""

from ml_collections import ConfigDict


def bicubic(config: ConfigDict) -> ConfigDict:
    """Without super-resolution: the recogniser is fine-tuned on images enlarged by bicubic."""
    config.sr.name = "bicubic"
    config.sr.apply_stn = "never"
    config.init.sr = ""
    return config


def tbsrn(config: ConfigDict) -> ConfigDict:
    """The baseline: TBSRN in place of EDSR, from a fresh start."""
    config.sr.name = "tbsrn"
    config.init.sr = ""
    return config


def hr(config: ConfigDict) -> ConfigDict:
    """The recogniser is fine-tuned on HR images instead of SR ones, and evaluated on these."""
    config.stage2.images = "hr"
    return config


def joint(config: ConfigDict) -> ConfigDict:
    """One step in place of stages 1 and 2: the recogniser's loss is added to that of the SR model.

    Both networks are trained by the sum.
    """
    config.stages = "pretrain,joint"
    return config


def no_text_focus(config: ConfigDict) -> ConfigDict:
    """Stage 1 with the error of the images alone: no text-focus recogniser is trained or run."""
    config.stage1.position = config.stage1.recognition = 0.0
    return config
