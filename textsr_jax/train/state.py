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
    """A pytree. `step` counts finished steps; `key` is the raw data of the stage's random key."""

    step: jax.Array
    params: dict[str, Any]
    stats: dict[str, Any]
    opt_state: optax.OptState
    key: jax.Array

    @property
    def variables(self) -> Variables:
        return {"params": self.params, "stats": self.stats}


def create(
    variables: Variables, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
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
