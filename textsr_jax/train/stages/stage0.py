"""Stage 0: trains the resampler and EDSR on photographs, as a start for stage 1.

"Learned image downscaling for upscaling using content adaptive resampler" (Sun and Chen, 2020).
"""

import functools

import jax

from textsr_jax import data
from textsr_jax.data import photograph_folders
from textsr_jax.data.photograph_folders import Photographs
from textsr_jax.models import Network, Variables, build_rescaler
from textsr_jax.storage import checkpoints
from textsr_jax.train import loop, names, steps
from textsr_jax.train.judges import PhotographJudge
from textsr_jax.train.specs import Outline, StageSpec
from textsr_jax.train.training import Training


def _learns(training: Training) -> tuple[Network, steps.Loss]:
    config = training.config
    rescaler = training.placement.synchronized(build_rescaler(config.resampler, config.sr))
    return rescaler, steps.rescaling_loss(rescaler, config.stage0)


def _photographs(training: Training) -> tuple[Photographs, Photographs]:
    """The photographs to learn from, and those that are held out."""
    config = training.config
    return data.load_photographs(config.photographs, config.data.data_dir, config.stage0.crop)


def _make(training: Training, spec: StageSpec) -> loop.Stage:
    settings = training.config.stage0
    train, held_out = _photographs(training)
    rescaler, loss = spec.learns(training)
    starts = _starts(training, spec, rescaler)

    def initial(key: jax.Array) -> Variables:
        drawn = rescaler.init(key)
        return drawn | {"params": drawn["params"] | starts}

    return loop.Stage(
        name=spec.name,
        initial=initial,
        loss=loss,
        frozen={},
        settings=settings,
        batches=photograph_folders.random_crops(
            train,
            batch_size=settings.batch_size // jax.process_count(),
            crop=settings.crop,
            seed=spec.data_seed(training.config),
            turn=settings.augment,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        key_of=functools.partial(_key, train),
        judge=PhotographJudge(training, rescaler, held_out, settings.crop),
        data={"photographs": train.fingerprint, "validation photographs": held_out.fingerprint},
        dtype=spec.dtype(training.config),
    )


def _starts(training: Training, spec: StageSpec, rescaler: Network) -> dict[str, Variables]:
    """Parameters that `config.init` names, by the network's name in the rescaler."""
    config, found = training.config, {}
    if config.init.sr:
        name = config.sr.name
        file = checkpoints.load_start(
            config.init.sr, names.STAGE1, "sr", name, training.sr.template
        )
        found[name] = file["params"][name]
    if config.init.resampler:
        template = {"params": rescaler.template["params"]["resampler"], "stats": {}}
        file = checkpoints.load_start(
            config.init.resampler, spec.name, "resampler", "resampler", template
        )
        found["resampler"] = file["params"]
    return found


def _key(photographs: Photographs, number: int) -> str:
    return photographs.keys[number]


def _outline(training: Training, spec: StageSpec) -> Outline:
    settings = training.config.stage0
    network, loss = spec.learns(training)
    photographs, _ = _photographs(training)
    return Outline(
        name=spec.name,
        settings=settings,
        network=network,
        loss=loss,
        frozen={},
        batch=photograph_folders.shapes(settings.batch_size, settings.crop),
        records=len(photographs),
        dtype=spec.dtype(training.config),
    )


SPEC = StageSpec(
    name=names.STAGE0,
    seed=6,
    settings="stage0",
    chosen_by="stage0",
    about="the resampler and EDSR on photographs",
    reads=("hr",),
    words=None,
    learns=_learns,
    make=_make,
    outline=_outline,
    computes="sr",
)
