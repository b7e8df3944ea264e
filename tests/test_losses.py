"""The losses against their formulas."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax import losses, text
from textsr_jax.errors import UserError

LABELS = ["Hello", "St.7!", ""]


@pytest.fixture(scope="module")
def focus():
    """A stand-in for the recogniser, two batches of images, and LABELS padded to 5.

    It reads patches of the image, and every step by its input alone.
    """
    rng = np.random.default_rng(0)
    sr, hr = rng.random((2, len(LABELS), 32, 128, 3)).astype(np.float32)
    sharpness, classes = 3 * rng.normal(size=(37, 4)), rng.normal(size=(4, 37))

    def recognize(images, inputs):
        patches = images.reshape(len(images), 8, 4, 32, 4, 3).mean(axis=(2, 4, 5)).reshape(-1, 256)
        scores = jnp.einsum("bsh,bp->bhsp", jnp.asarray(sharpness, jnp.float32)[inputs], patches)
        attention = jax.nn.softmax(10 * scores)
        read = jnp.einsum("bhsp,bp->bsh", attention, patches)
        return 10 * read @ jnp.asarray(classes, jnp.float32), attention

    return recognize, sr, hr, text.focus_tokens(text.ALPHANUMERIC.encode(LABELS, 5))


@pytest.mark.slow
def test_further_padding_changes_nothing(focus):
    recognize, sr, hr, tokens = focus
    further = text.focus_tokens(text.ALPHANUMERIC.encode(LABELS, 11))

    def of(sr, tokens):
        # Both parts weigh as much as the squared error.
        return losses.text_focus_loss(
            sr, hr, recognize, *tokens, position_weight=1, recognition_weight=0.1
        )

    gradient = jax.value_and_grad(of, has_aux=True)
    (total, parts), by_pixel = gradient(jnp.asarray(sr), tokens)
    (padded_total, padded_parts), padded_by_pixel = gradient(jnp.asarray(sr), further)
    np.testing.assert_allclose(padded_total, total, rtol=1e-5)
    largest = float(jnp.abs(by_pixel).max())
    np.testing.assert_allclose(padded_by_pixel, by_pixel, rtol=0, atol=1e-4 * largest)
    for name, value in parts.items():
        np.testing.assert_allclose(padded_parts[name], value, rtol=1e-5)


def test_the_parts_are_what_they_say(focus):
    recognize, sr, hr, (inputs, targets, mask) = focus
    total, parts = losses.text_focus_loss(sr, hr, recognize, inputs, targets, mask)
    logits, attention = recognize(sr, inputs)
    np.testing.assert_allclose(parts["mse"], ((sr - hr) ** 2).mean(), rtol=1e-6)
    np.testing.assert_allclose(
        parts["position"], abs(attention - recognize(hr, inputs)[1]).mean(), rtol=1e-5
    )
    probabilities = np.asarray(jax.nn.softmax(logits))
    counted = [
        -np.log(probabilities[row, step, targets[row, step]])
        for row, label in enumerate(LABELS)
        for step in range(len(text.normalize(label)) + 1)
    ]
    np.testing.assert_allclose(parts["recognition"], np.mean(counted), rtol=1e-5)
    expected = parts["mse"] + 10 * parts["position"] + 0.0005 * parts["recognition"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_the_logarithm_counts_each_image_by_its_psnr():
    hr = np.full((2, 4, 8, 3), 0.5, np.float32)
    errors = np.array([0.1, 0.01], np.float32)
    sr = hr + errors[:, None, None, None]
    value, gradient = jax.value_and_grad(losses.log_mse)(sr, hr)
    # Beside the floor, at 50 dB.
    squared = errors.astype(np.float64) ** 2 + 1e-5
    assert float(value) == pytest.approx(np.log(squared).mean(), rel=1e-5)
    # A small error has the larger gradient: that of the logarithm is the inverse.
    expected = errors / squared / sr[0].size
    np.testing.assert_allclose(
        gradient, np.broadcast_to(expected[:, None, None, None], sr.shape), rtol=1e-4
    )
    assert np.isfinite(jax.grad(losses.log_mse)(hr, hr)).all()


def test_the_error_of_images_is_what_is_asked_for(focus):
    recognize, sr, hr, tokens = focus
    total, parts = losses.text_focus_loss(sr, hr, recognize, *tokens, image_error=losses.log_mse)
    expected = losses.log_mse(sr, hr) + 10 * parts["position"] + 0.0005 * parts["recognition"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(parts["mse"], ((sr - hr) ** 2).mean(), rtol=1e-6)


def test_known_attention_of_hr_saves_its_reading(focus):
    recognize, sr, hr, tokens = focus
    expected, _ = losses.text_focus_loss(sr, hr, recognize, *tokens)
    known = recognize(hr, tokens[0])[1]
    read = []

    def watched(images, inputs):
        read.append(images)
        return recognize(images, inputs)

    total, _ = losses.text_focus_loss(sr, hr, watched, *tokens, hr_attention=known)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert len(read) == 1


@pytest.mark.slow
def test_gradients_reach_sr_only(focus):
    recognize, sr, hr, tokens = focus

    def total(sr, hr, hr_attention):
        return losses.text_focus_loss(sr, hr, recognize, *tokens, hr_attention=hr_attention)[0]

    known = recognize(hr, tokens[0])[1]
    to_sr, to_hr, to_attention = jax.grad(total, (0, 1, 2))(sr, hr, known)
    assert float(jnp.abs(to_sr).max()) > 0
    np.testing.assert_array_equal(to_hr, 0)
    np.testing.assert_array_equal(to_attention, 0)
    np.testing.assert_array_equal(jax.grad(total, 1)(sr, hr, None), 0)


def test_weights_favour_the_confusions_they_weigh():
    logits = jnp.zeros((1, 1, 3))
    target, mask = jnp.array([[1]]), jnp.ones((1, 1))
    weights = jnp.array([[1.0, 1, 1], [1, 2, 5], [1, 1, 1]])
    loss = losses.weighted_cross_entropy(logits, target, mask, weights)
    np.testing.assert_allclose(loss, -np.log(2 / 8), rtol=1e-6)
    np.testing.assert_allclose(
        losses.weighted_cross_entropy(logits, target, mask), np.log(3), rtol=1e-6
    )


def test_weight_table_reads_rows_and_columns_of_the_published_order():
    confusion = np.zeros((62, 62))
    upper, lower = 10, 36
    confusion[3, 7] = 4  # 3 read as 7
    confusion[lower, 7] = 5  # a read as 7
    confusion[lower, upper + 1], confusion[lower, lower + 1] = 8, 2  # a read as B, as b
    confusion[lower, upper], confusion[lower, lower] = 10, 3  # a read as A, as a
    confusion[upper, 7] = 100  # A read as 7: the row of the first block counts for nothing
    weights = losses.weight_table(confusion)
    a, b = 11, 12
    assert weights[1 + 3, 1 + 7] == np.float32(1 / 4)
    assert weights[a, 1 + 7] == np.float32(1 / 5)
    assert weights[a, b] == np.float32(1 / 2)
    assert weights[a, a] == np.float32(1 / 10)
    assert weights[1 + 3, 1 + 4] == 1
    np.testing.assert_array_equal(weights[0], 1)
    np.testing.assert_array_equal(weights[:, 0], 1)


def test_weight_table_refuses_what_is_not_counts():
    with pytest.raises(UserError, match=r"\(37, 37\), not \(62, 62\)"):
        losses.weight_table(np.ones((37, 37)))
    with pytest.raises(UserError, match="negative"):
        losses.weight_table(np.full((62, 62), -1))


def test_position_loss_without_a_mask_takes_every_step():
    sr, hr = np.random.default_rng(0).random((2, 3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(losses.position_loss(sr, hr), abs(sr - hr).mean(), rtol=1e-6)
    mask = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]], np.float32)
    expected = abs(sr - hr)[:, :, :3].mean()
    np.testing.assert_allclose(losses.position_loss(sr, hr, mask), expected, rtol=1e-6)


def test_cross_entropy_counts_what_is_not_a_pad():
    logits = np.random.default_rng(0).normal(size=(2, 3, 40)).astype(np.float32)
    targets = np.array([[10, 3, 0], [5, 6, 3]])
    log_probabilities = np.asarray(jax.nn.log_softmax(logits))
    for smoothing in (0.0, 0.1):
        wanted = np.full((40, 40), smoothing / 39)
        np.fill_diagonal(wanted, 1 - smoothing)
        terms = -(wanted[targets] * log_probabilities).sum(axis=-1)
        expected = terms[targets != 0].mean()
        loss = losses.cross_entropy(logits, targets, smoothing)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def spelling_probability(probabilities, word):
    """p(word): the sum over every path of classes that collapses to it."""
    frames, classes = probabilities.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=frames):
        if [label for label, _ in itertools.groupby(path) if label] == word:
            total += np.prod(probabilities[range(frames), path])
    return total


def test_ctc_loss_sums_over_all_alignments():
    logits = np.random.default_rng(0).normal(size=(5, 4, 4)).astype(np.float32)
    # Between two equal characters stands a blank: the last word takes five frames.
    characters = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 0], [1, 1, 2], [2, 2, 2]])
    words = [[1, 2], [3], [], [1, 1, 2]]
    probabilities = np.asarray(jax.nn.softmax(logits))
    expected = np.mean(
        [-np.log(spelling_probability(p, w)) for p, w in zip(probabilities, words, strict=False)]
    )
    loss, gradient = jax.jit(jax.value_and_grad(losses.ctc_loss))(logits, characters)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert (np.abs(gradient[:4]).max(axis=(1, 2)) > 0.01).all()
    np.testing.assert_array_equal(gradient[4], 0)


@pytest.mark.parametrize("word", [[1, 2, 3], [1, 1, 0]])
def test_ctc_loss_of_a_word_that_fits_barely(word):
    # Of all 5^3 paths one spells it.
    loss = losses.ctc_loss(jnp.zeros((1, 3, 5)), jnp.array([word]))
    np.testing.assert_allclose(loss, 3 * np.log(5), rtol=1e-6)


def test_ctc_loss_of_a_batch_in_which_nothing_fits():
    characters = jnp.array([[1, 1, 2], [1, 2, 3]])
    loss, gradient = jax.jit(jax.value_and_grad(losses.ctc_loss))(jnp.zeros((2, 2, 5)), characters)
    assert float(loss) == 0
    np.testing.assert_array_equal(gradient, 0)


def random_offsets(seed=0, shape=(2, 3, 4, 49)):
    rng = np.random.default_rng(seed)
    kernels = rng.random(shape)
    kernels /= kernels.sum(axis=-1, keepdims=True)
    return [array.astype(np.float32) for array in (kernels, *rng.uniform(-1, 1, (2, *shape)))]


def test_the_reading_loss_takes_a_softmax_once_or_twice():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    words = np.array([[1, 2, 0], [3, 0, 0]])

    def softmax(values):
        return np.exp(values) / np.exp(values).sum(-1, keepdims=True)

    for found, twice in ((softmax(logits), False), (softmax(softmax(logits)), True)):
        likely = np.take_along_axis(found, words[..., None], -1)
        loss = losses.reading_loss(logits, words, softmax_twice=twice)
        assert float(loss) == pytest.approx(-np.log(likely).mean(), rel=1e-5)
    assert losses.reading_loss(logits, words) == loss


def test_offset_distance_is_the_papers_sum_averaged_over_kernels():
    _, offsets_h, offsets_v = random_offsets()
    total = 0.0
    for i in range(7):
        for j in range(7):
            weight = np.sqrt((i - 7 / 2) ** 2 + (j - 7 / 2) ** 2) / np.sqrt(2 * (7 / 2) ** 2)
            tap = 7 * i + j
            moved = np.sqrt(offsets_h[..., tap] ** 2 + offsets_v[..., tap] ** 2)
            total += weight * moved.mean()
    np.testing.assert_allclose(losses.offset_distance(offsets_h, offsets_v), total, rtol=1e-5)


def test_offset_distance_has_a_gradient_at_rest():
    rest = jnp.zeros((1, 2, 2, 49))
    value, gradient = jax.value_and_grad(losses.offset_distance)(rest, rest)
    assert value == 0
    assert (gradient == 0).all()
    # Where a tap is moved, its gradient is its weight over the number of kernels.
    gradient = jax.grad(losses.offset_distance)(rest.at[0, 0, 0, 0].set(0.5), rest)
    np.testing.assert_allclose(gradient[0, 0, 0, 0], 1 / 4, rtol=1e-6)


def test_offset_variation_counts_rows_of_h_and_columns_of_v():
    kernels, offsets_h, offsets_v = random_offsets(1)
    total = 0.0
    for image in range(2):
        for row in range(3):
            for column in range(4):
                here = (image, row, column)
                if row < 2:
                    change = np.abs(offsets_h[image, row + 1, column] - offsets_h[here])
                    total += (change * kernels[here]).sum()
                if column < 3:
                    change = np.abs(offsets_v[image, row, column + 1] - offsets_v[here])
                    total += (change * kernels[here]).sum()
    found = losses.offset_variation(kernels, offsets_h, offsets_v)
    np.testing.assert_allclose(found, total / 24, rtol=1e-5)
    # It is partial: these changes are free.
    along = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None] / 4, (2, 3, 4, 49))
    down = np.broadcast_to(np.arange(3, dtype=np.float32)[:, None, None] / 3, (2, 3, 4, 49))
    assert losses.offset_variation(kernels, along, down) == 0


def test_rescaling_loss_is_l1_and_its_weighted_regularisers():
    rng = np.random.default_rng(2)
    sr, hr = rng.random((2, 2, 6, 8, 3)).astype(np.float32)
    taps = random_offsets(3)
    total, parts = losses.rescaling_loss(sr, hr, *taps, distance_weight=0.5, variation_weight=3)
    np.testing.assert_allclose(parts["l1"], np.abs(sr - hr).mean(), rtol=1e-5)
    distance, variation = losses.offset_distance(*taps[1:]), losses.offset_variation(*taps)
    assert (parts["offset_distance"], parts["offset_variation"]) == (distance, variation)
    np.testing.assert_allclose(total, parts["l1"] + 0.5 * distance + 3 * variation, rtol=1e-6)


WORDS = ["a", "open", "2nd", "", "zoo", "hello", "x1", "taxi"]
CHARACTERS = np.asarray(text.ALPHANUMERIC.encode(WORDS, 7))


def mean_losses():
    """Losses that are means over characters, steps or words: functions of (seen, whole).

    `seen` are the numbers of words, `whole` those of the whole batch.
    """
    rng = np.random.default_rng(3)
    logits, tokens = rng.normal(size=(8, 8, 37)), text.cdistnet_tokens(CHARACTERS)[:, 1:]
    frames = rng.normal(size=(8, 5, 37))  # too few for "hello"
    smoothed = rng.normal(size=(8, *tokens.shape[1:], 40))
    maps = rng.random((2, 8, 2, 8, 6))
    _, targets, mask = text.focus_tokens(CHARACTERS)
    weights = rng.uniform(0.5, 2, (37, 37)).astype(np.float32)
    logits, frames, smoothed, maps = (
        jnp.asarray(array, jnp.float32) for array in (logits, frames, smoothed, maps)
    )
    characters = jnp.asarray(CHARACTERS)

    def position(seen, whole):
        sr, hr = maps[:, seen]
        return losses.position_loss(sr, hr, mask[seen], whole=mask[whole])

    def recognition(seen, whole):
        return losses.weighted_cross_entropy(
            logits[seen], targets[seen], mask[seen], weights, whole=mask[whole]
        )

    def smooth(seen, whole):
        return losses.cross_entropy(smoothed[seen], tokens[seen], 0.1, whole=tokens[whole])

    def ctc(seen, whole):
        return losses.ctc_loss(frames[seen], characters[seen], whole=characters[whole])

    return {"position": position, "recognition": recognition, "smooth": smooth, "ctc": ctc}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["position", "recognition", "smooth", "ctc"])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_the_mean_of_parts_is_the_loss_of_the_batch(name, parts):
    loss = mean_losses()[name]
    everything = jnp.arange(8)
    expected = loss(everything, everything)
    values = jnp.stack([loss(part, everything) for part in everything.reshape(parts, -1)])
    np.testing.assert_allclose(values.mean(), expected, rtol=1e-6)
    # The parts' own means are something else: they are of unequal numbers.
    own = [loss(part, part) for part in everything.reshape(4, -1)]
    assert abs(float(np.mean(own)) - float(expected)) > 1e-3 * float(expected)
