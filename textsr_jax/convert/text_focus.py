"""The name table of the text-focus loss's recogniser as published (pretrain_transformer.pth)."""

from textsr_jax.convert.table import NameTable

TABLE = NameTable(
    renames=(
        (r"^embedding\.", "embedding_word.lut."),
        (r"^encoder\.", "encoder.cnn."),
        # Each convolution with its BatchNorm has two names of its own.
        (r"\.stem\.0\.(conv|bn)\.", r".\g<1>1."),
        (r"\.stem\.1\.(conv|bn)\.", r".\g<1>2."),
        (r"\.first\.(conv|bn)\.", r".\g<1>1."),
        (r"\.second\.(conv|bn)\.", r".\g<1>2."),
        (r"\.shortcut\.conv\.", ".downsample.0."),
        (r"\.shortcut\.bn\.", ".downsample.1."),
        (r"\.stages\.3\.end\.conv\.", ".layer4_conv2."),
        (r"\.stages\.3\.end\.bn\.", ".layer4_conv2_bn."),
        *((rf"\.stages\.{k}\.end\.", f".layer{k + 1}_") for k in range(3)),
        *((rf"\.stages\.{k}\.blocks\.", f".layer{k + 1}.") for k in range(4)),
        (r"\.self_attention\.", ".mask_multihead."),
        (r"\.cross_attention\.", ".multihead."),
        (r"\.query\.", ".linears.0."),
        (r"\.key\.", ".linears.1."),
        (r"\.value\.", ".linears.2."),
        (r"\.out\.", ".linears.3."),
        (r"\.norm(\d)\.weight$", r".mul_layernorm\1.a_2"),
        (r"\.norm(\d)\.bias$", r".mul_layernorm\1.b_2"),
        (r"\.linear(\d)\.", r".pff.w_\1."),
        (r"^classifier\.", "generator_word.proj."),
    ),
    unused=(r".*\.compress_attention_linear\.(weight|bias)",),
    constants=(r"pe\.pe",),
)
