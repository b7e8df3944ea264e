"""Makes tests/golden/tpgsr.npz, tpgsr_loss.npz and tpgsr.json from TPGSR's published code.

  python -m benchmarks.golden.make_tpgsr CHECKOUT

CHECKOUT is a checkout of github.com/mjq11302010044/TPGSR (commit dc3e3b1). Needs the extra
`benchmarks`.
"""

import functools

import numpy as np

from benchmarks import needs_extra
from benchmarks.golden import reference_tensors
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError

with needs_extra(__name__):
    import torch
    from torch.nn import functional

    from benchmarks.golden import published_code
    from benchmarks.golden.published_code import SEED, eight_bits, filled, masked, read, shown

_COMMAND = "python -m benchmarks.golden.make_tpgsr"
# The sizes of the network in tpgsr_loss.npz, and the tensors that it holds more of.
_SMALL = {"srb_nums": 1, "hidden_units": 8, "out_text_channels": 8}
_SMALL_HIDDEN = 16
_GRADIENTS = (
    "block1.0.weight",
    "block2.gru1.conv1.weight",
    "infoGen.tconv4.weight",
    "stn_head.stn_fc2.bias",
    "prior.0.cnn.conv0.weight",
    "prior.0.rnn.1.embedding.weight",
)
# Means alone: Flax's running variances are biased ones.
_STATISTICS = (
    "infoGen.bn1.running_mean",
    "block2.bn2.running_mean",
    "stn_head.stn_fc1.1.running_mean",
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(f"name a checkout of TPGSR: {_COMMAND} CHECKOUT")
    published_code.use(arguments[0], _COMMAND)
    folder = reference_tensors.HERE
    np.savez_compressed(folder / "tpgsr.npz", **_evaluation())
    with published_code.in_float64():
        training = _training()
    np.savez_compressed(folder / "tpgsr_loss.npz", **training)


def _classes() -> tuple[functools.partial, functools.partial]:
    from model.crnn.crnn import CRNN
    from model.tsrn import TSRN_TL

    return functools.partial(TSRN_TL, STN=True, mask=True), functools.partial(CRNN, 32, 1, 37)


def _evaluation() -> dict[str, np.ndarray]:
    """The arrays of tpgsr.npz: one and three stages in evaluation. Writes tpgsr.json too."""
    make_network, make_recognizer = _classes()
    network = filled(make_network()).eval()
    recognizers = [filled(make_recognizer(256), f"prior.{i}.").eval() for i in range(3)]
    published_code.write_names(reference_tensors.HERE / "tpgsr.json", network, recognizers[0])
    images = eight_bits("tpgsr", (2, 3, 16, 64))
    lr = masked(images)
    seen, outputs, priors = lr, [], []
    with torch.no_grad():
        for recognizer in recognizers:
            prior, given = read(recognizer, seen)
            seen = network(lr, given)
            priors.append(prior.transpose(0, 1).numpy())
            outputs.append(seen.numpy())
        features = functional.interpolate(
            network.infoGen(shown(torch.from_numpy(priors[0]).transpose(0, 1))),
            (16, 64),
            mode="bilinear",
            align_corners=True,
        )
    return {
        "seed": np.asarray(SEED),
        "image": images,
        "mask": lr[:, 3].numpy().astype(np.uint8),
        "prior": priors[0],
        "features": features[:1].numpy(),
        "output": outputs[0],
        "prior_3": priors[2],
        "output_3": outputs[2],
    }


def _training() -> dict[str, np.ndarray]:
    """The arrays of tpgsr_loss.npz: a training step of a small network of one stage."""
    from loss.image_loss import ImageLoss
    from loss.semantic_loss import SemanticLoss

    make_network, make_recognizer = _classes()
    image_loss, prior_loss = ImageLoss(gradient=True, loss_weight=[1, 1e-4]), SemanticLoss()
    network = filled(make_network(**_SMALL)).train()
    # The published forward pass tells five layers the prior, however many blocks there are.
    end = network.block3
    end.forward = lambda x, *prior: torch.nn.Sequential.forward(end, x)
    student = filled(make_recognizer(_SMALL_HIDDEN), "prior.0.").train()
    teacher = filled(make_recognizer(_SMALL_HIDDEN), "teacher.").eval()
    lr, hr = eight_bits("tpgsr lr", (4, 3, 16, 64)), eight_bits("tpgsr hr", (4, 3, 32, 128))
    given, truth = masked(lr), masked(hr)
    hr_prior = read(teacher, truth)[0].detach()
    kept = torch.ones(len(lr))
    kept[: len(lr) // 4] = 0
    prior, told = read(student, given)
    distance = prior_loss(prior, hr_prior)
    images = network(given, told * kept.view(-1, 1, 1, 1))
    total = 100 * image_loss(images, truth).mean() + 100 * distance
    parts = {
        "mse": image_loss.mse(images, truth),
        "gradient": image_loss.GPLoss(images[:, :3], truth[:, :3]),
        "prior": distance,
    }
    found = published_code.of_a_step(total, parts, network, [student], _GRADIENTS, _STATISTICS)
    mask = truth[:, 3].numpy().astype(np.uint8)
    return {"seed": np.asarray(SEED), "lr": lr, "hr": hr, "mask": mask, **found}


if __name__ == "__main__":
    run_script(main)
