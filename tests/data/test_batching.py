"""Batches: every record once an epoch over all processes, exact resuming, padding, sources."""

import json
import logging

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax import text
from textsr_jax.data.batching import (
    Batch,
    Concatenated,
    Replaced,
    Subset,
    evaluation_batches,
    train_batches,
)
from textsr_jax.data.records import Record, images, keys, labels
from textsr_jax.data.synthetic.generation import HR_SHAPE, LR_SHAPE
from textsr_jax.errors import UserError


def words(*names: str) -> list[Record]:
    """Records whose pixels all hold the record's number (LR), or 100 more (HR)."""
    return [
        Record(
            f"set:{number + 1}",
            np.full(LR_SHAPE, number, np.uint8),
            np.full(HR_SHAPE, 100 + number, np.uint8),
            name,
        )
        for number, name in enumerate(names)
    ]


def numbered(count: int) -> list[Record]:
    return words(*(f"W{number}" for number in range(count)))


def assert_same(a: Batch, b: Batch) -> None:
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)


def test_attention_comes_by_the_records_number():
    attention = np.arange(9 * 6, dtype=np.float32).reshape(9, 1, 2, 3)
    stream = {"batch_size": 4, "max_length": 5, "seed": 0}
    known = train_batches(numbered(9), attention=attention, threads=1, **stream)
    plain = train_batches(numbered(9), **stream)
    for _ in range(3):
        batch, expected = next(known), next(plain)
        np.testing.assert_array_equal(batch.attention, attention[batch.index])
        assert_same(batch.replace(attention=None), expected)


def test_without_images_the_stream_is_the_same():
    stream = {"batch_size": 4, "max_length": 2, "seed": 3}
    source = numbered(11)  # W10 is too long
    plain, bare = train_batches(source, **stream), train_batches(source, images=False, **stream)
    for _ in range(6):
        batch = next(plain)
        assert_same(next(bare), batch.replace(lr=None, hr=None))
    restored = train_batches(source, images=False, **stream)
    restored.set_state(bare.get_state())
    assert_same(next(restored), next(bare))


def test_all_images_of_sources_made_of_others():
    source, other = numbered(5), numbered(3)
    sr = np.random.default_rng(0).integers(0, 256, (5, *HR_SHAPE), np.uint8)
    for made in (
        Concatenated([source, other, Replaced(source, sr)]),
        Subset(Replaced(source, sr), [4, 0, 2]),
    ):
        for field in ("lr", "hr"):
            expected = np.stack([getattr(made[n], field) for n in range(len(made))])
            np.testing.assert_array_equal(images(made, field), expected)


def test_a_batch_holds_what_its_records_hold():
    batch = next(train_batches(numbered(9), batch_size=4, max_length=5, seed=0))
    assert len(jax.tree.leaves(batch)) == 5
    assert (batch.lr.shape, batch.lr.dtype) == ((4, *LR_SHAPE), np.uint8)
    assert (batch.hr.shape, batch.hr.dtype) == ((4, *HR_SHAPE), np.uint8)
    assert batch.characters.dtype == batch.index.dtype == np.int32
    np.testing.assert_array_equal(batch.valid, [True] * 4)
    np.testing.assert_array_equal(batch.lr[:, 3, 5, 1], batch.index)
    np.testing.assert_array_equal(batch.hr[:, 31, 127, 2], batch.index + 100)
    np.testing.assert_array_equal(
        batch.characters, text.ALPHANUMERIC.encode([f"w{n}" for n in batch.index], 5)
    )


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_each_record_once_an_epoch_over_all_processes(processes):
    source, epochs, batch_size = numbered(13), 24, 2
    iterators = [
        train_batches(
            source,
            batch_size=batch_size,
            max_length=5,
            seed=1,
            process_index=process,
            process_count=processes,
        )
        for process in range(processes)
    ]
    # 24 epochs of 13 records are a whole number of batches for each count of processes.
    steps = epochs * len(source) // batch_size // processes
    stream = np.concatenate([next(it).index for _ in range(steps) for it in iterators])
    orders = stream.reshape(epochs, len(source))
    for order in orders:
        assert sorted(order) == list(range(len(source)))
    assert len({tuple(order) for order in orders}) == epochs


