"""The demo's pairs: what can be chosen, how many readers are kept, bits on the spot."""

import jax
import numpy as np
import pytest

from textsr_jax import quantization
from textsr_jax.demo import pairs
from textsr_jax.errors import UserError
from textsr_jax.export import RECORD
from textsr_jax.images import to_float, to_uint8
from textsr_jax.quantization.rules import from_config
from textsr_jax.storage.models import Models


def test_graphs_are_offered_in_both_precisions_and_are_never_quantised(tmp_path, monkeypatch):
    (tmp_path / RECORD).write_text("{}")
    offered = pairs.Pairs([str(tmp_path)])
    assert offered.names == [pairs.SHIPPED_NAME, pairs.PRINTABLE_NAME, str(tmp_path)]
    assert offered.runtimes(pairs.SHIPPED_NAME) == ["JAX"]
    assert offered.runtimes(str(tmp_path)) == ["ONNX Runtime, int8", "ONNX Runtime, float32"]
    asked = []
    monkeypatch.setattr(offered, "_reader", lambda *which: asked.append(which))
    offered.reader(str(tmp_path), "ONNX Runtime, float32", 4)
    # What is chosen for the pair before does not fit this one.
    offered.reader(str(tmp_path), "JAX", None)
    assert asked == [
        (str(tmp_path), "ONNX Runtime, float32", None),
        (str(tmp_path), "ONNX Runtime, int8", None),
    ]


def test_what_is_not_offered_is_refused(tmp_path):
    with pytest.raises(UserError, match="none: no such file or folder; name a packed file"):
        pairs.Pairs([str(tmp_path / "none")])
    offered = pairs.Pairs()
    with pytest.raises(UserError, match="pair '/etc/passwd': not one of the demo's"):
        offered.reader("/etc/passwd", "JAX", None)
    for bits in (1, 9):
        with pytest.raises(UserError, match=f"bits {bits}: not a choice; take 2 to 8"):
            offered.reader(pairs.SHIPPED_NAME, "JAX", bits)


def test_readers_are_kept_up_to_a_bound(monkeypatch):
    made = []
    monkeypatch.setattr(pairs, "KEPT", 2)
    monkeypatch.setattr(pairs.Pairs, "_made", lambda self, *which: made.append(which[2]))
    offered = pairs.Pairs()
    for bits in (2, 3, 2, 4, 3, 2):
        offered.reader(pairs.SHIPPED_NAME, "JAX", bits)
    assert made == [2, 3, 4, 3, 2]


def test_bits_quantise_by_the_rules_of_the_config(trained):
    models = Models.load(trained)
    quantizer = pairs.Quantizer(str(trained))
    readers = {bits: quantizer.reader(bits) for bits in (2, 8)}
    lr = np.random.default_rng(0).integers(0, 256, (1, 16, 64, 3), np.uint8)
    enlarge = jax.jit(lambda tree: to_uint8(models.sr(tree, to_float(lr))))
    made = {}
    for bits, reader in readers.items():
        settings = models.config.quantization.sr.to_dict() | {"bits": bits}
        rules = from_config(settings, models.config.sr.name, "sr")
        expected = enlarge(quantization.simulate(models.sr_variables, rules))
        made[bits] = reader.enhance(lr)
        # One level of rounding: the two functions are compiled apart.
        assert abs(made[bits].astype(int) - np.asarray(expected)).max() <= 1
        assert reader.description.sr_precision == f"{bits} bits"
    assert (made[2] != made[8]).any()
    assert readers[2]._engine._enlarger is readers[8]._engine._enlarger
