"""Words of LMDBs that are read as they are: which ones, how they are mixed, what is left out."""

import io
import tracemalloc

import lmdb
import numpy as np
import pytest
from PIL import Image

from tests.conftest import WORDS, png, word_image, write_lmdb
from textsr_jax import data, text
from textsr_jax.config.settings import Data
from textsr_jax.data import batching, lmdb_pages
from textsr_jax.data.lmdb_words import LmdbWords
from textsr_jax.data.records import Record
from textsr_jax.data.synthetic.generation import HR_SHAPE, LR_SHAPE
from textsr_jax.errors import UserError


def opened(place, **changes):
    settings = {"labels": "strip", "alphabet": text.ALPHANUMERIC, "max_length": 8}
    return LmdbWords(str(place), **(settings | changes))


def fields(word):
    image = word_image(word).resize((100, 31))
    return {"image": png(image), "label": word.encode()}


@pytest.fixture
def folder(tmp_path):
    """Twelve words, of which the second, the third and the last cannot be used."""
    records = [fields(word) for word in WORDS]
    records[1]["image"] = b"no image"
    records[2]["label"] = "длинный".encode()
    records[11]["label"] = b"accommodation"
    write_lmdb(tmp_path / "mj", records)
    return tmp_path / "mj"


def test_values_are_those_of_the_library(tmp_path):
    rng = np.random.default_rng(0)
    values = {
        b"%s-%09d" % (name, number): rng.bytes(int(rng.choice([0, 3, 90, 1500, 2040, 9000])))
        for name in (b"image", b"label")
        for number in range(0, 2000, 2)
    }
    with lmdb.open(str(tmp_path), map_size=1 << 26) as environment:
        with environment.begin(write=True) as transaction:
            for key in rng.permutation(sorted(values)).tolist():
                transaction.put(key, values[key])
        with environment.begin(write=True) as transaction:
            for key in sorted(values)[::7]:
                transaction.delete(key)
                del values[key]
        assert environment.stat()["depth"] == 3
    found = lmdb_pages.Values(tmp_path / "data.mdb")
    for name in (b"image", b"label"):
        for number in range(2000):
            key = b"%s-%09d" % (name, number)
            assert found.get(key) == values.get(key)
    assert found.get(b"") is None and found.get(b"\xff") is None