def test_processes_together_see_what_one_process_sees():
    source, options = numbered(7), {"max_length": 5, "seed": 4}
    one = train_batches(source, batch_size=6, **options)
    two = [
        train_batches(source, batch_size=3, process_index=p, process_count=2, **options)
        for p in range(2)
    ]
    for _ in range(5):
        halves = [next(iterator) for iterator in two]
        assert_same(next(one), jax.tree.map(lambda *leaves: np.concatenate(leaves), *halves))


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(
    count=st.integers(1, 20),
    batch_size=st.integers(1, 8),
    stop=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_restored_iterator_goes_on_exactly(count, batch_size, stop, seed):
    def start():
        return train_batches(
            numbered(count),
            batch_size=batch_size,
            max_length=5,
            seed=seed,
        )

    original = start()
    for _ in range(stop):
        next(original)
    state = json.loads(json.dumps(original.get_state()))
    restored = start()
    next(restored)
    restored.set_state(state)
    for _ in range(4):
        assert_same(next(original), next(restored))


def test_the_seed_decides_the_order():
    def first(seed):
        return next(train_batches(numbered(12), batch_size=12, max_length=5, seed=seed))

    assert_same(first(1), first(1))
    assert list(first(1).index) != list(first(2).index)


def test_neighbouring_seeds_do_not_share_epochs():
    def order(seed, epoch):
        batches = train_batches(numbered(30), batch_size=30, max_length=5, seed=seed)
        return [tuple(next(batches).index) for _ in range(epoch + 1)][-1]

    assert order(0, epoch=1) != order(1, epoch=0)


def test_labels_too_long_are_left_out_of_training_with_one_warning(caplog):
    source = words("abcd", "it's", "toolong", "fives", "AB-CD!")
    with caplog.at_level(logging.WARNING):
        batches = train_batches(source, batch_size=3, max_length=4, seed=0)
    assert caplog.messages == [
        "left 2 of 5 records out of training: labels longer than 4 characters, up to 'toolong'"
    ]
    assert {index for _ in range(5) for index in next(batches).index} == {0, 1, 4}


@pytest.mark.parametrize("source", [[], words("toolong")])
def test_nothing_to_train_on(source):
    with pytest.raises(UserError, match="training set: has no record"):
        train_batches(source, batch_size=3, max_length=4, seed=0)


@pytest.mark.parametrize("count", [0, 1, 4, 7, 8])
def test_evaluation_keeps_the_order_and_fills_the_last_batch(count):
    batches = list(evaluation_batches(numbered(count), batch_size=4, max_length=5))
    assert len(batches) == -(-count // 4)
    for batch in batches:
        assert batch.lr.shape == (4, *LR_SHAPE)
        np.testing.assert_array_equal(batch.lr[:, 0, 0, 0], batch.index)
        if not batch.valid.all():
            assert set(batch.index[~batch.valid]) == {batch.index[0]}
    scored = [index for batch in batches for index in batch.index[batch.valid]]
    assert scored == list(range(count))


def test_evaluation_keeps_long_labels_with_their_characters_cut():
    (batch,) = evaluation_batches(words("It's long", "ok"), batch_size=2, max_length=4)
    np.testing.assert_array_equal(batch.characters, text.ALPHANUMERIC.encode(["itsl", "ok"], 4))
    np.testing.assert_array_equal(batch.valid, [True, True])


def test_concatenated():
    source = Concatenated([numbered(2), [], words("a", "b", "c")])
    assert len(source) == 5
    assert [source[n].label for n in range(5)] == labels(source) == ["W0", "W1", "a", "b", "c"]
    assert keys(source) == ["set:1", "set:2", "set:1", "set:2", "set:3"]
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            source[outside]
    assert len(Concatenated([])) == 0


def test_subset():
    source = Subset(numbered(5), [4, 0, 2])
    assert len(source) == 3
    assert [source[n].key for n in range(3)] == keys(source) == ["set:5", "set:1", "set:3"]
    assert labels(source) == ["W4", "W0", "W2"]


def test_replaced_changes_the_hr_images_alone():
    images = np.random.default_rng(0).integers(0, 256, (3, *HR_SHAPE), np.uint8)
    source = Replaced(numbered(3), images)
    assert len(source) == 3
    np.testing.assert_array_equal(source[2].hr, images[2])
    np.testing.assert_array_equal(source[2].lr, numbered(3)[2].lr)
    assert (source[2].key, source[2].label) == ("set:3", "W2")
    assert labels(source) == ["W0", "W1", "W2"]
    with pytest.raises(ValueError, match="expected uint8"):
        Replaced(numbered(2), images)
    with pytest.raises(ValueError, match="expected uint8"):
        Replaced(numbered(3), images / 255)
