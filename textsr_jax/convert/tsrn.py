"""The name table of TSRN's published checkpoint; every tensor of it is used."""

from textsr_jax.convert import srresnet
from textsr_jax.convert.table import NameTable

RENAMES = (
    *srresnet.RENAMES,
    (r"\.(gru\d)\.linear\.", r".\1.conv1."),
    (r"\.gru\.forward\.input\.(weight|bias)$", r".gru.\1_ih_l0"),
    (r"\.gru\.forward\.recurrent\.(weight|bias)$", r".gru.\1_hh_l0"),
    (r"\.gru\.backward\.input\.(weight|bias)$", r".gru.\1_ih_l0_reverse"),
    (r"\.gru\.backward\.recurrent\.(weight|bias)$", r".gru.\1_hh_l0_reverse"),
)

POINTWISE = (r"block\d+\.gru\d\.conv1\.weight",)

TABLE = NameTable(renames=RENAMES, pointwise=POINTWISE, constants=srresnet.CONSTANTS, blocks=5)
