"""The benchmark of growing data: LMDBs of any size, what is taken of them, what is computed."""

import pytest

from benchmarks import scale
from configs import paper
from textsr_jax.config.checks import checked
from textsr_jax.data import lmdb_folders, records, textzoom


@pytest.mark.slow
def test_a_set_of_repeated_words_is_prepared_and_started(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "alone", lambda work, *arguments: work(*arguments))
    found = scale.training_records(str(data_root))
    assert len(found) == 96 and found[0].keys() == scale.PAIRS.keys()
    root, prepared = tmp_path / "root", tmp_path / "data"
    scale.write(found, 200, root / "train1", scale.PAIRS)
    with lmdb_folders.open_samples(root / "train1", "") as samples:
        assert len(samples.numbers) == 200 and not samples.complaint
        assert samples.get("image_lr", 97) == found[0]["image_lr"]
    row = scale.prepare(str(root), str(prepared))
    assert row["disk_peak_gb"] >= row["disk_gb"] > 0 and row["prepare_cpu_s"] > 0
    config = checked(paper.get_config()).data
    row |= scale.start(config.replace(root=str(root), data_dir=str(prepared)))
    scale.write(found, 200, tmp_path / "words", scale.WORDS)
    row |= scale.start_as_is(config.replace(words=str(tmp_path / "words")))
    assert row.keys() == scale.MEASURED.keys() - {"source_gb"}
    assert min(row["rate"], row["as_is_rate"]) > 1
    assert scale.open_many(1000, str(tmp_path))["as_is_rate"] > 1
    source = records.TfdsRecords(textzoom.load(root, prepared), "train1")
    assert len(source) == 200


def test_more_words_are_computed_by_the_growth_of_the_largest_two():
    rows = [
        dict.fromkeys(scale.MEASURED, value) | {"words": words}
        for words, value in ((100, 99.0), (2000, 4.0), (1000, 3.0))
    ]
    made = scale.computed(rows, 5000)
    assert made["words"] == 5000 and made["prepare_s"] == pytest.approx(7.0)
    assert "rate" not in made
