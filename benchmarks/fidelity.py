"""How close every network is to the published code: python -m benchmarks.fidelity

Writes docs/results/fidelity.md from the parity vectors, in float32 and bfloat16 compute, and from
the times of `python -m benchmarks.networks`; those that are not there are taken first.
"""

import json
import pathlib
import textwrap

import jax
from tqdm import tqdm

from benchmarks import needs_extra
from benchmarks.golden import vectors as golden_vectors
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.models import count_parameters
from textsr_jax.runtime import atomic

with needs_extra(__name__):
    from benchmarks import networks
    from benchmarks.golden import outputs as golden_outputs

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "results" / "fidelity.md"

# Each network's title, and the name of its published file.
_NETWORKS = {
    "edsr": ("EDSR-32x256", "usn.pth"),
    "tbsrn": ("TBSRN", "state_dict_G"),
    "tsrn": ("TSRN", "state_dict_G"),
    "tpgsr": ("TPGSR, one stage, with its CRNN", "state_dict_G"),
    "tatt": ("TATT with its CRNN", "state_dict_G"),
    "lemma": ("LEMMA with its ABINet", "state_dict_G"),
    "abinet": ("ABINet's two branches", "VISION.pth,LANGUAGE.pth"),
    "resampler": ("resampler's kernel network", "kgn.pth"),
    "text_focus": ("text-focus recogniser", "pretrain_transformer.pth"),
    "cdistnet": ("CDistNet", "model_epoch_N.pth"),
    "crnn": ("CRNN", "crnn.pth"),
}

_HEAD = """\
# Fidelity

How close every network here is to its published code, how large it is, and how fast it is beside
PyTorch. Made by

```
pip install -e '.[benchmarks]'
python -m benchmarks.networks && python -m benchmarks.fidelity
```

with the stand-in weights of `tests/golden`, on a CPU. The first command takes the times, into
docs/speed.json, the second writes this page. `python -m pytest -k golden` holds every difference
below to its bound.
"""


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.fidelity takes flags only")
    timed = {row["network"] for row in networks.taken()["rows"]}
    networks.run([name for name in networks.NETWORKS if name not in timed])
    parts = [_HEAD, _sizes(), _times(networks.taken())]
    files = sorted(path.stem for path in golden_vectors.FOLDER.glob("*.npz"))
    parts.append(_differences(files))
    atomic.write_text(PAGE, "\n".join(parts))
    print(f"page: {PAGE}")


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    return "\n".join([_row(*head), _row(*["---"] * len(head)), *(_row(*row) for row in rows), ""])


def _sizes() -> str:
    rows = []
    for model, (title, published_file) in _NETWORKS.items():
        file = "text_focus_recognizer" if model == "text_focus" else model
        published = json.loads((golden_vectors.COPY / f"{file}.json").read_text())
        live = count_parameters(golden_vectors.network(model).template)
        cells = (title, f"{live:,}", f"{published['parameters']:,}", published_file)
        # ABINet runs inside LEMMA only.
        sides = networks.NETWORKS[model](model, 1) if model in networks.NETWORKS else None
        rows.append((*cells, f"{networks.gflop(sides):.2f}" if sides else "-"))
    text = (
        "Live parameters are those that our network has; the rest of a published file is never "
        "used, or is a constant that the network computes itself. Those of the SR networks but "
        "EDSR hold the STN. GFLOP are those of one image, 2 for a multiplication and sum of "
        "convolutions and matrix products, in the forward pass that is timed below.\n"
    )
    head = ("network", "live parameters", "in the published file", "file", "GFLOP")
    return f"## Parameters and FLOPs\n\n{textwrap.fill(text, 100)}\n\n{_table(head, rows)}"


def _times(speeds: dict) -> str:
    rows = []
    for row in speeds["rows"]:
        name, batch = row["network"], row["batch"]
        title = "CDistNet, images to words, beam 10"
        title = title if name == networks.READING else _NETWORKS[name][0]
        rows.append(
            (
                title,
                batch,
                f"{1000 * row['jax_s']:.1f}",
                f"{1000 * row['torch_s']:.1f}",
                f"{row['ratio']:.2f}",
                f"{1000 * row['jax_s'] / batch:.1f}",
                f"{1000 * row['torch_s'] / batch:.1f}",
            )
        )
    runs = min(row["runs"] for row in speeds["rows"] if row["network"] != networks.READING)
    text = (
        f"Medians of at least {runs} runs in turns, {speeds['machine']}. PyTorch runs the "
        "networks of `benchmarks/torch_networks`, which are held to the same vectors. SR networks "
        "run as in "
        "evaluation, without the STN, some with their recogniser; the two recognisers with a "
        "decoder are told words of 10 tokens. The published beam search, in the last row, "
        "recomputes the whole word at every one of its 49 steps; ours keeps keys and values. "
        "PyTorch's side of it takes a minute and may have run once.\n"
    )
    head = (
        "network",
        "batch",
        "JAX, ms",
        "PyTorch, ms",
        "ratio",
        "JAX an image",
        "PyTorch an image",
    )
    return f"## Forward times\n\n{textwrap.fill(text, 100)}\n\n{_table(head, rows)}"


def _differences(files: list[str]) -> str:
    rows = []
    for file in tqdm(files, desc="differences", unit="file", disable=None):
        coarse = {each.name: each for each in golden_outputs.comparisons(file, "bfloat16")}
        exact = {each.name: each for each in golden_outputs.comparisons(file, "float32")}
        if file == "aciq":
            exact = _by_kind(exact)
        for name in exact | coarse:
            first = exact.get(name) or coarse[name]
            rows.append(
                (
                    file,
                    name,
                    first.measure,
                    *_difference(exact.get(name)),
                    *_difference(coarse.get(name)),
                )
            )
    text = (
        "The largest difference of each array of the parity vectors from ours. `relative` and `of "
        "the largest` are parts of the value and of the array's largest value; `unequal` is the "
        "share of elements. `bound` is what the vectors ask of float32. bfloat16 is the compute "
        "dtype: parameters and the STN stay float32. Nobody publishes bounds for it, so its "
        "`tolerance` is our own: some three times what was measured, to catch what grows. "
        "Tokens of random weights fall either way there, so what float32 says of them is held. "
        f"JAX {jax.__version__}.\n"
    )
    head = ("file", "array", "measure", "float32", "bound", "bfloat16", "tolerance")
    return f"## Differences\n\n{textwrap.fill(text, 100)}\n\n{_table(head, rows)}"


def _by_kind(exact: dict) -> dict:
    """ACIQ's hundreds of arrays as three: the one of each kind that differs most."""
    worst: dict = {}
    for name, each in exact.items():
        kind = name.partition("_")[0]
        if kind not in worst or each.difference > worst[kind].difference:
            worst[kind] = each
    return {f"{kind}_*": each for kind, each in worst.items()}


def _difference(comparison: golden_outputs.Comparison | None) -> tuple[str, str]:
    if comparison is None:
        return "-", "-"
    held = "not held" if comparison.bound == float("inf") else f"{comparison.bound:g}"
    return f"{comparison.difference:.2g}", held


if __name__ == "__main__":
    networks.define_flags()
    run_script(main)
