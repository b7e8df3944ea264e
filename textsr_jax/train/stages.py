"""The stages of a training, built from a config: recognisers, SR (stage 1), fine-tuning (stage 2).

Stage 0, for those who want it, trains EDSR with a resampler, as a start for stage 1. Stage 2 reads
images that the frozen stage-1 model makes once and that a file keeps. The stage `joint`, an
ablation, trains both networks at once in place of stages 1 and 2.

Every other stage keeps the model that scores best on validation words, which are cut from the
training data: by the plain mean over the validation splits of the accuracy; where the SR model is
trained, of the accuracy of the pre-trained recogniser on SR images, PSNR deciding between equals.
Without a pre-trained recogniser at hand PSNR decides alone.
"""

import collections
import contextlib
import functools
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from textsr_jax import data, decoding, metrics, text
from textsr_jax.config import configuration
from textsr_jax.data import batching, photograph_folders, records
from textsr_jax.data.batching import (
    Batch,
    Concatenated,
    Replaced,
    evaluation_batches,
    train_batches,
)
from textsr_jax.data.records import Source
from textsr_jax.errors import UserError
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import (
    Network,
    Variables,
    build_focus,
    build_ocr,
    build_rescaler,
    build_sr,
    growth,
    join,
    part_of,
    together,
)
from textsr_jax.models.bicubic import enlarge, reduce
from textsr_jax.models.layers.pixels import SCALE, to_gray
from textsr_jax.models.rescaling import round_to_8_bits
from textsr_jax.runtime.compilation import keep_compiled
from textsr_jax.storage import checkpoints, digests, locks
from textsr_jax.storage.parameter_files import is_parameter_file
from textsr_jax.train import (
    augmentation,
    caches,
    confusions,
    loop,
    run_file,
    steps,
    stopping,
    trained_on,
)
from textsr_jax.train import mesh as meshes

PRETRAIN_OCR, PRETRAIN_FOCUS, STAGE1, STAGE2 = "pretrain_ocr", "pretrain_focus", "stage1", "stage2"
STAGE0, JOINT = "stage0", "joint"
# What `stage2.images` may be, and the kinds of images that it stands for.
IMAGES = {"sr": ("sr",), "hr": ("hr",), "both": ("sr", "hr")}
# Of quantised models; their folders carry a suffix that tells settings apart.
FINETUNE_SR, FINETUNE_OCR = "finetune_sr", "finetune_ocr"

# Stages that are trained on words, and what the kinds of data are called.
_OF_WORDS = (PRETRAIN_OCR, PRETRAIN_FOCUS, STAGE1, STAGE2, JOINT)
WORDS, SYNTHETIC = "words", "synthetic words"
# What a stage trains, for the line that it begins with.
_ABOUT = {
    STAGE0: "the resampler and EDSR on photographs",
    PRETRAIN_OCR: "the recogniser on words",
    PRETRAIN_FOCUS: "the recogniser of the text-focus loss on words",
    STAGE1: "the SR model on pairs of words",
    STAGE2: "the recogniser, fine-tuned",
    JOINT: "the SR model and the recogniser together",
}

_PICTURES = 8


def train(config: ConfigDict, workdir: pathlib.Path, again: str) -> None:
    """Runs the stages of `config.stages` in `workdir`, each from where it was left.

    Args:
      again: the command that goes on with the run, for the message when it is stopped.

    Raises:
      UserError: a config or a data set that cannot be trained, a stage whose start is missing, or
        another training in the workdir.
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
    """
    config = configuration.checked(config)
    with stopping.listening(again), contextlib.ExitStack() as held:
        _train(config, workdir, again, held)


def _train(
    config: ConfigDict, workdir: pathlib.Path, again: str, held: contextlib.ExitStack
) -> None:
    chosen, training = _checked(config, workdir)
    if chosen - {STAGE0}:
        trained_on.check_stages(workdir, _OF_WORDS, {WORDS: training.pairs.training})
    stage0 = None
    if STAGE0 in chosen and not loop.is_finished(workdir, STAGE0, config.stage0.steps):
        stage0 = training.stage0()
    held.enter_context(locks.held(workdir))
    if jax.process_index() == 0:
        configuration.save(config, workdir)
    meshes.wait_for_all("config")
    # Checks it in every process, and finds a workdir that they do not share.
    configuration.save(config, workdir)
    keep_compiled()
    if jax.process_index() == 0:
        run_file.note_start(workdir, config, again)
    make = {
        STAGE0: lambda: stage0,
        PRETRAIN_OCR: training.pretrain_ocr,
        PRETRAIN_FOCUS: training.pretrain_focus,
        STAGE1: training.stage1,
        STAGE2: training.stage2,
        JOINT: training.joint,
    }
    if "stage1" in chosen and not training.learned:
        _say(f"{STAGE1}: {config.sr.name} has nothing to train")
    root = jax.random.key(config.seed)
    names = training.plan(chosen)
    for number, name in enumerate(names, 1):
        settings, place = _settings(config, name), f"stage {number} of {len(names)}: {name}"
        if loop.is_finished(workdir, name, settings.steps):
            _say(f"{place}, done already")
            continue
        _say(f"{place}, {_ABOUT[name]}: {settings.steps:,} steps of {settings.batch_size}")
        key = jax.random.fold_in(root, _number(name))
        loop.run(make[name](), workdir, training.layout, key, again)
        stopping.check()


