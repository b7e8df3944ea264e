"""Training losses: text-focus, learned downscaling, and the cross-entropies of recognition.

Pure functions on arrays; they work inside jit and under any sharding of the batch.

Some losses are means over characters, steps or words, of which equal parts of a batch hold unequal
numbers. Where a part is seen alone, `whole` holds those of the whole batch (accumulation), and
`axis_name` names the axis of devices (`jax.pmap`): the plain mean of what parts and devices return
is then the loss of the whole batch, and the mean of their gradients its gradient.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from textsr_jax import text
from textsr_jax.errors import UserError

# Weights of the text-focus loss's parts beside the MSE, as published.
POSITION_WEIGHT = 10
RECOGNITION_WEIGHT = 0.0005


def mse(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """Mean squared error over a batch of images of one shape; a float32 scalar."""
    return jnp.mean((sr - hr) ** 2)


def log_mse(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """Natural logarithm of each image's mean squared error, mean over the batch; a float32 scalar.

    It falls as the mean PSNR rises, by 0.23 a dB ("Simple baselines for image restoration", Chen et
    al., 2022, trains so), where `mse` is mostly that of the worst images. Around errors of 0.01, as
    small words have, its gradient is some 100 times that of `mse`. Images of over 50 dB, such as
    plain ones, hardly count.

    Args:
      sr, hr: float (batch, H, W, C) in [0, 1].
    """
    return jnp.log(jnp.mean((sr - hr) ** 2, axis=(1, 2, 3)) + 1e-5).mean()


# What the names in a config stand for.
IMAGE_ERRORS = {"mse": mse, "log_mse": log_mse}


def position_loss(
    sr_attention: jax.Array,
    hr_attention: jax.Array,
    mask: jax.Array | None = None,
    *,
    whole: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Mean absolute difference of two attention maps, float (batch, heads, steps, positions).

    The published code pads a batch's labels to the longest of them and averages over all steps, a
    shorter label's padded steps included. `mask`, float (batch, steps), 1 up to a label's end
    (`text.focus_tokens`), tells how many those are, so that labels may be padded further at no
    change of the loss. None averages over all steps there are. `whole` is the mask of the whole
    batch, whose longest label counts; None where `mask` is it.
    """
    difference = jnp.abs(sr_attention - hr_attention).mean(axis=(0, 1, 3))
    if mask is None:
        return difference.mean()
    steps = (mask if whole is None else whole).max(axis=0)
    if axis_name is not None:
        steps = jax.lax.pmax(steps, axis_name)
    return (difference * steps).sum() / steps.sum()


def weight_table(confusion: np.ndarray) -> np.ndarray:
    """Weights of character confusions for `weighted_cross_entropy`.

    Follows the published text-focus loss, its quirk on the diagonal included. A weight is 1 / count
    and 1 where the count is 0: rare confusions weigh most. A true letter has the row of its second
    block; a predicted letter has the larger weight of its two columns, but on the diagonal that of
    its first block's column alone.

    Args:
      confusion: counts (62, 62), rows true and columns predicted characters: 10 digits, 26 letters
        of the first block (upper case), 26 letters of the second (lower case).

    Returns:
      float32 (37, 37), entry [c, j] for true class c and predicted class j, the classes of
      `text.focus_tokens`. The end, class 0, has weight 1 everywhere.

    Raises:
      UserError: `confusion` has another shape, or entries that cannot be counts.
    """
    confusion = np.asarray(confusion, np.float64)
    if confusion.shape != (62, 62):
        raise UserError(
            f"confusion matrix: its shape is {confusion.shape}, not (62, 62); give counts for 10 "
            "digits, 26 upper case and 26 lower case letters"
        )
    if not (np.isfinite(confusion).all() and (confusion >= 0).all()):
        raise UserError("confusion matrix: an entry is negative or not finite; give counts")
    inverse = np.divide(1, confusion, out=np.ones_like(confusion), where=confusion > 0)
    rows = np.concatenate([inverse[:10], inverse[36:]])
    digits, upper, lower = np.split(rows, (10, 36), axis=1)
    letters = np.maximum(upper, lower)
    diagonal = np.arange(26)
    letters[10 + diagonal, diagonal] = upper[10 + diagonal, diagonal]
    weights = np.ones((text.NUM_FOCUS_CLASSES, text.NUM_FOCUS_CLASSES), np.float32)
    weights[1:, 1:] = np.concatenate([digits, letters], axis=1)
    return weights


