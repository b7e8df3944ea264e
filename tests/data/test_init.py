"""`data.load`: from a config to sources for training, validation and tests."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import write_lmdb
from tests.data.test_textzoom import sample
from textsr_jax import data, text
from textsr_jax.config.settings import Data
from textsr_jax.data.records import keys, labels
from textsr_jax.data.synthetic.generation import HR_SHAPE
from textsr_jax.errors import UserError


def settings(tmp_path, **fields):
    places = {"root": str(tmp_path / "root"), "data_dir": str(tmp_path / "prepared")}
    return Data().replace(**{**places, "validation_fraction": 0.1, **fields})


def load(tmp_path, **fields):
    return data.load(settings(tmp_path, **fields))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    write_lmdb(root / "train1", [sample(f"a{n}", n) for n in range(30)])
    write_lmdb(root / "train2", [sample(f"b{n}", n) for n in range(20)])
    for name in ("blurred", "hard", "easy", "medium"):
        write_lmdb(root / "test" / name, [sample(name)])
    return root


def test_sources_of_a_data_root(root, tmp_path):
    pairs = load(tmp_path)
    assert pairs.title == "root"
    assert list(pairs.test) == ["easy", "medium", "hard", "blurred"]
    assert [source[0].label for source in pairs.test.values()] == list(pairs.test)
    assert (len(pairs.train), len(pairs.validation)) == (45, 5)
    everything = {f"train1:{n}" for n in range(1, 31)} | {f"train2:{n}" for n in range(1, 21)}
    assert sorted(keys(pairs.train) + keys(pairs.validation)) == sorted(everything)
    assert labels(pairs.train) == [pairs.train[n].label for n in range(45)]


@pytest.mark.parametrize("own", [True, False])
def test_a_data_set_is_counted_as_it_would_be_loaded_and_nothing_is_made(root, tmp_path, own):
    synthetic = {"train": 4, "validation": 2, "test": 3, "seed": 5, "workers": 1}
    fields = {"root": str(root) if own else "", "synthetic": synthetic}
    counted = data.count(settings(tmp_path, **fields))
    assert not (tmp_path / "prepared").exists()
    pairs = load(tmp_path, **fields)
    assert counted.title == pairs.title == ("root" if own else "synthetic words")
    for field in ("train", "validation"):
        assert len(getattr(counted, field)) == len(getattr(pairs, field)), field
    assert {k: len(v) for k, v in counted.test.items()} == {
        k: len(v) for k, v in pairs.test.items()
    }


def test_validation_is_always_the_same_and_grows_by_adding(root, tmp_path):
    tenth = keys(load(tmp_path).validation)
    assert keys(load(tmp_path).validation) == tenth
    third = keys(load(tmp_path, validation_fraction=0.3).validation)
    assert len(third) == 15
    assert set(tenth) < set(third)
    nothing = load(tmp_path, validation_fraction=0.0)
    assert (len(nothing.train), len(nothing.validation)) == (50, 0)


def test_each_train_folder_has_a_validation_split_of_its_own(root, tmp_path):
    pairs = load(tmp_path)
    assert list(pairs.validation_splits) == ["train1", "train2"]
    for name, source in pairs.validation_splits.items():
        assert {key.split(":")[0] for key in keys(source)} == {name}
    parts = [keys(source) for source in pairs.validation_splits.values()]
    assert keys(pairs.validation) == parts[0] + parts[1]
    assert not set(keys(pairs.validation)) & set(keys(pairs.train))
    # A folder of which nothing is held out has none.
    (name,) = load(tmp_path, validation_fraction=0.02).validation_splits
    assert name == keys(load(tmp_path, validation_fraction=0.02).validation)[0].split(":")[0]


def test_a_test_set_without_usable_records_is_empty_but_there(root, tmp_path):
    write_lmdb(root / "test" / "wordless", [sample("?"), sample("!")])
    assert {name: len(source) for name, source in load(tmp_path).test.items()} == {
        "easy": 1,
        "medium": 1,
        "hard": 1,
        "blurred": 1,
        "wordless": 0,
    }


def test_a_fingerprint_is_of_what_is_in_the_folders(root, tmp_path):
    """Not of where they lie, when they were copied, or how an LMDB is laid out."""
    first = load(tmp_path)
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "train2")
    backwards = [sample(f"b{n}", n) for n in reversed(range(20))]
    write_lmdb(tmp_path / "copy" / "train2", backwards[::-1])
    copy = load(tmp_path, root=str(tmp_path / "copy"))
    assert (copy.fingerprint, copy.training) == (first.fingerprint, first.training)
    assert (copy.title, first.title) == ("copy", "root")

    # One more test set is other data, but trained on is what was.
    write_lmdb(root / "test" / "new", [sample("new")])
    more = load(tmp_path)
    assert more.fingerprint != first.fingerprint and more.training == first.training
    # The same records in another order are other data.
    shutil.rmtree(tmp_path / "copy" / "train2")
    write_lmdb(tmp_path / "copy" / "train2", backwards)
    assert load(tmp_path, root=str(tmp_path / "copy")).training != first.training
    # So are labels that are read in another way.
    assert load(tmp_path, labels="fold").training != first.training


def test_an_exchanged_file_with_the_size_and_time_of_the_old_one_is_read_again(tmp_path):
    write_lmdb(tmp_path / "root" / "train1", [sample("old")])
    write_lmdb(tmp_path / "other" / "train1", [sample("new")])
    file, other = (tmp_path / name / "train1" / "data.mdb" for name in ("root", "other"))
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (before.st_size, before.st_mtime_ns) == (other.stat().st_size, other.stat().st_mtime_ns)
    assert labels(load(tmp_path).train) == ["old"]
    other.rename(file)
    assert labels(load(tmp_path).train) == ["new"]


def test_names_of_odd_folders_do_no_harm_in_titles(tmp_path):
    root = tmp_path / "my [red]words\n"
    write_lmdb(root / "test" / "easy", [sample("one")])
    assert load(tmp_path, root=str(root)).title == "my_red_words_"


WORDS = ["café", "ﬁnd", "ＯＰＥＮ", "２０２４", "straße", "don't", "日本", " ", "x²"]


def test_labels_are_stripped_or_folded(tmp_path, caplog):
    records = [sample(word, seed) for seed, word in enumerate(WORDS)]
    write_lmdb(tmp_path / "root" / "test" / "easy", records)
    stripped = load(tmp_path)
    assert [text.normalize(label) for label in labels(stripped.test["easy"])] == [
        *("caf", "nd", "strae", "dont", "x"),
    ]
    assert stripped.skipped == {
        "test/easy": {
            "label that only config.data.labels=fold reads": 2,
            "label without 0-9a-z": 1,
            "empty label": 1,
        }
    }
    assert caplog.messages == [
        "test/easy: skipped 4 of 9 records (2 label that only config.data.labels=fold reads, "
        "first: record 3; 1 label without 0-9a-z, first: record 7; 1 empty label, first: record 8)"
    ]
    folded = load(tmp_path, labels="fold")
    assert [text.normalize(label) for label in labels(folded.test["easy"])] == [
        *("cafe", "find", "open", "2024", "strae", "dont", "x2"),
    ]
    assert folded.skipped == {"test/easy": {"label without 0-9a-z": 1, "empty label": 1}}
    with pytest.raises(UserError, match=r"Data\.labels='folded': must be one of 'strip', 'fold'"):
        load(tmp_path, labels="folded")


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 5.0])
def test_validation_fraction_out_of_range(root, tmp_path, fraction):
    with pytest.raises(UserError, match=rf"Data\.validation_fraction={fraction}: must be a number"):
        load(tmp_path, validation_fraction=fraction)


def test_a_root_of_test_folders_will_do_for_evaluation(tmp_path):
    write_lmdb(tmp_path / "root" / "test" / "easy", [sample("one"), sample("two")])
    pairs = load(tmp_path)
    assert (len(pairs.train), len(pairs.validation)) == (0, 0)
    assert labels(pairs.test["easy"]) == ["one", "two"]


def test_a_root_of_train_folders_will_do_for_training(tmp_path):
    write_lmdb(tmp_path / "root" / "train_easy", [sample(f"w{n}") for n in range(4)])
    pairs = load(tmp_path, validation_fraction=0.25)
    assert (len(pairs.train), len(pairs.validation), pairs.test) == (3, 1, {})


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: is not a folder"):
        load(tmp_path, root=str(tmp_path / "nowhere"))


def test_without_a_root_words_are_synthesised(tmp_path):
    synthetic = {"train": 4, "validation": 2, "test": 3, "seed": 5, "workers": 1}
    pairs = load(tmp_path, root="", synthetic=synthetic)
    assert pairs.title == "synthetic words"
    other = load(tmp_path, root="", synthetic=synthetic | {"seed": 6})
    assert other.fingerprint != pairs.fingerprint
    assert (len(pairs.train), len(pairs.validation)) == (4, 2)
    assert list(pairs.validation_splits) == ["synthetic"]
    assert {name: len(source) for name, source in pairs.test.items()} == {
        "easy": 3,
        "medium": 3,
        "hard": 3,
    }
    assert pairs.train[0].hr.shape == HR_SHAPE


def test_the_package_is_light_to_import():
    """The processes that draw synthetic words import it."""
    code = "import sys, textsr_jax.data; print({'jax', 'tensorflow_datasets'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
