"""The name table of the content-adaptive resampler as published (kgn.pth)."""

from textsr_jax.convert.table import NameTable

TABLE = NameTable(
    renames=(
        # Published numbers count the padding and activation layers too.
        (r"^stem\.", "ds_1.1."),
        (r"^to_half\.", "ds_2.downsample.1."),
        (r"^to_quarter\.", "ds_4.downsample.1."),
        (r"^to_eighth\.", "ds_8.downsample.1."),
        (r"^blocks\.(\d+)\.", r"res_4.\1.transform."),
        *((rf"_trunk\.convs\.{i}\.", f"_trunk.{3 * i + 1}.") for i in range(3)),
        (r"_trunk\.upsample\.", "_trunk.9.upsample.0."),
        (r"_trunk\.last\.", "_trunk.11."),
        (r"^kernels_head\.", "kernels_weight."),
        (r"^(offsets_[hv])_head\.", r"\1_generation."),
        (r"\.conv1\.", ".1."),
        (r"\.conv2\.", ".4."),
    ),
    pointwise=(r"ds_[248]\.downsample\.1\.weight", r".*_trunk\.9\.upsample\.0\.weight"),
    constants=(r"sub_mean\.(weight|bias)",),
)
