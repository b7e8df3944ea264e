"""The typed settings of an experiment: every field of a config, its kind, and what it does.

`configs/paper.py` sets every field. A new field is one line here and one line there.

`recipe` and `machine` declare a field of that role. Their first argument is the value for a file
that is older than the field; see `parts.Field`. The networks are in `network_settings`.
"""

from dataclasses import dataclass, field
from typing import Any

from textsr_jax.config.kinds import (
    Axes,
    Choice,
    Choices,
    Flag,
    Losses,
    Number,
    OneOf,
    Rules,
    Text,
    Whole,
)
from textsr_jax.config.network_settings import (
    FocusSettings,
    RecognizerSettings,
    ResamplerSettings,
    SRSettings,
)
from textsr_jax.config.parts import Part, machine, recipe, table
from textsr_jax.config.recognizer_files import RecognizerFiles
from textsr_jax.config.word_sources import WordSources

_MANY = 10**9
_FRACTION = Number(0, 1, open_high=True)
_WEIGHT, _RATE = Number(0, 1e9), Number(0, 1000)
_STAGES = Choices(("stage0", "pretrain", "stage1", "stage2", "joint"))
_PUNCTUATION = Choice(("strip", "skip", "keep"))

# ---- data


@dataclass(frozen=True, kw_only=True)
class Synthetic(Part):
    """Words that are drawn, in place of a data set."""

    train: int = recipe(50_000, Whole(1, 10**8), "drawn words to train on")
    validation: int = recipe(1_000, Whole(1, 10**7), "drawn words of validation")
    test: int = recipe(500, Whole(1, 10**7), "drawn test words of each difficulty")
    seed: int = recipe(0, Whole(0, 2**63 - 1), "another seed draws other words")
    min_length: int = recipe(1, Whole(1, 100), "letters and digits of a word, at least")
    max_length: int = recipe(14, Whole(1, 100), "letters and digits of a word, at most")
    words: str = recipe(
        "mixed",
        Choice(("mixed", "dictionary", "numbers", "codes", "text")),
        "which words are drawn",
    )
    plain: float = recipe(0.0, Number(0, 1), "part of the words printed, not photographed")
    workers: int = machine(2, Whole(1, 256), "processes that draw words")


@dataclass(frozen=True, kw_only=True)
class Data(Part):
    """The words of training, validation and tests."""

    root: str = machine("", Text(), "a folder of TextZoom's LMDB folders; empty: drawn words")
    data_dir: str = machine("", Text(), "where prepared data are kept; empty: TFDS's default")
    # As MJSynth and SynthText are kept, with keys image-000000001, label-000000001 and num-samples.
    # PART is of the words that pre-training reads. What is left to 1 is of the words above and of
    # prepared drawn ones; LMDBs without a part share it.
    words: str = machine("", WordSources(), "LMDBs of words that pre-training reads as they are")
    # "strip" drops these letters (café: caf), as the published code does. "fold" takes their plain
    # forms first (café: cafe, full-width ＯＰＥＮ: open), as PARSeq does: what the image shows.
    # `Scoring.punctuation` is about the characters that are left then.
    labels: str = recipe(
        "strip", Choice(("strip", "fold")), "letters beside 0-9a-z: left out, or their plain forms"
    )
    # Test splits never choose a checkpoint.
    validation_fraction: float = recipe(
        0.05, _FRACTION, "part of the training words that chooses checkpoints"
    )
    synthetic: Synthetic = Synthetic()


@dataclass(frozen=True, kw_only=True)
class PhotographSettings(Part):
    """The photographs of stage 0."""

    train: str = machine("", Text(), "stage 0's folder of images, or tfds:div2k")
    validation: str = machine("", Text(), "the same for validation; empty: a part of `train`")
    validation_fraction: float = recipe(0.05, _FRACTION, "that part")


# ---- starts, devices, decoding


