"""Choosing bits: groups, the way down from large to small, and what a search allows."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax import data
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.evaluation.quantization import bit_search
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.evaluation.quantization.bit_search import WIDTHS, Cost, descend, group_of
from textsr_jax.quantization import quantize, size_mbit
from textsr_jax.storage.models import Models


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("edsr/blocks/13/conv1/kernel", "edsr/blocks/13"),
        ("edsr/head/bias", "edsr/head"),
        ("rectifier/fc1/kernel", "rectifier/fc1"),
        ("backbone/stages/2/0/conv1/conv/kernel", "backbone/stages/2"),
        ("fusion/kernel", "fusion"),
        ("tbsrn/slope", "tbsrn"),
    ],
)
def test_groups_end_at_the_first_number_or_the_second_module(path, group):
    assert group_of(path) == group


def costs_of(rises):
    """Costs of a group by bits, each number added to the unquantised baseline's."""
    return {
        width: Cost(1.0 + rise, 0.01) for width, rise in zip(WIDTHS, [0.0, *rises], strict=True)
    }


rises = st.lists(st.floats(0, 4, width=32), min_size=7, max_size=7)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 1000), rises), min_size=1, max_size=4))
def test_every_setting_on_the_way_costs_least_for_its_size(groups):
    sizes = {str(number): size for number, (size, _) in enumerate(groups)}
    costs = {str(number): costs_of(rise) for number, (_, rise) in enumerate(groups)}
    path = descend(sizes, costs)
    assert set(path[0].values()) == {32} and set(path[-1].values()) == {2}

    def total(bits):
        size = sum(sizes[group] * width for group, width in bits.items())
        return size, sum(costs[group][width].cross_entropy for group, width in bits.items())

    totals = [total(bits) for bits in path]
    assert all(later < before for (before, _), (later, _) in itertools.pairwise(totals))
    # No setting with fewer bits in one group lies below the line between two neighbours.
    for (large, low), (small, high) in itertools.pairwise(totals):
        price = (high - low) / (large - small)
        for group in sizes:
            for width in WIDTHS:
                size, cost = total(path[0] | {group: width})
                start_size, start_cost = totals[0]
                if large == start_size:
                    assert cost - start_cost >= price * (start_size - size) - 1e-4


def test_the_cheaper_group_goes_first():
    flat, steep = costs_of([0.0] * 7), costs_of([1, 2, 3, 4, 5, 6, 7])
    path = descend({"flat": 10, "steep": 10}, {"flat": flat, "steep": steep})
    assert path[1] == {"flat": 2, "steep": 32}


@pytest.fixture(scope="module")
def searched(studied):
    models = Models.load(studied)
    baseline = Baseline(models, protocol.Evaluation.open(models.config))
    return baseline, data.load(models.config.data), studied / "quantization"


def test_a_search_keeps_to_its_budget_and_goes_on_where_it_was(searched, monkeypatch):
    baseline, pairs, folder = searched
    searcher = bit_search.BitSearch(baseline, pairs, folder)
    plain = sum(searcher.sizes.values()) * 32e-6
    assert plain == pytest.approx(size_mbit(baseline.sr) + size_mbit(baseline.ocr))
    found = searcher.run(budget_mbit=plain / 5)
    winner = found.winner
    # The largest setting on the way down that fits. How far below the budget it lies depends on
    # the costs, and those of a barely trained baseline on the machine.
    path = descend(searcher.sizes, found.costs)
    sizes = [sum(searcher.sizes[g] * b for g, b in bits.items()) * 1e-6 for bits in path]
    assert winner.size_mbit == pytest.approx(max(size for size in sizes if size <= plain / 5))
    assert winner.bits in path
    assert found.front[0].size_mbit == pytest.approx(plain)
    assert all(set(found.costs[group]) == set(WIDTHS) for group in searcher.sizes)
    # The rules give every group the bits that the size counts.
    size = sum(
        size_mbit(quantize(getattr(baseline, part), searcher.rules(winner.bits, part)))
        for part in ("sr", "ocr")
    )
    assert size == pytest.approx(winner.size_mbit)
    assert searcher.test(winner.bits).splits.keys() == {"easy", "hard"}

    again = bit_search.BitSearch(baseline, pairs, folder)
    monkeypatch.setattr(again, "_apply", None)
    repeated = again.run(budget_mbit=plain / 5)
    assert repeated.winner.bits == winner.bits

    with pytest.raises(UserError, match="2 bits for everything take"):
        again.run(budget_mbit=plain / 100)


def test_a_search_loses_no_more_than_is_allowed(searched):
    baseline, pairs, folder = searched
    searcher = bit_search.BitSearch(baseline, pairs, folder)
    found = searcher.run(max_psnr_drop=0.05)
    drop = found.plain.mean["psnr"] - found.winner.row.mean["psnr"]
    assert drop <= 0.05
    assert found.winner.size_mbit < 0.9 * found.front[0].size_mbit
    sizes = [candidate.size_mbit for candidate in found.front]
    assert sizes == sorted(sizes, reverse=True)
    assert np.isfinite(
        [list(cost) for costs in found.costs.values() for cost in costs.values()]
    ).all()
