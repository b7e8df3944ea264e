"""Batches drawn in JAX: pure, and labelled with what they show."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import forked
from textsr_jax import reading, text
from textsr_jax.config.settings import Synthetic
from textsr_jax.data import batching, drawing
from textsr_jax.data.drawing.vocabulary import character_table, characters, make_vocabulary, sample
from textsr_jax.metrics import word_accuracy

pytestmark = pytest.mark.slow


def settings(count, **changes):
    words = Synthetic(**({"max_length": 9} | changes))
    return drawing.draw_settings(words, batch_size=count, max_length=12)


@pytest.fixture(scope="module")
def drawn():
    """Two batches of the same key, one of another, and the settings."""
    mixed = settings(32, plain=0.75, min_length=3)
    draw = jax.jit(drawing.draw)
    keys = [jax.random.key(seed) for seed in (1, 1, 2)]
    return [jax.device_get(draw(key, mixed)) for key in keys], mixed


def test_the_key_decides_the_words(drawn):
    (first, again, other), _ = drawn
    for one, same_one in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        assert np.array_equal(one, same_one)
    assert (first.hr != other.hr).mean() > 0.5
    assert not (first.characters == other.characters).all(axis=1).any()
    # No two words of a batch are the same.
    assert len({image.tobytes() for image in (*first.hr, *other.hr)}) == 64


def test_batches_are_those_of_training(drawn):
    (batch, _, other), mixed = drawn
    expected = batching.shapes(32, 12)
    for one, shape in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True):
        assert (one.shape, one.dtype) == (shape.shape, shape.dtype)
    assert batch.valid.all() and np.array_equal(batch.index, np.arange(32))
    # LR images show what HR ones do, with less of it.
    for hr, lr in zip((*batch.hr, *other.hr), (*batch.lr, *other.lr), strict=True):
        small = hr.reshape(16, 2, 64, 2, 3).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), lr.ravel())[0, 1] > 0.5
    assert mixed.plain == 24


def test_no_word_is_longer_than_asked(drawn):
    (batch, *_), _ = drawn
    lengths = (batch.characters > 0).sum(axis=1)
    assert lengths.min() >= 3 and lengths.max() <= 9


@pytest.mark.parametrize("alphabet", text.ALPHABETS.values(), ids=text.ALPHABETS)
def test_labels_are_encoded_as_those_of_records(alphabet):
    codes = jax.vmap(sample, (0, None))(
        jax.random.split(jax.random.key(0), 200), make_vocabulary("mixed", 1, 9)
    )
    table = character_table(alphabet.characters)
    found = jax.vmap(characters, (0, None, None))(codes, 12, table)
    words = ["".join(map(chr, word[word > 0])) for word in np.asarray(codes)]
    assert np.array_equal(found, alphabet.encode(words, 12))


def test_the_shipped_reader_reads_what_the_labels_say(drawn):
    """Clear prints, of which the same reader reads nearly all where they were prepared."""
    (first, _, other), mixed = drawn
    images = [image for batch in (first, other) for image in batch.hr[: mixed.plain]]
    labels = [
        "".join(text.ALPHANUMERIC.characters[index - 1] for index in row if index)
        for batch in (first, other)
        for row in batch.characters[: mixed.plain]
    ]
    words = [found.text for found in reading.load().read(images)]
    assert word_accuracy(words, labels) > 0.6


def draw_on_two_devices(file: str) -> None:
    """Writes the first batch of `drawn` as two devices draw it; run with two of them."""
    mesh = jax.sharding.Mesh(jax.devices(), "data")
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    given = jax.device_put((jax.random.key(1), settings(32, plain=0.75, min_length=3)), whole)
    batch = jax.jit(drawing.draw, out_shardings=split)(*given)
    assert len(batch.hr.addressable_shards[0].data) == 16
    np.savez(file, hr=batch.hr, characters=batch.characters)


def test_devices_draw_the_same_words(drawn, tmp_path):
    (batch, *_), _ = drawn
    file = tmp_path / "two.npz"
    code = (
        "import sys; from tests.data.drawing import test_batches;"
        " test_batches.draw_on_two_devices(sys.argv[1])"
    )
    two = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": two, "JAX_PLATFORMS": "cpu"}
    finished = forked.run(["-c", code, file], environment=environment)
    assert finished.returncode == 0, finished.stderr
    found = np.load(file)
    assert np.array_equal(found["characters"], batch.characters)
    # Sums in another order may round a level otherwise, which JPEG spreads over a block.
    assert (np.abs(found["hr"].astype(int) - batch.hr) > 8).mean() < 0.01


def test_shapes_of_an_empty_share():
    """All plain, and none: the other kind then takes no time."""
    counts = [settings(4, plain=plain).plain for plain in (0.0, 1.0)]
    assert counts == [0, 4]
    shapes = [
        jax.eval_shape(drawing.draw, jax.random.key(0), settings(4, plain=plain))
        for plain in (0.0, 1.0)
    ]
    assert shapes[0] == shapes[1] and shapes[0].hr.dtype == jnp.uint8
