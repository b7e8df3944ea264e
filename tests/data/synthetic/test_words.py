"""SyntheticWords: what comes out of the prepared files is what was drawn."""

import pickle

import numpy as np
import pytest

from textsr_jax.data import records
from textsr_jax.data.synthetic import fonts, generation
from textsr_jax.data.synthetic.generation import SPLITS
from textsr_jax.data.synthetic.words import SyntheticWords
from textsr_jax.errors import UserError

SETTINGS = {"train": 35, "validation": 4, "test": 2, "seed": 3, "max_length": 12}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    builder = SyntheticWords(data_dir=tmp_path_factory.mktemp("data"), workers=2, **SETTINGS)
    records.prepare(builder)
    return builder


@pytest.mark.parametrize("split", SPLITS)
def test_records_are_the_drawn_words(builder, split):
    settings = generation.GeneratorSettings(**SETTINGS)
    source = records.TfdsRecords(builder, split)
    assert len(source) == settings.size(split)
    for index in (0, len(source) - 1):
        record, pair = source[index], generation.draw(settings, split, index)
        assert record.key == f"{split}:{index + 1}"
        assert record.label == pair.label
        np.testing.assert_array_equal(record.lr, pair.lr)
        np.testing.assert_array_equal(record.hr, pair.hr)


def test_settings_stay_with_the_data(builder):
    assert builder.info.metadata == {"min_length": 1, "words": "mixed", "plain": 0.0, **SETTINGS}
    again = pickle.loads(pickle.dumps(builder))
    assert again.data_path == builder.data_path
    assert len(records.TfdsRecords(again, "train")) == 35


def test_prepared_words_are_not_drawn_again(builder, monkeypatch):
    monkeypatch.setattr(generation, "draw", None)
    again = SyntheticWords(data_dir=builder.data_dir_root, workers=1, **SETTINGS)
    records.prepare(again)
    assert len(records.TfdsRecords(again, "test_easy")) == 2


def test_other_words_have_another_folder(tmp_path, monkeypatch):
    def path(**settings):
        return SyntheticWords(data_dir=tmp_path, **{**SETTINGS, **settings}).data_path

    paths = {path(), path(seed=4), path(train=36), path(max_length=13), path(words="codes")}
    assert len(paths) == 5
    assert path(workers=7) == path()
    monkeypatch.setattr(generation, "VERSION", generation.VERSION + 1)
    paths.add(path())
    monkeypatch.setattr(fonts, "fingerprint", lambda: "other fonts")
    paths.add(path())
    assert len(paths) == 7


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"train": 0}, {"words": "poems"}])
def test_wrong_settings(wrong, tmp_path):
    with pytest.raises(UserError, match="="):
        SyntheticWords(data_dir=tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_without_fonts(tmp_path, monkeypatch):
    fonts.families.cache_clear()
    fonts.fingerprint.cache_clear()
    monkeypatch.setattr(fonts, "FAMILIES", ("no-such-family",))
    with pytest.raises(UserError, match=r"fontpkg-no-such-family; .* extra \[fonts\]"):
        SyntheticWords(data_dir=tmp_path, **SETTINGS)
