"""What this project computes for every parity vector, beside what the published code computed.

`comparisons` serves the tests, which hold its bounds, and the table of docs/fidelity.md.
"""

import dataclasses
import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_vectors
from textsr_jax import decoding, losses, metrics, text
from textsr_jax.models.positions import sinusoid_table
from textsr_jax.models.text_focus import to_gray
from textsr_jax.quantization import aciq


class Bound(NamedTuple):
    """A measure of difference, and how large it may be in either compute dtype.

    None where nothing is computed in that dtype, or other measures stand for it.
    """

    measure: str
    float32: float | None
    bfloat16: float | None


# What follows the name of an array that is compared a second time.
FROM_FILE = ", from the file's rectified"
L2 = ", all of it"
AS_READ = ", as float32 scores it"

# float32: the bounds of tests/golden/README.md, where it gives one.
BOUNDS = {
    "edsr": {"output": Bound("absolute", 1e-4, 1)},
    "tbsrn": {
        "output": Bound("absolute", 1e-4, 1),
        "control_points": Bound("absolute", 1e-5, 1e-5),
        "rectified": Bound("absolute", 5e-4, 5e-4),
        "output_with_stn": Bound("absolute", 5e-4, 1),
        "output_with_stn" + FROM_FILE: Bound("absolute", 1e-4, 1),
    },
    "tsrn": {
        "output": Bound("absolute", 1e-4, 1),
        "control_points": Bound("absolute", 1e-5, 1e-5),
        "rectified": Bound("absolute", 5e-4, 5e-4),
        "output_with_stn": Bound("absolute", 5e-4, 1),
        "output_with_stn" + FROM_FILE: Bound("absolute", 1e-4, 1),
    },
    "resampler": {
        "kernels": Bound("absolute", 1e-4, 1),
        "offsets_h": Bound("absolute", 1e-4, 1),
        "offsets_v": Bound("absolute", 1e-4, 1),
        "downscaled": Bound("absolute", 1e-4, 1),
    },
    "text_focus_recognizer": {
        "tokens": Bound("unequal", 0, None),
        "lengths": Bound("unequal", 0, None),
        "logits": Bound("absolute", 2e-4, 1),
        "attention": Bound("absolute", 1e-6, 1),
    },
    "text_focus_loss": {
        "weight_table": Bound("relative", 1e-4, None),
        "mse": Bound("relative", 1e-4, 1),
        "position": Bound("relative", 1e-4, 1),
        "recognition": Bound("relative", 1e-4, 1),
        "total": Bound("relative", 1e-4, 1),
        "grad_sr": Bound("of the largest", 1e-2, 1),
        "grad_sr" + L2: Bound("relative L2", 2e-3, 1),
        "grad_position": Bound("of the largest", 3e-2, 1),
        "grad_recognition": Bound("of the largest", 3e-2, 1),
    },
    "cdistnet": {
        "control_points": Bound("absolute", 2e-4, 1),
        "rectified": Bound("absolute", 2e-3, 1),
        "memory": Bound("absolute", 1e-3, 1),
        "memory" + FROM_FILE: Bound("absolute", 2e-4, 1),
        "positional": Bound("absolute", 2e-4, 1),
        "logits": Bound("absolute", 2e-4, 1),
        # The README gives no bound for these two: that of the logits.
        "loss_smoothed": Bound("absolute", 2e-4, 1),
        "loss_plain": Bound("absolute", 2e-4, 1),
    },
    "cdistnet_decoding": {},
    "crnn": {"output": Bound("absolute", 1e-4, 1)},
    "image_metrics": {
        "psnr": Bound("relative", 1e-5, None),
        "ssim": Bound("relative", 1e-5, None),
    },
    "aciq": {
        "alpha": Bound("absolute", 1e-3, None),
        "mse": Bound("relative", 1e-3, None),
        "q": Bound("unequal, by one", 1e-3, None),
    },
}
_READING = {
    "greedy_no_pad": Bound("unequal", 0, 1),
    "beam_tokens": Bound("unequal", 0, 1),
    "beam_length": Bound("unequal", 0, 1),
    "beam_score": Bound("absolute", 1e-2, 100),
    "beam_score" + AS_READ: Bound("absolute", None, 100),
}
BOUNDS["cdistnet"] |= _READING
BOUNDS["cdistnet_decoding"] |= _READING

# Arrays that no code of ours has to give.
INPUTS = {
    "edsr": ("image",),
    "tbsrn": ("image",),
    "tsrn": ("image",),
    "resampler": ("image",),
    "text_focus_recognizer": ("image_gray", "labels"),
    "text_focus_loss": ("sr", "hr", "labels", "confusion"),
    "cdistnet": ("image", "tokens"),
    "cdistnet_decoding": ("image",),
    "crnn": ("image",),
    "image_metrics": ("sr", "hr"),
    "aciq": ("x_.+",),
}


