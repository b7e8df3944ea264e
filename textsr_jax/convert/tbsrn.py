"""The name table of TBSRN's published checkpoint.

229,875 of its 3,210,335 parameters are never used: TSRN's GRUs, a convolution in front, and a layer
that would have merged the attention maps of the heads.
"""

from textsr_jax.convert import srresnet
from textsr_jax.convert.table import NameTable, PublishedOnly

TABLE = NameTable(
    renames=(
        *srresnet.RENAMES,
        (r"\.enhancer\.attention\.query\.", ".enhancer.multihead.linears.0."),
        (r"\.enhancer\.attention\.key\.", ".enhancer.multihead.linears.1."),
        (r"\.enhancer\.attention\.value\.", ".enhancer.multihead.linears.2."),
        (r"\.enhancer\.attention\.out\.", ".enhancer.multihead.linears.3."),
        (r"\.enhancer\.norm1\.weight$", ".enhancer.mul_layernorm1.a_2"),
        (r"\.enhancer\.norm1\.bias$", ".enhancer.mul_layernorm1.b_2"),
        (r"\.enhancer\.norm2\.weight$", ".enhancer.mul_layernorm3.a_2"),
        (r"\.enhancer\.norm2\.bias$", ".enhancer.mul_layernorm3.b_2"),
        (r"\.enhancer\.linear([12])\.", r".enhancer.pff.w_\1."),
        (r"\.enhancer\.out\.", ".enhancer.linear."),
        (r"\.enhancer\.", ".feature_enhancer."),
    ),
    unused=(
        r"conv\.(weight|bias)",
        r"bn\.(weight|bias|running_mean|running_var)",
        r"block\d+\.gru[12]\..*",
        r"block\d+\.feature_enhancer\.multihead\.compress_attention_linear\.(weight|bias)",
    ),
    constants=srresnet.CONSTANTS,
    blocks=5,
)

_COMPRESS = r"block\d+\.feature_enhancer\.multihead\.compress_attention_linear"

# What the paper's sizes count beyond our network: 115 parameters. They leave the GRUs out.
PUBLISHED_ONLY = (
    PublishedOnly(r"conv\.weight", (3, 3, 3, 3), quantized=True),
    PublishedOnly(r"conv\.bias", (3,), quantized=True),
    PublishedOnly(rf"{_COMPRESS}\.weight", (1, 4), 5, quantized=True),
    PublishedOnly(rf"{_COMPRESS}\.bias", (1,), 5, quantized=True),
    PublishedOnly(r"bn\.(weight|bias)", (3,), 2),
)
