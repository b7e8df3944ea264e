"""What a training step reads and returns: parameters, statistics, optimiser state, random key."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from textsr_jax.models import Variables


@flax.struct.dataclass
class TrainState:
    """A pytree.

    Attributes:
      step: counts finished steps.
      params, stats: what is trained, and the statistics of its BatchNorms.
      average: exponential moving average of `params`; empty where none is kept.
      opt_state: of the optimiser.
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
        """What is validated and kept: the average where there is one, else the last weights."""
        return {"params": self.average or self.params, "stats": self.stats}


def create(
    variables: Variables,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    averaged: bool = False,
) -> TrainState:
    """The state before the first step; `averaged`: with a moving average of the weights."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        # A copy: a step takes its state's arrays over, each of them once.
        average=jax.tree.map(jnp.copy, variables["params"]) if averaged else {},
        stats=variables["stats"],
        opt_state=optimizer.init(variables["params"]),
        key=jax.random.key_data(key),
    )


def schedule(config: ConfigDict) -> optax.Schedule:
    """Linear warm-up to `learning_rate`, then a cosine down to a hundredth of it."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=round(config.warmup * config.steps),
        decay_steps=config.steps,
        end_value=config.learning_rate / 100,
    )


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Adam (AdamW where `weight_decay` is not 0) behind a clip of the gradient's global norm."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule(config), b1=config.b1, b2=config.b2, weight_decay=config.weight_decay),
    )
