"""The ablation: each method scores as its tree does, statistics are of training words, resumed."""

import dataclasses

import pytest

from textsr_jax import quantization
from textsr_jax.data.batching import Subset
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.evaluation.quantization import ablation
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.storage.models import Models


def test_every_method_is_scored_on_both_selections_once(trained, tmp_path, monkeypatch):
    models = Models.load(trained)
    pairs = protocol.open_pairs(models.config)
    baseline = Baseline(models, protocol.Evaluation(models.config, pairs))
    empty = dataclasses.replace(pairs, train=Subset(pairs.train, []))
    with pytest.raises(UserError, match="has no training words"):
        ablation.ablate(baseline, empty, [3], tmp_path)

    kept = ("ACIQ Laplace", "groups, GPTQ", "groups, fine-tuned")
    methods = [method for method in ablation.METHODS if method.name in kept]
    monkeypatch.setattr(ablation, "METHODS", methods)
    asked = []

    def tune(rules):
        asked.append(rules)
        return baseline.sr, baseline.ocr

    # Test words play no part in statistics.
    untested = dataclasses.replace(pairs, test={})
    plain, found = ablation.ablate(baseline, untested, [3], tmp_path, tune)
    assert [(one.selection, one.method, one.bits) for one in found] == [
        (selection, method, 3) for selection in ablation.SELECTIONS for method in kept
    ]
    laplace, gptq, tuned = found[3:]
    rules = {
        part: [quantization.Rule(".*/kernel", 3, "laplace", "tensor")] for part in ("sr", "ocr")
    }
    trees = {part: getattr(baseline, part) for part in rules}
    simulated = {part: quantization.simulate(trees[part], rules[part]) for part in rules}
    assert laplace.row.mean == baseline.score(**simulated).mean
    sizes = [sum(quantization.size_mbit(trees[part], rules[part]) for part in rules)]
    # Ranges of groups count.
    assert laplace.size_mbit == pytest.approx(sizes[0]) and gptq.size_mbit > sizes[0]
    # Fine-tuning that changes nothing leaves the nearest codes, under the rules that it was told.
    assert [rule.granularity for rule in asked[1]["ocr"]] == ["group"]
    nearest = {part: quantization.simulate(trees[part], asked[1][part]) for part in rules}
    assert tuned.row.mean == baseline.score(**nearest).mean
    loss = [plain.mean["psnr"] - one.row.mean["psnr"] for one in (gptq, tuned)]
    assert abs(loss[0]) < abs(loss[1])

    # A second run measures nothing.
    monkeypatch.setattr(baseline, "score", None)
    _, again = ablation.ablate(baseline, untested, [3], tmp_path, tune)
    assert [one.as_json() for one in again] == [one.as_json() for one in found]
