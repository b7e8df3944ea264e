"""What this project computes for every parity vector, beside what the published code computed.

`comparisons` serves the tests, which hold its bounds, and the table of docs/results/fidelity.md.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.golden import guided, located
from benchmarks.golden import vectors as golden_vectors
from benchmarks.golden.bounds import (
    BOUNDS,
    BY_FLOAT32,
    FROM_KERNELS,
    FROM_RECTIFIED,
    INNER,
    L2,
)
from textsr_jax import decoding, losses, metrics, text
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.resampler import resample
from textsr_jax.quantization import aciq


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One array of a file and ours, in the file's layout, by one measure.

    Attributes:
      array: its name in the file.
      name: the same, and which comparison of it this is where there are several.
      ours, expected: what this project computed, and what the file holds or, for words that were
        read in bfloat16, what float32 says of them (`BY_FLOAT32`).
      measure: "absolute" and "relative" difference, the largest of all elements; "of the largest",
        the largest difference in units of the largest value; "relative L2"; "unequal", the share
        of elements; "unequal, by one", the same, but infinite if any is off by more.
      bound: how large it may be, see `Bound`.
    """

    array: str
    name: str
    ours: np.ndarray
    expected: np.ndarray
    measure: str
    bound: float

    @property
    def difference(self):
        """By the measure; infinite if the shapes differ, NaN if ours holds a NaN."""
        if self.ours.shape != self.expected.shape:
            return np.inf
        expected = np.asarray(self.expected, np.float64)
        off = np.abs(self.ours - expected)
        match self.measure:
            case "absolute":
                return off.max()
            case "relative":
                return (off / np.abs(expected)).max()
            case "of the largest":
                return off.max() / np.abs(expected).max()
            case "relative L2":
                return np.linalg.norm(off) / np.linalg.norm(expected)
            case "unequal":
                return (off != 0).mean()
            case "unequal, by one":
                return (off != 0).mean() if off.max() <= 1 else np.inf

    @property
    def holds(self):
        """Whether the difference is within the bound."""
        return bool(np.isfinite(self.difference) and self.difference <= self.bound)


@functools.cache
def comparisons(file, dtype="float32"):
    """All comparisons of `file`.npz, a list of `Comparison`; computed once in a process.

    ACIQ and the image metrics have no compute dtype: in bfloat16 they give no comparisons.
    """
    if all(getattr(bound, dtype) is None for bound in BOUNDS[file].values()):
        return []
    arrays = golden_vectors.vectors(file)
    found = []
    for name, ours in _OUTPUTS[file](arrays, dtype).items():
        array = name.partition(",")[0]
        # Some bounds are those of a kind of arrays: "grad" for "grad_block1.0.weight".
        kind = array.partition("_")[0] + name.removeprefix(array)
        bound = BOUNDS[file][name if name in BOUNDS[file] else kind]
        limit = getattr(bound, dtype)
        if limit is None:
            continue
        ours, expected = ours if isinstance(ours, tuple) else (ours, arrays[array])
        ours = np.asarray(ours, np.float64)
        if ours.size == expected.size == 1:
            ours = ours.reshape(expected.shape)
        found.append(Comparison(array, name, ours, expected, bound.measure, limit))
    return found


@functools.cache
def _compiled(model, dtype, function, *settings):
    """`function` of the module of `model` and further arrays, jitted over its variables."""
    network = golden_vectors.network(model, dtype)
    return jax.jit(
        lambda variables, *arrays: function(network.module(variables), *arrays, *settings)
    )


def _run(model, arrays, dtype, function, *inputs, settings=()):
    variables = golden_vectors.variables(model, int(arrays["seed"]))
    return _compiled(model, dtype, function, *settings)(variables, *inputs)


def _channels_first(images):
    return np.moveaxis(np.asarray(images), -1, 1)


def _edsr(arrays, dtype):
    images = golden_vectors.images(arrays["image"])
    return {
        "output": _channels_first(_run("edsr", arrays, dtype, lambda model, x: model(x), images))
    }


def _with_stn(model, arrays, dtype):
    def run(model, images, rectified_by_file):
        rectified = model.stn(images)
        # One pass for all three; in evaluation the model skips the STN, as the published one does.
        everything = jnp.concatenate([images, rectified, rectified_by_file])
        return model.stn.control_points(images, train=False), rectified, model(everything)

    images, rectified = (golden_vectors.images(arrays[name]) for name in ("image", "rectified"))
    points, rectified, outputs = _run(model, arrays, dtype, run, images, rectified)
    output, with_stn, from_file = np.split(_channels_first(outputs), 3)
    return {
        "output": output,
        "control_points": points,
        "rectified": _channels_first(rectified),
        "output_with_stn": with_stn,
        "output_with_stn" + FROM_RECTIFIED: from_file,
    }


