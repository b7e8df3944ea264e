"""Tables on the screen hold the figures, and fit it."""

import dataclasses

from textsr_jax.evaluation.photographs import PhotographRow
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.combinations import Setting
from textsr_jax.report import tables

SCORES = {
    **{"psnr": 21.417, "psnr_batch": 20.9, "ssim": 0.7951},
    **{"accuracy": 71.28, "as_written": 43.21, "n": 1619},
}
ROW = Row("edsr", "fine-tuned", {"easy": SCORES}, SCORES | {"psnr": None}, {})


def test_rows_are_printed_with_their_figures(capsys):
    tables.print_rows([ROW], "results")
    printed = capsys.readouterr().out
    for expected in (
        "results",
        "edsr",
        "fine-tuned",
        "21.42",
        "20.90",
        "0.795",
        "71.3",
        "43.2",
        "-",
        "1619",
    ):
        assert expected in printed


def shown(capsys, monkeypatch, columns, show, *arguments):
    """What is printed on a screen of so many columns; None is a pipe."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    show(*arguments)
    return capsys.readouterr().out


def test_tables_fit_a_narrow_screen_and_cut_nothing(capsys, monkeypatch):
    splits = dict.fromkeys(("easy", "medium", "hard"), SCORES)
    rows = [Row(sr, "fine-tuned", splits, SCORES, {}) for sr in ("bicubic", "edsr")]
    printed = shown(capsys, monkeypatch, 80, tables.print_rows, rows, "results")
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    # A table a metric: three splits and their mean of two models, and the mean by batch.
    assert printed.count("21.42") == 8 and printed.count("20.90") == 2
    assert printed.count("0.795") == 8 and printed.count("71.3") == 8


def test_a_table_that_is_too_wide_goes_on_below_with_its_first_columns(capsys, monkeypatch):
    table = tables.new_table("wide", ["name", "[kind]"], [f"figure\n{n}" for n in range(20)])
    for row in range(3):
        table.add_row(f"row {row}", "[b]", *(f"{row}.{n:02}" for n in range(20)))
    for columns in (80, 40, 12):
        printed = shown(capsys, monkeypatch, columns, tables.print_table, table, 2)
        figures = [word for word in printed.split() if word[:2] in ("0.", "1.", "2.")]
        assert sorted(figures) == sorted(f"{row}.{n:02}" for row in range(3) for n in range(20))
        # Every part names its rows; brackets are no markup.
        parts = printed.count("[kind]")
        assert printed.count("row 1") == printed.count("row 2") == parts > 1
        assert printed.count("[b]") == 3 * parts
        # Even a screen that holds no figure beside the names gets whole cells.
        assert max(map(len, printed.splitlines())) <= max(columns, 23)
    printed = shown(capsys, monkeypatch, None, tables.print_table, table, 2)
    assert printed.count("row 1") == printed.count("[kind]") == 1
    assert all(f"2.{n:02}" in printed for n in range(20))


def test_every_setting_is_printed_once_and_table_2_is_marked(capsys):
    settings = [
        Setting("none", None, None, 40.0, None, ROW),
        Setting("SR", 4, "laplace", 10.5, None, ROW),
        Setting("SR", 8, "laplace", 20.5, None, ROW),
    ]
    chosen = [dataclasses.replace(settings[1], stored_bytes=1_500_000)]
    tables.print_settings(settings, "every setting", chosen, "the smallest")
    printed = capsys.readouterr().out
    (marked,) = [line for line in printed.splitlines() if "10.50" in line]
    assert "4 *" in marked and "12.00" in marked
    assert printed.count("20.50") == printed.count("40.00") == 1
    assert "* the smallest" in printed


def test_ways_to_halve_and_enlarge_are_printed_with_their_figures(capsys):
    scores = {"psnr": 38.941, "ssim": 0.96581, "n": 5}
    perfect = {"psnr": None, "ssim": 1.0, "n": 14}
    row = PhotographRow("resampler", "edsr", {"Set5": scores, "Set14": perfect})
    tables.print_photographs([row], "photographs")
    printed = capsys.readouterr().out
    for expected in ("resampler", "edsr", "Set14", "38.94", "0.9658", "5 images", "1.0000", " - "):
        assert expected in printed