@dataclass(frozen=True, kw_only=True)
class Starts(Part):
    """Where networks start: a parameter file, a packed file or a workdir; empty: at random.

    Stage 0 starts from `sr` and `resampler`. Stage 1 starts from stage 0 if that was run, else from
    `sr`.
    """

    sr: str = machine("", Text(), "a parameter file, a packed file or a workdir of an SR model")
    resampler: str = machine("", Text(), "a parameter file or a workdir of a resampler")
    ocr: str = machine("", Text(), "the start of the recogniser, in place of pre-training")
    focus: str = machine("", Text(), "the text-focus recogniser, in place of pre-training")
    # The recognisers of a text prior start from it, and learn from what it reads in HR images. For
    # LEMMA it is an ABINet, which LEMMA's own starts from.
    prior: str = machine("", Text(), "the recogniser that guides an SR network starts from it")
    pretrain: str = machine("", Text(), "a recogniser that pre-training goes on from")
    # PP-OCRv4, v5 or v6. They read SR images in training; see `stage1.external`.
    external: str = machine("", RecognizerFiles(), "ONNX files of other recognisers, by commas")
    # The smaller CDistNet has the same width, and may write 0-9a-z alone. The larger one begins by
    # computing what it did; see `textsr_jax.models.growth`.
    grow: bool = machine(False, Flag(), "ocr and pretrain name a smaller CDistNet, which grows")


@dataclass(frozen=True, kw_only=True)
class Parallel(Part):
    """How parameters are split over devices."""

    # The number of devices is a multiple of it. 1: every device holds all parameters.
    fsdp: int = machine(1, Whole(1, 2**20), "devices that share each parameter")
    # The same numbers as by jit over a mesh, on the devices of one process; fsdp has to be 1.
    pmap: bool = machine(False, Flag(), "training steps run by jax.pmap, not by jit over a mesh")
    # (regular expression of a path, axis); the first match wins.
    rules: tuple[tuple[str, int], ...] = machine(
        ((".*/(kernel|embedding)", -1),), Axes(), "which axis is split, by path"
    )


@dataclass(frozen=True, kw_only=True)
class Decoding(Part):
    """How a recogniser's words are searched."""

    beam: int = recipe(10, Whole(1, 1000), "beams a word; 1: greedy")
    steps: int = recipe(49, Whole(1, 1000), "tokens a word at most, the end included")
    # The weight of a word's log likelihood ratio, as English against random letters, beside the
    # recogniser's log probability; see `textsr_jax.decoding.word_search`. The published code has 0.
    language_weight: float = recipe(0.0, Number(0, 1e6), "weight of how likely a word is English")
    # Such a word is read four times more, its image moved by two pixels to each corner. 0: never.
    second_look: float = recipe(0.0, Number(0, 1), "words less sure than this are read again")
    temperature: float = recipe(1.0, Number(1e-3, 1e3), "confidence is probability^(1/this)")


@dataclass(frozen=True, kw_only=True)
class HeldOut(Part):
    """The errors on held-out words, which `textsr_jax.reading.abstention` needs.

    `experiments.fit_temperature` measures them with the `decoding` beside them. Log confidences are
    those at temperature 1.
    """

    words: int = recipe(0, Whole(0, _MANY), "held-out words that were read; 0: none")
    # A wrong word's loss is 1. A wrong letter's is one divided by the letters read in its word.
    wrong_words: tuple[tuple[float, float], ...] = recipe(
        (), Losses(), "log confidence and loss of each wrong word"
    )
    wrong_letters: tuple[tuple[float, float], ...] = recipe(
        (), Losses(), "log confidence and loss of each wrong letter"
    )


# ---- training


