"""The name table of ABINet's published branches, as LEMMA starts from them.

They lie in two files, one for each branch (`convert.joined`), or in one with the fusion of both,
which LEMMA does not use. LEMMA's own file has the same names behind `position_prior.`.
"""

from textsr_jax.convert.table import NameTable

RENAMES = (
    (r"vision\.backbone\.stem\.conv\.", "vision.backbone.resnet.conv1."),
    (r"vision\.backbone\.stem\.bn\.", "vision.backbone.resnet.bn1."),
    (r"vision\.backbone\.stages\.(\d)\.", r"vision.backbone.resnet.layer{\1+1}."),
    (r"(\.resnet\..*)\.conv([12])\.conv\.", r"\1.conv\2."),
    (r"(\.resnet\..*)\.conv([12])\.bn\.", r"\1.bn\2."),
    (r"\.shortcut\.conv\.", ".downsample.0."),
    (r"\.shortcut\.bn\.", ".downsample.1."),
    (r"vision\.encoder\.", "vision.backbone.transformer.layers."),
    (r"vision\.reduce\.(\d)\.conv\.", r"vision.attention.k_encoder.\1.0."),
    (r"vision\.reduce\.(\d)\.bn\.", r"vision.attention.k_encoder.\1.1."),
    # The published list counts the enlargement before each of these convolutions too.
    (r"vision\.enlarge\.(\d)\.conv\.", r"vision.attention.k_decoder.\1.1."),
    (r"vision\.enlarge\.(\d)\.bn\.", r"vision.attention.k_decoder.\1.2."),
    (r"vision\.project\.", "vision.attention.project."),
    (r"language\.project\.", "language.proj."),
    (r"language\.decoder\.", "language.model.layers."),
    (r"(vision|language)\.classify\.", r"\1.cls."),
    # Decoders have the names of an attention to themselves and its norm left out.
    (r"((?:\.model|_decoder)\.layers\.\d+)\.norm2\.", r"\1.norm3."),
    (r"((?:\.model|_decoder)\.layers\.\d+)\.norm1\.", r"\1.norm2."),
    (r"((?:\.model|_decoder)\.layers\.\d+)\.(in_proj|out_proj)\.", r"\1.multihead_attn.\2."),
    (r"((?:former|Encoder)\.layers\.\d+)\.(in_proj|out_proj)\.", r"\1.self_attn.\2."),
    (r"\.in_proj\.(weight|bias)$", r".in_proj_\1"),
)

TABLE = NameTable(
    renames=RENAMES,
    unused=(r"alignment\..*",),
    constants=(r"(vision|language)\..*_encoder\.pe",),
)