class Outline(NamedTuple):
    """What a stage trains, before anything is loaded or made for it.

    Attributes:
      name: the stage's folder.
      settings: its `optimization` config.
      network: what is trained.
      loss: as of `loop.Stage`.
      frozen: shapes of the frozen variables.
      batch: shapes and dtypes of a whole batch.
      records: how many are trained on, which make an epoch.
    """

    name: str
    settings: ConfigDict
    network: Network
    loss: steps.Loss
    frozen: Variables
    batch: Any
    records: int


def outlines(config: ConfigDict) -> tuple[list[Outline], meshes.Layout]:
    """The stages of `config.stages` in their order, and the layout they would run in.

    Nothing is drawn, decoded, compiled or written: words are counted as `data.count` does.

    Raises:
      UserError: as `train`.
    """
    config = configuration.checked(config)
    workdir = pathlib.Path("a workdir that is not there")
    chosen, training = _checked(config, workdir, data.count)
    return [training.outline(name) for name in training.plan(chosen)], training.layout


def _checked(
    config: ConfigDict,
    workdir: pathlib.Path,
    words: Callable[[ConfigDict], data.WordPairs] = data.load,
) -> tuple[set[str], "_Training"]:
    """The stages that the config names, and what they share; raises `UserError` if they cannot."""
    chosen = {name.strip() for name in config.stages.split(",") if name.strip()}
    stage0 = (STAGE0,) if STAGE0 in chosen else ()
    for field in ("pretrain.ocr", "pretrain.focus", "stage1", "stage2", "joint", *stage0):
        _check_devices(config, field)
    for name in (STAGE1, STAGE2) if JOINT in chosen else (JOINT,):
        if name in chosen or (workdir / name).exists():
            raise UserError(
                f"{workdir}: {JOINT} stands in place of {STAGE1} and {STAGE2}, but {name} is "
                "chosen or was run there too; take another --workdir or change --config.stages"
            )
    training = _Training(config, workdir, words)
    if chosen - {STAGE0}:
        pairs = training.pairs
        if not len(pairs.train) or not len(pairs.validation):
            raise UserError(
                f"{pairs.title}: {len(pairs.train)} training and {len(pairs.validation)} "
                "validation words; training wants some of both (folders train1, train2 or train_*)"
            )
    if JOINT in chosen and not training.learned:
        raise UserError(
            f"config.stages={config.stages}: {config.sr.name} has nothing to train, so that "
            f"{JOINT} would be {STAGE2}; take that"
        )
    return chosen, training


def fine_tune_quantized(
    config: ConfigDict,
    workdir: pathlib.Path,
    sr: tuple[Variables, Callable[[Variables], Variables]],
    ocr: tuple[Variables, Callable[[Variables], Variables]],
    suffix: str,
    again: str,
) -> tuple[Variables, Variables]:
    """Quantisation-aware fine-tuning: the pair learns to work with rounded weights.

    The SR model goes on by its stage-1 loss, then the recogniser on the images that the quantised
    SR model makes. Every step computes with simulated weights, and the gradient goes to the ones
    behind them; an STN that evaluation leaves out keeps its own. Interrupted, it goes on like any
    stage.

    Args:
      config: `quantization.finetune_sr` and `.finetune_ocr` say how long and how.
      workdir: of train.py; holds the text-focus recogniser, and a folder for each fine-tuning.
      sr, ocr: variables to start from, and the pure function that simulates their quantisation
        with straight-through gradients (`quantization.simulate`).
      suffix: of the folders' names; tells one setting from another.
      again: the command that goes on with the run, for the message when it is stopped.

    Returns:
      The variables of both that scored best on the validation words when quantised, not quantised.

    Raises:
      UserError: the data set has no training words, a model is missing, or the config has a value
        that it cannot have.
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
    """
    config = configuration.checked(config)
    for field in ("quantization.finetune_sr", "quantization.finetune_ocr"):
        _check_devices(config, field)
    training = _Training(config, workdir)
    (sr_start, simulate_sr), (ocr_start, simulate_ocr) = sr, ocr
    if config.sr.apply_stn == "train":
        simulate_sr = sparing_stn(simulate_sr)
    training.sr = build_sr(config.sr, sr_start).through(simulate_sr)
    training.ocr = training.ocr.through(simulate_ocr)
    root = jax.random.key(config.seed)

    def tuned(name: str, start: Variables, stage: Callable[[str, ConfigDict], loop.Stage]) -> Any:
        settings, folder = config.quantization[name], f"{name}-{suffix}"
        if not loop.is_finished(workdir, folder, settings.steps):
            made = stage(folder, settings)
            key = jax.random.fold_in(root, _number(folder))
            loop.run(made, workdir, training.layout, key, again)
        loaded = checkpoints.load_best(workdir, folder, checkpoints.abstract(start))
        if loaded is None:
            raise UserError(f"{workdir}: the model of {folder} is gone; delete that folder")
        return loaded[0]

    if jax.tree.leaves(sr_start):
        sr_tuned = tuned(
            FINETUNE_SR,
            sr_start,
            lambda name, settings: training.super_resolver(
                name, lambda key: sr_start, settings, ocr_start
            ),
        )
    else:
        sr_tuned = sr_start
    ocr_tuned = tuned(
        FINETUNE_OCR,
        ocr_start,
        lambda name, settings: training.reader_of_sr(
            name,
            lambda key: ocr_start,
            settings,
            lambda _, source: training.enlarge(training.sr, sr_tuned, source),
        ),
    )
    return sr_tuned, ocr_tuned


