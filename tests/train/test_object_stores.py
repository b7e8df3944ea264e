"""A run whose workdir is a URL ends as one on a disk does, crashes included, and can be read."""

import json

import pytest

from tests import stores
from tests.conftest import micro_config
from tests.train.test_loop import Batches, Crash, assert_same_end, poisoned, run
from textsr_jax.config import checks
from textsr_jax.errors import UserError
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.report.page import document, event_files
from textsr_jax.runtime import paths
from textsr_jax.storage import locks, workdirs
from textsr_jax.train import loop, run_file

bucket = stores.bucket


@pytest.mark.slow
def test_a_crash_changes_nothing(bucket, tmp_path):
    workdir = bucket / "run"
    run(tmp_path, Batches(), poisoned(2, 5), steps=9)
    with pytest.raises(Crash):
        run(workdir, Batches(crash=7), poisoned(2, 5), steps=9)
    assert not loop.is_finished(workdir, "toy", 9)
    run(workdir, Batches(), poisoned(2, 5), steps=9)
    assert loop.is_finished(workdir, "toy", 9)
    assert_same_end(tmp_path, workdir)
    names = ("skipped.json", "goodput.json")
    skipped, goodput = (json.loads((workdir / "toy" / name).read_text()) for name in names)
    assert skipped == json.loads((tmp_path / "toy" / "skipped.json").read_text())
    assert goodput["starts"] == 2
    read = [event_files.read_scalars(place / "toy" / "logs") for place in (workdir, tmp_path)]
    assert read[0]["validation/score"] == read[1]["validation/score"]
    assert document.write(workdir).read_text().count("<h2>")


def test_the_config_and_the_starts_are_kept_there(bucket, caplog):
    workdir = bucket / "run"
    config = checks.checked(micro_config("", ""))
    with pytest.raises(UserError, match=r"gs://bucket/run: no such workdir; make one with train"):
        workdirs.load_config("gs://bucket/run")
    with locks.held(workdir):
        workdirs.save_config(config, workdir)
    assert "gs://bucket/run: cannot be locked (object stores have no locks)" in caplog.text
    workdirs.save_config(config, workdir)
    assert workdirs.load_config("gs://bucket/run").to_dict() == config.to_dict()
    other = config.replace(max_length=config.max_length + 1)
    with pytest.raises(UserError, match=r"gs://bucket/run was made with another config: max_len"):
        workdirs.save_config(other, workdir)
    for _ in range(2):
        run_file.note_start(workdir, config, "again")
    assert len(json.loads((workdir / run_file.FILE).read_text())["starts"]) == 2
    assert paths.objects(workdir) == [".lock", "config.json", "run.json"]


def test_a_journal_goes_on_there(bucket):
    for known in ([], ["a"], ["a", "b"]):
        journal = Journal(bucket / "quantization", "grid", "subject")
        assert [key for key in "abc" if key in journal] == known
        for key in "abc"[: len(known) + 1]:
            assert journal.result(key, lambda key=key: {"of": key}) == {"of": key}
