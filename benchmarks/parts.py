"""A training step taken apart, on one batch: python -m benchmarks.train --parts

Every part is compiled alone, and backward passes are given a random gradient. In the whole step XLA
may fuse and reorder across their borders. "The rest" is what the whole takes beyond their sum; it
may be less than nothing.
"""

import concurrent.futures
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict
from tqdm import tqdm

from textsr_jax import losses, text
from textsr_jax.data.batching import Batch
from textsr_jax.images import to_float
from textsr_jax.models import Variables, build_focus, build_ocr, build_sr
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.train import peaks, speed, steps
from textsr_jax.train import state as states

# A measurement repeats what is shorter, so that starting it does not count.
_LEAST_SECONDS = 0.05
# Of the moving average, where the step has none.
_DECAY = 0.999


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a step.

    Attributes:
      name: for the table.
      function: what computes it; pure.
      arguments: what it takes.
      without: the name of a part that `function` repeats, whose time and arithmetic are taken off.
      in_step: whether this step has it.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    without: str = ""
    in_step: bool = True


@dataclasses.dataclass(frozen=True)
class Passes:
    """A stage's loss, what it takes, and the parts of its forward and backward passes."""

    loss: steps.Loss
    variables: Variables
    frozen: Variables
    parts: Sequence[Part]


def passes(stage: str, config: ConfigDict, batch: Batch) -> Passes:
    """The passes of a stage; arguments as of `measure`."""
    config = config.copy_and_resolve_references()
    return (_stage1 if stage == "stage1" else _stage2)(config, batch)


def measure(stage: str, config: ConfigDict, batch: Batch, runs: int) -> dict[str, Any]:
    """Times and counts a stage's step and its parts, with fresh weights and without dropout.

    Args:
      stage: "stage1", or "stage2" with CDistNet.
      config: like `configs.paper`; it says the sizes and the dtype.
      batch: what every part works on.
      runs: how often each is timed; medians count.

    Returns:
      `stage`, `batch` and `dtype`; `seconds` and `flops` of the whole step; the devices' `peak`
      with `flops`, `devices` and `source`; and `parts`, each with `name`, `seconds`, `flops`,
      `of_step`, `of_peak` (None where it takes no time) and `in_step`. The last one is the rest.
    """
    batch, settings = jax.device_put(batch), config[stage]
    made = passes(stage, config, batch)
    optimizer = states.make_optimizer(settings)
    updates = _updates(optimizer, made.variables["params"], in_step=settings.average > 0)
    parts = {part.name: part for part in (*made.parts, *updates)}
    variables = jax.tree.map(jnp.copy, made.variables)  # the step takes them over
    averaged = settings.average > 0
    state = states.create(variables, optimizer, jax.random.key(0), averaged=averaged)
    step = steps.make_step(made.loss, optimizer, decay=settings.average)
    lowered = {name: jax.jit(one.function).lower(*one.arguments) for name, one in parts.items()}
    whole = jax.jit(step, donate_argnums=0).lower(state, made.frozen, batch)
    # On a GPU compiling tries kernels for long, and uses few of the cores.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        compiled_step = pool.submit(whole.compile)
        compiled = dict(zip(lowered, pool.map(_compile, lowered.values()), strict=True))
        step_s = _median(_in_a_row(compiled_step.result(), state, made.frozen, batch), runs)
    seconds, flops = {}, {}
    title = f"{stage}, batch {len(batch.lr)}"
    for name, part in tqdm(parts.items(), desc=title, unit="part", disable=None):
        function, arguments = compiled[name], part.arguments
        seconds[name] = _median(lambda: function(*arguments), runs)  # noqa: B023
        flops[name] = speed.flops(part.function, *arguments)
    dtype = config.sr.dtype if stage == "stage1" else config.ocr.dtype
    peak = peaks.of_all_devices(dtype)
    step_flops = speed.flops(step, state, made.frozen, batch)
    return {
        "stage": stage,
        "batch": len(batch.lr),
        "dtype": dtype,
        "seconds": step_s,
        "flops": step_flops,
        "of_peak": step_flops / step_s / peak.flops,
        "peak": dataclasses.asdict(peak),
        "parts": account(list(parts.values()), seconds, flops, step_s, step_flops, peak.flops),
    }


