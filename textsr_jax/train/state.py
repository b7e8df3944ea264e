"""What a training step reads and returns: parameters, statistics, optimiser state, random key."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from textsr_jax.config.settings import Optimization
from textsr_jax.models import Variables
from textsr_jax.models.located import READER
from textsr_jax.models.text_prior import PRIOR


class TrainState(flax.struct.PyTreeNode):
    """What a step takes over and returns; a pytree.

    Attributes:
      step: the number of finished steps.
      params, stats: the parameters that are trained, and the statistics of BatchNorms.
      average: the exponential moving average of `params`; empty if none is kept.
      opt_state: the optimiser's state.
      key: the raw data of the stage's random key.
    """

    step: jax.Array
    params: dict[str, Any]
    average: dict[str, Any]
    stats: dict[str, Any]
    opt_state: optax.OptState
    key: jax.Array

    @property
    def variables(self) -> Variables:
        """What is validated and kept: the average if there is one, else the last weights."""
        return {"params": self.average or self.params, "stats": self.stats}


def create(
    variables: Variables,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    averaged: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
      variables: the variables to start from.
      optimizer: its state is made here.
      key: the stage's random key.
      averaged: whether a moving average of the weights is kept.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        # A copy: a step takes over its state's arrays, and no array twice.
        average=jax.tree.map(jnp.copy, variables["params"]) if averaged else {},
        stats=variables["stats"],
        opt_state=optimizer.init(variables["params"]),
        key=jax.random.key_data(key),
    )


# The values of `schedule` in a stage's config.
SCHEDULES = ("cosine", "constant", "noam")


def schedule(config: Optimization) -> optax.Schedule:
    """The learning rate of a stage as a function of the number of steps made before.

    The part `warmup` of the stage's `steps` raises the rate linearly to `learning_rate`. Then
    "cosine" lowers it to a hundredth at the last step, and "constant" keeps it. "noam" lowers it
    with the inverse square root of the step, as "Attention is all you need" (Vaswani et al., 2017);
    with the peak width^-0.5 warm-up^-0.5 the numbers are the paper's. From the part `final_from`
    on, the rate is `final_learning_rate` under every schedule; 1 means never.

    Raises:
      ValueError: `schedule` is not one of `SCHEDULES`.
    """
    peak, warmup = config.learning_rate, round(config.warmup * config.steps)
    if config.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=peak,
            warmup_steps=warmup,
            decay_steps=config.steps,
            end_value=peak / 100,
        )
    elif config.schedule == "constant":

        def rate(count: jax.Array) -> jax.Array:
            return peak * jnp.minimum(1.0, count / warmup if warmup else 1.0)

    elif config.schedule == "noam":

        def rate(count: jax.Array) -> jax.Array:
            # Steps are counted from 1, as published.
            along = (count + 1) / max(1, warmup)
            return peak * jnp.minimum(along, 1 / jnp.sqrt(along))

    else:
        raise ValueError(f"schedule={config.schedule!r} is not one of {SCHEDULES}")
    if config.final_from == 1:
        return rate
    last = round(config.final_from * config.steps)
    return lambda count: jnp.where(count < last, rate(count), config.final_learning_rate)


def _clip(most: float) -> optax.GradientTransformation:
    """Scales gradients whose global norm is above `most` down to it, by one factor.

    The recognisers that guide an SR model (`models.text_prior`) are neither counted nor scaled, as
    published. That of LEMMA is, as published.

    `optax.clip_by_global_norm` divides each value instead (optax 0.2.8); with it XLA's Adam takes
    1.8 times as long on a CPU. PyTorch's `clip_grad_norm_` multiplies too.
    """

    def clip(gradient: optax.Updates, state: Any, params: Any = None) -> tuple[Any, Any]:
        free = {PRIOR: gradient[PRIOR]} if PRIOR in gradient else {}
        bound = {name: branch for name, branch in gradient.items() if name not in free}
        factor = jnp.minimum(1.0, most / optax.tree.norm(bound))
        return jax.tree.map(lambda leaf: leaf * factor, bound) | free, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), clip)


def _slow_reader(rate: float) -> optax.GradientTransformation:
    """Multiplies the updates of the recogniser inside LEMMA (`models.located`) by `rate`."""

    def slow(updates: optax.Updates, state: Any, params: Any = None) -> tuple[Any, Any]:
        slowed = jax.tree.map(lambda leaf: rate * leaf, updates.get(READER, {}))
        return updates | ({READER: slowed} if slowed else {}), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), slow)


def make_optimizer(config: Optimization) -> optax.GradientTransformation:
    """Clips the gradient's global norm (`_clip`), then Adam; AdamW if `weight_decay` is not 0.

    In stage 1 `reader_rate` scales the learning rate of the recogniser inside LEMMA.
    """
    steps = [
        _clip(config.clip),
        optax.adamw(
            schedule(config),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
        ),
    ]
    # Stage 1 alone has it. Where it is 1, states are as those of runs that are older than it.
    if (rate := config.get("reader_rate", 1)) != 1:
        steps.append(_slow_reader(rate))
    return optax.chain(*steps)
