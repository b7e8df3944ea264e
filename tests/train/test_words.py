"""The words that stages learn from: synthetic ones, or LMDBs, beside real ones if asked for."""

import shutil

import numpy as np
import pytest

from tests.conftest import WORDS, micro_config, png, word_image, write_lmdb
from textsr_jax import data
from textsr_jax.config.checks import checked
from textsr_jax.errors import UserError
from textsr_jax.train import loop, runner

pytestmark = pytest.mark.slow


def test_stage_1_may_see_synthetic_pairs_too(data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage1.position, config.stage1.recognition = "stage1", 0.0, 0.0
    config.stage1.augment = False
    begun = []
    monkeypatch.setattr(loop, "run", lambda stage, *rest: begun.append(stage))
    seen = {}
    for synthetic in (False, True):
        config.stage1.synthetic = synthetic
        runner.train(config, tmp_path / f"{synthetic}", "again")
        stage, seen[synthetic] = begun[-1], {}
        for _ in range(40):
            batch = next(stage.batches)
            keys = [stage.key_of(int(number)) for number in batch.index]
            seen[synthetic].update(zip(keys, batch.lr, strict=True))
    source = data.load(checked(config).data.replace(root="")).train
    records = [source[index] for index in range(len(source))]
    wanted = {record.key: record.lr for record in records}
    assert not wanted.keys() & seen[False].keys()
    assert wanted.keys() <= seen[True].keys() and seen[False].keys() <= seen[True].keys()
    for key, lr in wanted.items():
        np.testing.assert_array_equal(seen[True][key], lr)


def test_pre_training_reads_lmdbs_of_words_as_they_are(data_root, tmp_path, monkeypatch):
    records = [{"image": png(word_image(word)), "label": word.encode()} for word in WORDS]
    write_lmdb(tmp_path / "mj", records)
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.pretrain.synthetic = "pretrain,stage1", False
    config.stage1.position = config.stage1.recognition = 0.0
    config.data.words = f"{tmp_path / 'mj'}:0.75"
    begun = []
    monkeypatch.setattr(loop, "run", lambda stage, *rest: begun.append(stage))
    runner.train(config, tmp_path / "w", "again")
    ocr, sr = begun
    keys = [ocr.key_of(int(number)) for _ in range(10) for number in next(ocr.batches).index]
    read = [key for key in keys if key.startswith("mj:")]
    assert len(read) / len(keys) == pytest.approx(0.75, abs=0.02)
    assert set(read) == {f"mj:{number}" for number in range(1, 13)}
    # Only recognisers are pre-trained on them.
    assert ocr.data.keys() == {"words", "words of config.data.words"}
    assert sr.data.keys() == {"words"}

    records[0]["label"] = b"other"
    shutil.rmtree(tmp_path / "mj")
    write_lmdb(tmp_path / "mj", records)
    runner.train(config, tmp_path / "w", "again")
    assert begun[2].data["words"] == ocr.data["words"]
    assert begun[2].data != ocr.data

    config.pretrain.ocr.on_device = True
    with pytest.raises(UserError, match=r"ocr\.on_device=True: the words of config\.data\.words"):
        runner.train(config, tmp_path / "w", "again")