def _resampler(arrays, dtype):
    names = ("image", "kernels", "offsets_h", "offsets_v")
    images, *taps = (golden_vectors.images(arrays[name]) for name in names)
    outputs = _run("resampler", arrays, dtype, lambda model, x: model(x), images)
    downscaled = _channels_first(outputs.images)
    inner = ..., slice(1, None), slice(1, None)
    return {
        "kernels": _channels_first(outputs.kernels),
        "offsets_h": _channels_first(outputs.offsets_h),
        "offsets_v": _channels_first(outputs.offsets_v),
        "downscaled": downscaled,
        "downscaled" + INNER: (downscaled[inner], arrays["downscaled"][inner]),
        "downscaled" + FROM_KERNELS: _channels_first(resample(images, *taps)),
    }


def _text_focus_recognizer(arrays, dtype):
    gray = golden_vectors.images(arrays["image_gray"])
    tokens = arrays["tokens"].astype(np.int32)
    logits, attention = _run("text_focus", arrays, dtype, lambda model, *x: model(*x), gray, tokens)
    words = zip(np.asarray(logits), arrays["lengths"], strict=True)
    inputs, _, mask = text.focus_tokens(
        text.ALPHANUMERIC.encode(arrays["labels"].tolist(), tokens.shape[1] - 1)
    )
    return {
        "tokens": inputs,
        "lengths": mask.sum(axis=1),
        "logits": np.concatenate([word[:length] for word, length in words]),
        "attention": attention,
    }


def _text_focus_loss(arrays, dtype):
    def run(model, sr, hr, tokens, weights):
        def values(sr):
            total, parts = losses.text_focus_loss(
                sr, hr, lambda images, inputs: model(to_gray(images), inputs), *tokens, weights
            )
            return {"total": total, **parts}

        found, pull_back = jax.vjp(values, sr)
        zero = dict.fromkeys(found, jnp.float32(0))
        wanted = {"sr": "total", "position": "position", "recognition": "recognition"}
        gradients = {
            name: pull_back({**zero, part: jnp.float32(1)})[0] for name, part in wanted.items()
        }
        return found, gradients

    labels = arrays["labels"].tolist()
    # Padded beyond the longest label, as in training.
    tokens = text.focus_tokens(text.ALPHANUMERIC.encode(labels, max(map(len, labels)) + 3))
    weights = losses.weight_table(arrays["confusion"])
    sr, hr = golden_vectors.images(arrays["sr"]), golden_vectors.images(arrays["hr"])
    values, gradients = _run("text_focus", arrays, dtype, run, sr, hr, tokens, weights)
    gradients = {f"grad_{name}": _channels_first(value) for name, value in gradients.items()}
    again = {name + L2: value for name, value in gradients.items()}
    return {"weight_table": weights, **values, **gradients, **again}


def _rectify(model, images):
    return model.rectifier.control_points(images * (255 / 128) - 1), model.rectify(images)


def _encode(model, values):
    return model.encode_rectified(values).astype(jnp.float32)


def _cdistnet(arrays, dtype):
    def teach(model, memory, tokens):
        table = sinusoid_table(tokens.shape[1], model.width)
        memory = memory.astype(dtype)
        return model.positional_branch(jnp.asarray(table, dtype)), model.decode(memory, tokens)

    tokens = arrays["tokens"].astype(np.int32)
    batch, length = tokens.shape
    points, rectified = _run("cdistnet", arrays, dtype, _rectify, _unscaled(arrays["image"]))
    memory = _run("cdistnet", arrays, dtype, _encode, rectified)
    expected = golden_vectors.images(arrays["rectified"])
    from_file = _run("cdistnet", arrays, dtype, _encode, expected)
    positional, logits = _run("cdistnet", arrays, dtype, teach, memory, tokens[:, :-1])
    return {
        "control_points": points,
        "rectified": _channels_first(rectified),
        "memory": memory.swapaxes(0, 1),
        "memory" + FROM_RECTIFIED: from_file.swapaxes(0, 1),
        "positional": np.broadcast_to(
            np.asarray(positional, np.float32)[:, None], (length - 1, batch, memory.shape[2])
        ),
        "logits": logits,
        "loss_smoothed": losses.cross_entropy(logits, tokens[:, 1:], smoothing=0.1),
        "loss_plain": losses.cross_entropy(logits, tokens[:, 1:]),
        **_reading(arrays, dtype, memory),
    }


