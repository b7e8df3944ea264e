"""Published names of what TBSRN and TSRN checkpoints (state_dict_G) share, for their tables."""

from textsr_jax.convert import stn

RENAMES = (
    *stn.RENAMES,
    (r"^(tbsrn|tsrn)\.", ""),
    (r"^head\.", "block1.0."),
    (r"^slope$", "block1.1.weight"),
    *((rf"^blocks\.{i}\.", f"block{i + 2}.") for i in range(5)),
    (r"^body_end\.", "block7.0."),
    (r"^body_end_bn\.", "block7.1."),
    (r"^upsample\.", "block8.0.conv."),
    (r"^tail\.", "block8.1."),
    (r"\.convs\.", "."),
)

CONSTANTS = stn.CONSTANTS
