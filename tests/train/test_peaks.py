"""What devices can do at most: by their names, or measured once."""

import json

import jax
import pytest

from textsr_jax.train import peaks


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5, 494.5),
        ("NVIDIA H100 PCIe", 756.5, 378),
        ("NVIDIA H100 NVL", 835.5, 417.5),
        ("NVIDIA H200", 989.5, 494.5),
        ("NVIDIA A100-SXM4-40GB", 312, 156),
        ("NVIDIA L4", 121, 60),
        ("NVIDIA L40S", None, None),
        ("Tesla T4", None, 8.1),
        ("Tesla V100-SXM2-16GB", None, 15.7),
        ("NVIDIA B200", 2250, 1125),
        ("TPU v2", 22.5, 22.5),
        ("TPU v4", 275, 275),
        ("TPU v5 lite", 197, 197),
        ("TPU v5", 459, 459),
        ("TPU v6 lite", 918, 918),
        ("TPU7x", 1153.5, 1153.5),
        ("cpu", None, None),
    ],
)
def test_published_peaks_by_kind(kind, bfloat16, float32):
    found = [peaks._published(kind, dtype) for dtype in ("bfloat16", "float32")]
    assert [flops and flops[0] / 1e12 for flops in found] == [bfloat16, float32]


def test_the_matrix_rate_counts_a_product_and_its_sum(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(peaks.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(peaks, "_SIDES", {jax.default_backend(): 64})
    assert peaks.matrix_flops("float32") == 2 * 64**3
    assert peaks.matrix_flops("bfloat16") == 2 * 64**3


def test_other_devices_are_measured_once_a_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(peaks, "cache_folder", lambda: tmp_path)
    measured = iter([3e9, 5e9])
    monkeypatch.setattr(peaks, "matrix_flops", lambda dtype: next(measured))
    first = peaks.of_all_devices("float32")
    # Simulated devices of a CPU share its cores.
    assert first.flops == 3e9 and "-thread " in first.devices
    assert peaks.of_all_devices("float32") == first
    assert peaks.of_all_devices("bfloat16").flops == 5e9
    assert sorted(json.loads((tmp_path / peaks.FILE).read_text()).values()) == [3e9, 5e9]