def weighted_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    weights: jax.Array | None = None,
    *,
    whole: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """The recognition part of the text-focus loss, averaged over all characters of the batch.

    -log(w[c, c] e^p_c / sum_j w[c, j] e^p_j) for logits p and the true class c.

    Args:
      logits: float (batch, steps, classes).
      targets: int32 (batch, steps).
      mask: float (batch, steps), 1 where a character counts (the end does), else 0.
      weights: positive w, float (classes, classes), as of `weight_table`; None is 1 everywhere.
      whole: the mask of the whole batch; None where `mask` is it.
    """
    if weights is not None:
        logits = logits + jnp.log(jnp.asarray(weights))[targets]
    losses = -_true_log_probability(logits, targets)
    return (losses * mask).sum() / share_of_count(mask, whole, axis_name)


def text_focus_loss(
    sr: jax.Array,
    hr: jax.Array,
    recognize: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    weights: jax.Array | None = None,
    *,
    hr_attention: jax.Array | None = None,
    image_error: Callable[[jax.Array, jax.Array], jax.Array] = mse,
    position_weight: float = POSITION_WEIGHT,
    recognition_weight: float = RECOGNITION_WEIGHT,
    whole: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The text-focus loss of "Scene text telescope": MSE + 10 position + 0.0005 recognition.

    A frozen recogniser reads SR and HR; SR shall draw its attention where HR does, and be read as
    the label. Gradients reach `sr` only. The published training multiplies the total by 100.

    Args:
      sr, hr: float (batch, 32, 128, 3), RGB in [0, 1].
      recognize: the recogniser over its frozen parameters: takes such images and `inputs`, returns
        logits (batch, steps, 37) and attention maps (batch, heads, steps, positions).
      inputs, targets, mask: (batch, steps) each, as of `text.focus_tokens`.
      weights: as of `weight_table`; None weighs all confusions alike.
      hr_attention: what `recognize(hr, inputs)[1]` gives, if it is known already.
      image_error: of SR and HR, in the total: `mse` as published, or `log_mse`.
      position_weight, recognition_weight: of these parts in the total; the published ones.
      whole: the mask of the whole batch; None where `mask` is it.

    Returns:
      The total, and its parts before weighting: {"mse", "position", "recognition"}; scalars.
    """
    if hr_attention is None:
        hr_attention = recognize(jax.lax.stop_gradient(hr), inputs)[1]
    logits, attention = recognize(sr, inputs)
    parts = {
        "mse": mse(sr, jax.lax.stop_gradient(hr)),
        "position": position_loss(
            attention, jax.lax.stop_gradient(hr_attention), mask, whole=whole, axis_name=axis_name
        ),
        "recognition": weighted_cross_entropy(
            logits, targets, mask, weights, whole=whole, axis_name=axis_name
        ),
    }
    total = (
        image_error(sr, jax.lax.stop_gradient(hr))
        + position_weight * parts["position"]
        + recognition_weight * parts["recognition"]
    )
    return total, parts


def offset_distance(offsets_h: jax.Array, offsets_v: jax.Array) -> jax.Array:
    """How far the resampler's taps are moved: they shall stay where they are without a reason.

    "Learned image downscaling for upscaling using content adaptive resampler" (Sun and Chen, 2020):
    of each kernel, the sum over its taps (i, j) of w(i, j) sqrt(dx^2 + dy^2), where w is the
    distance of (i, j), counted from 0, to (m / 2, m / 2), divided by m / sqrt(2), for m x m taps.
    As printed, that middle is half a tap behind the central one. The paper's constant, 1 a tap, is
    left out: it has no gradient.

    Args:
      offsets_h, offsets_v: float (batch, h, w, m m), to the right and down, in units of the scale.

    Returns:
      The mean over all kernels, in the same units; a scalar. Its gradient is 0 at offsets of 0.
    """
    size = math.isqrt(offsets_h.shape[-1])
    place = np.arange(size) - size / 2
    weights = np.hypot(place[:, None], place) / (size / math.sqrt(2))
    squared = offsets_h**2 + offsets_v**2
    moved = squared > 0
    # The square root has no gradient at 0, and 0 times infinity would be NaN.
    distance = jnp.where(moved, jnp.sqrt(jnp.where(moved, squared, 1)), 0)
    return (distance * weights.reshape(-1).astype(np.float32)).sum(axis=-1).mean()


def offset_variation(kernels: jax.Array, offsets_h: jax.Array, offsets_v: jax.Array) -> jax.Array:
    """The partial total variation of the resampler's offsets: neighbours shall move alike.

    Follows the same paper: the change of `offsets_h` from each row to the next and of `offsets_v`
    from each column to the next (these make edges jagged), each tap weighted by the first one's
    kernel. The paper sums over the kernels of an image; here the sum is divided by their number, so
    that its weight does not depend on the size of the crops.

    Args:
      kernels: float (batch, h, w, taps), with sum 1.
      offsets_h, offsets_v: as of `offset_distance`.

    Returns:
      The mean over the batch, in the units of the offsets; a scalar.
    """
    batch, height, width, _ = kernels.shape
    down = jnp.abs(offsets_h[:, 1:] - offsets_h[:, :-1]) * kernels[:, :-1]
    right = jnp.abs(offsets_v[:, :, 1:] - offsets_v[:, :, :-1]) * kernels[:, :, :-1]
    return (down.sum() + right.sum()) / (batch * height * width)


def rescaling_loss(
    sr: jax.Array,
    hr: jax.Array,
    kernels: jax.Array,
    offsets_h: jax.Array,
    offsets_v: jax.Array,
    *,
    distance_weight: float,
    variation_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a resampler and the network that enlarges its images: L1 and two regularisers.

    Args:
      sr, hr: float (batch, H, W, 3), RGB in [0, 1].
      kernels, offsets_h, offsets_v: as of `offset_variation`.
      distance_weight, variation_weight: of `offset_distance` and `offset_variation` in the total.

    Returns:
      The total, and its parts before weighting: {"l1", "offset_distance", "offset_variation"};
      scalars.
    """
    parts = {
        "l1": jnp.abs(sr - hr).mean(),
        "offset_distance": offset_distance(offsets_h, offsets_v),
        "offset_variation": offset_variation(kernels, offsets_h, offsets_v),
    }
    total = (
        parts["l1"]
        + distance_weight * parts["offset_distance"]
        + variation_weight * parts["offset_variation"]
    )
    return total, parts


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    smoothing: float = 0.0,
    *,
    whole: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """CDistNet's loss: cross-entropy averaged over the targets that are not pads.

    Args:
      logits: float (batch, steps, classes).
      targets: int32 (batch, steps), the tokens behind the start token.
      smoothing: probability taken from the true class and spread evenly over all others, the pad
        among them; 0.1 in the published training.
      whole: the targets of the whole batch; None where `targets` is it.
    """
    true = _true_log_probability(logits, targets)
    others = jax.nn.log_softmax(logits).sum(axis=-1) - true
    losses = -(1 - smoothing) * true - smoothing / (logits.shape[-1] - 1) * others
    mask = targets != text.PAD
    whole = None if whole is None else whole != text.PAD
    return (losses * mask).sum() / share_of_count(mask, whole, axis_name)


def ctc_loss(
    logits: jax.Array,
    characters: jax.Array,
    *,
    whole: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """CRNN's loss: -log p(word), summed over all alignments, averaged over the words.

    "Connectionist temporal classification" (Graves et al., 2006). A word that the frames cannot
    spell, one frame a character and a blank between two equal ones, has no alignment: its loss is
    infinite. It is left out of the average, and no gradient comes from it.

    Args:
      logits: float (batch, frames, classes), class 0 the blank.
      characters: int32 (batch, length), as of `text.encode`: 0 behind the last character.
      whole: the characters of the whole batch; None where `characters` is it.

    Returns:
      A float32 scalar; 0 if no word of the batch can be spelt.
    """

    def fitting(characters: jax.Array) -> jax.Array:
        repeated = (characters[:, 1:] == characters[:, :-1]) & (characters[:, 1:] != text.BLANK)
        needed = (characters != text.BLANK).sum(axis=1) + repeated.sum(axis=1)
        return needed <= logits.shape[1]

    padding = (characters == text.BLANK).astype(jnp.float32)
    # optax stands -100000 in for log 0, so that a word without alignment is finite: it can be
    # masked after the fact without NaN in the gradient.
    losses = optax.ctc_loss(
        logits.astype(jnp.float32),
        jnp.zeros(logits.shape[:2]),
        characters,
        padding,
        blank_id=text.BLANK,
    )
    fits = fitting(characters)
    whole = None if whole is None else fitting(whole)
    return jnp.where(fits, losses, 0).sum() / share_of_count(fits, whole, axis_name)


def share_of_count(
    counted: jax.Array, whole: jax.Array | None = None, axis_name: str | None = None
) -> jax.Array:
    """What a sum over `counted` is divided by to become a mean: its count, at least 1.

    With `whole` or `axis_name` it is an even share of the count of all parts and devices: the mean
    over them of local sums divided by it is the mean over all that is counted, wherever it lies.

    Args:
      counted: bool or float (batch, ...), 1 where something counts, else 0.
      whole: that of the whole batch, of which `counted` is one of several equal parts; None where
        `counted` is all of it.
      axis_name: of devices that each see their own; None under jit.
    """
    count, shares = (counted if whole is None else whole).sum(), 1
    if whole is not None:
        shares = len(whole) // len(counted)
    if axis_name is not None:
        count, shares = jax.lax.psum(count, axis_name), shares * jax.lax.axis_size(axis_name)
    count = jnp.maximum(count, 1)
    return count if shares == 1 else count / shares


def _true_log_probability(logits: jax.Array, targets: jax.Array) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]
