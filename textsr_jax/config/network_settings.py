"""The typed settings of the networks: their names in a config, and their sizes.

The first argument of `network` is the published size; see `parts.Field`. A new network is a class
here and a field of `SRSettings` or `RecognizerSettings`.
"""

from dataclasses import dataclass

from textsr_jax.config.kinds import Choice, Flag, Number, Whole, Wholes
from textsr_jax.config.parts import Part, machine, network, recipe

_COUNT, _CHANNELS, _HIDDEN = Whole(1, 256), Whole(1, 4096), Whole(1, 16384)
_DTYPE = Choice(("float32", "bfloat16"))
_FRACTION = Number(0, 1, open_high=True)


@dataclass(frozen=True, kw_only=True)
class EDSRSizes(Part):
    """EDSR's sizes."""

    blocks: int = network(32, _COUNT, "residual blocks")
    channels: int = network(256, _CHANNELS, "width of every block")
    residual_scale: float = network(0.1, Number(-100, 100), "factor of each residual")
    remat: bool = machine(False, Flag(), "training computes blocks twice, in less memory")


@dataclass(frozen=True, kw_only=True)
class TBSRNSizes(Part):
    """TBSRN's sizes."""

    blocks: int = network(5, _COUNT, "residual blocks")
    channels: int = network(64, _CHANNELS, "width of every block; a multiple of 4")
    heads: int = network(4, _COUNT, "heads of attention")
    dropout: float = recipe(0.0, _FRACTION, "rate of dropout in training")


@dataclass(frozen=True, kw_only=True)
class TSRNSizes(Part):
    """TSRN's sizes."""

    blocks: int = network(5, _COUNT, "residual blocks")
    channels: int = network(64, _CHANNELS, "width of every block; even")


@dataclass(frozen=True, kw_only=True)
class TPGSRSizes(Part):
    """TPGSR's sizes, its stages, and how its text prior is used."""

    blocks: int = network(5, _COUNT, "residual blocks")
    channels: int = network(64, _CHANNELS, "width of every block; even")
    prior_channels: int = network(32, _CHANNELS, "width of the interpreted text prior")
    stages: int = network(1, Whole(1, 16), "passes, each with a recogniser of its own")
    mask: bool = network(True, Flag(), "a mask of dark pixels is the fourth channel")
    prior_dropout: float = recipe(0.25, _FRACTION, "part of a batch trained without a prior")


@dataclass(frozen=True, kw_only=True)
class TATTSizes(Part):
    """TATT's sizes, and how its text prior is used."""

    blocks: int = network(5, _COUNT, "residual blocks")
    channels: int = network(64, _CHANNELS, "width of every block; even, a multiple of heads")
    heads: int = network(4, _COUNT, "heads of attention")
    encoder_layers: int = network(1, Whole(0, 64), "layers of the text prior's encoder")
    decoder_layers: int = network(2, Whole(1, 64), "layers in which pixels look at the prior")
    # Published weights need "batch": there an image's result depends on its place in a batch.
    queries: str = network(
        "batch", Choice(("batch", "columns")), "what the GRU of the pixels' queries runs along"
    )
    mask: bool = network(True, Flag(), "a mask of dark pixels is the fourth channel")
    dropout: float = recipe(0.1, _FRACTION, "rate of dropout in training")


@dataclass(frozen=True, kw_only=True)
class LEMMASizes(Part):
    """LEMMA's sizes, and how it looks at letters."""

    blocks: int = network(5, _COUNT, "residual blocks")
    channels: int = network(64, _CHANNELS, "width of every block; even, a multiple of heads")
    heads: int = network(4, _COUNT, "heads of attention")
    encoder_layers: int = network(2, Whole(0, 64), "layers that encode what was read")
    decoder_layers: int = network(3, Whole(1, 64), "layers in which letters and pixels meet")
    selected: int = network(500, Whole(1, 1024), "pixels that count as letters")
    mask: bool = network(True, Flag(), "a mask of dark pixels is the fourth channel")
    dropout: float = recipe(0.1, _FRACTION, "rate of dropout in training")


@dataclass(frozen=True, kw_only=True)
class ABINetSizes(Part):
    """ABINet's sizes."""

    heads: int = network(8, _COUNT, "heads of attention")
    hidden: int = network(2048, _HIDDEN, "feed-forward size")
    encoder_layers: int = network(3, Whole(0, 64), "layers of the vision branch's encoder")
    decoder_layers: int = network(4, Whole(1, 64), "layers of the language branch")
    key_channels: int = network(64, _CHANNELS, "channels of the convolutions that make keys")
    channels: tuple[int, ...] = network(
        (32, 32, 64, 128, 256, 512), Wholes(6, 1, 4096), "channels of the stem and the stages"
    )
    depths: tuple[int, ...] = network((3, 4, 6, 6, 3), Wholes(5, 1, 64), "blocks in each stage")
    dropout: float = recipe(0.1, _FRACTION, "rate of dropout in training")


@dataclass(frozen=True, kw_only=True)
class STNSizes(Part):
    """The sizes of the STN."""

    channels: tuple[int, ...] = network(
        (32, 64, 128, 256, 256, 256), Wholes(6, 1, 4096), "channels of the convolutions"
    )
    features: int = network(512, _HIDDEN, "width of the fully connected layer")