def sparing_stn(simulate: Callable[[Variables], Variables]) -> Callable[[Variables], Variables]:
    """`simulate`, but an STN keeps its own weights and statistics.

    For an STN that runs in training only: its rounded weights would bend images out of shape there,
    and count nowhere else.
    """

    def spared(variables: Variables) -> Variables:
        simulated = simulate(variables)
        return {
            kind: tree | {name: variables[kind][name] for name in tree if name == "stn"}
            for kind, tree in simulated.items()
        }

    return spared


def _check_devices(config: ConfigDict, field: str) -> None:
    """Refuses what the devices that are there, or a stage's data, cannot do."""
    settings = functools.reduce(getattr, field.split("."), config)
    if settings.on_device and field == STAGE0:
        raise UserError(
            f"config.{field}.on_device=True: photographs are cropped anew; set it False"
        )
    meshes.check_batch_size(settings.batch_size, f"{field}.batch_size", settings.accumulate)


def _say(message: str, file: TextIO | None = None) -> None:
    """Prints a line, in the first of several processes only."""
    if jax.process_index() == 0:
        print(message, file=file, flush=True)


def _settings(config: ConfigDict, stage: str) -> ConfigDict:
    """The `optimization` config of a stage's folder."""
    return functools.reduce(getattr, stage.split("_"), config)


def _number(stage: str) -> int:
    stages = (
        *(PRETRAIN_OCR, PRETRAIN_FOCUS, STAGE1, STAGE2, FINETUNE_SR, FINETUNE_OCR),
        *(STAGE0, JOINT),
    )
    return stages.index(stage.split("-")[0])


