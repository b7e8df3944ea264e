"""Photographs: folders and TFDS's div2k as sources; crops that are seeded, turned and resumable."""

import io
import json
import os
import shutil
import threading
import time
import weakref

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from PIL import Image

from tests.conftest import png
from textsr_jax import data
from textsr_jax.data import photograph_folders, records
from textsr_jax.data.photograph_folders import PhotographFolder, central_crops, random_crops
from textsr_jax.errors import UserError


def numbered(number, height=24, width=40):
    """An image whose pixels tell the number of the image (blue), their row (red), their column."""
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    image[..., 2] = number
    return image


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for number in range(7):
        Image.fromarray(numbered(number, 24 + number)).save(path / f"{number:04d}.png")
    (path / "notes.txt").write_text("no image")
    (path / ".hidden.png").write_text("no image either")
    return path


class ListOf(list):
    """Arrays as a source."""

    @property
    def keys(self):
        return [f"photo {index}" for index in range(len(self))]


SOURCE = ListOf(numbered(number) for number in range(5))


def batches(seed=3, **changes):
    settings = {"batch_size": 4, "crop": 16, "seed": seed, "turn": True} | changes
    return random_crops(SOURCE, **settings)


def same(first, second):
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


def test_a_folder_is_read_in_order_of_names(folder):
    source = PhotographFolder(folder, 24)
    assert len(source) == 7
    assert source.keys[3] == "0003.png"
    np.testing.assert_array_equal(source[3], numbered(3, 27))


@pytest.mark.slow
def test_crops_are_parts_of_their_photographs_in_all_eight_ways():
    iterator, seen, ways, places = batches(), [], set(), set()
    for _ in range(100):
        batch = next(iterator)
        assert (batch.hr.shape, batch.hr.dtype) == ((4, 16, 16, 3), np.uint8)
        assert batch.valid.all()
        for crop, index in zip(batch.hr.astype(int), batch.index, strict=True):
            assert (crop[..., 2] == index).all()
            # How rows and columns of the original run along the crop's axes.
            steps = [(crop[1, 0] - crop[0, 0])[:2], (crop[0, 1] - crop[0, 0])[:2]]
            ways.add(tuple(map(tuple, steps)))
            assert sorted(np.abs(step).tolist() for step in steps) == [[0, 1], [1, 0]]
            top, left = crop[..., 0].min(), crop[..., 1].min()
            places.add((top, left))
            np.testing.assert_array_equal(np.unique(crop[..., 0]), np.arange(top, top + 16))
            np.testing.assert_array_equal(np.unique(crop[..., 1]), np.arange(left, left + 16))
        seen.extend(batch.index.tolist())
    assert len(ways) == 8
    # All corners of the 9 x 25 places.
    tops, lefts = zip(*places, strict=True)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 8, 0, 24)
    # Each photograph once an epoch.
    for epoch in range(0, 400, 5):
        assert sorted(seen[epoch : epoch + 5]) == [0, 1, 2, 3, 4]


def test_without_turns_crops_stand_upright():
    crop = next(batches(turn=False)).hr.astype(int)
    assert (crop[:, 1:, :, 0] - crop[:, :-1, :, 0] == 1).all()
    assert (crop[:, :, 1:, 1] - crop[:, :, :-1, 1] == 1).all()


def test_crops_are_a_function_of_the_seed_and_resume_exactly():
    whole = batches()
    first = [next(whole) for _ in range(7)]
    again = batches()
    assert all(same(next(again), batch) for batch in first[:3])
    # As a checkpoint keeps it.
    state = json.loads(json.dumps(again.get_state()))
    resumed = batches()
    resumed.set_state(state)
    assert all(same(next(resumed), batch) for batch in first[3:])
    assert not same(next(batches(seed=4)), first[0])


def test_processes_share_the_batches_of_one():
    alone = batches(batch_size=2)
    parts = [batches(batch_size=2, process_index=p, process_count=2) for p in range(2)]
    for _ in range(3):
        for part in parts:
            assert same(next(part), next(alone))


