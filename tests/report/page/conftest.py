"""A workdir with every file that a page shows, written without a training."""

import json
import pathlib

import numpy as np
import pytest

from tests.conftest import word_image
from textsr_jax.evaluation.protocol import Row
from textsr_jax.images import resize
from textsr_jax.report.page import word_file
from textsr_jax.train.logs import Logs

HOSTILE = '</script><b onclick="x">&'
# By split: label, what was read in the bicubic, SR and HR image, confidence in the SR reading.
WORDS = {
    "easy": [
        ("open", "open", "open", "open", 0.95),
        ("exit", "exlt", "exit", "exit", 0.31),
        ("taxi", "taxi", "taxl", "taxi", 0.97),
        ("Cafe", "", "cofe", "cafe", 0.2),
    ],
    "hard": [
        (HOSTILE, "scriptb", "scriptbonclickx", "scriptbonclickx", 0.6),
        ("no7", "no7", "no7", "no7", 0.5),
    ],
}
SPLIT = {"psnr": 20.125, "psnr_batch": 19.0, "ssim": 0.7125, "as_written": 40.0, "n": 4}


def rows() -> list[Row]:
    made = []
    for column, name in enumerate(("bicubic", "edsr", "HR"), 1):
        words = {split: [word[column] for word in some] for split, some in WORDS.items()}
        right = {
            split: [word[column] == "".join(filter(str.isalnum, word[0])).lower() for word in some]
            for split, some in WORDS.items()
        }
        sure = {
            split: [word[4] if column == 2 else 0.5 for word in some]
            for split, some in WORDS.items()
        }
        splits = {
            split: SPLIT | {"accuracy": 100 * float(np.mean(found))}
            for split, found in right.items()
        }
        mean = SPLIT | {"accuracy": 51.25 + column}
        made.append(Row(name, "fine-tuned", splits, mean, words, right, sure))
    return made


def images() -> dict[str, dict[str, np.ndarray]]:
    hr = {
        split: np.stack([np.asarray(word_image(word[0][:8])) for word in some])
        for split, some in WORDS.items()
    }
    lr = {split: np.stack([resize(one, (64, 16)) for one in some]) for split, some in hr.items()}
    made = {split: np.stack([resize(one, (128, 32)) for one in some]) for split, some in lr.items()}
    return {"LR": lr, "bicubic": made, "edsr": made, "HR": hr}


LABELS = {split: [word[0] for word in some] for split, some in WORDS.items()}


def setting(target: str, bits: float | None, prior: str | None, size: float, accuracy: float):
    mean = SPLIT | {"accuracy": accuracy}
    return {
        **{"target": target, "bits": bits, "prior": prior, "size_mbit": size},
        **{"stored_bytes": None, "sr": "edsr", "ocr": "fine-tuned", "mean": mean, "splits": {}},
    }


@pytest.fixture(scope="session")
def workdir(tmp_path_factory) -> pathlib.Path:
    """A workdir of a stage, an evaluation, a grid, a search, a study and an ablation."""
    folder = tmp_path_factory.mktemp("page") / "my run"
    with Logs(folder / "stage1" / "logs", 0) as logs:
        for step in range(1, 1001):
            logs.scalars({"train/loss": 1 / step, "train/learning_rate": 1e-4}, step)
        logs.scalars({"validation/psnr": 21.5}, 1000)
    plain, small = setting("none", None, None, 40.0, 52.25), setting("SR", 4, "laplace", 12.5, 50.5)
    seconds = {"steps": 90.0, "compiling": 10.0, "lost": 0.0}
    start = {
        **{"time": "2026-01-02T03:04:05+00:00", "command": "python train.py --workdir=my run"},
        **{"version": "0.1.0", "commit": "0123456789abcdef", "devices": {"cpu": 1}},
    }
    kind = {"name": "edsr-body", "part": "sr", "parameters": 9, "rows": {"2": small, "8": plain}}
    method = {"selection": "the paper's selection", "method": "ACIQ Laplace", **small}
    contents = {
        "config.json": {"seed": 17, "sr": {"name": "edsr", "edsr": {"blocks": 4}}},
        "run.json": {"config": {}, "starts": [start]},
        "stage1/goodput.json": {"goodput": 0.9, "seconds": seconds, "starts": 1, "facts": {}},
        "results.json": {"data": "drawn words", "rows": [row.as_json() for row in rows()]},
        word_file.NAME: word_file.content(images(), LABELS, rows()),
        "quantized.json": {"settings": [plain, small], "table2": [plain]},
        "search.json": {
            **{"size_mbit": 9.5, "bits": {"edsr-body": 3}, "uniform": [small]},
            **{"front": [{**plain, "bits": {"edsr-body": 8}}]},
            "test": {"unquantised": plain, "chosen": small},
        },
        "sensitivity.json": {"unquantised": plain, "layer_types": [kind]},
        "ablation.json": {"unquantised": plain, "ablation": [method]},
        "finetuned.json": {"settings": [small], "gains": [{"bits": 2, "psnr": 1, "accuracy": 3}]},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    return folder
