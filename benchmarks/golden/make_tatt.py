"""Makes tests/golden/tatt.npz, tatt_loss.npz and tatt.json from TATT's published code.

  python -m benchmarks.golden.make_tatt CHECKOUT

CHECKOUT is a checkout of github.com/mjq11302010044/TATT (commit 693c664). Needs the extra
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
    from benchmarks.golden.published_code import SEED, eight_bits, filled, masked, read

_COMMAND = "python -m benchmarks.golden.make_tatt"
# The sizes of the network in tatt_loss.npz, and the tensors that it holds more of.
_SMALL = {"srb_nums": 1, "hidden_units": 4, "out_text_channels": 8}
_SMALL_HIDDEN = 16
_GRADIENTS = (
    "block1.0.weight",
    "block2.gru1.conv1.weight",
    "infoGen.fc_in.weight",
    "infoGen.activation.weight",
    "infoGen.init_factor.weight",
    "infoGen.transformer.encoder.layers.0.self_attn.in_proj_weight",
    "infoGen.transformer.decoder.layers.1.multihead_attn.in_proj_bias",
    "prior.0.rnn.1.embedding.weight",
)
_STATISTICS = ("block2.bn2.running_mean",)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(f"name a checkout of TATT: {_COMMAND} CHECKOUT")
    published_code.use(arguments[0], _COMMAND)
    folder = reference_tensors.HERE
    np.savez_compressed(folder / "tatt.npz", **_evaluation())
    with published_code.in_float64():
        training = _training()
    np.savez_compressed(folder / "tatt_loss.npz", **training)


def _classes() -> tuple[functools.partial, functools.partial]:
    from model.crnn.crnn import CRNN
    from model.tsrn import TSRN_TL_TRANS

    return functools.partial(TSRN_TL_TRANS, STN=True, mask=True), functools.partial(CRNN, 32, 1, 37)


def _evaluation() -> dict[str, np.ndarray]:
    """The arrays of tatt.npz, in evaluation. Writes tatt.json too."""
    make_network, make_recognizer = _classes()
    network = filled(make_network()).eval()
    recognizer = filled(make_recognizer(256), "prior.0.").eval()
    published_code.write_names(reference_tensors.HERE / "tatt.json", network, recognizer)
    images = eight_bits("tatt", (2, 3, 16, 64))
    lr = masked(images)
    with torch.no_grad():
        prior, given = read(recognizer, lr)
        output, attention = network(lr, given)
        features, _ = network.infoGen(network.block1(lr), given)
    return {
        "seed": np.asarray(SEED),
        "image": images,
        "prior": prior.transpose(0, 1).numpy(),
        "features": features[1:2].numpy(),
        "attention": attention[1:2].numpy(),
        "output": output.numpy(),
    }


def _training() -> dict[str, np.ndarray]:
    """The arrays of tatt_loss.npz: a training step of a small network, without dropout and STN."""
    from loss.image_loss import ImageLoss
    from loss.semantic_loss import SemanticLoss
    from utils.ssim_psnr import TRI_SSIM

    make_network, make_recognizer = _classes()
    image_loss, prior_loss = ImageLoss(gradient=True, loss_weight=[1, 1e-4]), SemanticLoss()
    tri_ssim = TRI_SSIM()
    network = filled(make_network(**_SMALL, STN=False)).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    student = filled(make_recognizer(_SMALL_HIDDEN), "prior.0.").train()
    teacher = filled(make_recognizer(_SMALL_HIDDEN), "teacher.").eval()
    lr, hr = eight_bits("tatt lr", (4, 3, 16, 64)), eight_bits("tatt hr", (4, 3, 32, 128))
    rng = np.random.default_rng(SEED)
    angles = np.deg2rad(rng.uniform(-5, 5, 4)).astype(np.float32)
    shapes = rng.uniform(0, 1, 4).astype(np.float32)
    forth, shaped = (torch.from_numpy(values).double() for values in (angles, shapes))
    turn = functools.partial(_turn, shapes=shaped)
    given, truth = turn(masked(lr), forth), turn(masked(hr), forth)
    others = turn(given.clone(), -forth)
    hr_prior = read(teacher, truth)[0].detach()
    prior, told = read(student, given)
    images, _ = network(given, told.detach())
    again, _ = network(others, told.detach())
    likeness = tri_ssim(turn(again, forth), images, truth)
    distance = prior_loss(prior, hr_prior)
    errors = image_loss(images, truth).mean()
    total = 100 * errors + 100 * distance + 10 * (1 - likeness)
    parts = {
        "mse": image_loss.mse(images, truth).mean(),
        "gradient": image_loss.GPLoss(images[:, :3], truth[:, :3]).mean(),
        "prior": distance,
        "structure": 1 - likeness,
    }
    found = published_code.of_a_step(total, parts, network, [student], _GRADIENTS, _STATISTICS)
    return {
        "seed": np.asarray(SEED),
        "lr": lr,
        "hr": hr,
        "angles": angles,
        "shapes": shapes,
        "turned": given[:2].detach().numpy(),
        **found,
    }


def _turn(images: torch.Tensor, angles: torch.Tensor, shapes: torch.Tensor) -> torch.Tensor:
    """`torch_rotate_img` of the published interface, which no file can be imported for."""
    cosine, sine = angles.cos(), angles.sin()
    ratio = images.shape[2] / images.shape[3] + 0.4 * shapes - 0.2
    zero = torch.zeros_like(angles)
    matrix = torch.stack([cosine, sine * ratio, zero, -sine / ratio, cosine, zero], dim=1)
    grid = functional.affine_grid(matrix.view(-1, 2, 3), images.shape, align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


if __name__ == "__main__":
    run_script(main)
