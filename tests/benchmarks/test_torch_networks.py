"""The PyTorch networks of the benchmarks, held to the parity vectors within the README's bounds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import torch_networks
from benchmarks.golden import reference_tensors
from benchmarks.golden import vectors as golden_vectors
from benchmarks.torch_networks.abinet import enlarged
from benchmarks.torch_networks.cdistnet import NUM_TOKENS, CDistNet
from benchmarks.torch_networks.lemma import LEMMA
from textsr_jax import convert

FILES = {model: model for model in torch_networks.NETWORKS}
FILES["text_focus"] = "text_focus_recognizer"


def run(network, *inputs):
    with torch.inference_mode():
        return network(*(torch.from_numpy(each) for each in inputs))


def edsr(network, arrays):
    return {"output": (run(network, arrays["image"]), 1e-4)}


def with_stn(network, arrays):
    points, rectified = run(network.stn, arrays["image"])
    return {
        "output": (run(network, arrays["image"]), 1e-4),
        "control_points": (points, 1e-5),
        "rectified": (rectified, 5e-4),
        "output_with_stn": (run(network, rectified.numpy()), 5e-4),
        "output_with_stn, from the file's rectified": (run(network, arrays["rectified"]), 1e-4),
    }


def guided(network, arrays):
    return {"output": (run(network, arrays["image"].astype(np.float32) / 255), 1e-4)}


def resampler(network, arrays):
    found = run(network, arrays["image"])
    return {
        "kernels": (found.kernels, 1e-4),
        "offsets_h": (found.offsets_h, 1e-4),
        "offsets_v": (found.offsets_v, 1e-4),
        "downscaled": (found.images, 1e-4),
    }


def focus(network, arrays):
    logits, attention = run(network, arrays["image_gray"], arrays["tokens"])
    words = zip(logits, arrays["lengths"], strict=True)
    return {
        "logits": (torch.cat([word[:length] for word, length in words]), 2e-4),
        "attention": (attention, 1e-6),
    }


def recogniser(network, arrays):
    memory = run(network.encode, arrays["image"])
    from_file = run(network.encode_rectified, arrays["rectified"])
    return {
        "control_points": (run(network.control_points, arrays["image"]), 2e-4),
        "rectified": (run(network.rectify, arrays["image"]), 2e-3),
        "memory": (memory.swapaxes(0, 1), 1e-3),
        "memory, from the file's rectified": (from_file.swapaxes(0, 1), 2e-4),
        "logits": (run(network, arrays["image"], arrays["tokens"][:, :-1]), 2e-4),
        **beam(network, arrays),
    }


def beam(network, arrays):
    words = run(network.read, arrays["image"])
    return {
        "beam_tokens": (words.tokens, 0),
        "beam_length": (words.lengths, 0),
        "beam_score": (words.scores, 1e-2),
    }


def crnn(network, arrays):
    return {"output": (run(network, arrays["image"]), 1e-4)}


def located(network, arrays):
    """The vectors are of a small network."""
    lr = arrays["image"].astype(np.float32) / 255
    reading = run(network.position_prior, run(enlarged, lr).numpy())
    return {
        "seen": (reading.seen, 1e-4),
        "read": (reading.read, 1e-4),
        "lengths": (reading.lengths, 0),
        "output": (run(network, lr), 1e-4),
    }


def small_lemma(seed):
    """LEMMA of the vectors' sizes with their weights."""
    network = LEMMA(blocks=1, hidden=64, layers=1, depths=(1, 1, 1, 1, 1))
    state = {
        name: torch.from_numpy(reference_tensors.tensor(name, tuple(leaf.shape), seed))
        for name, leaf in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval()


OUTPUTS = {
    "edsr": edsr,
    "tbsrn": with_stn,
    "tsrn": with_stn,
    "tpgsr": guided,
    "tatt": guided,
    "lemma": located,
    "resampler": resampler,
    "text_focus": focus,
    "cdistnet": recogniser,
    "crnn": crnn,
}


def hold(model, arrays, outputs):
    seed = int(arrays["seed"])
    network = small_lemma(seed) if model == "lemma" else torch_networks.load(model, seed)
    for name, (found, bound) in outputs(network, arrays).items():
        expected = arrays[name.partition(",")[0]]
        assert found.shape == expected.shape, name
        difference = np.abs(found.numpy().astype(np.float64) - expected).max()
        print(f"{model} {name}: {difference:.2g}, bound {bound:g}")
        assert difference <= bound, f"{name}: {difference}, bound {bound}"


@pytest.mark.parametrize("model", torch_networks.NETWORKS)
def test_golden_outputs(model):
    hold(model, golden_vectors.vectors(FILES[model]), OUTPUTS[model])


def test_golden_decoding():
    hold("cdistnet", golden_vectors.vectors("cdistnet_decoding"), beam)


@pytest.mark.slow
def test_words_drop_out_when_they_end():
    spoken = torch.tensor([[7, 8, 3, 0], [3, 0, 0, 0], [9, 3, 0, 0]])
    rows = []

    def decode(memory, tokens):
        rows.append(len(tokens))
        return 9.0 * F.one_hot(spoken[memory[:, 0].long(), : tokens.shape[1]], NUM_TOKENS)

    with torch.device("meta"):
        network = CDistNet()
    network.encode, network.decode = lambda words: words, decode
    words = network.read(torch.arange(3.0)[:, None], beams=5, steps=10)
    assert words.tokens[:, :4].tolist() == spoken.tolist()
    assert words.lengths.tolist() == [3, 1, 2]
    assert rows == [15, 10, 5]


@pytest.mark.slow
@pytest.mark.parametrize("model", torch_networks.NETWORKS)
def test_networks_hold_all_tensors_that_are_used(model):
    published = golden_vectors.state_dict(FILES[model], 0)
    names = {name for name in published if not convert.TABLES[model].why_dropped(name)}
    with torch.device("meta"):
        network = torch_networks.NETWORKS[model]()
    held = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert held == names


def test_load_complains_of_a_missing_tensor():
    state_dict = golden_vectors.state_dict("crnn", 0)
    del state_dict["rnn.1.embedding.bias"]
    with pytest.raises(ValueError, match=r"crnn: 1 tensors .* 'rnn\.1\.embedding\.bias'"):
        torch_networks.load("crnn", state_dict)


def test_load_takes_names_of_data_parallel_training():
    state_dict = golden_vectors.state_dict("crnn", 0)
    prefixed = {f"module.{name}": tensor for name, tensor in state_dict.items()}
    network = torch_networks.load("crnn", prefixed)
    expected = state_dict["rnn.1.embedding.bias"]
    np.testing.assert_array_equal(network.rnn[1].embedding.bias.detach(), expected)