def test_a_damaged_page_is_one_line_when_it_is_used(tmp_path):
    write_lmdb(tmp_path / "mj", [fields(word) for word in WORDS * 20])
    file = tmp_path / "mj" / "data.mdb"
    content = bytearray(file.read_bytes())
    at = content.index(b"label-000000120")
    content[at // 4096 * 4096 + 12] ^= 0xFF  # where the page's free space begins
    file.write_bytes(content)
    words = opened(tmp_path / "mj")
    assert words[0].label == WORDS[0]
    with pytest.raises(UserError, match=r"data\.mdb: is damaged at page \d+; copy the file again$"):
        words.text(119)


def test_words_are_those_of_the_lmdb(folder, caplog):
    words = opened(folder)
    assert len(words) == 12
    for index in (0, 3, 10):
        record = words[index]
        assert (record.key, record.label) == (f"mj:{index + 1}", WORDS[index])
        given = Image.open(io.BytesIO(fields(WORDS[index])["image"]))
        hr = given.resize((128, 32), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(record.hr, hr)
        np.testing.assert_array_equal(record.lr, hr.resize((64, 16), Image.Resampling.BICUBIC))
        assert words.text(index) == (record.key, record.label)
    # The next usable record stands in the place of one that is not, behind the last one the first.
    assert not caplog.messages
    assert [words[index].key for index in (1, 2, 11)] == ["mj:4", "mj:4", "mj:1"]
    assert caplog.messages == [
        f"{folder}/data.mdb: skipped 1 of 12 records so far (1 undecodable image, first: record 2)"
    ]
    assert opened(folder, max_length=13)[11].label == "accommodation"


def test_the_fingerprint_is_that_of_the_words(folder, tmp_path):
    before = opened(folder).fingerprint
    records = [fields(word) for word in WORDS]
    write_lmdb(tmp_path / "whole", records)
    write_lmdb(tmp_path / "again", records)
    other, again = (opened(tmp_path / name).fingerprint for name in ("whole", "again"))
    assert before != other == again != opened(tmp_path / "whole", labels="fold").fingerprint


def test_lmdbs_that_cannot_be_used_are_one_line(folder, tmp_path):
    write_lmdb(tmp_path / "pairs", [{"image_hr": b"x", "label": b"open"}] * 3)
    write_lmdb(tmp_path / "odd", [fields("open")], count="many")
    (tmp_path / "cut.mdb").write_bytes((folder / "data.mdb").read_bytes()[:9000])
    (tmp_path / "text.mdb").write_bytes(b"words" * 9000)
    (tmp_path / "empty.mdb").touch()
    for name, fault in {
        "pairs": "pairs/data.mdb: record 1 and the 2 behind it are unusable, first: missing image",
        "odd": "odd/data.mdb: its num-samples is 'many'; expected the keys image-000000001",
        "cut.mdb": "cut.mdb: is cut short; copy the file again",
        "text.mdb": "text.mdb: is not a readable LMDB (no meta page); name another",
        "empty.mdb": "empty.mdb: is not a readable LMDB (it is empty); name another",
        "none": "none: is not a readable LMDB (No such file or directory); name another",
    }.items():
        with pytest.raises(UserError) as error:
            data.load_words(Data(words=f"{tmp_path / name}"), text.PRINTABLE, 8)
        assert str(error.value).startswith(f"{tmp_path}/{fault}")


def batches(folder, seed=3):
    real = [
        Record(f"real:{n}", np.zeros(LR_SHAPE, np.uint8), np.full(HR_SHAPE, n, np.uint8), "real")
        for n in range(5)
    ]
    words = opened(folder)
    return batching.train_batches(
        real, batch_size=10, max_length=8, seed=seed, beside=[(words, 0.5), (words, 0.2)]
    )


def test_words_are_mixed_by_their_parts_and_go_on_exactly(folder):
    stream = batches(folder)
    index, state = [], None
    for number in range(24):
        if number == 16:
            state = stream.get_state()
        index.append(next(stream).index)
    index = np.stack(index)
    shares = [np.mean((index >= low) & (index < high)) for low, high in ((0, 5), (5, 17), (17, 29))]
    np.testing.assert_allclose(shares, [0.3, 0.5, 0.2], atol=0.01)
    # Each LMDB has epochs of its own, in which every place comes once.
    first = index[(index >= 5) & (index < 17)]
    assert sorted(first[:12]) == sorted(first[12:24]) == list(range(5, 17))
    assert list(first[:12]) != list(first[12:24])
    resumed = batches(folder)
    resumed.set_state(state)
    again = [next(resumed) for _ in range(8)]
    np.testing.assert_array_equal([batch.index for batch in again], index[16:])
    words = opened(folder)
    for batch in again:
        for place, hr in zip(batch.index, batch.hr, strict=True):
            wanted = words[(place - 5) % 12].hr if place >= 5 else np.full(HR_SHAPE, place)
            np.testing.assert_array_equal(hr, wanted)
    assert list(next(batches(folder, seed=4)).index) != list(index[0])


class Many:
    """As many words as the published recogniser saw."""

    def __len__(self):
        return 14_000_000

    def __getitem__(self, index):
        return Record(f"{index}", np.zeros(LR_SHAPE, np.uint8), np.zeros(HR_SHAPE, np.uint8), "a")


def test_millions_of_words_take_no_memory():
    tracemalloc.start()
    stream = batching.train_batches([], batch_size=4, max_length=8, seed=0, beside=[(Many(), 1)])
    index = next(stream).index
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(index)) == 4 and max(index) > 1_000_000
    assert most < 4e6
