"""Published names of the STN inside SR checkpoints (state_dict_G), for their tables."""

RENAMES = (
    # The published list counts the pooling layers too, so convolutions have even numbers.
    *((rf"^stn\.convs\.{i}\.conv\.", f"stn_head.stn_convnet.{2 * i}.0.") for i in range(6)),
    *((rf"^stn\.convs\.{i}\.bn\.", f"stn_head.stn_convnet.{2 * i}.1.") for i in range(6)),
    (r"^stn\.fc1\.", "stn_head.stn_fc1.0."),
    (r"^stn\.fc1_bn\.", "stn_head.stn_fc1.1."),
    (r"^stn\.fc2\.", "stn_head.stn_fc2."),
)

CONSTANTS = (r"tps\..*",)