def test_central_crops_are_the_middles_and_the_last_batch_is_filled_up():
    made = list(central_crops(SOURCE, batch_size=3, crop=16))
    assert [batch.index.tolist() for batch in made] == [[0, 1, 2], [3, 4, 3]]
    assert [batch.valid.tolist() for batch in made] == [[True] * 3, [True, True, False]]
    np.testing.assert_array_equal(made[1].hr[1], numbered(4)[4:20, 12:28])


def test_bad_folders_and_files_are_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder; name one of images"):
        PhotographFolder(tmp_path / "nowhere", 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: has no images \(PNG, JPEG"):
        PhotographFolder(tmp_path / "empty", 16)
    with pytest.raises(UserError, match=r"photos: holds no usable image, first: .*0000.png: is"):
        PhotographFolder(folder, 100)


def settings_of(folder):
    return ConfigDict({"train": str(folder), "validation": "", "validation_fraction": 0.3})


def test_files_that_will_not_do_are_left_out_and_told_of(folder, caplog):
    (folder / "x.jpg").write_text("words")
    # 10^8 pixels in a file of 12 kB.
    Image.new("1", (10_000, 10_000)).save(folder / "bomb.png")
    source = PhotographFolder(folder, 25)
    assert source.keys == [f"{number:04d}.png" for number in range(1, 7)]
    bomb, low, words = (
        next(line for line in source.left_out if name in line)
        for name in ("bomb.png", "0000.png", "x.jpg")
    )
    assert low == f"{folder}/0000.png: is 40x24; each side needs at least 25 pixels; remove it"
    assert "pixels" in bomb and "\n" not in bomb
    assert "cannot read it (not an image file)" in words
    train, judge = data.load_photographs(settings_of(folder), "", 25)
    assert len(train) + len(judge) == 6
    (message,) = caplog.messages
    assert message.startswith(
        f"{folder}: left out 3 of 9 images, first: {folder}/0000.png: is 40x24"
    )


def test_a_fingerprint_is_of_names_and_contents_alone(folder, tmp_path):
    def prints(folder):
        return [part.fingerprint for part in data.load_photographs(settings_of(folder), "", 16)]

    first = prints(folder)
    assert first[0] != first[1] and all(len(fingerprint) == 16 for fingerprint in first)
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    os.utime(copied / "0003.png", (1, 1))
    assert prints(copied) == first
    before = (copied / "0003.png").stat()
    image = np.array(Image.open(copied / "0003.png"))
    image[5, 5] ^= 1
    Image.fromarray(image).save(copied / "0003.png")
    os.utime(copied / "0003.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prints(copied) != first


@pytest.mark.slow
def test_of_large_photographs_one_is_decoded_at_a_time(tmp_path, monkeypatch):
    for number in range(4):
        Image.new("RGB", (4000, 2100)).save(tmp_path / f"{number}.png")
    at_once, most, lock = 0, 0, threading.Lock()

    def slow(path):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return np.zeros((2100, 4000, 3), np.uint8)

    monkeypatch.setattr(photograph_folders, "open_rgb", slow)
    source = PhotographFolder(tmp_path, 16)
    next(random_crops(source, batch_size=4, crop=16, seed=0, turn=True))
    assert most == 1


@pytest.mark.slow
def test_crops_keep_no_photographs_in_memory():
    """A batch holds its crops, not the images that they were cut from."""
    alive, most, lock = 0, 0, threading.Lock()

    def gone():
        nonlocal alive
        with lock:
            alive -= 1

    class Counted(ListOf):
        def __getitem__(self, index):
            nonlocal alive, most
            image = numbered(index)
            weakref.finalize(image, gone)
            with lock:
                alive += 1
                most = max(most, alive)
            return image

    next(random_crops(Counted(range(5)), batch_size=100, crop=16, seed=0, turn=True))
    assert 0 < most <= 50  # 16 threads, each with a batch of 100 in the making


def test_a_file_cut_short_is_named_when_it_is_read(folder):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    whole = png(Image.fromarray(noise))
    (folder / "0001.png").write_bytes(whole[: len(whole) // 2])
    source = PhotographFolder(folder, 24)
    with pytest.raises(UserError, match=r"0001.png: cannot read it"):
        iterator = random_crops(source, batch_size=7, crop=24, seed=0, turn=True)
        for _ in range(2):
            next(iterator)


def test_a_photograph_smaller_than_a_crop_is_named():
    source = ListOf([numbered(0), numbered(1, 12)])
    with pytest.raises(UserError, match=r"photo 1: is 40x12; each side needs at least 16 pixels"):
        next(random_crops(source, batch_size=2, crop=16, seed=0, turn=False))
    with pytest.raises(UserError, match=r"photo 1: is 40x12"):
        list(central_crops(source, batch_size=2, crop=16))


class Div2k(records.LocalBuilder):
    """TFDS's div2k in features and splits, with images of ours."""

    name = "div2k"
    VERSION = tfds.core.Version("2.0.0")

    def _info(self):
        image = tfds.features.Image(encoding_format="png")
        return records.LocalInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"lr": image, "hr": image}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(3)), "validation": self._two()}

    def _two(self):
        return self._generate_examples(range(8, 10))

    def _generate_examples(self, numbers):
        for number in numbers:
            hr = Image.fromarray(numbered(number))
            lr = hr.resize((20, 12))
            yield number, {"lr": io.BytesIO(png(lr)), "hr": io.BytesIO(png(hr))}


def settings(**changes):
    return ConfigDict({"train": "", "validation": "", "validation_fraction": 0.3} | changes)


def test_the_hr_images_of_tfds_prepared_div2k(tmp_path):
    builder = Div2k(data_dir=str(tmp_path), config=tfds.core.BuilderConfig(name="bicubic_x2"))
    records.prepare(builder)
    train, validation = data.load_photographs(settings(train="tfds:div2k"), str(tmp_path), 16)
    assert (len(train), len(validation)) == (3, 2)
    np.testing.assert_array_equal(train[2], numbered(2))
    np.testing.assert_array_equal(validation[1], numbered(9))
    assert validation.keys == ["div2k/validation:0", "div2k/validation:1"]
    with pytest.raises(UserError, match=r"has no split 'test'"):
        photograph_folders.PreparedDiv2k("test", tmp_path)
    info = next(tmp_path.glob("div2k/*/*/dataset_info.json"))
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"is kept as tfrecord, which does not allow random access"):
        photograph_folders.PreparedDiv2k("train", tmp_path)


def test_div2k_that_is_not_prepared(tmp_path):
    with pytest.raises(UserError, match=r"div2k: holds no prepared div2k; prepare it there"):
        data.load_photographs(settings(train="tfds:div2k"), str(tmp_path), 16)


def test_photographs_are_held_out_by_name_or_from_a_folder_of_their_own(folder):
    train, validation = data.load_photographs(settings(train=str(folder)), "", 24)
    assert (len(train), len(validation)) == (5, 2)
    assert sorted(train.keys + validation.keys) == [f"{number:04d}.png" for number in range(7)]
    number = int(validation.keys[1][:4])
    np.testing.assert_array_equal(validation[1], numbered(number, 24 + number))
    again = data.load_photographs(settings(train=str(folder)), "", 24)
    assert [part.keys for part in again] == [train.keys, validation.keys]
    whole = settings(train=str(folder), validation=str(folder))
    assert [len(part) for part in data.load_photographs(whole, "", 24)] == [7, 7]


def test_photographs_that_the_config_does_not_give(folder):
    with pytest.raises(UserError, match=r"config.photographs.train is empty; name a folder"):
        data.load_photographs(settings(), "", 16)
    with pytest.raises(UserError, match=r"config.photographs.validation_fraction=0: must be"):
        data.load_photographs(settings(train=str(folder), validation_fraction=0), "", 16)
    with pytest.raises(UserError, match=r"photos: 0 of 7 images would be for validation"):
        data.load_photographs(settings(train=str(folder), validation_fraction=0.01), "", 16)
