"""The name table of CDistNet's published checkpoint.

18,935,808 of its 65,459,272 parameters are never used. Every attention has the projections of every
kind of attention, and another set that no kind uses.
"""

from textsr_jax.convert.table import NameTable, PublishedOnly

TABLE = NameTable(
    renames=(
        *((rf"^rectifier\.convs\.{i}\.conv\.", f"rectifier.conv.{4 * i}.") for i in range(4)),
        *((rf"^rectifier\.convs\.{i}\.bn\.", f"rectifier.conv.{4 * i + 1}.") for i in range(4)),
        (r"^rectifier\.fc1\.", "rectifier.localization_fc1.0."),
        (r"^rectifier\.fc2\.", "rectifier.localization_fc2."),
        (r"^rectifier\.", "visual_branch.transform.LocalizationNetwork."),
        (r"^backbone\.stem\.conv\.", "backbone.conv1."),
        (r"^backbone\.stem\.bn\.", "backbone.bn1."),
        (r"^backbone\.last\.", "backbone.convbnrelu."),
        *((rf"^backbone\.stages\.{i}\.", f"backbone.layer{i + 1}.") for i in range(5)),
        (r"\.conv([12])\.conv\.", r".conv\1."),
        (r"\.conv([12])\.bn\.", r".bn\1."),
        (r"\.shortcut\.conv\.", ".downsample.0."),
        (r"\.shortcut\.bn\.", ".downsample.1."),
        (r"^backbone\.", "visual_branch.backbone."),
        (r"^(encoder\.\d+)\.linear", r"\1.conv"),
        (r"^(encoder\.\d+)\.(qkv|out_proj)\.", r"\1.self_attn.\2."),
        (r"^encoder\.", "visual_branch.trans_encoder.layers."),
        (r"^embedding\.", "semantic_branch.embedding.embedding."),
        (r"^positional_branch\.norm\.", "positional_branch.norm2."),
        (r"^mdcdp\.(\d+)\.positional\.", r"mdcdp.layers_pos.\1."),
        (r"^mdcdp\.(\d+)\.visual\.", r"mdcdp.layers2.\1."),
        (r"^mdcdp\.(\d+)\.semantic\.", r"mdcdp.layers3.\1."),
        (r"^(mdcdp\..*)\.norm2\.", r"\1.norm3."),
        (r"^(mdcdp\..*)\.norm1\.", r"\1.norm2."),
        (r"^(mdcdp\..*)\.(query|key_value|qkv|out_proj)\.", r"\1.multihead_attn.\2."),
        (r"_attn\.query\.", "_attn.conv1."),
        (r"_attn\.key_value\.", "_attn.conv2."),
        (r"_attn\.qkv\.", "_attn.conv3."),
        (r"^fusion\.", "mdcdp.dynamic_shared_fusion.w_att."),
        (r"^output\.", "tgt_word_prj."),
    ),
    pointwise=(
        r".*_attn\.conv[123]\.weight",
        r"visual_branch\.trans_encoder\.layers\.\d+\.conv[12]\.weight",
    ),
    unused=(
        r".*_attn\.in_proj_(weight|bias)",
        r"visual_branch\.trans_encoder\.layers\.\d+\.self_attn\.conv[12]\.(weight|bias)",
        r"mdcdp\.layers_pos\.\d+\.multihead_attn\.conv[12]\.(weight|bias)",
        r"mdcdp\.layers[23]\.\d+\.multihead_attn\.conv3\.(weight|bias)",
        r"visual_branch\.trans_encoder\.pos_embeding",
    ),
    constants=(
        r"visual_branch\.transform\.GridGenerator\.(inv_delta_C|P_hat)",
        r".*\.(positional|pos)_encoding\.pe",
    ),
)

_SELF = r"(visual_branch\.trans_encoder\.layers|mdcdp\.layers_pos)\.\d+\.(self|multihead)_attn"
_CROSS = r"mdcdp\.layers[23]\.\d+\.multihead_attn"

# What the paper's sizes count beyond our network: 18,935,808 parameters.
PUBLISHED_ONLY = (
    PublishedOnly(r".*_attn\.in_proj_weight", (1536, 512), 12, quantized=True),
    PublishedOnly(r".*_attn\.in_proj_bias", (1536,), 12, quantized=True),
    PublishedOnly(rf"{_SELF}\.conv1\.weight", (512, 512, 1, 1), 6, quantized=True),
    PublishedOnly(rf"{_SELF}\.conv1\.bias", (512,), 6, quantized=True),
    PublishedOnly(rf"{_SELF}\.conv2\.weight", (1024, 512, 1, 1), 6, quantized=True),
    PublishedOnly(rf"{_SELF}\.conv2\.bias", (1024,), 6, quantized=True),
    PublishedOnly(rf"{_CROSS}\.conv3\.weight", (1536, 512, 1, 1), 6, quantized=True),
    PublishedOnly(rf"{_CROSS}\.conv3\.bias", (1536,), 6, quantized=True),
    PublishedOnly(r"visual_branch\.trans_encoder\.pos_embeding", (48, 1, 512)),
)
