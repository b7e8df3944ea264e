"""The name table of CRNN as TextZoom's evaluation loads it (crnn.pth)."""

from textsr_jax.convert.table import NameTable

TABLE = NameTable(
    renames=(
        (r"^convs\.(\d)\.conv\.", r"cnn.conv\1."),
        (r"^convs\.(\d)\.bn\.", r"cnn.batchnorm\1."),
        (r"\.output\.", ".embedding."),
        # PyTorch's LSTM: products with the input and with the state, then the other direction.
        (r"\.(forward|backward)\.input\.(weight|bias)$", r".\1.\2_ih_l0"),
        (r"\.(forward|backward)\.recurrent\.(weight|bias)$", r".\1.\2_hh_l0"),
        (r"\.forward\.", ".rnn."),
        (r"\.backward\.(.*)$", r".rnn.\1_reverse"),
    ),
)
