"""A recogniser trained for some time: the packed file, what it is stopped by, and where it goes on.

The words are read here; `tests.train.test_drawn_words` draws them.
"""

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, same
from tests.train.last_states import last_state
from textsr_jax.config.checks import checked
from textsr_jax.experiments import train_reader
from textsr_jax.experiments.train_reader import FILE, reader_config
from textsr_jax.models import build_ocr
from textsr_jax.storage import packed_files
from textsr_jax.storage.models import Models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_reader(data_root, tmp_path_factory):
    """The config that was asked for, and the folders of the training and of its packed file."""
    folder = tmp_path_factory.mktemp("reader")
    config = micro_config(data_root, folder / "data")
    config.pretrain.synthetic, config.quantization.ocr.set = False, "none"
    asked = checked(config)
    workdir, out = folder / "w", folder / "out"
    used = reader_config(asked, workdir, out)
    assert train_reader.train(used, workdir, out, minutes=10, again="again")
    return asked, workdir, out


def test_the_packed_file_holds_the_last_checkpoint(trained_reader):
    asked, workdir, out = trained_reader
    network, settings = build_ocr(asked.ocr), asked.pretrain.ocr
    step, state, _ = last_state(workdir, "pretrain_ocr", network, settings)
    packed = packed_files.load(out / FILE)
    assert step == packed.provenance["step"] == settings.steps
    assert same(packed.ocr, state.variables) and not packed.fine_tuned
    # It is one to read with: SR images are bicubic ones.
    models = Models.load(out / FILE)
    assert models.config.sr.name == "bicubic" and models.recognizer is not None
    assert not (workdir / "pretrain_focus").exists()


def test_it_goes_on_from_the_workdir_or_else_from_the_packed_file(trained_reader, tmp_path):
    asked, workdir, out = trained_reader
    assert reader_config(asked, workdir, out).init.pretrain == ""
    lost = reader_config(asked, tmp_path / "lost", out)
    assert lost.init.pretrain == str(out / FILE) and lost.stages == "pretrain"
    # A file that holds the newest checkpoint is not written again.
    before = (out / FILE).stat().st_mtime_ns
    assert train_reader.pack(lost, workdir, out, 6) == 6
    assert (out / FILE).stat().st_mtime_ns == before


def test_when_the_time_is_up_it_ends(trained_reader, tmp_path):
    asked, _, out = trained_reader
    used = reader_config(asked, tmp_path / "w", out)
    assert not train_reader.train(used, tmp_path / "w", tmp_path / "out", 0.0, "again")
    assert not (tmp_path / "out" / FILE).exists()


def test_weights_are_rounded_as_the_config_says(trained_reader, tmp_path):
    asked, workdir, out = trained_reader
    rounded = reader_config(asked.replace(quantization={"ocr": {"set": ""}}), workdir, out)
    assert train_reader.pack(rounded, workdir, tmp_path, 0) == 6
    plain, found = (packed_files.load(folder / FILE) for folder in (out, tmp_path))
    assert not plain.rules["ocr"] and found.rules["ocr"][0].bits == 8
    assert (tmp_path / FILE).stat().st_size < (out / FILE).stat().st_size
    leaves = jax.tree.leaves(Models.load(tmp_path / FILE).recognizer)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves if hasattr(leaf, "dtype"))
