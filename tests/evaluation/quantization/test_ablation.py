"""The ablation: each method scores as its tree does, statistics are of training words, resumed."""

import dataclasses

import jax
import numpy as np
import pytest

from textsr_jax import quantization
from textsr_jax.data.batching import Subset
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.evaluation.quantization import ablation
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.models.layers.pixels import RGB_MEAN
from textsr_jax.models.network import leaves_by_path
from textsr_jax.storage.models import Models


def test_every_method_is_scored_once_and_looks_at_training_words(trained, tmp_path, monkeypatch):
    models = Models.load(trained)
    pairs = protocol.open_pairs(models.config)
    baseline = Baseline(models, protocol.Evaluation(models.config, pairs))
    empty = dataclasses.replace(pairs, train=Subset(pairs.train, []))
    with pytest.raises(UserError, match="has no training words"):
        ablation.ablate(baseline, empty, [3], tmp_path)

    asked, seen = [], []

    def look(tree, statistics, rules):
        seen.append(statistics)
        return quantization.quantize(tree, rules)

    settings = {"prior": "laplace", "granularity": "tensor"}
    methods = [
        ablation.Method("nearest", settings),
        ablation.Method("looking", settings, look),
        ablation.Method("tuned", settings, tuned=True),
    ]
    monkeypatch.setattr(ablation, "METHODS", methods)
    monkeypatch.setattr(ablation, "SELECTIONS", {"all kernels": "kernels"})
    changed = jax.tree.map(lambda leaf: 0.9 * leaf, baseline.sr)

    def tune(rules):
        asked.append(rules)
        return changed, baseline.ocr

    # Test words play no part in statistics.
    untested = dataclasses.replace(pairs, test={}, train=Subset(pairs.train, range(16)))
    plain, found = ablation.ablate(baseline, untested, [3], tmp_path, tune)
    assert [(one.selection, one.method, one.bits) for one in found] == [
        ("all kernels", method, 3) for method in ("nearest", "looking", "tuned")
    ]
    nearest, looking, tuned = found
    rules = {part: (quantization.Rule(".*/kernel", 3),) for part in ("sr", "ocr")}
    assert asked == [rules]
    trees = {part: getattr(baseline, part) for part in rules}
    simulated = {part: quantization.simulate(trees[part], rules[part]) for part in rules}
    assert nearest.row.mean == looking.row.mean == baseline.score(**simulated).mean
    tuned_sr = quantization.simulate(changed, rules["sr"])
    assert tuned.row.mean == baseline.score(tuned_sr, simulated["ocr"]).mean
    assert tuned.row.mean["psnr"] != nearest.row.mean["psnr"] != plain.mean["psnr"]
    size = sum(quantization.size_mbit(trees[part], rules[part]) for part in rules)
    assert [one.size_mbit for one in found] == [size] * 3

    # The first convolution sees the training words: its middle taps see every pixel once.
    sr, ocr = seen
    words = [untested.train[index].lr / 255.0 - RGB_MEAN for index in range(16)]
    squares = np.square(words).sum((0, 1, 2))
    np.testing.assert_allclose(np.diag(sr["edsr/head/kernel"][0])[12:15], squares, rtol=1e-4)
    kernels = {path for path in leaves_by_path(baseline.ocr["params"]) if path.endswith("kernel")}
    assert kernels <= ocr.keys()

    # A second run measures nothing.
    monkeypatch.setattr(baseline, "score", None)
    _, again = ablation.ablate(baseline, untested, [3], tmp_path, tune)
    assert [one.as_json() for one in again] == [one.as_json() for one in found]
