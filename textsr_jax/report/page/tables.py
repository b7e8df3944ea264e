"""Tables as HTML. A click on a header sorts the rows, by the page's script."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> str:
    """Returns a table as HTML; empty without rows.

    Args:
      headers: of the columns.
      rows: a cell for each header: text, a number already rounded, or None for a dash.
      texts: how many columns from the left hold text; the others end at the right.
    """
    if not rows:
        return ""

    def line(cells: Sequence[object], kind: str) -> str:
        return "".join(
            f"<{kind}{'' if number < texts else ' class=figure'}>"
            f"{'–' if cell is None else escape(str(cell))}</{kind}>"
            for number, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{line(headers, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of an evaluation: a row for each SR model and recogniser."""
    splits = list(rows[0]["splits"])
    headers = ["images", "recogniser", "PSNR, dB", "SSIM"]
    headers += [f"{split}, %" for split in splits]
    headers += ["mean, %", "as written, %"]
    cells = []
    for row in rows:
        mean, of_splits = row["mean"], row["splits"]
        accuracies = [of_splits[split]["accuracy"] for split in splits]
        cells.append(
            [
                row["sr"],
                row["ocr"],
                number(mean["psnr"], 2),
                number(mean["ssim"], 3),
                *(number(accuracy, 1) for accuracy in accuracies),
                number(mean["accuracy"], 1),
                # Older files have none.
                number(mean.get("as_written"), 1),
            ]
        )
    return table(headers, cells, texts=2)


def settings(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of quantised models: a row for each setting."""
    headers = [
        "quantised",
        "prior",
        "bits",
        "PSNR, dB",
        "accuracy, %",
        "size, 10^6 bits",
        "file, MB",
    ]
    cells = [
        [
            row["target"],
            row["prior"],
            None if row["bits"] is None else f"{row['bits']:g}",
            number(row["mean"]["psnr"], 2),
            number(row["mean"]["accuracy"], 2),
            number(row["size_mbit"], 2),
            number(row["stored_bytes"] and row["stored_bytes"] / 1e6, 2),
        ]
        for row in rows
    ]
    return table(headers, cells, texts=2)


def number(value: float | None, places: int) -> str | None:
    """Returns a number with so many places; None where there is none."""
    return None if value is None else f"{value:.{places}f}"
