"""The name table of LEMMA's published checkpoint (state_dict_G); every tensor of it is used.

The file holds ABINet's two branches too, as they were fine-tuned with the network.
"""

from textsr_jax.convert import abinet, srresnet, tsrn
from textsr_jax.convert.table import NameTable

_MIXERS = r"(\.affine\.(?:conv1x1_\d|aggregation))"

TABLE = NameTable(
    renames=(
        (r"^lemma\.guidance\.convs\.(\d)\.", r"guidanceGen.attn_conv.\1."),
        (r"^lemma\.guidance\.bns\.0\.", "guidanceGen.attn_conv._1."),
        (r"^lemma\.guidance\.bns\.1\.", "guidanceGen.attn_conv._4."),
        (r"^lemma\.guidance\.slopes\.0$", "guidanceGen.attn_conv._2.weight"),
        (r"^lemma\.guidance\.slopes\.1$", "guidanceGen.attn_conv._5.weight"),
        (r"\.attn_conv\.1\.", ".attn_conv.3."),
        (r"\.attn_conv\.2\.", ".attn_conv.6."),
        (r"\.attn_conv\._", ".attn_conv."),
        (r"^lemma\.guidance\.located\.", "guidanceGen.DWC."),
        (r"^lemma\.guidance\.text\.", "guidanceGen.text_proj."),
        (r"^lemma\.guidance\.encoder\.", "guidanceGen.text_Encoder.layers."),
        (r"^lemma\.guidance\.letters\.", "guidanceGen.text_decoder.layers."),
        (r"^lemma\.guidance\.pixels\.", "guidanceGen.sematic_decoder.layers."),
        *abinet.RENAMES,
        (r"^reader\.", "position_prior."),
        (r"\.sum_bn\.", ".BN."),
        (r"\.fusion\.guidance_bn\.", ".affine.BN."),
        (r"\.fusion\.bn\.", ".affine.BN2."),
        (r"\.fusion\.of_weights\.", ".affine.conv1x1_1."),
        (r"\.fusion\.of_mixture\.", ".affine.conv1x1_2."),
        (r"\.fusion\.of_sum\.", ".affine.conv1x1_3."),
        (r"\.fusion\.aggregation\.", ".affine.aggregation."),
        (_MIXERS + r"\.linear1\.", r"\1.0."),
        (_MIXERS + r"\.bn\.", r"\1.1."),
        (_MIXERS + r"\.slope$", r"\1.2.weight"),
        (_MIXERS + r"\.linear2\.", r"\1.3."),
        (r"\.fusion\.whole\.", ".affine.channel_attn.0."),
        *((rf"\.fusion\.weigh\.{i}\.", f".affine.channel_attn.{2 * i + 1}.") for i in range(3)),
        (r"\.(gru\d)\.(forward|backward)\.", r".\1.gru.\2."),
        *tsrn.RENAMES,
    ),
    pointwise=(
        r"block\d+\.affine\.(conv1x1_\d|aggregation)\.[03]\.weight",
        r"block\d+\.affine\.channel_attn\.[135]\.weight",
    ),
    constants=(
        *srresnet.CONSTANTS,
        r"position_prior\..*_encoder\.pe",
        r"guidanceGen\.(vision|text|select)_pos\.pe",
    ),
    blocks=5,
)
