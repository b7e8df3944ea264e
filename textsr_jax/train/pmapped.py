"""The training step under `jax.pmap`: each device sees its own rows of the batch, and no others.

What a device has to know of the others stands here and in `steps.make_step`; no loss knows of them.
"""

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_2x32, threefry_prng_impl

from textsr_jax.data.batching import Batch

# The name of the mapped axis.
DEVICES = "devices"
_WIDTHS = {8: np.uint8, 16: np.uint16, 32: np.uint32}


def over_devices(
    step: Callable[[Any, Any, Any], tuple[Any, Any]], devices: Sequence[jax.Device]
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """A function of whole batches that runs `step` by `jax.pmap`.

    It can be part of a function that `jax.jit` compiles: `pmap` is made of `jit` and
    `jax.shard_map` since JAX 0.8, so that nothing moves between the two.

    Args:
      step: of `steps.make_step` with `pmap=True`.
      devices: of this process; their number divides the batch. Device i gets the i-th of equal
        parts of it, and all of the other two arguments.
    """
    mapped = jax.pmap(
        step, axis_name=DEVICES, in_axes=(None, None, 0), out_axes=None, devices=devices
    )

    def whole_step(state: Any, frozen: Any, batch: Any) -> tuple[Any, Any]:
        rows = jax.tree.map(lambda a: a.reshape(len(devices), -1, *a.shape[1:]), batch)
        return mapped(state, frozen, rows)

    return whole_step


def with_whole(batch: Any) -> Any:
    """A device's part of a batch of words that knows the whole batch's characters.

    Losses take their means over these (`Batch.whole`). Other batches stay as they are.
    """
    if not isinstance(batch, Batch):
        return batch
    return batch.replace(whole=jax.lax.all_gather(batch.characters, DEVICES, tiled=True))


def row_key(key: jax.Array, index: jax.Array, rows: int) -> jax.Array:
    """A key whose random arrays are a device's rows of those that `key` draws for all devices.

    The leading axis of every array that is drawn with it, or with keys made of it, is the batch.
    Keys are split and folded as those of `key` are.

    Args:
      key: of JAX's standard kind, Threefry; a scalar.
      index: which of the equal parts of the batch the device has, from 0.
      rows: how many rows a device has.

    Raises:
      ValueError: while a function is traced that draws an array whose leading axis is not the
        batch, or one of 2^32 numbers or more.
    """
    data = jnp.append(jax.random.key_data(key), index.astype(jnp.uint32))
    return jax.random.wrap_key_data(data, impl=_row_draws(rows))


@functools.cache
def _row_draws(rows: int) -> Hashable:
    """JAX's Threefry for keys with a third number: the place of the device's rows in the batch."""

    def seed(seed: jax.Array) -> jax.Array:
        return jnp.append(threefry_prng_impl.seed(seed), jnp.uint32(0))

    def fold_in(key: jax.Array, data: int) -> jax.Array:
        return jnp.append(threefry_prng_impl.fold_in(key[:2], data), key[2])

    def split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        keys = threefry_prng_impl.split(key[:2], shape)
        return jnp.concatenate([keys, jnp.broadcast_to(key[2], (*shape, 1))], axis=-1)

    def random_bits(key: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
        size = math.prod(shape)
        if shape[:1] != (rows,) or size >= 2**32 or width not in _WIDTHS:
            raise ValueError(
                f"a random array of shape {shape} and {width} bits under pmap: its leading axis "
                f"must be the {rows} rows of the batch that a device has"
            )
        # Number i of an array is the hash of (key, i), wherever it is computed: with
        # jax_threefry_partitionable, which is JAX's default.
        low = key[2] * np.uint32(size) + jax.lax.iota(np.uint32, size)
        bits = threefry_2x32((key[0], key[1]), jnp.concatenate([jnp.zeros_like(low), low]))
        return (bits[:size] ^ bits[size:]).astype(_WIDTHS[width]).reshape(shape)

    return define_prng_impl(
        key_shape=(3,),
        seed=seed,
        split=split,
        random_bits=random_bits,
        fold_in=fold_in,
        name=f"rows_of_{rows}",
        tag="rows",
    )