class _Training:
    """What the stages of one run share: data, networks, layout, and where models come from.

    Args:
      config: the experiment.
      workdir: where its stages are.
      words: gives the data set of `config.data`; see `data.load`.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: pathlib.Path,
        words: Callable[[ConfigDict], data.WordPairs] = data.load,
    ):
        self.config, self.workdir, self._load_words = config, workdir, words
        self.layout = meshes.make_layout(config.parallel)
        self.sr, self.ocr = build_sr(config.sr), build_ocr(config.ocr)
        self.focus = build_focus(config.focus)
        path = config.stage1.confusion
        # Read at once: a file that cannot be is found before hours of pre-training.
        self._confusion_weights = confusions.load_weights(path) if path else None

    @functools.cached_property
    def _read(self) -> Callable:
        # Made when it is first used: fine-tuning of a quantised pair puts its own network in place.
        return decoding.recognizer(self.ocr, beam=1, steps=self.config.max_length + 1)

    @property
    def learned(self) -> bool:
        """Whether the SR model has something to train; bicubic enlargement does not."""
        return bool(jax.tree.leaves(self.sr.template))

    def plan(self, chosen: set[str]) -> list[str]:
        """The folders of the chosen stages, in the order in which they run."""
        init, learned = self.config.init, self.learned
        pretrain = "pretrain" in chosen
        focus = learned and not init.focus and steps.has_text_focus(self.config.stage1)
        runs = {
            STAGE0: STAGE0 in chosen,
            PRETRAIN_OCR: pretrain and not init.ocr,
            PRETRAIN_FOCUS: pretrain and focus,
            STAGE1: STAGE1 in chosen and learned,
            STAGE2: STAGE2 in chosen,
            JOINT: JOINT in chosen,
        }
        return [name for name, runs_it in runs.items() if runs_it]

    def outline(self, name: str) -> Outline:
        config, settings = self.config, _settings(self.config, name)
        size, frozen = settings.batch_size, {}
        if name in (STAGE1, JOINT) and steps.has_text_focus(config.stage1):
            frozen = self.focus.template
        if name == STAGE0:
            photos, _ = data.load_photographs(
                config.photographs, config.data.data_dir, settings.crop
            )
            batch = photograph_folders.shapes(size, settings.crop)
            return Outline(name, settings, *self.learns(name), frozen, batch, len(photos))
        kinds = len(IMAGES[config.stage2.images])
        records = {
            PRETRAIN_OCR: self.all_words,
            PRETRAIN_FOCUS: self.all_words,
            STAGE2: Concatenated(list(self.stage2_words.values()) * kinds),
        }.get(name, self.stage1_pairs)
        network, _ = self.learns(name)
        batch = batching.shapes(size, config.max_length, images=not settings.on_device)
        if settings.on_device:
            images = batching.shapes(len(records), config.max_length)
            lr = images.lr if _reads_lr(name) else None
            frozen = steps.AtHand(frozen, lr, images.hr)
        loss = self._loss(name, settings)
        return Outline(name, settings, network, loss, frozen, batch, len(records))

    def _loss(self, name: str, settings: ConfigDict) -> steps.Loss:
        """The loss of a stage of words as its step computes it, from the images on."""
        _, loss = self.learns(name)
        if settings.augment:
            change = augmentation.change_pairs if _reads_lr(name) else augmentation.change_words
            loss = steps.changing(loss, change)
        return steps.taking_images(loss) if settings.on_device else loss

    def learns(self, name: str) -> tuple[Network, steps.Loss]:
        """What a stage trains, and by which loss."""
        config = self.config
        if name == STAGE0:
            rescaler = build_rescaler(config.resampler, config.sr)
            return rescaler, steps.rescaling_loss(rescaler, config.stage0)
        if name == PRETRAIN_FOCUS:
            return self.focus, steps.focus_loss(self.focus)
        if name == JOINT:
            both, reading = together(sr=self.sr, ocr=self.ocr), config.joint.reading
            loss = steps.joint_loss(
                self.sr,
                self.ocr,
                self.focus,
                config.stage1,
                reading,
                weights=self._confusion_weights,
            )
            return both, loss
        if name.startswith((STAGE1, FINETUNE_SR)):
            loss = steps.super_resolution_loss(
                self.sr, self.focus, config.stage1, weights=self._confusion_weights
            )
            return self.sr, loss
        return self.ocr, steps.recognizer_loss(self.ocr)

    @property
    def stage1_pairs(self) -> Source:
        """What the SR model is trained on, here and in the joint step."""
        return self.all_words if self.config.stage1.synthetic else self.pairs.train

    @property
    def stage2_words(self) -> dict[str, Source]:
        """Whose SR or HR images the recogniser is fine-tuned on."""
        return self.words if self.config.stage2.synthetic else {"train": self.pairs.train}

    @functools.cached_property
    def pairs(self) -> data.WordPairs:
        return self._load_words(self.config.data)

    @functools.cached_property
    def words(self) -> dict[str, Source]:
        """What recognisers are trained on: training words, and synthetic ones beside real."""
        words = {"train": self.pairs.train}
        if self.config.data.root and self.config.pretrain.synthetic:
            words["synthetic"] = self._synthetic.train
        return words

    @functools.cached_property
    def _synthetic(self) -> data.WordPairs:
        """The synthetic words beside those of `data.root`."""
        synthetic = self.config.data.copy_and_resolve_references()
        synthetic.root = ""
        return self._load_words(synthetic)

    def _trained_on(self, name: str) -> dict[str, str]:
        """Fingerprints of what a stage of words is trained on."""
        settings = self.config.stage1 if _reads_lr(name) else self.config.stage2
        found = {WORDS: self.pairs.training}
        # Nobody draws synthetic words for a stage that does without.
        if (name.startswith("pretrain") or settings.synthetic) and "synthetic" in self.words:
            found[SYNTHETIC] = self._synthetic.training
        return found

    @property
    def all_words(self) -> Source:
        return Concatenated(list(self.words.values()))

    def pretrain_ocr(self) -> loop.Stage:
        settings, judge = self.config.pretrain.ocr, self.pairs.validation_splits
        initial, init = self.ocr.init, self.config.init.pretrain
        if init:
            start = self._recognizer_start(init, f"config.init.pretrain={init}")
            initial = lambda key: start  # noqa: E731
        return self._recognizer(PRETRAIN_OCR, initial, settings, self.all_words, judge)

    def stage2(self) -> loop.Stage:
        variables = self._trained_sr()
        sr = build_sr(self.config.sr, variables)
        images = functools.partial(self._sr_images, sr, variables)
        start = self._load(PRETRAIN_OCR, "ocr", self.ocr)
        return self.reader_of_sr(STAGE2, lambda key: start, self.config.stage2, images)

    def reader_of_sr(
        self,
        stage: str,
        initial: Callable[[jax.Array], Variables],
        settings: ConfigDict,
        images: Callable[[str, Source], np.ndarray],
    ) -> loop.Stage:
        """The recogniser's stage on the SR images that `images` gives for a source and its name.

        With `config.stage2.images` "hr" it is trained on HR images, with "both" on these too, but
        judged by SR ones.
        """
        trained_on = [
            Replaced(source, images(name, source)) if kind == "sr" else source
            for name, source in self.stage2_words.items()
            for kind in IMAGES[self.config.stage2.images]
        ]
        judge = {
            name: Replaced(source, images(f"validation_{name}", source))
            for name, source in self.pairs.validation_splits.items()
        }
        return self._recognizer(stage, initial, settings, Concatenated(trained_on), judge)

    def pretrain_focus(self) -> loop.Stage:
        settings = self.config.pretrain.focus

        @jax.jit
        def right(variables: Variables, batch: Batch) -> jax.Array:
            inputs, targets, mask = text.focus_tokens(batch.characters)
            logits, _ = self.focus(variables, to_gray(to_float(batch.hr)), inputs)
            wrong = ((logits.argmax(-1) != targets) & (mask > 0)).any(axis=1)
            return 100 * ~wrong

        def validate(variables: Variables) -> loop.Validation:
            judged = self._judge(
                self.pairs.validation_splits,
                lambda batch, labels: ({"words_right": right(variables, batch)}, (), ()),
            )
            return judged.validation(judged.means["words_right"])

        return self._fed(
            PRETRAIN_FOCUS,
            settings,
            self.all_words,
            initial=self.focus.init,
            validate=validate,
        )

    def stage0(self) -> loop.Stage:
        """The resampler and EDSR on photographs; judged by the middle of those held out."""
        config = self.config
        settings, crop = config.stage0, config.stage0.crop
        train, judge = data.load_photographs(config.photographs, config.data.data_dir, crop)
        rescaler, loss = self.learns(STAGE0)

        starts = {}
        if config.init.sr:
            file = checkpoints.load_start(
                config.init.sr, STAGE1, "sr", config.sr.name, self.sr.template
            )
            starts[config.sr.name] = file["params"][config.sr.name]
        if config.init.resampler:
            lone = {"params": rescaler.template["params"]["resampler"], "stats": {}}
            file = checkpoints.load_start(
                config.init.resampler, STAGE0, "resampler", "resampler", lone
            )
            starts["resampler"] = file["params"]

        def initial(key: jax.Array) -> Variables:
            drawn = rescaler.init(key)
            return drawn | {"params": drawn["params"] | starts}

        @jax.jit
        def compare(variables: Variables, hr: jax.Array) -> tuple[jax.Array, ...]:
            hr = to_float(hr)
            sr, made = rescaler(variables, hr)
            sr, bicubic = (
                to_float(to_uint8(images)) for images in (sr, enlarge(round_to_8_bits(reduce(hr))))
            )
            psnr, ssim = metrics.luma_quality(sr, hr, SCALE)
            bicubic_psnr, _ = metrics.luma_quality(bicubic, hr, SCALE)
            return made.images, bicubic, sr, hr, psnr, bicubic_psnr, ssim

        def validate(variables: Variables) -> loop.Validation:
            sums, pictures = np.zeros(3), {}
            batches = photograph_folders.central_crops(
                judge, batch_size=self._evaluation_size, crop=crop
            )
            for batch in batches:
                stopping.check()
                found = compare(variables, self.layout.shard_whole(batch.hr))
                lr, bicubic, sr, hr, *scores = meshes.gather(found)
                sums += [float(score[batch.valid].sum()) for score in scores]
                pictures = pictures or {
                    "LR": _tiles([lr]),
                    "bicubic, SR, HR": _tiles([bicubic, sr, hr]),
                }
            psnr, bicubic_psnr, ssim = sums / len(judge)
            scalars = {"psnr_y": psnr, "psnr_y_bicubic": bicubic_psnr, "ssim_y": ssim}
            return loop.Validation(psnr, scalars, pictures)

        return loop.Stage(
            name=STAGE0,
            initial=initial,
            loss=loss,
            frozen={},
            settings=settings,
            batches=photograph_folders.random_crops(
                train,
                batch_size=settings.batch_size // jax.process_count(),
                crop=crop,
                seed=self._seed(STAGE0),
                turn=settings.augment,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            ),
            key_of=_keys(train),
            validate=validate,
            data={"photographs": train.fingerprint, "validation photographs": judge.fingerprint},
        )

    def stage1(self) -> loop.Stage:
        reader = self._reader_at_hand(STAGE1)
        return self.super_resolver(STAGE1, self._sr_initial(), self.config.stage1, reader)

    def _sr_initial(self) -> Callable[[jax.Array], Variables]:
        start = self._stage1_start()
        if start is None:
            return self.sr.init

        def initial(key: jax.Array) -> Variables:
            # A file of EDSR holds no STN: a fresh one stands before it.
            drawn = self.sr.init(key)
            return {part: drawn[part] | start[part] for part in drawn}

        return initial

    def _stage1_start(self) -> Variables | None:
        """Where stage 1 begins but for the STN: this workdir's stage 0, else `config.init.sr`."""
        init, name = self.config.init.sr, self.config.sr.name
        if (self.workdir / STAGE0).exists():
            finished = loop.is_finished(self.workdir, STAGE0, self.config.stage0.steps)
            file = checkpoints.load_stage0(self.workdir, "sr") if finished else None
            if file is None:
                raise UserError(
                    f"{self.workdir}: stage0 has not run to its end there; run it first "
                    "(--config.stages=stage0) or delete its folder"
                )
            return file.variables
        if init:
            return checkpoints.load_start(init, STAGE1, "sr", name, self.sr.template)
        return None

    def super_resolver(
        self,
        name: str,
        initial: Callable[[jax.Array], Variables],
        settings: ConfigDict,
        reader: Variables | None,
    ) -> loop.Stage:
        """The SR model's stage; the parts of its loss are weighted as in stage 1.

        Args:
          reader: of the recogniser that reads SR validation images; None if there is none.
        """
        reader, frozen = self.layout.place(reader), self._focus_variables()
        return self._fed(
            name,
            settings,
            self.stage1_pairs,
            initial=initial,
            validate=self._sr_validation(lambda variables: (variables, reader)),
            frozen=frozen,
            attention=self._hr_attention(name, settings, frozen),
        )

    def joint(self) -> loop.Stage:
        sr, ocr = self._sr_initial(), self._load(PRETRAIN_OCR, "ocr", self.ocr)
        return self._fed(
            JOINT,
            self.config.joint,
            self.stage1_pairs,
            initial=lambda key: join(sr=sr(key), ocr=ocr),
            validate=self._sr_validation(lambda both: (part_of(both, "sr"), part_of(both, "ocr"))),
            frozen=self._focus_variables(),
        )

    def _focus_variables(self) -> Variables:
        if not steps.has_text_focus(self.config.stage1):
            return {}
        return self._load(PRETRAIN_FOCUS, "focus", self.focus)

    def _reader_at_hand(self, stage: str) -> Variables | None:
        """The recogniser that `config.init` names or that this workdir pre-trained, if any."""
        trained = loop.is_finished(self.workdir, PRETRAIN_OCR, self.config.pretrain.ocr.steps)
        if self.config.init.ocr or trained:
            return self._load(PRETRAIN_OCR, "ocr", self.ocr)
        _say(
            f"{stage}: no recogniser at hand (pre-training, config.init.ocr), so that PSNR alone "
            "chooses the model",
            file=sys.stderr,
        )
        return None

    def _sr_validation(
        self, models: Callable[[Variables], tuple[Variables, Variables | None]]
    ) -> Callable[[Variables], loop.Validation]:
        """Judges SR images by what is read in them, and between equals by their PSNR.

        Args:
          models: takes what is trained to the variables of the SR model and of the recogniser, or
            None where there is none; then nothing counts as read.
        """

        @jax.jit
        def compare(variables: Variables, batch: Batch) -> tuple[list[jax.Array], dict]:
            sr, hr = to_float(to_uint8(self.sr(variables, to_float(batch.lr)))), to_float(batch.hr)
            bicubic = to_float(to_uint8(enlarge(to_float(batch.lr))))
            scores = {
                "psnr": metrics.psnr(sr, hr),
                "psnr_bicubic": metrics.psnr(bicubic, hr),
                "ssim": metrics.ssim(sr, hr),
            }
            return [bicubic, sr, hr], scores

        def validate(trained: Variables) -> loop.Validation:
            variables, reader = models(trained)

            def judge(batch: Batch, labels: list[str]) -> _Scored:
                shown, scores = compare(variables, batch)
                words: Sequence[str] = ()
                if reader is not None:
                    more, words = self._scores_of_reading(reader, shown[1], labels)
                    scores = more | scores
                return scores, shown, words

            judged = self._judge(self.pairs.validation_splits, judge)
            score = [judged.means.get("accuracy", 0.0), judged.means["psnr"]]
            return judged.validation(score, "bicubic, SR, HR")

        return validate

    def _recognizer(
        self,
        name: str,
        initial: Callable[[jax.Array], Variables],
        settings: ConfigDict,
        source: Source,
        judge: dict[str, Source],
    ) -> loop.Stage:
        def validate(variables: Variables) -> loop.Validation:
            def read(batch: Batch, labels: list[str]) -> _Scored:
                images = to_float(batch.hr)
                scores, words = self._scores_of_reading(variables, images, labels)
                return scores, [images], words

            judged = self._judge(judge, read)
            return judged.validation(judged.means["accuracy"], "images")

        return self._fed(
            name,
            settings,
            source,
            initial=initial,
            validate=validate,
        )

    def _scores_of_reading(
        self, variables: Variables, images: jax.Array, labels: list[str]
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Of each image, in per cent: whether it is read as its label, how surely; and the word."""
        tokens, _, log_probability = meshes.gather(self._read(variables, images))
        words = text.decode_tokens(tokens)
        right = [word == text.normalize(label) for word, label in zip(words, labels, strict=True)]
        confidence = np.exp(np.asarray(log_probability, np.float64))
        return {"accuracy": 100.0 * np.array(right), "confidence": 100 * confidence}, words

    def _judge(
        self, splits: dict[str, Source], score: Callable[[Batch, list[str]], "_Scored"]
    ) -> "_Judged":
        """Scores all words of some splits.

        Args:
          splits: their words.
          score: takes a batch, split over all devices, and its labels to scores (batch,) by name,
            pictures, and what was read; these two may be empty.
        """
        found: dict[str, dict[str, float]] = {}
        pictures: Sequence[np.ndarray] = ()
        readings: list[tuple[str, str]] = []
        for name, source in splits.items():
            labels, sums = records.labels(source), collections.Counter()
            for batch in self._batches(source):
                stopping.check()
                words = [labels[index] for index in batch.index]
                scores, shown, read = score(self.layout.shard_whole(batch), words)
                if not pictures:
                    pictures = meshes.gather(list(shown))
                    readings = list(zip(words, read, strict=False))[:_PICTURES]
                for key, values in meshes.gather(scores).items():
                    sums[key] += float(values.astype(np.float64)[batch.valid].sum())
            found[name] = {key: total / len(source) for key, total in sums.items()}
        means = {
            key: float(np.mean([scores[key] for scores in found.values()]))
            for key in next(iter(found.values()))
        }
        if len(found) > 1 and "accuracy" in means:
            means |= {f"accuracy_{name}": scores["accuracy"] for name, scores in found.items()}
        return _Judged(means, pictures, readings)

    def _fed(
        self,
        name: str,
        settings: ConfigDict,
        source: Source,
        *,
        initial: Callable[[jax.Array], Variables],
        validate: Callable[[Variables], loop.Validation],
        frozen: Variables | None = None,
        attention: np.ndarray | None = None,
    ) -> loop.Stage:
        """A stage of words, and where its batches get their images: on the way, or from devices."""
        frozen = frozen or {}
        if settings.on_device:
            lr = records.images(source, "lr") if _reads_lr(name) else None
            frozen = steps.AtHand(frozen, lr, records.images(source, "hr"))
        batches = train_batches(
            source,
            batch_size=settings.batch_size // jax.process_count(),
            max_length=self.config.max_length,
            seed=self._seed(name),
            attention=attention,
            images=not settings.on_device,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return loop.Stage(
            name=name,
            initial=initial,
            loss=self._loss(name, settings),
            frozen=frozen,
            settings=settings,
            batches=batches,
            key_of=_keys(source),
            validate=validate,
            data=self._trained_on(name),
        )

    def _seed(self, name: str) -> int:
        """Of the order and the changes of a stage's training data."""
        return 3000 * self.config.seed + _number(name)

    @property
    def _evaluation_size(self) -> int:
        # As many as all devices share; what fills the last batch up is not counted.
        devices = jax.device_count()
        return -(-self.config.evaluation.batch_size // devices) * devices

    def _batches(self, source: Source) -> Any:
        return evaluation_batches(
            source,
            batch_size=self._evaluation_size,
            max_length=self.config.max_length,
        )

    def _load(self, stage: str, part: str, network: Network) -> Variables:
        """What `config.init` names for a part of the model, or this workdir's best of `stage`."""
        init = self.config.init[part]
        if init and part == "ocr":
            return self._recognizer_start(init, f"config.init.ocr={init}")
        if init:
            name = self.config[part].get("name", part)
            return checkpoints.load_start(init, stage, part, name, network.template)
        return self._best(stage, part, network)

    def _recognizer_start(self, init: str, place: str) -> Variables:
        """The recogniser that `config.init` names, grown where that is asked for."""
        config, network = self.config, self.ocr
        if config.init.grow:
            if is_parameter_file(init):
                raise UserError(
                    f"{place}: config.init.grow=True wants a workdir or a packed file, which say "
                    "how large their recogniser is"
                )
            smaller = configuration.load(init).ocr
            heads = [ocr.get("cdistnet", {}).get("heads") for ocr in (smaller, config.ocr)]
            if {smaller.name, config.ocr.name} != {"cdistnet"} or heads[0] != heads[1]:
                raise UserError(
                    f"{place}: config.init.grow=True wants a CDistNet of as many heads as "
                    f"config.ocr.cdistnet.heads={heads[1]}, there are {heads[0]}; set it False"
                )
            network = build_ocr(smaller)
        start = checkpoints.load_start(
            init, PRETRAIN_OCR, "ocr", config.ocr.name, network.template, place
        )
        if not config.init.grow:
            return start
        return growth.grow(start, self.ocr, jax.random.key(self._seed(PRETRAIN_OCR)), place)

    def _best(self, stage: str, part: str, network: Network) -> Variables:
        if not loop.is_finished(self.workdir, stage, _settings(self.config, stage).steps):
            raise UserError(
                f"{self.workdir}: {stage} has not run to its end there; run it first "
                f"(--config.stages) or name a model in config.init.{part}"
            )
        template = checkpoints.abstract(network.template)
        loaded = checkpoints.load_best(self.workdir, stage, template)
        if loaded is None:
            raise UserError(f"{self.workdir}: the model of {stage} is gone; run that stage again")
        return loaded[0]

    def _trained_sr(self) -> Variables:
        """The SR model that stage 2 reads through: stage 1's, or `config.init.sr` without it."""
        if not jax.tree.leaves(self.sr.template):
            return self.sr.template
        if self.config.init.sr and not (self.workdir / STAGE1).exists():
            return self._load(STAGE1, "sr", self.sr)
        return self._best(STAGE1, "sr", self.sr)

    def _sr_images(
        self, sr: Network, variables: Variables, name: str, source: Source
    ) -> np.ndarray:
        """SR images of a source, uint8 (len, 32, 128, 3): made once, then read from a file."""
        path = self.workdir / STAGE2 / f"sr_{name}.npy"
        made_from = self._made_from(STAGE2, variables)
        # All processes have to make them together, so that one answer counts.
        if self.layout.any(not caches.is_kept(path, made_from)):
            made = self.enlarge(sr, variables, source)
            if jax.process_index() == 0:
                fix = f"free {made.nbytes / 1e9:.1f} GB and run the same command again"
                with caches.keeping(path, made_from, fix) as file:
                    np.save(file, made)
        meshes.wait_for_all(str(path))
        return np.load(path, mmap_mode="r")

    def _made_from(self, stage: str, variables: Variables) -> str:
        """A digest of a model and of the words of a stage, from which a file of arrays is made."""
        return digests.of_json([digests.of_arrays(variables), self._trained_on(stage)])

    def enlarge(self, sr: Network, variables: Variables, source: Source) -> np.ndarray:
        """SR images of a source, uint8 (len, 32, 128, 3)."""
        enlarge_batch = jax.jit(lambda variables, lr: to_uint8(sr(variables, to_float(lr))))
        variables = self.layout.place(variables)
        lr, size = records.images(source, "lr"), self._evaluation_size
        starts = tqdm(
            range(0, len(lr), size),
            desc="SR images",
            leave=False,
            disable=True if jax.process_index() else None,
        )
        made = np.empty((len(lr), *records.HR_SHAPE), np.uint8)
        for start in starts:
            stopping.check()
            part = lr[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            images = enlarge_batch(variables, self.layout.shard_whole(filled))
            made[start : start + size] = meshes.gather(images)[: len(part)]
        return made

    def _hr_attention(
        self, name: str, settings: ConfigDict, frozen: Variables
    ) -> np.ndarray | None:
        """The text-focus recogniser's attention to the HR images of training, from a file.

        Made once, where that saves work: where augmentation leaves the images as they are, steps
        see more images than there are, and the file is within `stage1.hr_cache_gb`.

        Returns:
          float32 (len, heads, steps, positions), memory-mapped; None where steps compute it.
        """
        if not frozen:
            return None
        source = self.stage1_pairs

        def attend(frozen: Variables, hr: np.ndarray, characters: np.ndarray) -> jax.Array:
            inputs, _, _ = text.focus_tokens(characters)
            return self.focus(frozen, to_gray(to_float(hr)), inputs)[1]

        one = jax.ShapeDtypeStruct((1, *records.HR_SHAPE), np.uint8)
        word = jax.ShapeDtypeStruct((1, self.config.max_length), np.int32)
        shape = (len(source), *jax.eval_shape(attend, frozen, one, word).shape[1:])
        if (
            settings.augment
            or settings.steps * settings.batch_size <= len(source)
            or 4 * math.prod(shape) > 1e9 * self.config.stage1.hr_cache_gb
        ):
            return None
        path = self.workdir / name / "hr_attention.npy"
        made_from = self._made_from(name, frozen)
        if jax.process_index() == 0 and not caches.is_kept(path, made_from):
            attend = jax.jit(attend)
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            batches = tqdm(
                self._batches(source),
                total=-(-len(source) // self._evaluation_size),
                desc="HR attention",
                leave=False,
                disable=None,
            )
            size = 4 * math.prod(shape) / 1e9
            fix = f"free {size:.1f} GB or set config.stage1.hr_cache_gb=0"
            with caches.keeping(path, made_from, fix) as file:
                np.lib.format.write_array_header_2_0(file, header)
                for batch in batches:
                    made = np.asarray(attend(frozen, batch.hr, batch.characters))
                    file.write(made[batch.valid].astype("<f4").tobytes())
        meshes.wait_for_all(str(path))
        return np.load(path, mmap_mode="r")


def _reads_lr(stage: str) -> bool:
    """Whether a stage's loss reads LR images; a recogniser's reads HR ones alone."""
    return stage.startswith((STAGE1, FINETUNE_SR, JOINT))


def _tiles(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The first images of each column side by side: uint8 (height, width, 3)."""
    stacked = [np.concatenate(np.asarray(to_uint8(images[:_PICTURES]))) for images in columns]
    return np.concatenate(stacked, axis=1)


def _keys(source: Any) -> Callable[[int], str]:
    return lambda number: records.keys(source)[number]


# Scores (batch,) by name, pictures as columns of images in [0, 1], and words that were read.
_Scored = tuple[dict[str, Any], Sequence[jax.Array], Sequence[str]]


class _Judged(NamedTuple):
    """Validation words judged: what `_Training._judge` returns.

    Attributes:
      means: of each score the plain mean over splits of the split's mean; of several splits the
        accuracy of each too.
      pictures: the first batch's, columns of images in [0, 1].
      readings: labels and what was read of them.
    """

    means: dict[str, float]
    pictures: Sequence[np.ndarray]
    readings: Sequence[tuple[str, str]]

    def validation(self, score: float | list[float], columns: str = "") -> loop.Validation:
        pictures, texts = {}, {}
        if columns:
            pictures[columns] = _tiles(self.pictures)
        if self.readings:
            rows = [f"| {label} | {word} |" for label, word in self.readings]
            texts["readings"] = "\n".join(["| label | read |", "| --- | --- |", *rows])
        return loop.Validation(score, self.means, pictures, texts)
