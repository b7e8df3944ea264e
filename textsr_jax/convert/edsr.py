"""The name table of EDSR x2 as published with the content-adaptive resampler (usn.pth)."""

from textsr_jax.convert.table import NameTable, PublishedOnly

TABLE = NameTable(
    renames=(
        (r"^edsr\.", ""),
        (r"^head\.", "head.0."),
        (r"^blocks\.(\d+)\.conv1\.", r"body.\1.body.0."),
        (r"^blocks\.(\d+)\.conv2\.", r"body.\1.body.2."),
        # The convolution after the blocks is the last of the published list.
        (r"^body_end\.", "body.{blocks+0}."),
        (r"^upsample\.", "tail.0.0."),
        (r"^tail\.(weight|bias)$", r"tail.1.\1"),
    ),
    constants=(r"(sub|add)_mean\.(weight|bias)",),
    blocks=32,
)

# What the paper's sizes count beyond our network: the mean shifts, 24 constants.
PUBLISHED_ONLY = (
    PublishedOnly(r"(sub|add)_mean\.weight", (3, 3, 1, 1), 2),
    PublishedOnly(r"(sub|add)_mean\.bias", (3,), 2),
)
