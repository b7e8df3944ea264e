"""Reading TextZoom's LMDB folders: values, broken records, broken folders, prepared copies."""

import io
import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import word_image, write_lmdb
from textsr_jax.data import textzoom
from textsr_jax.data.records import TfdsRecords
from textsr_jax.errors import UserError


def encoded(image: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format=format)
    return stream.getvalue()


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random (lr, hr)."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (16, 64, 3), np.uint8),
        rng.integers(0, 256, (32, 128, 3), np.uint8),
    )


def sample(label: str = "word", seed: int = 0) -> dict[str, bytes]:
    """What TextZoom stores of one record."""
    lr, hr = pair(seed)
    return {"label": label.encode(), "image_hr": encoded(hr), "image_lr": encoded(lr)}


def read(builder, folder):
    source = TfdsRecords(builder, builder.splits[folder])
    return [source[index] for index in range(len(source))]


def test_records_come_in_the_order_of_the_lmdb_with_the_very_pixels(tmp_path):
    words = ["Hello", "it's", "42nd", "CAFÉ", "(a)"]
    root = tmp_path / "root"
    write_lmdb(root / "train1", [sample(word, seed) for seed, word in enumerate(words)])
    write_lmdb(root / "test" / "easy", [sample("end", 7)])

    builder = textzoom.load(root, tmp_path / "prepared")

    assert builder.splits == {"train1": "train1", "test/easy": "test_easy"}
    records = read(builder, "train1")
    assert [record.label for record in records] == words
    assert [record.key for record in records] == [f"train1:{number}" for number in range(1, 6)]
    for seed, record in enumerate(records):
        lr, hr = pair(seed)
        np.testing.assert_array_equal(record.lr, lr)
        np.testing.assert_array_equal(record.hr, hr)
        assert record.lr.dtype == record.hr.dtype == np.uint8
    assert [record.key for record in read(builder, "test/easy")] == ["test/easy:1"]


def test_keys_and_labels_are_read_without_decoding(tmp_path):
    write_lmdb(tmp_path / "root" / "train1", [sample("one"), sample("two")])
    builder = textzoom.load(tmp_path / "root", tmp_path / "prepared")
    source = TfdsRecords(builder, "train1")
    assert source.labels == ["one", "two"]
    assert source.keys == ["train1:1", "train1:2"]


