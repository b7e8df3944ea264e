"""The name table of TSRN's published checkpoint; every tensor of it is used."""

from textsr_jax.convert import srresnet
from textsr_jax.convert.table import NameTable

TABLE = NameTable(
    renames=(
        *srresnet.RENAMES,
        (r"\.(gru\d)\.linear\.", r".\1.conv1."),
        (r"\.forward\.input\.(weight|bias)$", r".\1_ih_l0"),
        (r"\.forward\.recurrent\.(weight|bias)$", r".\1_hh_l0"),
        (r"\.backward\.input\.(weight|bias)$", r".\1_ih_l0_reverse"),
        (r"\.backward\.recurrent\.(weight|bias)$", r".\1_hh_l0_reverse"),
    ),
    pointwise=(r"block\d+\.gru\d\.conv1\.weight",),
    constants=srresnet.CONSTANTS,
    blocks=5,
)
