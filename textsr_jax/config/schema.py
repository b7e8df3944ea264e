"""Every field that a config may hold: what it may be, what it does, and what older files get.

`configs/paper.py` sets them all; `textsr_jax.config.checks` holds configs against this table. A new
field is a line here and a line there.
"""

import dataclasses
from typing import Any, Literal

from textsr_jax.config.kinds import (
    Axes,
    Choice,
    Choices,
    Flag,
    Kind,
    Number,
    Rules,
    Text,
    Whole,
    Wholes,
)

_MANY = 10**9
_COUNT, _CHANNELS, _HIDDEN = Whole(1, 256), Whole(1, 4096), Whole(1, 16384)
_DTYPE = Choice(("float32", "bfloat16"))
_PART = Number(0, 1, open_high=True)
_WEIGHT = Number(0, 1e9)


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config.

    Attributes:
      role: "network": it changes what a network computes, so that a file without it is refused;
        "recipe": it changes how models are trained, quantised, read or scored;
        "machine": a place or a setting of one machine, which no file that travels holds: there it
        is left out, and passed over where it stands.
      missing: what a file from before the field is given; of a network's field the published
        size, which a file is given only for a network that it does not use.
      kind: what it may be.
      about: what it does, in some words.
    """

    role: Literal["network", "recipe", "machine"]
    missing: Any
    kind: Kind
    about: str


def _network(missing: Any, kind: Kind, about: str) -> Field:
    return Field("network", missing, kind, about)


def _recipe(missing: Any, kind: Kind, about: str) -> Field:
    return Field("recipe", missing, kind, about)


def _machine(missing: Any, kind: Kind, about: str) -> Field:
    return Field("machine", missing, kind, about)


def _optimization(place: str, steps: int, batch_size: int, **others: Any) -> dict[str, Field]:
    """The fields of a stage's optimisation; `others` are what older files get in this stage."""
    every = max(1, steps // 20)
    fields = {
        "steps": _recipe(steps, Whole(1, _MANY), "steps of the optimiser"),
        "batch_size": _recipe(batch_size, Whole(1, 2**20), "words a step, of all devices together"),
        "accumulate": _recipe(
            1, Whole(1, 2**16), "parts a batch is split into, to need less memory"
        ),
        "average": _recipe(0.0, _PART, "decay of the average of weights that is kept; 0: none"),
        "learning_rate": _recipe(1e-4, Number(0, 1000), "the highest learning rate"),
        "schedule": _recipe(
            "cosine", Choice(("cosine", "constant", "noam")), "of the learning rate, after warm-up"
        ),
        "warmup": _recipe(0.05, _PART, "part of the steps in which the learning rate rises"),
        "final_from": _recipe(1.0, Number(0, 1), "part of the steps before the final rate"),
        "final_learning_rate": _recipe(0.0, Number(0, 1000), "the rate from there on"),
        "b1": _recipe(0.9, _PART, "Adam's decay of the mean gradient"),
        "b2": _recipe(0.999, _PART, "Adam's decay of the mean squared gradient"),
        "eps": _recipe(1e-8, Number(0, 1, open_low=True), "Adam's epsilon"),
        "weight_decay": _recipe(0.0, Number(0, 1000), "AdamW's weight decay"),
        "clip": _recipe(5.0, Number(0, 1e30), "bound of the gradient's global norm"),
        "augment": _recipe(True, Flag(), "changes images at random, in the step"),
        "on_device": _machine(False, Flag(), "training images lie on every device"),
        "skip_at_most": _recipe(
            10, Whole(0, _MANY), "batches whose loss is not finite; then stops"
        ),
        "validate_every": _recipe(every, Whole(1, _MANY), "steps between two validations"),
        "patience": _recipe(0, Whole(0, _MANY), "validations without a better score; 0: all"),
        "checkpoint_every": _recipe(every, Whole(1, _MANY), "steps between two checkpoints"),
    }
    changed = {
        name: dataclasses.replace(fields[name], missing=value) for name, value in others.items()
    }
    return {f"{place}.{name}": field for name, field in (fields | changed).items()}


_BITS = Number(2, 8, keep_whole=True)
_PRIOR = Choice(("laplace", "gaussian", "minmax", "auto"))
_GRANULARITY = Choice(("tensor", "channel", "channel-bits"))
_SETTINGS = {"bits": _BITS, "prior": _PRIOR, "granularity": _GRANULARITY, "correct": Flag()}


def _quantization(place: str) -> dict[str, Field]:
    fields = {
        "set": _recipe("", Text(), "a rule set; empty: the paper's; none: only the rules below"),
        "bits": _recipe(8, _BITS, "bits a code; with channel-bits their mean"),
        "prior": _recipe("laplace", _PRIOR, "what ranges assume; auto: the least error measured"),
        "granularity": _recipe("tensor", _GRANULARITY, "what has a range of its own"),
        "correct": _recipe(False, Flag(), "restores the mean and deviation of each channel"),
        "rules": _recipe((), Rules(_SETTINGS), "rules before the set's, first match wins"),
    }
    return {f"{place}.{name}": field for name, field in fields.items()}


FIELDS: dict[str, Field] = {
    "seed": _recipe(0, Whole(0, 2**31 - 1), "of everything that is drawn at random in training"),
    "stages": _recipe(
        "pretrain,stage1,stage2",
        Choices(("stage0", "pretrain", "stage1", "stage2", "joint")),
        "which stages run",
    ),
    "max_length": _recipe(25, Whole(1, 200), "the longest label that is trained on"),
    # The data.
    "data.root": _machine("", Text(), "a folder of TextZoom's LMDB folders; empty: drawn words"),
    "data.data_dir": _machine("", Text(), "where prepared data are kept; empty: TFDS's default"),
    "data.labels": _recipe(
        "strip", Choice(("strip", "fold")), "letters beside 0-9a-z: left out, or their plain forms"
    ),
    "data.validation_fraction": _recipe(0.05, _PART, "part of the words that chooses checkpoints"),
    "data.synthetic.train": _recipe(50_000, Whole(1, 10**8), "drawn words to train on"),
    "data.synthetic.validation": _recipe(1_000, Whole(1, 10**7), "drawn words of validation"),
    "data.synthetic.test": _recipe(500, Whole(1, 10**7), "drawn test words of each difficulty"),
    "data.synthetic.seed": _recipe(0, Whole(0, 2**63 - 1), "another one draws other words"),
    "data.synthetic.min_length": _recipe(1, Whole(1, 100), "letters and digits at least"),
    "data.synthetic.max_length": _recipe(14, Whole(1, 100), "letters and digits at most"),
    "data.synthetic.words": _recipe(
        "mixed", Choice(("mixed", "dictionary", "numbers", "codes")), "which words are drawn"
    ),
    "data.synthetic.plain": _recipe(0.0, Number(0, 1), "the part printed, not photographed"),
    "data.synthetic.workers": _machine(2, Whole(1, 256), "processes that draw words"),
    "photographs.train": _machine("", Text(), "stage 0's folder of images, or tfds:div2k"),
    "photographs.validation": _machine("", Text(), "likewise; empty: a part of the others"),
    "photographs.validation_fraction": _recipe(0.05, _PART, "that part"),
    # The SR networks.
    "sr.name": _network("edsr", Choice(("edsr", "tbsrn", "tsrn", "bicubic")), "which network"),
    "sr.edsr.blocks": _network(32, _COUNT, "residual blocks"),
    "sr.edsr.channels": _network(256, _CHANNELS, "width of every block"),
    "sr.edsr.residual_scale": _network(0.1, Number(-100, 100), "factor of each residual"),
    "sr.edsr.remat": _machine(False, Flag(), "training computes blocks twice, in less memory"),
    "sr.tbsrn.blocks": _network(5, _COUNT, "residual blocks"),
    "sr.tbsrn.channels": _network(64, _CHANNELS, "width of every block; a multiple of 4"),
    "sr.tbsrn.heads": _network(4, _COUNT, "heads of attention"),
    "sr.tbsrn.dropout": _recipe(0.0, _PART, "rate of dropout in training"),
    "sr.tsrn.blocks": _network(5, _COUNT, "residual blocks"),
    "sr.tsrn.channels": _network(64, _CHANNELS, "width of every block; even"),
    "sr.apply_stn": _network("train", Choice(("train", "always", "never")), "when the STN runs"),
    "sr.stn.channels": _network((32, 64, 128, 256, 256, 256), Wholes(6, 1, 4096), "convolutions"),
    "sr.stn.features": _network(512, _HIDDEN, "width of the fully connected layer"),
    "sr.dtype": _network("float32", _DTYPE, "the compute dtype"),
    "resampler.stem_channels": _network(64, _CHANNELS, "of the first convolution"),
    "resampler.channels": _network(128, _CHANNELS, "at a half and a quarter of the size"),
    "resampler.trunk_channels": _network(256, _CHANNELS, "at an eighth of the size"),
    "resampler.blocks": _network(5, _COUNT, "residual blocks"),
    "resampler.dtype": _network("float32", _DTYPE, "the compute dtype"),
    # The recognisers.
    "ocr.name": _network("cdistnet", Choice(("cdistnet", "crnn")), "which network"),
    "ocr.cdistnet.width": _network(512, Whole(2, 4096), "of every token; a multiple of heads"),
    "ocr.cdistnet.heads": _network(8, _COUNT, "heads of attention"),
    "ocr.cdistnet.encoder_layers": _network(3, Whole(0, 64), "layers of the visual encoder"),
    "ocr.cdistnet.decoder_layers": _network(3, Whole(1, 64), "layers of the decoder"),
    "ocr.cdistnet.encoder_hidden": _network(2048, _HIDDEN, "the encoder's feed-forward size"),
    "ocr.cdistnet.decoder_hidden": _network(1024, _HIDDEN, "the decoder's feed-forward size"),
    "ocr.cdistnet.positional_hidden": _network(512, _HIDDEN, "inside the positional branch"),
    "ocr.cdistnet.channels": _network(
        (32, 32, 64, 128, 256, 512), Wholes(6, 1, 4096), "of the backbone's stem and stages"
    ),
    "ocr.cdistnet.depths": _network((3, 4, 6, 6, 3), Wholes(5, 1, 64), "blocks in each stage"),
    "ocr.cdistnet.rectify": _network(True, Flag(), "a spline rectifier before the backbone"),
    "ocr.cdistnet.rectifier_channels": _network(
        (64, 128, 256, 512), Wholes(4, 1, 4096), "of its convolutions"
    ),
    "ocr.cdistnet.rectifier_features": _network(256, _HIDDEN, "of its hidden layer"),
    "ocr.cdistnet.dropout": _recipe(0.1, _PART, "rate of dropout in training"),
    "ocr.crnn.channels": _network(
        (64, 128, 256, 256, 512, 512, 512), Wholes(7, 1, 4096), "of the convolutions"
    ),
    "ocr.crnn.hidden": _network(256, _CHANNELS, "of each direction of the LSTMs"),
    "ocr.dtype": _network("float32", _DTYPE, "the compute dtype"),
    # The recogniser inside the text-focus loss.
    "focus.stem_channels": _network((64, 128), Wholes(2, 1, 4096), "of the first convolutions"),
    "focus.stage_channels": _network((256, 256, 512, 512), Wholes(4, 1, 4096), "of the stages"),
    "focus.stage_depths": _network((1, 2, 5, 3), Wholes(4, 1, 64), "blocks in each stage"),
    "focus.width": _network(1024, Whole(2, 4096), "of every token; a multiple of heads"),
    "focus.heads": _network(16, _COUNT, "heads of attention"),
    "focus.feed_forward": _network(2048, _HIDDEN, "feed-forward size"),
    "focus.embedding": _network(512, _CHANNELS, "part of a token that is its character's"),
    "focus.dropout": _recipe(0.0, _PART, "rate of dropout in its own training"),
    "focus.dtype": _network("float32", _DTYPE, "the compute dtype"),
    # Where models start.
    "init.sr": _machine("", Text(), "a parameter file, a packed file or a workdir of an SR model"),
    "init.resampler": _machine("", Text(), "likewise, of a resampler"),
    "init.ocr": _machine("", Text(), "of a recogniser, in place of pre-training"),
    "init.focus": _machine("", Text(), "of a text-focus recogniser, in place of pre-training"),
    "init.pretrain": _machine("", Text(), "a recogniser that pre-training goes on from"),
    "init.grow": _machine(False, Flag(), "ocr and pretrain name a smaller CDistNet, which grows"),
    "parallel.fsdp": _machine(1, Whole(1, 2**20), "devices that share each parameter"),
    "parallel.rules": _machine(
        ((".*/(kernel|embedding)", -1),), Axes(), "which axis is split, by path"
    ),
    # How words are read.
    "decoding.beam": _recipe(10, Whole(1, 1000), "beams a word; 1: greedy"),
    "decoding.steps": _recipe(49, Whole(1, 1000), "tokens a word at most, the end included"),
    "decoding.language_weight": _recipe(0.0, Number(0, 1e6), "what likely English counts"),
    "decoding.second_look": _recipe(0.0, Number(0, 1), "less sure words are looked at again"),
    "decoding.temperature": _recipe(1.0, Number(1e-3, 1e3), "confidence is probability^(1/this)"),
    # How models are trained.
    "pretrain.synthetic": _recipe(True, Flag(), "adds drawn words to those of data.root"),
    **_optimization("pretrain.ocr", 200_000, 256, learning_rate=3e-4),
    **_optimization("pretrain.focus", 100_000, 256, learning_rate=3e-4),
    **_optimization("stage0", 300_000, 16),
    "stage0.crop": _recipe(192, Whole(16, 4096, step=8), "the side of a crop, in pixels"),
    "stage0.offset_distance": _recipe(0.001, _WEIGHT, "weight of the taps' distance"),
    "stage0.offset_variation": _recipe(11.52, _WEIGHT, "weight of the offsets' variation"),
    **_optimization("stage1", 500_000, 16, clip=0.25, b1=0.5),
    "stage1.synthetic": _recipe(False, Flag(), "adds the drawn pairs of pre-training"),
    "stage1.error": _recipe("mse", Choice(("mse", "log_mse")), "of SR and HR images"),
    "stage1.position": _recipe(10.0, _WEIGHT, "weight of the attention's part of the loss"),
    "stage1.recognition": _recipe(0.0005, _WEIGHT, "weight of the reading's part of the loss"),
    "stage1.scale": _recipe(100.0, _WEIGHT, "weight of the whole loss"),
    "stage1.confusion": _machine("", Text(), "a confusion matrix that weighs characters"),
    "stage1.hr_cache_gb": _machine(8.0, Number(0, 1e6), "10^9 bytes for attention that is kept"),
    **_optimization("stage2", 50_000, 128),
    "stage2.synthetic": _recipe(False, Flag(), "adds SR images of the drawn words"),
    "stage2.images": _recipe("sr", Choice(("sr", "hr", "both")), "what is trained on"),
    **_optimization("joint", 500_000, 16, clip=0.25, b1=0.5),
    "joint.reading": _recipe(1.0, Number(0, 1e9, open_low=True), "weight of the reader's loss"),
    **_quantization("quantization.sr"),
    **_quantization("quantization.ocr"),
    **_optimization("quantization.finetune_sr", 300, 16, b1=0.5),
    **_optimization("quantization.finetune_ocr", 300, 64),
    # How models are scored.
    "evaluation.batch_size": _machine(64, Whole(1, 4096), "images at once"),
    "evaluation.psnr_batch": _recipe(16, Whole(1, 10**6), "images that the published PSNR pools"),
    "evaluation.punctuation": _recipe(
        "strip", Choice(("strip", "skip", "keep")), "words with more than letters and digits"
    ),
}