def is_input(file, array):
    """Whether `array` of `file` is an input, so that nothing is to be held to it."""
    return any(re.fullmatch(pattern, array) for pattern in ("seed", *INPUTS.get(file, ())))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One array of a file and ours, in the file's layout, by one measure.

    Attributes:
      array: its name in the file.
      name: the same, and which comparison of it this is where there are several.
      ours, expected: what this project computed, and what the file holds.
      measure: "absolute" and "relative" difference, the largest of all elements; "of the largest",
        the largest difference in units of the largest value; "relative L2"; "unequal", the share
        of elements; "unequal, by one", the same, but infinite if any is off by more.
      bound: how large it may be.
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
        return bool(self.difference <= self.bound)


@functools.cache
def comparisons(file, dtype="float32"):
    """All comparisons of `file`.npz, a list of `Comparison`; computed once in a process.

    ACIQ and the image metrics have no compute dtype: in bfloat16 they give no comparisons.
    """
    arrays = golden_vectors.vectors(file)
    found = []
    for name, ours in _OUTPUTS[file](arrays, dtype).items():
        array = name.partition(",")[0]
        bounds = BOUNDS[file]
        bound = bounds[array.partition("_")[0] if file == "aciq" else name]
        limit = getattr(bound, dtype)
        if limit is not None:
            ours = np.asarray(ours, np.float64)
            found.append(Comparison(array, name, ours, arrays[array], bound.measure, limit))
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
        "output_with_stn" + FROM_FILE: from_file,
    }


def _resampler(arrays, dtype):
    images = golden_vectors.images(arrays["image"])
    outputs = _run("resampler", arrays, dtype, lambda model, x: model(x), images)
    return {
        "kernels": _channels_first(outputs.kernels),
        "offsets_h": _channels_first(outputs.offsets_h),
        "offsets_v": _channels_first(outputs.offsets_v),
        "downscaled": _channels_first(outputs.images),
    }


def _text_focus_recognizer(arrays, dtype):
    gray = golden_vectors.images(arrays["image_gray"])
    tokens = arrays["tokens"].astype(np.int32)
    logits, attention = _run("text_focus", arrays, dtype, lambda model, *x: model(*x), gray, tokens)
    words = zip(np.asarray(logits), arrays["lengths"], strict=True)
    inputs, _, mask = text.focus_tokens(text.encode(arrays["labels"].tolist(), tokens.shape[1] - 1))
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
    tokens = text.focus_tokens(text.encode(labels, max(map(len, labels)) + 3))
    weights = losses.weight_table(arrays["confusion"])
    sr, hr = golden_vectors.images(arrays["sr"]), golden_vectors.images(arrays["hr"])
    values, gradients = _run("text_focus", arrays, dtype, run, sr, hr, tokens, weights)
    gradients = {f"grad_{name}": _channels_first(value) for name, value in gradients.items()}
    whole = {"grad_sr" + L2: gradients["grad_sr"]}
    return {"weight_table": weights, **values, **gradients, **whole}


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
        "memory" + FROM_FILE: from_file.swapaxes(0, 1),
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
    found = jax.nn.log_softmax(model.decode(memory, inputs))
    return jnp.take_along_axis(found, tokens[..., None], axis=2)[..., 0]


def _reading(arrays, dtype, memory):
    steps = arrays["greedy_no_pad"].shape[1] - 1, arrays["beam_tokens"].shape[1]
    greedy, beam = _run("cdistnet", arrays, dtype, _search, memory.astype(dtype), settings=steps)
    outputs = {
        "greedy_no_pad": np.pad(greedy.tokens, ((0, 0), (1, 0)), constant_values=text.START),
        "beam_tokens": beam.tokens,
        "beam_length": beam.lengths,
        "beam_score": beam.log_probability,
    }
    if dtype != "float32":
        memory = _memory(arrays, "float32")
        gains = _run("cdistnet", arrays, "float32", _log_probabilities, memory, beam.tokens)
        read = np.arange(steps[1]) < np.asarray(beam.lengths)[:, None]
        outputs["beam_score" + AS_READ] = (gains * read).sum(axis=1)
    return outputs


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
    for name, expected in arrays.items():
        if match := re.fullmatch("alpha" + setting, name):
            prior, bits = match.groups()
            outputs[name] = np.full(expected.shape, aciq.alpha(prior, int(bits)))
        elif match := re.fullmatch(rf"(mse|q)_(.+){setting}(?:_axis(\d+))?", name):
            kind, tensor, prior, bits, axis = match.groups()
            x, bits, axis = arrays[f"x_{tensor}"], int(bits), axis and int(axis)
            if kind == "mse":
                found = aciq.squared_error(x, bits, prior, axis)
                outputs[name] = np.broadcast_to(found, expected.shape)
            else:
                outputs[name] = aciq.encode(x, *aciq.fit_range(x, bits, prior, axis), bits, axis)
    return outputs


_OUTPUTS = {
    "edsr": _edsr,
    "tbsrn": functools.partial(_with_stn, "tbsrn"),
    "tsrn": functools.partial(_with_stn, "tsrn"),
    "resampler": _resampler,
    "text_focus_recognizer": _text_focus_recognizer,
    "text_focus_loss": _text_focus_loss,
    "cdistnet": _cdistnet,
    "cdistnet_decoding": _cdistnet_decoding,
    "crnn": _crnn,
    "image_metrics": _image_metrics,
    "aciq": _aciq,
}
