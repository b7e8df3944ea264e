"""The modes of quantize.py: they measure, print tables, write JSON, plots and packed files."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from textsr_jax import data, quantization
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization import ablation, bit_search, combinations, sensitivity
from textsr_jax.evaluation.quantization.baseline import Baseline, Rules, Setting
from textsr_jax.experiments import draw_plots
from textsr_jax.models import Variables
from textsr_jax.report import tables
from textsr_jax.runtime import atomic, paths
from textsr_jax.runtime.atomic import JSON
from textsr_jax.storage import locks


@dataclasses.dataclass(frozen=True)
class Job:
    """What all modes start from.

    Attributes:
      baseline: the unquantised models and the test splits.
      pairs: the data set.
      folder: gets JSON files and plots; its folder `quantization` keeps results of measurements.
      what: the models and the data in words, for titles.
      json: the JSON file; None for one in `folder`, named after the mode.
      out: the packed file to write; None for none.
    """

    baseline: Baseline
    pairs: data.WordPairs
    folder: pathlib.Path
    what: str
    json: str | None
    out: str | None

    @property
    def measured(self) -> pathlib.Path:
        return self.folder / "quantization"

    def write(self, mode: str, **content: JSON) -> pathlib.Path:
        """Writes the JSON file of a mode and says where; returns its path."""
        path = paths.named(self.json or self.folder / f"{mode}.json")
        atomic.write_json(path, {"data": self.baseline.evaluation.title, **content})
        print(f"scores: {path}")
        return path


def run_grid(
    job: Job, targets: Sequence[str], bits: Sequence[float], priors: Sequence[str]
) -> None:
    """Scores every setting, and marks those of the paper's Table 2."""
    settings = combinations.score_combinations(job.baseline, targets, bits, priors, job.measured)
    chosen = combinations.with_stored(job.baseline, combinations.table2(settings))
    losses = f"{combinations.MAX_PSNR_LOSS:g} dB and {combinations.MAX_ACCURACY_LOSS:g} point"
    mark = (
        f"Table 2: of each target the smallest that loses at most {losses}, or else the most "
        "accurate; stored: its packed file"
    )
    tables.print_settings(settings, f"every setting: {job.what}", chosen, mark)
    job.write("quantized", settings=_as_json(settings), table2=_as_json(chosen))


def run_pack(job: Job, target: str | None, bits: Sequence[float], priors: Sequence[str]) -> None:
    """Packs the setting of `config.quantization`, with the bits and the prior that are named."""
    changes: dict[str, Any] = {}
    if bits:
        changes["bits"] = bits[0]
    if priors:
        changes["prior"] = priors[0]
    parts = ["sr"] if target == "SR" else ["ocr"] if target == "OCR" else ["sr", "ocr"]
    rules = {
        part: job.baseline.rules(part, **changes) if part in parts else () for part in ("sr", "ocr")
    }
    assert job.out is not None
    setting = combinations.pack(job.baseline, rules, job.out, {})
    print(setting.ranges)
    tables.print_settings([setting], f"{job.out}: {job.what}")
    if job.json:
        job.write("packed", setting=setting.as_json())


def run_sensitivity(job: Job, targets: Sequence[str], bits: Sequence[float]) -> None:
    """Scores every layer type quantised alone, and draws a plot."""
    parts = [
        part for part, name in (("sr", "SR"), ("ocr", "OCR")) if {name, "SR + OCR"} & set(targets)
    ]
    plain, found = sensitivity.study(job.baseline, parts, bits, job.measured)
    tables.print_sensitivity(plain, found, f"quantised alone: {job.what}")
    title = f"Each layer type quantised alone: {job.what}"
    path = job.write(
        "sensitivity",
        title=title,
        unquantised=plain.as_json(),
        layer_types=[kind.as_json() for kind in found],
    )
    print(f"plot: {draw_plots.draw(path)}")


def run_search(
    job: Job, budget_mbit: float | None, max_drop: float | None, max_psnr_drop: float | None
) -> None:
    """Chooses bits, scores the choice on the test splits, and draws the front."""
    baseline = job.baseline
    searcher = bit_search.BitSearch(baseline, job.pairs, job.measured)
    found = searcher.run(budget_mbit=budget_mbit, max_drop=max_drop, max_psnr_drop=max_psnr_drop)
    plain = searcher.test(found.front[0].bits)
    uniform = combinations.score_combinations(
        baseline, ("SR + OCR",), range(2, 9), (baseline.config.quantization.sr.prior,), job.measured
    )[1:]
    tested = [(candidate.size_mbit, searcher.test(candidate.bits), "") for candidate in found.front]
    winner = found.winner
    chosen = searcher.test(winner.bits)
    tables.print_bits(found.sizes, winner.bits, f"bits chosen: {job.what}")

    def setting(name: str, size: float, row: Row) -> Setting:
        return Setting(name, None, uniform[0].prior, size, None, row)

    largest = found.front[0].size_mbit
    rows = [
        setting("none, validation words", largest, found.plain),
        setting("chosen, validation words", winner.size_mbit, winner.row),
        setting("none, test splits", largest, plain),
        setting("chosen, test splits", winner.size_mbit, chosen),
    ]
    tables.print_settings(
        rows, f"the choice, on words that it was made by and on others: {job.what}"
    )
    tables.print_settings(
        uniform, f"the paper's selection at uniform bits, test splits: {job.what}"
    )
    allowed = {"budget_mbit": budget_mbit, "max_drop": max_drop, "max_psnr_drop": max_psnr_drop}
    path = job.write(
        "search",
        title=f"Size and scores on the test splits: {job.what}",
        allowed=allowed,
        bits=winner.bits,
        size_mbit=winner.size_mbit,
        validation={"unquantised": found.plain.as_json(), "chosen": winner.row.as_json()},
        test={"unquantised": plain.as_json(), "chosen": chosen.as_json()},
        uniform=_as_json(uniform),
        front=[
            {"size_mbit": size, "bits": candidate.bits, **row.as_json()}
            for candidate, (size, row, _) in zip(found.front, tested, strict=True)
        ],
        costs=found.costs,
    )
    print(f"plot: {draw_plots.draw(path)}")
    if job.out:
        rules = {part: searcher.rules(winner.bits, part) for part in ("sr", "ocr")}
        packed = combinations.pack(baseline, rules, job.out, {"search": allowed})
        print(packed.ranges)
        tables.print_settings([packed], f"{job.out}: {job.what}")


