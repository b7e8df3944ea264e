"""Calibrates a packed file: python -m textsr_jax.experiments.fit_temperature --model=FILE --out=OUT

Fits the temperature of its confidence on the words that training held out for validation and on
drawn ones, and counts the errors in them, by which readers abstain. It says what both do to the
test words, and writes the file again with them.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from textsr_jax import reading
from textsr_jax.cli.scripts import run_script
from textsr_jax.data.synthetic import generation
from textsr_jax.errors import UserError, require
from textsr_jax.evaluation import calibration, protocol, risk
from textsr_jax.evaluation.calibration import Sample
from textsr_jax.evaluation.risk import Words
from textsr_jax.experiments import draw_plots
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime import atomic
from textsr_jax.storage import packed_files
from textsr_jax.storage.shipped import SHIPPED

if TYPE_CHECKING:
    from textsr_jax.data.records import Record

VALIDATION, DRAWN, TEST = "validation", "drawn", "test"
BEFORE, AFTER = "before", "after"

# Of drawn words, far from the seeds of training.
SEED = 3_000_000


# The readings of some words, at temperature 1, and the true words.
Read = tuple[list[reading.Reading], list[str]]


def words(
    model: str | pathlib.Path, data_root: str | None, drawn: int
) -> tuple[dict[str, list[Record]], str]:
    """Validation, drawn and test words for a packed file, and the data's name.

    Args:
      model: the packed file.
      data_root: TextZoom's LMDB folders; None for the config's own data.
      drawn: how many words to draw, as the config's `data.synthetic` draws them, but photographed
        all; at least 1.

    Raises:
      UserError: a file or data that cannot be read, or that lack words.
    """
    from textsr_jax.data.records import Record

    config = packed_files.load(model).experiment(model)
    pairs = protocol.open_pairs(config, data_root)
    found = {
        name: [source[index] for source in splits.values() for index in range(len(source))]
        for name, splits in ((VALIDATION, pairs.validation_splits), (TEST, pairs.test))
    }
    for name, records in found.items():
        if not records:
            raise UserError(f"{pairs.title}: has no {name} words; name another --data_root")
    synthetic = config.data.synthetic
    bounds = {name: synthetic[name] for name in ("words", "min_length", "max_length")}
    settings = generation.GeneratorSettings(seed=SEED, **bounds)
    made = [
        Record(f"{DRAWN}:{index + 1}", *generation.draw(settings, "validation", index))
        for index in range(drawn)
    ]
    return {VALIDATION: found[VALIDATION], DRAWN: made, TEST: found[TEST]}, pairs.title


def read(model: str | pathlib.Path, words: dict[str, list[Record]]) -> dict[str, Read]:
    """What a packed file's models read in words, at temperature 1, and the true words."""
    config = packed_files.load(model).experiment(model).replace(decoding={"temperature": 1.0})
    reader = reading.load(model, config=config)
    return {name: calibration.read(reader, records) for name, records in words.items()}


def held_out(parts: dict[str, Read]) -> Words:
    """The validation and drawn words of `read`."""
    (some, labels), (others, other_labels) = parts[VALIDATION], parts[DRAWN]
    return Words.of([*some, *others], [*labels, *other_labels])


def measure(parts: dict[str, Sample]) -> dict[str, Any]:
    """The temperature that fits validation and drawn words, and errors of all without and with it.

    Args:
      parts: by the names `VALIDATION`, `DRAWN` and `TEST`.

    Returns:
      `temperature`, and `rows`: a row for each part, without and with the temperature.

    Raises:
      UserError: see `calibration.fit_temperature`.
    """
    fitted = calibration.fit_temperature(calibration.joined(parts[VALIDATION], parts[DRAWN]))
    rows = []
    for name, sample in parts.items():
        for when, temperature in ((BEFORE, 1.0), (AFTER, fitted)):
            confidence = sample.confidence(temperature)
            bins = calibration.reliability(confidence, sample.right)
            rows.append(
                {
                    "words": name,
                    "when": when,
                    "temperature": temperature,
                    "n": len(sample.right),
                    "accuracy": float(sample.right.mean()),
                    "confidence": float(confidence.mean()),
                    "calibration_error": calibration.expected_calibration_error(bins),
                    "negative_log_likelihood": calibration.negative_log_likelihood(
                        sample, temperature
                    ),
                    "bins": [dataclasses.asdict(part) for part in bins],
                }
            )
    return {"temperature": fitted, "rows": rows}


