"""Winograd's algorithm for 3x3 convolutions and their gradients: F(2x2, 3x3).

"Fast algorithms for convolutional neural networks" (Lavin and Gray, 2016), section 4.1.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

# Of arrays, along one axis of pixels or of a kernel's taps.
Transform = Callable[[Sequence[jax.Array]], tuple[jax.Array, ...]]

# A part of a batch has some so many bytes of transformed pixels: more leave a CPU's caches. Where
# transformed kernels are as large, more pixels are worth the time that reading them takes.
_PART_BYTES = 1 << 22


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 3x3 convolution of stride 1 that keeps the image size, with zeros outside the image.

    2x2 pixels of the result take 16 products of pixels and kernels instead of 36. Rounding errors
    are a few units in the last place of float32. Coarser dtypes lose more.

    Args:
      x: float (batch, H, W, inputs).
      kernel: float (3, 3, inputs, outputs).

    Returns:
      float (batch, H, W, outputs).
    """
    height, width = x.shape[1:3]
    kernels = _transformed_kernels(kernel)

    def of_part(x: jax.Array) -> jax.Array:
        tiles = zip(_transformed_inputs(x), kernels, strict=True)
        rows = _along_both(_outputs, [_times(tile, taps) for tile, taps in tiles])
        return _interleaved([_interleaved(row, axis=2) for row in rows], axis=1)

    x = _to_even(x)
    return _in_parts(of_part, x, _parts(x, *kernel.shape[2:]))[:, :height, :width]