@dataclass(frozen=True, kw_only=True)
class Optimization(Part):
    """How a stage is optimised; the settings of every stage begin with these."""

    steps: int = recipe(1, Whole(1, _MANY), "steps of the optimiser")
    batch_size: int = recipe(1, Whole(1, 2**20), "words a step, of all devices together")
    accumulate: int = recipe(1, Whole(1, 2**16), "parts a batch is split into, to need less memory")
    average: float = recipe(0.0, _FRACTION, "decay of the average of weights that is kept; 0: none")
    learning_rate: float = recipe(1e-4, _RATE, "the highest learning rate")
    # After the warm-up: "cosine" down to a hundredth of the highest rate, "constant", or "noam",
    # the inverse square root of the step.
    schedule: str = recipe(
        "cosine", Choice(("cosine", "constant", "noam")), "of the learning rate, after warm-up"
    )
    warmup: float = recipe(0.05, _FRACTION, "part of the steps in which the learning rate rises")
    final_from: float = recipe(1.0, Number(0, 1), "part of the steps before the final rate")
    final_learning_rate: float = recipe(0.0, _RATE, "the rate from there on")
    b1: float = recipe(0.9, _FRACTION, "Adam's decay of the mean gradient")
    b2: float = recipe(0.999, _FRACTION, "Adam's decay of the mean squared gradient")
    eps: float = recipe(1e-8, Number(0, 1, open_low=True), "Adam's epsilon")
    weight_decay: float = recipe(0.0, _RATE, "AdamW's weight decay")
    clip: float = recipe(5.0, Number(0, 1e30), "bound of the gradient's global norm")
    augment: bool = recipe(True, Flag(), "changes images at random, in the step")
    # 12 kB a word, 15 kB in stage 1, read once before the first step. It pays where steps wait for
    # data.
    on_device: bool = machine(False, Flag(), "training images lie on every device")
    skip_at_most: int = recipe(
        10, Whole(0, _MANY), "batches skipped for a loss that is not finite; then it stops"
    )
    validate_every: int = recipe(1, Whole(1, _MANY), "steps between two validations")
    patience: int = recipe(0, Whole(0, _MANY), "validations without a better score; 0: all")
    checkpoint_every: int = recipe(1, Whole(1, _MANY), "steps between two checkpoints")


@dataclass(frozen=True, kw_only=True)
class DrawnOptimization(Optimization):
    """How a stage is optimised that can draw words inside its steps."""

    # No word is drawn twice. `Data.synthetic` says which words; its `train` and `seed` do not count
    # for them. The rest of a batch is read. At 1 nothing is prepared to learn from.
    drawn: float = recipe(0.0, Number(0, 1), "part of each batch that is drawn in the step")