def table(results: dict[str, Any]) -> Table:
    """The rows of `measure`."""
    made = new_table(
        f"calibration of {results['model']} on {results['data']}",
        ["words", "temperature"],
        ["n", "right\n%", "mean\nconfidence\n%", "ECE\n%", "negative log\nlikelihood"],
    )
    for row in results["rows"]:
        made.add_row(
            row["words"],
            f"{row['when']}: {row['temperature']:.3f}",
            str(row["n"]),
            f"{100 * row['accuracy']:.1f}",
            f"{100 * row['confidence']:.1f}",
            f"{100 * row['calibration_error']:.1f}",
            f"{row['negative_log_likelihood']:.3f}",
        )
    return made


def risks(fitted: Words, test: Words) -> list[dict[str, Any]]:
    """What risks that are asked for lead to on the test words, for words and for letters.

    Args:
      fitted: the held-out words.
      test: the test words.
    """
    points = {
        "words": risk.word_points(fitted, test),
        "letters": risk.letter_points(fitted, test),
    }
    return [{"of": name, **one.as_json()} for name, some in points.items() for one in some]


def risk_table(results: dict[str, Any]) -> Table:
    """The rows of `risks`."""
    made = new_table(
        f"what {results['model']} leaves out of the {TEST} words of {results['data']}",
        ["of", "risk asked for"],
        ["threshold\nlog p", "returned\n%", "returned and\nwrong, %", "wrong of\nreturned, %"],
    )
    for row in results["risks"]:
        wrong = row["selective_risk"]
        made.add_row(
            row["of"],
            f"{100 * row['asked']:g} %",
            "none" if row["threshold"] is None else f"{row['threshold']:.4f}",
            f"{100 * row['coverage']:.1f}",
            f"{100 * row['risk']:.2f}",
            "" if wrong is None else f"{100 * wrong:.2f}",
        )
    return made


def calibrated(
    packed: packed_files.PackedModels, results: dict[str, Any], fitted: Words
) -> packed_files.PackedModels:
    """Returns the models with temperature and errors in their config, and where these are from.

    Args:
      packed: the models.
      results: what `measure` returns, and `data`, the name of the data.
      fitted: the held-out words.
    """
    decoding = packed.config["decoding"] | {"temperature": results["temperature"]}
    counts = {row["words"]: row["n"] for row in results["rows"]}
    about = {"data": results["data"], "words": counts[VALIDATION], "drawn": counts[DRAWN]}
    return dataclasses.replace(
        packed,
        config=packed.config | {"decoding": decoding, "held_out": risk.held_out(fitted)},
        provenance=packed.provenance | {"calibration": about},
    )


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(
            f"{arguments[0]!r}: textsr_jax.experiments.fit_temperature takes flags only"
        )
    require("matplotlib", "plots")
    model, out = flags.FLAGS.model, flags.FLAGS.out
    if out and not pathlib.Path(out).parent.is_dir():
        raise UserError(f"--out={out}: there is no such folder; make it first")
    sources, name = words(model, flags.FLAGS.data_root, flags.FLAGS.drawn)
    parts = read(model, sources)
    fitted, test = held_out(parts), Words.of(*parts[TEST])
    results = {
        "model": pathlib.Path(model).name,
        "data": name,
        **measure({part: Sample.of(*found) for part, found in parts.items()}),
        "risks": risks(fitted, test),
    }
    print_table(table(results), keys=2)
    print_table(risk_table(results), keys=2)
    atomic.write_json(flags.FLAGS.json, results)
    from textsr_jax.report import reader_plots

    figure = reader_plots.reliability(results["rows"], f"{results['model']}, {TEST} words")
    draw_plots.write(flags.FLAGS.plot, figure)
    print(f"figures: {flags.FLAGS.json}, {flags.FLAGS.plot}")
    if out:
        packed_files.save(out, calibrated(packed_files.load(model), results, fitted))
        print(f"packed file: {out}")


if __name__ == "__main__":
    flags.DEFINE_string("model", str(SHIPPED), "The packed file to calibrate.")
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders; default: the model's data.")
    flags.DEFINE_integer("drawn", 1000, "Words that are drawn for the fit.", lower_bound=1)
    flags.DEFINE_string("out", None, "The packed file to write; it may be --model itself.")
    flags.DEFINE_string("json", "docs/calibration.json", "The file for the figures.")
    flags.DEFINE_string("plot", "docs/reliability.png", "The file for the picture.")
    run_script(main)
