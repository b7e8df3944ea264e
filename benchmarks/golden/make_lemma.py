"""Makes tests/golden/lemma*.npz, lemma.json and abinet.json from LEMMA's published code.

  python -m benchmarks.golden.make_lemma CHECKOUT

CHECKOUT is a checkout of github.com/csguoh/LEMMA. Needs the extra `benchmarks`.
"""

import pathlib
from types import SimpleNamespace

import numpy as np

from benchmarks import needs_extra
from benchmarks.golden import reference_tensors
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError

with needs_extra(__name__):
    import torch
    from torch.nn import functional

    from benchmarks.golden import published_code
    from benchmarks.golden.published_code import SEED, eight_bits, filled, masked

_COMMAND = "python -m benchmarks.golden.make_lemma"
# The sizes of the recogniser in both files; its width cannot be changed.
_SMALL = {"d_inner": 64, "num_layers": 1}
_SMALL_DEPTHS = [1, 1, 1, 1, 1]
_LABELS = ((8, 9, 30), (1, 36, 27, 5))
# Stand-in weights read no ends of words: lengths that both parts which use them are given.
_LENGTHS = (3, 9)
_ABINET = "the files of ABINet's vision and language branch, behind these two names"
# The tensors that lemma_loss.npz holds more of.
_GRADIENTS = (
    "block1.0.weight",
    "block2.affine.channel_attn.0.bias",
    "block2.affine.conv1x1_2.2.weight",
    "block2.gru1.gru.bias_ih_l0",
    "block2.BN.weight",
    "guidanceGen.text_proj.weight",
    "guidanceGen.attn_conv.0.weight",
    "guidanceGen.text_decoder.layers.2.multihead_attn.in_proj_bias",
    "guidanceGen.sematic_decoder.layers.0.norm2.weight",
    "position_prior.vision.cls.bias",
    "position_prior.vision.attention.k_decoder.3.2.weight",
    "position_prior.language.cls.bias",
)
_STATISTICS = ("block2.affine.BN2.running_mean",)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(f"name a checkout of LEMMA: {_COMMAND} CHECKOUT")
    published_code.use(arguments[0], _COMMAND, "lemma.py")
    folder = reference_tensors.HERE
    np.savez_compressed(folder / "lemma.npz", **_evaluation(arguments[0]))
    with published_code.in_float64():
        training = _training(arguments[0])
    np.savez_compressed(folder / "lemma_loss.npz", **training)


def _network(checkout: str, **sizes: object) -> torch.nn.Module:
    from model.lemma import LEMMA

    position = SimpleNamespace(
        dataset_max_length=25,
        dataset_charset_path=str(pathlib.Path(checkout) / "dataset" / "charset_36.txt"),
        model_vision_attention_mode="nearest",
        vision=SimpleNamespace(
            checkpoint=None, attention="position", backbone="transformer", d_model=512
        ),
        language=SimpleNamespace(checkpoint=None, detach=True, use_self_attn=False),
    )
    return filled(LEMMA(mask=True, cfg=SimpleNamespace(PositionAware=position), **sizes))


def _evaluation(checkout: str) -> dict[str, np.ndarray]:
    """The arrays of lemma.npz, in evaluation. Writes lemma.json and abinet.json too."""
    network = _network(checkout, STN=True)
    published_code.write_names(reference_tensors.HERE / "lemma.json", network)
    published_code.write_names(
        reference_tensors.HERE / "abinet.json", network.position_prior, about=_ABINET
    )
    _make_small()
    network = _network(checkout, STN=False, srb_nums=1).eval()
    images = eight_bits("lemma", (2, 3, 16, 64))
    lr, lengths = masked(images), torch.tensor(_LENGTHS)
    with torch.no_grad():
        output, found = network(lr)
        tokens = found["img_logits"].softmax(-1)
        short = network.position_prior.language(tokens, lengths)["logits"]
        given = {**found, "text_logits": short, "pt_lengths": lengths}
        features, _ = network.guidanceGen(given, network.block1(lr))
    return {
        "seed": np.asarray(SEED),
        "image": images,
        "word_lengths": lengths.numpy(),
        "seen": found["img_logits"].numpy(),
        "read": found["text_logits"].numpy(),
        "lengths": found["pt_lengths"].numpy(),
        "short": short.numpy(),
        "maps": found["attn_map"][:1, ::5].numpy(),
        "features": features[:, ::4].numpy(),
        "output": output.numpy(),
    }


def _make_small() -> None:
    """Recognisers that are made from now on have the sizes of the two files."""
    import model.backbone
    import model.Position_aware_module
    from model.resnet import BasicBlock, ResNet

    model.backbone.resnet45 = lambda: ResNet(BasicBlock, _SMALL_DEPTHS)
    for module in (model.backbone, model.Position_aware_module):
        module._default_tfmer_cfg.update(_SMALL)


def _training(checkout: str) -> dict[str, np.ndarray]:
    """The arrays of lemma_loss.npz: a training step of a small network, without dropout and STN."""
    network = _network(checkout, STN=False, srb_nums=1).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "in_proj_weight"):
            module.dropout = 0.0
    lr, hr = eight_bits("lemma lr", (2, 3, 16, 64)), eight_bits("lemma hr", (2, 3, 32, 128))
    targets = np.zeros((2, 26), np.int64)
    for row, label in zip(targets, _LABELS, strict=True):
        row[: len(label)] = label
    labels = torch.from_numpy(targets).view(-1)
    images, found = network(masked(lr))
    mse = functional.mse_loss(images, masked(hr))
    # `finetune_loss` of the published text-focus loss, whose file needs a GPU: softmax, twice.
    reading = sum(
        functional.cross_entropy(functional.softmax(found[name], -1).view(-1, 37), labels)
        for name in ("img_logits", "text_logits")
    )
    parts = {"mse": mse, "reading": reading}
    total = 100 * (mse + 0.01 * reading)
    step = published_code.of_a_step(total, parts, network, [], _GRADIENTS, _STATISTICS)
    return {"seed": np.asarray(SEED), "lr": lr, "hr": hr, "targets": targets, **step}


if __name__ == "__main__":
    run_script(main)