def input_gradient(kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The gradient of `convolution` by its input, by the transposed algorithm.

    Args:
      kernel: float (3, 3, inputs, outputs).
      cotangent: float (batch, H, W, outputs).

    Returns:
      float (batch, H, W, inputs).
    """
    height, width = cotangent.shape[1:3]
    kernels = _transformed_kernels(kernel)

    def of_part(cotangent: jax.Array) -> jax.Array:
        tiles = zip(_transformed_cotangents(cotangent), kernels, strict=True)
        rows = _along_both(_neighbourhood, [_times(tile, taps.T) for tile, taps in tiles])
        return _overlaid([_overlaid(row, axis=2) for row in rows], axis=1)

    cotangent = _to_even(cotangent)
    parts = _parts(cotangent, *kernel.shape[2:])
    return _in_parts(of_part, cotangent, parts)[:, :height, :width]


def kernel_gradient(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The gradient of `convolution` by its kernel, by the transposed algorithm.

    Args:
      x: float (batch, H, W, inputs).
      cotangent: float (batch, H, W, outputs).

    Returns:
      float (3, 3, inputs, outputs).
    """
    x, cotangent = _to_even(x), _to_even(cotangent)

    def of_part(x: jax.Array, cotangent: jax.Array) -> list[jax.Array]:
        tiles = zip(_transformed_inputs(x), _transformed_cotangents(cotangent), strict=True)
        return [_flat(tile).T @ _flat(given) for tile, given in tiles]

    def add(
        total: list[jax.Array], part: tuple[jax.Array, jax.Array]
    ) -> tuple[list[jax.Array], None]:
        return jax.tree.map(jnp.add, total, of_part(*part)), None

    inputs, outputs = x.shape[-1], cotangent.shape[-1]
    parts = _parts(x, inputs, outputs)
    if parts == 1:
        products = of_part(x, cotangent)
    else:
        split = (
            x.reshape(parts, -1, *x.shape[1:]),
            cotangent.reshape(parts, -1, *cotangent.shape[1:]),
        )
        products = jax.lax.scan(add, [jnp.zeros((inputs, outputs), x.dtype)] * 16, split)[0]
    return jnp.stack([jnp.stack(row) for row in _along_both(_taps, products)])


def _parts(images: jax.Array, inputs: int, outputs: int) -> int:
    """In how many parts, one after another, a batch is computed."""
    batch, height, width, _ = images.shape
    # Each 2x2 pixels become 16 numbers of every channel, of 4 bytes each, and so does a kernel.
    size = 16 * height * width * (inputs + outputs)
    most = max(1, max(_PART_BYTES, 4 * 64 * inputs * outputs) // size)
    return next(count for count in range(-(-batch // most), batch + 1) if batch % count == 0)


def _in_parts(function: Callable[[jax.Array], jax.Array], x: jax.Array, parts: int) -> jax.Array:
    if parts == 1:
        return function(x)
    made = jax.lax.map(function, x.reshape(parts, -1, *x.shape[1:]))
    return made.reshape(-1, *made.shape[2:])


def _to_even(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))


def _flat(tile: jax.Array) -> jax.Array:
    return tile.reshape(-1, tile.shape[-1])


def _times(tile: jax.Array, taps: jax.Array) -> jax.Array:
    return (_flat(tile) @ taps).reshape(*tile.shape[:-1], -1)


def _along_both(transform: Transform, tiles: Sequence[jax.Array]) -> list[tuple[jax.Array, ...]]:
    """Applies `transform` to 4x4 arrays along both axes; gives its results row by row."""
    columns = [transform(tiles[column::4]) for column in range(4)]
    return [transform(row) for row in zip(*columns, strict=True)]


# The paper's matrices B, G and A, and what gradients need: each of them transposed.


def _transformed_inputs(x: jax.Array) -> list[jax.Array]:
    """B^T x B of the 4x4 pixels around each 2x2, 16 arrays of (batch, H / 2, W / 2, inputs)."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def along(x: jax.Array, axis: int) -> tuple[jax.Array, ...]:
        end = x.shape[axis] - 3
        before, first, second, after = (
            jax.lax.slice_in_dim(x, start, end + start, 2, axis) for start in range(4)
        )
        return before - second, first + second, second - first, first - after

    return [tile for rows in along(x, 1) for tile in along(rows, 2)]


def _transformed_kernels(kernel: jax.Array) -> list[jax.Array]:
    """G k G^T, 16 arrays of (inputs, outputs)."""

    def along(taps: jax.Array) -> tuple[jax.Array, ...]:
        first, middle, last = taps
        outer = first + last
        return first, 0.5 * (outer + middle), 0.5 * (outer - middle), last

    return [taps for rows in along(kernel) for taps in along(rows)]


def _transformed_cotangents(cotangent: jax.Array) -> list[jax.Array]:
    """A y A^T of each 2x2 pixels, 16 arrays of (batch, H / 2, W / 2, outputs)."""

    def along(x: jax.Array, axis: int) -> tuple[jax.Array, ...]:
        first, second = (jax.lax.slice_in_dim(x, start, None, 2, axis) for start in range(2))
        return first, first + second, first - second, -second

    return [tile for rows in along(cotangent, 1) for tile in along(rows, 2)]


def _outputs(tiles: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """A^T: two pixels."""
    return tiles[0] + tiles[1] + tiles[2], tiles[1] - tiles[2] - tiles[3]


def _taps(tiles: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """G^T: three taps."""
    both = 0.5 * (tiles[1] + tiles[2])
    return tiles[0] + both, 0.5 * (tiles[1] - tiles[2]), tiles[3] + both


def _neighbourhood(tiles: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """B: the four pixels from before the two to after them."""
    inner = tiles[1] + tiles[2]
    return tiles[0], tiles[1] - tiles[2] + tiles[3], inner - tiles[0], -tiles[3]


def _interleaved(pixels: Sequence[jax.Array], axis: int) -> jax.Array:
    """Every second pixel along an axis from each of two arrays."""
    stacked = jnp.stack(pixels, axis + 1)
    return stacked.reshape(*stacked.shape[:axis], -1, *stacked.shape[axis + 2 :])


def _overlaid(pixels: Sequence[jax.Array], axis: int) -> jax.Array:
    """The sums of overlapping neighbourhoods of four pixels, without the image's border."""
    before, first, second, after = pixels
    count = first.shape[axis]
    edge = jnp.zeros_like(jax.lax.slice_in_dim(first, 0, 1, 1, axis))
    from_left = jnp.concatenate([edge, jax.lax.slice_in_dim(after, 0, count - 1, 1, axis)], axis)
    from_right = jnp.concatenate([jax.lax.slice_in_dim(before, 1, count, 1, axis), edge], axis)
    return _interleaved([first + from_left, second + from_right], axis)