def _older(steps: int, batch_size: int, **others: Any) -> dict[str, Any]:
    """What the optimisation of one stage gets in files that are older than its fields."""
    every = max(1, steps // 20)
    intervals = {"validate_every": every, "checkpoint_every": every}
    return {"steps": steps, "batch_size": batch_size, **intervals, **others}


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(Part):
    """The training of both recognisers, before the stages that the paper describes."""

    synthetic: bool = recipe(True, Flag(), "adds drawn words to those of data.root")
    ocr: DrawnOptimization = DrawnOptimization(**_older(200_000, 256, learning_rate=3e-4))
    focus: DrawnOptimization = DrawnOptimization(**_older(100_000, 256, learning_rate=3e-4))


@dataclass(frozen=True, kw_only=True)
class Stage0Settings(Optimization):
    """Stage 0: the resampler and EDSR on photographs."""

    crop: int = recipe(192, Whole(16, 4096, step=8), "the side of a crop, in pixels")
    offset_distance: float = recipe(0.001, _WEIGHT, "weight of the taps' distance")
    offset_variation: float = recipe(11.52, _WEIGHT, "weight of the offsets' variation")


@dataclass(frozen=True, kw_only=True)
class Stage1Settings(DrawnOptimization):
    """Stage 1: the SR model with the text-focus loss."""

    synthetic: bool = recipe(False, Flag(), "adds the drawn pairs of pre-training")
    # "log_mse" is the mean of each image's logarithm, so it trains the mean PSNR. Its gradient is
    # about 100 times as large.
    error: str = recipe("mse", Choice(("mse", "log_mse")), "the error of SR and HR images")
    # Where this weight and the next one are 0, no text-focus recogniser is needed.
    position: float = recipe(10.0, _WEIGHT, "weight of the attention's part of the loss")
    recognition: float = recipe(0.0005, _WEIGHT, "weight of the recognition part of the loss")
    # As TSRN, TPGSR and TATT are published: 1e-4, without the text-focus recogniser's parts.
    gradient: float = recipe(0.0, _WEIGHT, "weight of the gradient prior's part of the loss")
    # For sr.name=tpgsr and tatt; the teacher is init.prior. The published weight is 1.
    prior: float = recipe(0.0, _WEIGHT, "weight of the text prior's distance from its teacher's")
    # For sr.name=tatt, whose published values are 0.1 and 5: the images of a word as it is and of
    # the same word turned back shall be alike.
    structure: float = recipe(0.0, _WEIGHT, "weight of the structure consistency of turned words")
    turn: float = recipe(0.0, Number(0, 45), "degrees by which words are turned at most")
    # For sr.name=lemma, whose published values are 0.01 and 0.1.
    reading: float = recipe(0.0, _WEIGHT, "weight of the loss of the recogniser inside LEMMA")
    # The mean CTC loss of the recognisers in init.external on SR images.
    external: float = recipe(0.0, _WEIGHT, "weight of what other recognisers lose on SR images")
    # False: a cross-entropy of logits.
    softmax_twice: bool = recipe(True, Flag(), "that loss takes probabilities for logits: a bug")
    reader_rate: float = recipe(1.0, Number(0, 1), "that recogniser's part of the learning rate")
    scale: float = recipe(100.0, _WEIGHT, "weight of the whole loss")
    # A .npy file of 62 x 62 counts for the recognition part; empty: all characters weigh alike.
    confusion: str = machine("", Text(), "a confusion matrix that weighs characters")
    # With augment=False the text-focus recogniser's attention to HR images is computed once and
    # kept in the stage's folder, up to this size. 0: every step computes it.
    hr_cache_gb: float = machine(
        8.0, Number(0, 1e6), "10^9 bytes at most for attention that is kept"
    )


@dataclass(frozen=True, kw_only=True)
class Stage2Settings(Optimization):
    """Stage 2: the recogniser on images of the SR model."""

    synthetic: bool = recipe(False, Flag(), "adds SR images of the drawn words")
    # SR images choose the checkpoint in each case. "both" makes a reader of sharp images too.
    images: str = recipe("sr", Choice(("sr", "hr", "both")), "the images that are trained on")


@dataclass(frozen=True, kw_only=True)
class JointSettings(DrawnOptimization):
    """The joint stage: both networks at once, in place of stages 1 and 2."""

    reading: float = recipe(
        1.0, Number(0, 1e9, open_low=True), "weight of the recogniser's own loss"
    )


# ---- quantisation and scores


_BITS = Number(2, 8, keep_whole=True)
_PRIOR = Choice(("laplace", "gaussian", "minmax", "auto", "least_squares"))
_GRANULARITY = Choice(("tensor", "channel", "channel-bits", "group", "layer", "layer-channel"))
_GROUP_SIZE = OneOf((32, 64, 128))
_RULES = Rules(
    {
        "bits": _BITS,
        "prior": _PRIOR,
        "granularity": _GRANULARITY,
        "correct": Flag(),
        "group_size": _GROUP_SIZE,
    }
)


@dataclass(frozen=True, kw_only=True)
class ModelQuantization(Part):
    """How one model is quantised; see `textsr_jax.quantization.rules`."""

    set: str = recipe("", Text(), "a rule set; empty: the paper's; none: only the rules below")
    bits: float = recipe(8, _BITS, "bits a code; with channel-bits their mean")
    prior: str = recipe("laplace", _PRIOR, "what ranges assume; auto: the least error measured")
    granularity: str = recipe("tensor", _GRANULARITY, "what has a range of its own")
    correct: bool = recipe(False, Flag(), "restores the mean and deviation of each channel")
    group_size: int = recipe(64, _GROUP_SIZE, "values of a range with granularity group")
    # Each is {"pattern": REGEX} or {"set": NAME}, and those of bits, prior, granularity, correct
    # and group_size that differ from the fields above.
    rules: tuple[dict[str, Any], ...] = recipe(
        (), _RULES, "rules before the set's; the first match wins"
    )


@dataclass(frozen=True, kw_only=True)
class Quantization(Part):
    """How both models are quantised, and fine-tuned with their quantised weights."""

    sr: ModelQuantization = ModelQuantization()
    ocr: ModelQuantization = ModelQuantization()
    # "integer" multiplies the codes of packed files by int8 activations, for accelerators; see
    # `textsr_jax.quantization.integer_products`. Weights that are not packed stay floats.
    compute: str = machine(
        "float", Choice(("float", "integer")), "how the kernels of packed files are multiplied"
    )
    finetune_sr: Optimization = Optimization(**_older(300, 16, b1=0.5))
    finetune_ocr: Optimization = Optimization(**_older(300, 64))


@dataclass(frozen=True, kw_only=True)
class Scoring(Part):
    """How models are scored."""

    batch_size: int = machine(64, Whole(1, 4096), "images at once")
    psnr_batch: int = recipe(16, Whole(1, 10**6), "images that the published PSNR pools")
    # For words whose labels hold more than 0-9a-z after `Data.labels`. The rest is stripped, as
    # TextZoom does, or the word is skipped, or it is kept.
    punctuation: str = recipe("strip", _PUNCTUATION, "words with more than letters and digits")


@dataclass(frozen=True, kw_only=True)
class Experiment(Part):
    """A whole config: `textsr_jax.config.checks.checked` makes one from a ConfigDict or a file."""

    seed: int = recipe(0, Whole(0, 2**31 - 1), "seed of all that training draws at random")
    stages: str = recipe("pretrain,stage1,stage2", _STAGES, "which stages run")
    max_length: int = recipe(25, Whole(1, 200), "the longest label that is trained on")
    # It changes the recogniser. Files that are older than this field have the paper's 36.
    # `Scoring` is about 0-9a-z whatever the alphabet; accuracy "as written" stands beside it.
    alphabet: str = recipe(
        "alphanumeric",
        Choice(("alphanumeric", "printable")),
        "what is written: 0-9a-z, or all of printable ASCII",
    )
    data: Data = Data()
    photographs: PhotographSettings = PhotographSettings()
    sr: SRSettings = field(default_factory=SRSettings)
    resampler: ResamplerSettings = field(default_factory=ResamplerSettings)
    ocr: RecognizerSettings = field(default_factory=RecognizerSettings)
    focus: FocusSettings = field(default_factory=FocusSettings)
    init: Starts = Starts()
    parallel: Parallel = Parallel()
    decoding: Decoding = Decoding()
    held_out: HeldOut = HeldOut()
    pretrain: PretrainSettings = PretrainSettings()
    stage0: Stage0Settings = Stage0Settings(**_older(300_000, 16))
    stage1: Stage1Settings = Stage1Settings(**_older(500_000, 16, clip=0.25, b1=0.5))
    stage2: Stage2Settings = Stage2Settings(**_older(50_000, 128))
    joint: JointSettings = JointSettings(**_older(500_000, 16, clip=0.25, b1=0.5))
    quantization: Quantization = Quantization()
    evaluation: Scoring = Scoring()


# Every field by its name in the config, such as "sr.edsr.blocks".
FIELDS = table(Experiment())
