"""The training benchmark: both sides compute the same steps from the same weights."""

import jax
import numpy as np
import optax
import pytest
import torch

from benchmarks import torch_training, train, trained_stages
from configs import paper
from tests.conftest import micro_config
from textsr_jax import convert, text
from textsr_jax.data import records
from textsr_jax.data.batching import Batch, train_batches
from textsr_jax.models import build_focus, build_sr
from textsr_jax.train import steps

WORDS = ["open", "2nd", "a", "zoo"]


def config():
    made = paper.get_config()
    made.sr.edsr.blocks, made.sr.edsr.channels = 2, 8
    for stage in (made.stage1, made.stage2):
        stage.warmup = 0.0
    return made


def batch():
    """Smooth images, as words are: noise has no gradient to speak of in a rectifier."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (len(WORDS), 5, 17, 3)).astype(np.float32)
    rows, columns = np.linspace(0, 4, 32), np.linspace(0, 16, 128)
    hr = np.apply_along_axis(lambda line: np.interp(rows, np.arange(5), line), 1, coarse)
    hr = np.apply_along_axis(lambda line: np.interp(columns, np.arange(17), line), 2, hr)
    hr = hr.astype(np.uint8)
    return Batch(
        lr=hr[:, ::2, ::2].copy(),
        hr=hr,
        characters=text.ALPHANUMERIC.encode(WORDS, 25),
        index=np.arange(len(WORDS), dtype=np.int32),
        valid=np.ones(len(WORDS), bool),
    )


# How far the sides' losses and gradient norms may lie apart, relatively. CDistNet's rectifier turns
# rounding into a share of its gradient: with these weights each side lies 1 to 2 % from float64's,
# and Adam makes more of it: its norm is held in the first step alone, its losses in the first two
# steps; the third were seen 3 % apart.
BOUNDS = {"stage1": {"loss": 1e-5, "norm": 1e-4}, "stage2": {"loss": 1e-3, "norm": 0.01}}
STEPS = {"stage1": 3, "stage2": 2}
# What does not go through a rectifier is held tensor by tensor.
DIRECT = {"stage1": ("edsr", ""), "stage2": ("cdistnet", "mdcdp.")}


@pytest.mark.slow
@pytest.mark.parametrize("stage", trained_stages.STAGES)
def test_both_sides_take_the_same_steps(stage):
    work, words = trained_stages.work(stage, config()), batch()
    step, state = trained_stages.step_functions(work)
    twin = torch_training.make_step(
        work.twin,
        work.settings,
        trained_stages.rates(work.settings, 3),
        bfloat16=False,
        compiled=False,
    )
    given = work.twin.tensors(words, torch.device("cpu"))
    losses = []
    for number in range(STEPS[stage]):
        state, parts = step(state, work.frozen, words)
        value, norm = map(float, twin(*given))
        losses.append(value)
        loss = float(parts["loss"]) * (work.settings.scale if stage == "stage1" else 1)
        bound = 1e-5 if number == 0 else BOUNDS[stage]["loss"]
        assert loss == pytest.approx(value, rel=bound)
        if number == 0 or stage == "stage1":
            assert float(parts["gradient_norm"]) == pytest.approx(norm, rel=BOUNDS[stage]["norm"])
        if number == 0:
            model, prefix = DIRECT[stage]
            # Adam's first moments hold the gradient, clipped; PyTorch clips in place.
            moments = optax.tree_utils.tree_get(state.opt_state, "mu")
            ours = convert.export_variables(model, {"params": moments, "stats": state.stats})
            unclipped = float(parts["gradient_norm"]) / work.settings.clip
            factor = max(1, unclipped) / (1 - work.settings.b1)
            network = work.twin.edsr if stage == "stage1" else work.twin.ocr
            gradients = {
                name: max(1, norm / work.settings.clip) * tensor.grad.numpy()
                for name, tensor in network.named_parameters()
                if name.startswith(prefix)
            }
            assert len(gradients) >= 12
            whole = np.sqrt(sum(np.square(tensor).sum() for tensor in gradients.values()))
            for name, tensor in gradients.items():
                assert np.linalg.norm(factor * ours[name] - tensor) <= 1e-4 * whole, name
    # The steps do something, so that the later losses tell of the optimiser too.
    assert abs(losses[-1] - losses[0]) > 1e-3 * losses[0]


def test_the_fastest_matrix_product_is_plausible():
    peak = train.matrix_peak("float32", 256, torch.device("cpu"), runs=2)
    assert 1e7 < peak < 1e14


@pytest.mark.slow
def test_the_sides_take_turns_behind_a_first_run():
    calls = []
    sides = {name: (lambda name=name: calls.append(name)) for name in ("jax", "torch")}
    medians = train.in_turns(sides, 3, "nothing")
    assert calls == ["jax", "torch"] * 4
    assert set(medians) == {"jax_s", "torch_s"}


class Mean(torch_training.Loss):
    """A loss that costs nothing: PyTorch's networks have their published sizes only."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))

    def tensors(self, batch, device):
        return (torch.from_numpy(batch.hr.copy()).to(device),)

    def forward(self, hr):
        return (hr.float() / 255 - self.level).square().mean()


@pytest.mark.slow
def test_a_row_has_all_times_of_a_small_stage_1(capsys):
    small = micro_config("", "")
    small.sr.apply_stn = "never"
    sr, focus = build_sr(small.sr), build_focus(small.focus)
    frozen = focus.init(jax.random.key(1))
    work = trained_stages.Work(
        "stage1",
        small.stage1,
        sr,
        steps.super_resolution_loss(sr, focus, small.stage1),
        sr.init(jax.random.key(0)),
        frozen,
        Mean(),
        "float32",
        trained_stages.attention(focus),
    )
    words = [records.Record(f"w:{i}", *pair, WORDS[i]) for i, pair in enumerate(pairs())]
    batches = train_batches(words, batch_size=2, max_length=small.max_length, seed=0)
    row = train.measure(work, batches, 3, gpu=False)
    assert set(train.SIDES) <= set(row)
    assert all(row[side] > 0 for side in train.SIDES)
    assert 0 <= row["waiting"] < 1
    # EDSR alone, at least: a product and a sum for each of 1,024 pixels and weights, three times.
    kernels = sum(leaf.size for leaf in jax.tree.leaves(work.variables["params"]["edsr"]))
    assert row["flops"] > 2 * 3 * 2 * 1024 * 0.8 * kernels
    peak = 1e12
    results = {"machine": "m", "dtype": "float32", "matrix_peak_flops": peak, "rows": [row]}
    train.print_results(results)
    printed = capsys.readouterr().out
    assert "HR attention kept" in printed
    assert f"{row['jax_s'] / row['torch_s']:.2f}" in printed


def pairs():
    made = batch()
    return zip(made.lr, made.hr, strict=True)
