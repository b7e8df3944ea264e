"""The sections of a run's page: which file each shows, and how."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from textsr_jax.report.page import quantized, tables, words
from textsr_jax.report.page.charts import Line, chart
from textsr_jax.report.page.folder import FILES, Run, Stage

# What is damaged raises one of these; its section is then left out, with a note.
_LACKS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
# Titles of training's curves whose names do not say their unit.
_UNITS = {
    "accuracy": "accuracy, %",
    "as_written": "as written, %",
    "confidence": "confidence, %",
    "psnr": "PSNR, dB",
    "psnr_bicubic": "PSNR of bicubic images, dB",
    "ssim": "SSIM",
}


@dataclasses.dataclass(frozen=True)
class Section:
    """A section: the name of its anchor, its title, and its content as HTML."""

    name: str
    title: str
    content: str


def sections(run: Run) -> tuple[list[Section], list[str]]:
    """Returns the sections of what a run has, and notes of what is damaged."""
    made, notes = [], list(run.notes)
    for key, name, title, show in _SHOWN:
        content = run.stages if key == "stages" else run.files.get(key)
        if not content:
            continue
        try:
            made.append(Section(name, title, show(content)))
        except _LACKS as error:
            notes.append(f"{FILES.get(key, key)}: {title} left out, it lacks {error!r}")
    return made, notes


def _training(stages: Sequence[Stage]) -> str:
    """Returns the curves of each stage, loss and validation first, and what its time went into."""
    return "".join(f"<h3>{escape(stage.name)}</h3>{_stage(stage)}" for stage in stages)


def _stage(stage: Stage) -> str:
    groups: dict[str, list[tuple[str, Any]]] = {"train": [], "validation": []}
    for name, points in sorted(stage.curves.items()):
        group, _, what = name.partition("/")
        # What the time went into is a table.
        if group in groups:
            groups[group].append((what, points))
    groups["train"].sort(key=lambda curve: curve[0] != "loss")
    shown = ""
    for group, title in (("train", "training"), ("validation", "validation")):
        figures = [
            chart(
                f"{title}: {_UNITS.get(what, what.replace('_', ' '))}", [Line(what, points)], "step"
            )
            for what, points in groups[group]
        ]
        shown += f'<div class="charts">{"".join(figures)}</div>' if figures else ""
    return shown + _goodput(stage.goodput)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _goodput(content: Mapping[str, Any] | None) -> str:
    if content is None:
        return ""
    try:
        seconds = {str(kind): float(spent) for kind, spent in content["seconds"].items()}
    except _LACKS:
        return ""
    total = sum(seconds.values()) or 1.0
    rows = [
        [kind, f"{spent:.1f}", f"{100 * spent / total:.1f}"]
        for kind, spent in sorted(seconds.items(), key=lambda item: -item[1])
        if spent
    ]
    return tables.table(["time went into", "seconds", "%"], rows)


def _starts(content: Mapping[str, Any]) -> str:
    rows = [
        [
            start["time"],
            start["command"],
            start["version"],
            (start.get("commit") or "")[:12] or None,
            ", ".join(f"{count} x {kind}" for kind, count in start["devices"].items()),
        ]
        for start in content["starts"]
    ]
    return tables.table(["started", "command", "version", "commit", "devices"], rows, texts=5)


def _results(content: Mapping[str, Any]) -> str:
    about = [f"Data: {escape(str(content['data']))}."]
    splits = content["rows"][0]["splits"]
    counts = ", ".join(f"{escape(split)} {scores['n']}" for split, scores in splits.items())
    about.append(f"Words: {counts}.")
    for folder, reasons in content.get("skipped", {}).items():
        told = ", ".join(f"{count} ({escape(reason)})" for reason, count in reasons.items())
        about.append(f"Left out of {escape(folder)}: {told}.")
    about.append("As written: case, punctuation and spaces count too.")
    return f"<p>{' '.join(about)}</p>{tables.scores(content['rows'])}"


def _photographs(content: Mapping[str, Any]) -> str:
    folders = list(content["rows"][0]["folders"])
    headers = ["halved by", "enlarged by"]
    headers += [f"{folder}, {what}" for folder in folders for what in ("dB", "SSIM")]
    rows = [
        [
            row["down"],
            row["up"],
            *(
                tables.number(row["folders"][folder][score], places)
                for folder in folders
                for score, places in (("psnr", 2), ("ssim", 4))
            ),
        ]
        for row in content["rows"]
    ]
    return tables.table(headers, rows, texts=2)


def _figure(content: Mapping[str, Any]) -> str:
    shown = words.cards(content, content["figure"])
    return (
        "<p>Words that stand for all: as many of them are read rightly in each kind of image as of "
        "all words. Right letters are green, wrong ones red and struck through; beside them is the "
        f"confidence.</p><div class=words>{shown}</div>"
    )


def _worst(content: Mapping[str, Any]) -> str:
    return _extreme(content, "worst", "Read wrongly, and most sure of it.")


def _luckiest(content: Mapping[str, Any]) -> str:
    return _extreme(content, "luckiest", "Read rightly, and least sure of it.")


def _extreme(content: Mapping[str, Any], which: str, what: str) -> str:
    if not content[which]:
        return "<p>There is none.</p>"
    judged = content["readings"][content["judged"]]
    about = f"{what} Judged: {judged['image']} images, the {judged['recognizer']} recogniser."
    shown = words.cards(content, content[which])
    return f"<p>{escape(about)}</p><div class=words>{shown}</div>"


def _gallery(content: Mapping[str, Any]) -> str:
    splits = list(dict.fromkeys(word["split"] for word in content["words"]))
    options = "".join(f"<option>{escape(split)}</option>" for split in splits)
    count, everything = len(content["words"]), content["all"]
    part = (
        ""
        if count == everything
        else f" They stand for all {everything} words, whose images would make this file too large."
    )
    shown = words.cards(content, range(count))
    return (
        f"<p>{count} words. Images are WebP files of quality 90; what was read and scored were the "
        f"images before that.{part}</p>"
        '<form class="controls"><label>find <input type="search" id="find" '
        'placeholder="letters"></label>'
        f'<label>split <select id="split"><option value="">all</option>{options}</select></label>'
        '<label>read <select id="outcome"><option value="">all</option>'
        '<option value="both gained">rightly</option><option value="lost neither">wrongly</option>'
        '<option value="gained">rightly, not in bicubic</option>'
        '<option value="lost">wrongly, but not in bicubic</option></select></label>'
        '<label>sort by <select id="sort"><option value="number">place</option>'
        '<option value="sure">confidence, least first</option>'
        '<option value="-sure">confidence, most first</option>'
        '<option value="-wrong">wrong letters, most first</option>'
        '<option value="-gain">confidence gained over bicubic</option>'
        '<option value="label">label</option></select></label>'
        '<output id="count"></output></form>'
        f'<div class="words" id="gallery">{shown}</div><p id="more"><button>show more</button></p>'
    )


def _config(content: Mapping[str, Any]) -> str:
    alone = {name: value for name, value in content.items() if not isinstance(value, dict)}
    parts = {"the whole": alone}
    parts |= {name: value for name, value in content.items() if isinstance(value, dict)}
    return "".join(
        f"<details><summary>{escape(name)}</summary>"
        f"{tables.table(['field', 'value'], list(_fields(part)), texts=2)}</details>"
        for name, part in parts.items()
    )


def _fields(part: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in part.items():
        if isinstance(value, dict):
            found += _fields(value, f"{above}{name}.")
        else:
            found.append((above + name, json.dumps(value, ensure_ascii=False)))
    return found


# The file of each section in the order of the page, its anchor, its title, and what shows it.
_SHOWN: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("run", "starts", "Starts", _starts),
    ("results", "scores", "Scores", _results),
    ("photographs", "photographs", "Photographs", _photographs),
    ("words", "figure", "Words that stand for all", _figure),
    ("words", "worst", "The worst", _worst),
    ("words", "luckiest", "The luckiest", _luckiest),
    ("words", "words", "All words", _gallery),
    ("stages", "training", "Training", _training),
    ("quantized", "quantized", "Quantised", quantized.quantized),
    ("search", "front", "The front of bits", quantized.search),
    ("sensitivity", "sensitivity", "Each layer type quantised alone", quantized.sensitivity),
    ("ablation", "ablation", "Ways to quantise", quantized.ablation),
    ("finetuned", "finetuned", "Fine-tuned, quantised", quantized.finetuned),
    ("config", "config", "Config", _config),
)
