"""A step taken apart: the parts make up the whole's arithmetic, and times are taken off rightly."""

import jax
import pytest

from benchmarks import parts
from benchmarks.parts import Part
from tests.benchmarks.test_train import batch
from tests.conftest import micro_config
from textsr_jax.train import speed


@pytest.mark.slow
def test_the_parts_of_a_micro_stage_1_make_up_its_arithmetic(capsys):
    row = parts.measure("stage1", micro_config("", ""), batch(), runs=3)
    assert (row["stage"], row["batch"], row["dtype"]) == ("stage1", 4, "float32")
    *shown, rest = row["parts"]
    assert [part["name"] for part in shown] == [
        "STN, both passes",
        "SR model, forward",
        "SR model, backward",
        "recogniser on SR images, forward",
        "recogniser on SR images, backward",
        "recogniser on HR images",
        "optimiser",
        "moving average",
    ]
    assert [part["in_step"] for part in shown] == [True] * (len(shown) - 1) + [False]
    # What the parts leave out: images from bytes, the losses, statistics.
    assert abs(rest["flops"]) < 0.1 * row["flops"]
    inside = [part for part in row["parts"] if part["in_step"]]
    assert sum(part["of_step"] for part in inside) == pytest.approx(1)
    flops = {part["name"]: part["flops"] for part in shown}
    # Two gradients for one product, but for the first layer's; one where the weights are frozen.
    assert 1.6 < flops["SR model, backward"] / flops["SR model, forward"] < 2.2
    read = flops["recogniser on SR images, forward"]
    assert 0.7 < flops["recogniser on SR images, backward"] / read < 1.6
    assert 0.7 * read < flops["recogniser on HR images"] < read
    parts.print_parts([row])
    printed = capsys.readouterr().out
    assert "moving average (not in this step)" in printed and "the rest" in printed


@pytest.mark.slow
def test_the_encoder_of_a_micro_stage_2_is_what_stands_behind_the_backbone():
    made = parts.passes("stage2", micro_config("", ""), batch())
    by_name = {part.name: part for part in made.parts}
    assert list(by_name) == ["rectifier", "backbone", "encoder", "decoder", "loss"]
    whole = by_name["encoder"]
    assert whole.without == "backbone"
    backbone, both = (
        speed.flops(part.function, *part.arguments) for part in (by_name["backbone"], whole)
    )
    kernels = [
        leaf.size for leaf in jax.tree.leaves(made.variables["params"]["encoder"]) if leaf.ndim == 2
    ]
    # A forward product, and two gradients, of 4 words of 64 columns with each of its kernels.
    products = 3 * 2 * 4 * 64 * sum(kernels)
    assert products < both - backbone < 3 * products
    # Gradients of all that it has, and of what it sees.
    gradient, *_ = whole.arguments
    value, (own, seen) = jax.eval_shape(whole.function, *whole.arguments)
    assert value.shape == gradient.shape == (4, 64, 16)
    assert sum(leaf.size for leaf in jax.tree.leaves(own)) > sum(kernels)
    assert seen.shape == (4, 32, 128, 3)


def test_what_a_function_repeats_is_taken_off():
    forward = Part("forward", abs, ())
    made = [forward, Part("backward", abs, (), "forward"), Part("average", abs, (), in_step=False)]
    seconds = {"forward": 1.0, "backward": 3.0, "average": 5.0}
    flops = {"forward": 10.0, "backward": 40.0, "average": 7.0}
    rows = parts.account(made, seconds, flops, step_s=4.0, step_flops=50.0, peak=20.0)
    found = {row["name"]: (row["seconds"], row["flops"], row["of_step"]) for row in rows}
    assert found == {
        "forward": (1, 10, 0.25),
        "backward": (2, 30, 0.5),
        "average": (5, 7, 1.25),
        "the rest": (1, 10, 0.25),
    }
    assert rows[1]["of_peak"] == 30 / 2 / 20


def test_short_calls_are_repeated(monkeypatch):
    now = [0.0]
    calls = []

    def run():
        calls.append(1)
        now[0] += 0.01
        return jax.numpy.zeros(())

    monkeypatch.setattr(parts.time, "perf_counter", lambda: now[0])
    assert parts._median(run, 3) == pytest.approx(0.01)
    # One that compiles, one that tells how long it takes, and five in a row three times.
    assert len(calls) == 2 + 3 * 5