def account(
    parts: Sequence[Part],
    seconds: Mapping[str, float],
    flops: Mapping[str, float],
    step_s: float,
    step_flops: float,
    peak: float,
) -> list[dict[str, Any]]:
    """The parts of `measure`, by what each function and the whole step took; the rest is last."""
    rows = [
        {
            "name": part.name,
            "seconds": seconds[part.name] - (seconds[part.without] if part.without else 0),
            "flops": flops[part.name] - (flops[part.without] if part.without else 0),
            "in_step": part.in_step,
        }
        for part in parts
    ]
    inside = [row for row in rows if row["in_step"]]
    rows.append(
        {
            "name": "the rest",
            "seconds": step_s - sum(row["seconds"] for row in inside),
            "flops": step_flops - sum(row["flops"] for row in inside),
            "in_step": True,
        }
    )
    for row in rows:
        row["of_step"] = row["seconds"] / step_s
        row["of_peak"] = row["flops"] / row["seconds"] / peak if row["seconds"] > 0 else None
    return rows


def print_parts(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table for each result of `measure`."""
    for row in rows:
        peak = row["peak"]
        table = new_table(
            f"{row['stage']}, batch {row['batch']}, {row['dtype']}: a step takes "
            f"{1e3 * row['seconds']:.4g} ms, {100 * row['of_peak']:.1f} % of the "
            f"{peak['flops'] / 1e12:.4g} TFLOP/s of {peak['devices']}",
            ["part"],
            ["ms", "GFLOP", "of the step", "of the peak"],
        )
        for part in row["parts"]:
            of_peak = part["of_peak"]
            table.add_row(
                part["name"] + ("" if part["in_step"] else " (not in this step)"),
                f"{1e3 * part['seconds']:.4g}",
                f"{part['flops'] / 1e9:.4g}",
                f"{100 * part['of_step']:.1f} %",
                "-" if of_peak is None else f"{100 * of_peak:.1f} %",
            )
        print_table(table)


def _stage1(config: ConfigDict, batch: Batch) -> Passes:
    sr, focus, name = build_sr(config.sr), build_focus(config.focus), config.sr.name
    variables, frozen = sr.init(jax.random.key(0)), focus.init(jax.random.key(1))
    inputs = text.focus_tokens(batch.characters)[0]
    lr, hr = to_float(batch.lr), to_float(batch.hr)

    def rectify(own: Any, lr: jax.Array, variables: Variables) -> Any:
        return sr.module(_with(variables, own)).stn(lr, train=True)

    def enlarge(own: Any, lr: jax.Array, variables: Variables) -> Any:
        network = getattr(sr.module(_with(variables, own)), name)
        return network(lr, train=True, rngs=None)

    def read(images: jax.Array, frozen: Variables, inputs: jax.Array) -> Any:
        return focus(frozen, to_gray(images), inputs)

    params = variables["params"]
    own = {name: params[name]}
    parts = []
    if "stn" in params:
        parts.append(_both("STN, both passes", rectify, 1, {"stn": params["stn"]}, lr, variables))
    return Passes(
        loss=steps.super_resolution_loss(sr, focus, config.stage1),
        variables=variables,
        frozen=frozen,
        parts=[
            *parts,
            Part("SR model, forward", enlarge, (own, lr, variables)),
            _both("SR model, backward", enlarge, 2, own, lr, variables, without=True),
            Part("recogniser on SR images, forward", read, (hr, frozen, inputs)),
            _both("recogniser on SR images, backward", read, 1, hr, frozen, inputs, without=True),
            Part("recogniser on HR images", lambda *given: read(*given)[1], (hr, frozen, inputs)),
        ],
    )


def _stage2(config: ConfigDict, batch: Batch) -> Passes:
    config.ocr.cdistnet.dropout = 0.0
    ocr = build_ocr(config.ocr)
    variables = ocr.init(jax.random.key(0))
    tokens = text.cdistnet_tokens(batch.characters)
    params, images = variables["params"], to_float(batch.hr)

    def rectify(own: Any, images: jax.Array, variables: Variables) -> Any:
        return ocr.module(_with(variables, own)).rectify(images, train=True)

    def see(own: Any, values: jax.Array, variables: Variables) -> Any:
        return ocr.module(_with(variables, own)).backbone(values, train=True)

    def encode(own: Any, values: jax.Array, variables: Variables) -> Any:
        return ocr.module(_with(variables, own)).encode_rectified(values, train=True)

    def decode(own: Any, memory: jax.Array, tokens: jax.Array, variables: Variables) -> Any:
        return ocr.module(_with(variables, own)).decode(memory, tokens[:, :-1], train=True)

    def compare(logits: jax.Array, characters: jax.Array) -> jax.Array:
        words = losses.BatchLosses(characters)
        return words.cross_entropy(
            logits, lambda words: text.cdistnet_tokens(words)[:, 1:], smoothing=0.1
        )[0]

    front = {key: params[key] for key in ("backbone", "encoder")}
    behind = {key: tree for key, tree in params.items() if key not in ("rectifier", *front)}
    bent = {key: tree for key, tree in params.items() if key == "rectifier"}
    values = _like(jax.eval_shape(rectify, bent, images, variables))
    memory = _like(jax.eval_shape(encode, front, values, variables))
    logits = _like(jax.eval_shape(decode, behind, memory, tokens, variables))
    eye = {"backbone": params["backbone"]}
    return Passes(
        loss=steps.recognizer_loss(ocr),
        variables=variables,
        frozen={},
        parts=[
            *([_both("rectifier", rectify, 1, bent, images, variables)] if bent else []),
            _both("backbone", see, 2, eye, values, variables),
            _both("encoder", encode, 2, front, values, variables, without="backbone"),
            _both("decoder", decode, 2, behind, memory, tokens, variables),
            _both("loss", compare, 1, logits, batch.characters),
        ],
    )


def _updates(optimizer: optax.GradientTransformation, params: Any, *, in_step: bool) -> list[Part]:
    """What follows the gradient, as `steps.make_step` has it."""

    def optimise(params: Any, opt_state: Any, gradient: Any) -> Any:
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        norms = optax.tree.norm(gradient), optax.tree.norm(updates)
        return optax.apply_updates(params, updates), opt_state, norms

    def average(old: Any, new: Any) -> Any:
        return jax.tree.map(lambda old, new: _DECAY * old + (1 - _DECAY) * new, old, new)

    gradient = _like(params)
    return [
        Part("optimiser", optimise, (params, optimizer.init(params), gradient)),
        Part("moving average", average, (params, gradient), in_step=in_step),
    ]


def _both(
    name: str,
    function: Callable[..., Any],
    count: int,
    *arguments: Any,
    without: str | bool = False,
) -> Part:
    """Both passes of a function, with gradients of its first `count` arguments.

    Args:
      name: of the part.
      function: the forward pass.
      count: how many arguments have gradients.
      arguments: of the function.
      without: as of `Part`; True for the part named "..., forward" beside "..., backward".
    """

    def both(gradient: Any, *arguments: Any) -> Any:
        rest = arguments[count:]
        out, back = jax.vjp(lambda *first: function(*first, *rest), *arguments[:count])
        return out, back(gradient)

    gradient = _like(jax.eval_shape(function, *arguments))
    left_out = name.replace("backward", "forward") if without is True else without or ""
    return Part(name, both, (gradient, *arguments), left_out)


def _with(variables: Variables, own: Any) -> Variables:
    return {"params": variables["params"] | own, "stats": variables["stats"]}


def _like(tree: Any) -> Any:
    """Small random numbers in the shapes of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    made = [
        (1e-3 * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, made)


def _compile(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    return lowered.compile()


def _in_a_row(step: Callable[..., Any], state: Any, *arguments: Any) -> Callable[[], Any]:
    """A function that takes one step after another, each from the state of the one before."""

    def run() -> Any:
        nonlocal state
        state, parts = step(state, *arguments)
        return parts

    return run


def _median(run: Callable[[], Any], runs: int) -> float:
    """Median seconds of a call, of `runs` measurements of one call or of several in a row."""
    jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready(run())
    repeats = math.ceil(_LEAST_SECONDS / max(time.perf_counter() - start, 1e-5))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(repeats):
            out = run()
        jax.block_until_ready(out)
        times.append((time.perf_counter() - start) / repeats)
    return statistics.median(times)
