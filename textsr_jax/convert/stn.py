"""The name table of the STN inside published TBSRN and TSRN checkpoints (state_dict_G)."""

from textsr_jax.convert.table import NameTable

TABLE = NameTable(
    renames=(
        # The published list holds the pooling layers too, so convolutions have even numbers.
        *((rf"^convs\.{i}\.conv\.", f"stn_head.stn_convnet.{2 * i}.0.") for i in range(6)),
        *((rf"^convs\.{i}\.bn\.", f"stn_head.stn_convnet.{2 * i}.1.") for i in range(6)),
        (r"^fc1\.", "stn_head.stn_fc1.0."),
        (r"^fc1_bn\.", "stn_head.stn_fc1.1."),
        (r"^fc2\.", "stn_head.stn_fc2."),
    ),
    # Everything else in such a file belongs to the super-resolution network behind the STN.
    unused=(r"(?!stn_head\.|tps\.).*",),
    constants=(r"tps\..*",),
)