def run_ablation(job: Job, bits: Sequence[float], workdir: pathlib.Path | None, again: str) -> None:
    """Scores every way to quantise, and draws a plot.

    Args:
      job: what all modes start from.
      bits: whole numbers from 2 to 8.
      workdir: where models are fine-tuned too; None to leave that out.
      again: the command that goes on with the run.
    """
    if workdir is None:
        _ablate(job, bits, None)
        return
    from textsr_jax.train import stopping

    with stopping.listening(again), locks.held(workdir):
        _ablate(job, bits, lambda rules: _tuned(job.baseline, rules, workdir, again))


def _ablate(job: Job, bits: Sequence[float], tune: ablation.Tune | None) -> None:
    plain, settings = ablation.ablate(job.baseline, job.pairs, bits, job.measured, tune)
    tables.print_ablation(plain, settings, f"ways to quantise: {job.what}")
    path = job.write(
        "ablation",
        title=f"Ways to quantise: {job.what}",
        unquantised=plain.as_json(),
        ablation=[setting.as_json() for setting in settings],
    )
    print(f"plot: {draw_plots.draw(path)}")


def run_fine_tune(job: Job, bits: Sequence[float], workdir: pathlib.Path, again: str) -> None:
    """Fine-tunes the models, quantised, at each number of bits, and prints what it gains."""
    from textsr_jax.train import stopping

    with stopping.listening(again), locks.held(workdir):
        _fine_tune(job, bits, workdir, again)


def _fine_tune(job: Job, bits: Sequence[float], workdir: pathlib.Path, again: str) -> None:
    baseline = job.baseline
    size = quantization.size_mbit(baseline.sr) + quantization.size_mbit(baseline.ocr)
    rows = [Setting("none", None, None, size, None, baseline.score(baseline.sr, baseline.ocr))]
    gains = []
    for width in bits:
        before, after = _fine_tuned(job, width, workdir, again)
        rows += [before, after]
        gain = {name: after.row.mean[name] - before.row.mean[name] for name in ("psnr", "accuracy")}
        gains.append({"bits": width, **gain})
    tables.print_settings(rows, f"quantisation-aware fine-tuning: {job.what}")
    for gain in gains:
        print(
            f"{gain['bits']} bits: fine-tuning gains {gain['psnr']:+.2f} dB and "
            f"{gain['accuracy']:+.1f} points"
        )
    job.write("finetuned", settings=_as_json(rows), gains=gains)


def _fine_tuned(
    job: Job, width: float, workdir: pathlib.Path, again: str
) -> tuple[Setting, Setting]:
    """Returns the settings before and after fine-tuning; packs the latter into `job.out`."""
    from textsr_jax.train import names

    baseline = job.baseline
    rules = {part: baseline.rules(part, bits=width) for part in ("sr", "ocr")}

    def setting(baseline: Baseline, name: str) -> Setting:
        row = baseline.score(
            quantization.simulate(baseline.sr, rules["sr"]),
            quantization.simulate(baseline.ocr, rules["ocr"]),
        )
        size = sum(quantization.size_mbit(getattr(baseline, part), rules[part]) for part in rules)
        return Setting(name, width, baseline.config.quantization.sr.prior, size, None, row)

    tuned = baseline.with_variables(*_tuned(baseline, rules, workdir, again))
    after = setting(tuned, "SR + OCR, fine-tuned")
    if job.out:
        parts = (names.FINETUNE_SR, names.FINETUNE_OCR)
        steps = {name: baseline.config.quantization[name].steps for name in parts}
        packed = combinations.pack(tuned, rules, job.out, {"fine_tuned_steps": steps})
        print(packed.ranges)
        after = dataclasses.replace(after, stored_bytes=packed.stored_bytes)
    return setting(baseline, "SR + OCR"), after


def _tuned(
    baseline: Baseline, rules: dict[str, Rules], workdir: pathlib.Path, again: str
) -> tuple[Variables, Variables]:
    """The SR model and the recogniser after fine-tuning under rules, not quantised."""
    from textsr_jax.train.stages.finetune import fine_tune_quantized

    def simulate(part: str) -> Callable[[Variables], Variables]:
        return lambda tree: quantization.simulate(tree, rules[part])

    subject = [baseline.subject, {part: list(map(vars, rules[part])) for part in rules}]
    return fine_tune_quantized(
        baseline.config,
        workdir,
        (baseline.sr, simulate("sr")),
        (baseline.ocr, simulate("ocr")),
        hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()[:8],
        again,
    )


def _as_json(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    return [setting.as_json() for setting in settings]