@dataclass(frozen=True, kw_only=True)
class CRNNSizes(Part):
    """CRNN's sizes."""

    channels: tuple[int, ...] = network(
        (64, 128, 256, 256, 512, 512, 512), Wholes(7, 1, 4096), "channels of the convolutions"
    )
    hidden: int = network(256, _CHANNELS, "width of each direction of the LSTMs")


# The networks that a text prior guides; they use the fields under "sr.prior".
GUIDED = ("tpgsr", "tatt")


@dataclass(frozen=True, kw_only=True)
class SRSettings(Part):
    """The SR model: an STN and one of the networks."""

    name: str = network(
        "edsr",
        Choice(("edsr", "tbsrn", "tsrn", "tpgsr", "tatt", "lemma", "bicubic")),
        "which network",
    )
    edsr: EDSRSizes = EDSRSizes()
    tbsrn: TBSRNSizes = TBSRNSizes()
    tsrn: TSRNSizes = TSRNSizes()
    tpgsr: TPGSRSizes = TPGSRSizes()
    tatt: TATTSizes = TATTSizes()
    lemma: LEMMASizes = LEMMASizes()
    # The recognisers of the text prior, one for each stage.
    prior: CRNNSizes = CRNNSizes()
    # The recogniser that tells LEMMA where letters are.
    abinet: ABINetSizes = ABINetSizes()
    # The STN rectifies LR images in training alone (as the published code), always, or never.
    apply_stn: str = network("train", Choice(("train", "always", "never")), "when the STN runs")
    stn: STNSizes = STNSizes()
    dtype: str = network("float32", _DTYPE, "the compute dtype")


@dataclass(frozen=True, kw_only=True)
class ResamplerSettings(Part):
    """The content-adaptive resampler of stage 0, which makes the LR crops there."""

    stem_channels: int = network(64, _CHANNELS, "channels of the first convolution")
    channels: int = network(128, _CHANNELS, "channels at a half and a quarter of the size")
    trunk_channels: int = network(256, _CHANNELS, "channels at an eighth of the size")
    blocks: int = network(5, _COUNT, "residual blocks")
    dtype: str = network("float32", _DTYPE, "the compute dtype")


@dataclass(frozen=True, kw_only=True)
class CDistNetSizes(Part):
    """CDistNet's sizes."""

    width: int = network(512, Whole(2, 4096), "width of every token; a multiple of heads")
    heads: int = network(8, _COUNT, "heads of attention")
    encoder_layers: int = network(3, Whole(0, 64), "layers of the visual encoder")
    decoder_layers: int = network(3, Whole(1, 64), "layers of the decoder")
    encoder_hidden: int = network(2048, _HIDDEN, "the encoder's feed-forward size")
    decoder_hidden: int = network(1024, _HIDDEN, "the decoder's feed-forward size")
    positional_hidden: int = network(512, _HIDDEN, "hidden size of the positional branch")
    channels: tuple[int, ...] = network(
        (32, 32, 64, 128, 256, 512), Wholes(6, 1, 4096), "channels of the stem and the stages"
    )
    depths: tuple[int, ...] = network((3, 4, 6, 6, 3), Wholes(5, 1, 64), "blocks in each stage")
    rectify: bool = network(True, Flag(), "a spline rectifier before the backbone")
    rectifier_channels: tuple[int, ...] = network(
        (64, 128, 256, 512), Wholes(4, 1, 4096), "channels of the rectifier's convolutions"
    )
    rectifier_features: int = network(256, _HIDDEN, "width of the rectifier's hidden layer")
    dropout: float = recipe(0.1, _FRACTION, "rate of dropout in training")


@dataclass(frozen=True, kw_only=True)
class RecognizerSettings(Part):
    """The recogniser: one of the networks."""

    name: str = network("cdistnet", Choice(("cdistnet", "crnn")), "which network")
    cdistnet: CDistNetSizes = CDistNetSizes()
    crnn: CRNNSizes = CRNNSizes()
    dtype: str = network("float32", _DTYPE, "the compute dtype")


@dataclass(frozen=True, kw_only=True)
class FocusSettings(Part):
    """The text-focus recogniser, which runs inside the text-focus loss."""

    stem_channels: tuple[int, ...] = network(
        (64, 128), Wholes(2, 1, 4096), "channels of the first convolutions"
    )
    stage_channels: tuple[int, ...] = network(
        (256, 256, 512, 512), Wholes(4, 1, 4096), "channels of the stages"
    )
    stage_depths: tuple[int, ...] = network((1, 2, 5, 3), Wholes(4, 1, 64), "blocks in each stage")
    width: int = network(1024, Whole(2, 4096), "width of every token; a multiple of heads")
    heads: int = network(16, _COUNT, "heads of attention")
    feed_forward: int = network(2048, _HIDDEN, "feed-forward size")
    embedding: int = network(512, _CHANNELS, "part of a token that its character gives")
    dropout: float = recipe(0.0, _FRACTION, "rate of dropout in its own training")
    dtype: str = network("float32", _DTYPE, "the compute dtype")
