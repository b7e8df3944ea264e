"""The words that stages learn from: synthetic ones stand beside real ones where asked for."""

import numpy as np
import pytest

from tests.conftest import micro_config
from textsr_jax import data
from textsr_jax.config.checks import checked
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
