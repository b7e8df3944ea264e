"""Published names that TSRN's checkpoints (state_dict_G) and those of its kin share."""

from textsr_jax.convert import stn

RENAMES = (
    *stn.RENAMES,
    (r"^(tbsrn|tsrn|tpgsr|tatt|lemma)\.", ""),
    (r"^head\.", "block1.0."),
    (r"^slope$", "block1.1.weight"),
    (r"^blocks\.(\d+)\.", r"block{\1+2}."),
    (r"^body_end\.", "block{blocks+2}.0."),
    (r"^body_end_bn\.", "block{blocks+2}.1."),
    (r"^upsample\.", "block{blocks+3}.0.conv."),
    (r"^tail\.", "block{blocks+3}.1."),
    (r"\.convs\.", "."),
)

CONSTANTS = stn.CONSTANTS
