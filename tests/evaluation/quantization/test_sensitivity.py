"""The study of layer types: each alone, under its own name, with its own parameters."""

import pytest

from textsr_jax.evaluation import protocol
from textsr_jax.evaluation.quantization import sensitivity
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.storage.models import Models


def test_each_layer_type_is_quantised_alone(studied):
    models = Models.load(studied)
    baseline = Baseline(models, protocol.Evaluation.open(models.config))
    plain, found = sensitivity.study(baseline, ["sr"], [2, 8], studied / "quantization")
    kinds = {kind.name: kind for kind in found}
    assert list(kinds)[-1] == "edsr-sr"
    assert kinds["edsr-head"].parameters == 3 * 9 * 8 + 8
    assert kinds["edsr-sr"].parameters == sum(
        kinds[name].parameters for name in ("edsr-head", "edsr-body", "edsr-stn")
    )
    for kind in found:
        assert set(kind.rows) == {2, 8}
        fine, coarse = kind.rows[8].mean["psnr"], kind.rows[2].mean["psnr"]
        assert abs(fine - plain.mean["psnr"]) <= abs(coarse - plain.mean["psnr"]) + 0.05
    # The STN plays no part in evaluation.
    assert kinds["edsr-stn"].rows[2].mean == pytest.approx(plain.mean)
    assert kinds["edsr-tail"].rows[2].mean["psnr"] != plain.mean["psnr"]
