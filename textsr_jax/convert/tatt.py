"""The name table of TATT's published checkpoints: the network's, and its CRNN's.

The files and the prefix of the CRNN's names are as in `convert.tpgsr`. The decoder's attention of
pixels to each other and its norm, and the layer for features, are never used: 37,696 parameters.
"""

from textsr_jax.convert import crnn, srresnet, tsrn
from textsr_jax.convert.table import NameTable

_DECODER = r"infoGen\.transformer\.decoder\.layers\.\d+"

TABLE = NameTable(
    renames=(
        *crnn.RENAMES,
        (r"^tatt\.interpreter\.frame\.", "infoGen.fc_in."),
        (r"^tatt\.interpreter\.slope$", "infoGen.activation.weight"),
        (r"^tatt\.interpreter\.places$", "infoGen.init_factor.weight"),
        (r"^tatt\.interpreter\.places_gru\.", "infoGen.transformer.gru_encoding.gru."),
        (r"^tatt\.interpreter\.norm\.", "infoGen.transformer.decoder.norm."),
        (r"^tatt\.interpreter\.encoder\.(\d+)\.", r"infoGen.transformer.encoder.layers.\1."),
        # The decoder's first norm belongs to the attention that is never used.
        (r"^tatt\.interpreter\.decoder\.(\d+)\.norm2\.", r"decoder\1.norm3."),
        (r"^tatt\.interpreter\.decoder\.(\d+)\.norm1\.", r"decoder\1.norm2."),
        (r"^tatt\.interpreter\.decoder\.(\d+)\.", r"decoder\1."),
        (r"^decoder(\d+)\.", r"infoGen.transformer.decoder.layers.\1."),
        (r"(\.encoder\.layers\.\d+)\.(in_proj|out_proj)\.", r"\1.self_attn.\2."),
        (r"(\.decoder\.layers\.\d+)\.(in_proj|out_proj)\.", r"\1.multihead_attn.\2."),
        (r"\.in_proj\.(weight|bias)$", r".in_proj_\1"),
        *tsrn.RENAMES,
        (r"\.gru_encoding\.gru\.", ".gru_encoding."),
    ),
    pointwise=tsrn.POINTWISE,
    unused=(
        r"infoGen\.fc_feature_in\.(weight|bias)",
        _DECODER + r"\.self_attn\..*",
        _DECODER + r"\.norm1\.(weight|bias)",
    ),
    constants=(*srresnet.CONSTANTS, r"infoGen\.pe\.pe"),
    blocks=5,
)