def _cdistnet_decoding(arrays, dtype):
    return _reading(arrays, dtype, _memory(arrays, dtype))


def _memory(arrays, dtype):
    _, rectified = _run("cdistnet", arrays, dtype, _rectify, _unscaled(arrays["image"]))
    return _run("cdistnet", arrays, dtype, _encode, rectified)


def _unscaled(image):
    """Images in [0, 1]; the files hold them as the network sees them, pixel / 128 - 1."""
    return (golden_vectors.images(image) + 1) * (128 / 255)


def _search(model, memory, greedy_steps, beam_steps):
    cache = model.init_cache(memory, greedy_steps)
    greedy = decoding.greedy(
        model.decode_step, cache, len(memory), greedy_steps, forbid_pad=True, stop_at_end=False
    )
    cache = model.init_cache(memory, beam_steps, 10)
    return greedy, decoding.beam_search(model.decode_step, cache, len(memory), beam_steps, 10)


def _log_probabilities(model, memory, tokens):
    inputs = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=text.START)
    return jax.nn.log_softmax(model.decode(memory, inputs))


def _reading(arrays, dtype, memory):
    steps = arrays["greedy_no_pad"].shape[1] - 1, arrays["beam_tokens"].shape[1]
    greedy, beam = _run("cdistnet", arrays, dtype, _search, memory.astype(dtype), settings=steps)
    outputs = {
        "greedy_no_pad": np.pad(greedy.tokens, ((0, 0), (1, 0)), constant_values=text.START),
        "beam_tokens": beam.tokens,
        "beam_length": beam.lengths,
        "beam_score": beam.log_probability,
    }
    if dtype == "float32":
        return outputs
    memory = _memory(arrays, "float32")

    def gains(tokens):
        """Of these tokens and of the likeliest but the pad, by float32: (batch, steps) each."""
        found = _run("cdistnet", arrays, "float32", _log_probabilities, memory, tokens)
        taken = np.take_along_axis(np.asarray(found), np.asarray(tokens)[..., None], axis=2)
        return taken[..., 0], np.delete(found, text.PAD, axis=2).max(axis=2)

    in_word = np.arange(steps[1]) < np.asarray(beam.lengths)[:, None]
    score = (gains(beam.tokens)[0] * in_word).sum(axis=1)
    return {
        **outputs,
        "greedy_no_pad" + BY_FLOAT32: gains(greedy.tokens),
        "beam_score" + BY_FLOAT32: (beam.log_probability, score),
    }


def _crnn(arrays, dtype):
    gray = golden_vectors.images(arrays["image"])
    logits = _run("crnn", arrays, dtype, lambda model, x: model.classify(x), gray)
    return {"output": logits.swapaxes(0, 1)}


def _image_metrics(arrays, dtype):
    sr, hr = golden_vectors.images(arrays["sr"]), golden_vectors.images(arrays["hr"])
    return {"psnr": metrics.psnr_batch(sr, hr), "ssim": metrics.ssim(sr, hr).mean()}


def _aciq(arrays, dtype):
    outputs = {}
    setting = rf"_({'|'.join(aciq.PRIORS)})_(\d+)"
    for name in arrays:
        if match := re.fullmatch("alpha" + setting, name):
            prior, bits = match.groups()
            outputs[name] = aciq.alpha(prior, int(bits))
        elif match := re.fullmatch(rf"(mse|q)_(.+){setting}(?:_axis(\d+))?", name):
            kind, tensor, prior, bits, axis = match.groups()
            x, bits, axis = arrays[f"x_{tensor}"], int(bits), axis and int(axis)
            if kind == "mse":
                outputs[name] = aciq.squared_error(x, bits, prior, axis)
            else:
                outputs[name] = aciq.to_codes(x, *aciq.fit_range(x, bits, prior, axis), bits, axis)
    return outputs


_OUTPUTS = {
    "edsr": _edsr,
    "tbsrn": functools.partial(_with_stn, "tbsrn"),
    "tsrn": functools.partial(_with_stn, "tsrn"),
    "tpgsr": guided.tpgsr,
    "tpgsr_loss": guided.tpgsr_loss,
    "tatt": guided.tatt,
    "tatt_loss": guided.tatt_loss,
    "lemma": located.lemma,
    "lemma_loss": located.lemma_loss,
    "resampler": _resampler,
    "text_focus_recognizer": _text_focus_recognizer,
    "text_focus_loss": _text_focus_loss,
    "cdistnet": _cdistnet,
    "cdistnet_decoding": _cdistnet_decoding,
    "crnn": _crnn,
    "image_metrics": _image_metrics,
    "aciq": _aciq,
}