@pytest.mark.parametrize(
    ("shape", "format"),
    [((40, 90, 3), "PNG"), ((40, 90, 3), "JPEG"), ((20, 300), "PNG")],
    ids=["colour", "jpeg", "grey"],
)
def test_other_sizes_and_modes_are_converted_by_pillows_bicubic(tmp_path, shape, format):
    data = encoded(np.random.default_rng(0).integers(0, 256, shape, np.uint8), format)
    fields = {"label": b"word", "image_hr": data, "image_lr": data}
    write_lmdb(tmp_path / "root" / "train1", [fields])

    (record,) = read(textzoom.load(tmp_path / "root", tmp_path / "prepared"), "train1")

    image = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(record.lr, image.resize((64, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(record.hr, image.resize((128, 32), Image.Resampling.BICUBIC))


def test_records_are_seen_as_the_reader_sees_them(tmp_path):
    """16 bits, transparency and orientation, by the same decoder."""
    seen = word_image("seen").convert("L")
    grey = np.asarray(seen)
    deep = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep, format="PNG")
    clear = io.BytesIO()
    Image.merge("RGBA", [Image.new("L", seen.size)] * 3 + [seen.point(lambda v: 255 - v)]).save(
        clear, format="PNG"
    )
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    seen.convert("RGB").transpose(Image.Transpose.ROTATE_90).save(turned, format="PNG", exif=exif)
    images = [stream.getvalue() for stream in (deep, clear, turned)]
    write_lmdb(
        tmp_path / "root" / "train1",
        [{"label": b"seen", "image_hr": image, "image_lr": image} for image in images],
    )
    for record in read(textzoom.load(tmp_path / "root", tmp_path / "prepared"), "train1"):
        for channel in range(3):
            np.testing.assert_array_equal(record.hr[..., channel], grey)
        np.testing.assert_array_equal(
            record.lr[..., 0], seen.resize((64, 16), Image.Resampling.BICUBIC)
        )


def test_records_counted_from_0_are_all_there(tmp_path, caplog):
    root = tmp_path / "root"
    write_lmdb(root / "train1", [sample(f"w{n}", n) for n in range(4)], first=0)
    records = read(textzoom.load(root, tmp_path / "prepared"), "train1")
    assert [record.key for record in records] == [f"train1:{n}" for n in range(4)]
    np.testing.assert_array_equal(records[0].hr, pair(0)[1])
    assert not caplog.messages


def test_an_lmdb_named_as_the_root_is_told_which_to_name(tmp_path):
    write_lmdb(tmp_path / "root" / "test" / "easy", [sample()])
    write_lmdb(tmp_path / "root" / "train1", [sample()])
    for name in ("test/easy", "test/easy/data.mdb", "train1", "train1/data.mdb"):
        with pytest.raises(UserError) as caught:
            textzoom.load(tmp_path / "root" / name, tmp_path / "prepared")
        assert str(caught.value) == (
            f"{tmp_path / 'root' / name}: is one LMDB; name the folder above its train* or test/*: "
            f"{tmp_path / 'root'}"
        )


def test_broken_records_are_left_out_and_counted_at_every_load(tmp_path, caplog):
    broken = [
        sample("good", 1),
        {**sample(), "image_hr": sample()["image_hr"][:3000]},  # truncated
        {**sample(), "image_lr": b"not an image"},
        {key: value for key, value in sample().items() if key != "image_lr"},
        {key: value for key, value in sample().items() if key != "label"},
        {**sample(), "label": b"\xff\xfe"},
        sample("!?…"),
        sample("", 3),
        sample("fine", 8),
    ]
    write_lmdb(tmp_path / "root" / "train1", broken, count=10)  # The tenth is not there at all.
    expected = [
        "train1: its num-samples is '10'; 9 records are there (numbers 1 to 9) and are all read",
        "train1: skipped 7 of 9 records (2 undecodable image, first: record 2;"
        " 1 missing image, first: record 4; 1 missing label, first: record 5;"
        " 1 label not UTF-8, first: record 6; 1 label without 0-9a-z, first: record 7;"
        " 1 empty label, first: record 8)",
    ]
    for _ in range(2):
        caplog.clear()
        builder = textzoom.load(tmp_path / "root", tmp_path / "prepared")
        assert [record.key for record in read(builder, "train1")] == ["train1:1", "train1:9"]
        np.testing.assert_array_equal(read(builder, "train1")[1].hr, pair(8)[1])
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert warnings == expected


def test_folder_without_usable_records_has_no_split_and_a_warning(tmp_path, caplog):
    write_lmdb(tmp_path / "root" / "train1", [sample()])
    write_lmdb(tmp_path / "root" / "test" / "easy", [sample("!")])
    write_lmdb(tmp_path / "root" / "test" / "hard", [])
    builder = textzoom.load(tmp_path / "root", tmp_path / "prepared")
    assert builder.splits == {"train1": "train1", "test/easy": None, "test/hard": None}
    assert caplog.messages == [
        "test/easy: skipped 1 of 1 records (1 label without 0-9a-z, first: record 1)",
        "test/hard: has no records",
    ]


def test_a_root_of_broken_records_alone_is_refused(tmp_path):
    write_lmdb(tmp_path / "root" / "train1", [sample("!")])
    with pytest.raises(UserError, match=r"no usable record \(train1: skipped 1 of 1 records"):
        textzoom.load(tmp_path / "root", tmp_path / "prepared")
    assert not list((tmp_path / "prepared").rglob("*.array_record*"))


@pytest.mark.parametrize("root", ["missing", "empty", "stray"])
def test_a_root_without_folders_is_named(tmp_path, root):
    (tmp_path / "empty").mkdir()
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "train.txt").write_text("no folder")
    with pytest.raises(UserError, match=rf"{root}: .*expected TextZoom's LMDB folders") as caught:
        textzoom.load(tmp_path / root, tmp_path / "prepared")
    assert "\n" not in str(caught.value)


def test_broken_lmdbs_are_named(tmp_path):
    def refusal(name):
        with pytest.raises(UserError) as caught:
            textzoom.load(tmp_path / name, tmp_path / "prepared")
        assert str(tmp_path / name / "train1" / "data.mdb") in str(caught.value)
        return str(caught.value)

    (tmp_path / "nothing" / "train1").mkdir(parents=True)
    assert "does not exist" in refusal("nothing")

    (tmp_path / "garbage" / "train1").mkdir(parents=True)
    (tmp_path / "garbage" / "train1" / "data.mdb").write_bytes(b"garbage " * 2000)
    assert "is not a readable LMDB" in refusal("garbage")

    (tmp_path / "zero" / "train1").mkdir(parents=True)
    (tmp_path / "zero" / "train1" / "data.mdb").touch()
    assert "is not a readable LMDB" in refusal("zero")

    write_lmdb(tmp_path / "short" / "train1", [sample(seed=seed) for seed in range(9)])
    data = tmp_path / "short" / "train1" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    assert "is cut short" in refusal("short")

    write_lmdb(tmp_path / "wiped" / "train1", [sample(seed=seed) for seed in range(9)])
    data = tmp_path / "wiped" / "train1" / "data.mdb"
    size, header = data.stat().st_size, 2 * 4096
    data.write_bytes(data.read_bytes()[:header] + bytes(size - header))
    assert "is damaged at page" in refusal("wiped")


def test_a_changed_source_is_read_again_and_an_old_copy_is_not(tmp_path):
    root = tmp_path / "root"
    write_lmdb(root / "train1", [sample("old")])
    first = textzoom.load(root, tmp_path / "prepared")
    assert textzoom.load(root, tmp_path / "prepared").data_dir == first.data_dir

    shutil.rmtree(root / "train1")
    write_lmdb(root / "train1", [sample("new")])
    second = textzoom.load(root, tmp_path / "prepared")
    assert second.data_dir != first.data_dir
    assert [record.label for record in read(second, "train1")] == ["new"]


def test_nothing_is_written_into_the_root(tmp_path):
    root = tmp_path / "root"
    write_lmdb(root / "train1", [sample()])
    before = [(path, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))]
    textzoom.load(root, tmp_path / "prepared")
    assert [(path, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))] == before


def test_any_folder_name_can_be_a_split(tmp_path):
    for name in ("test/very hard", "test/very-hard", "train_ü"):
        write_lmdb(tmp_path / "root" / name, [sample(name)])
    (tmp_path / "root" / "test" / ".cache").mkdir()
    builder = textzoom.load(tmp_path / "root", tmp_path / "prepared")
    assert list(builder.splits) == ["train_ü", "test/very hard", "test/very-hard"]
    for name in builder.splits:
        assert [record.label for record in read(builder, name)] == [name]
