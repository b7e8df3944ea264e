"""The name table of CRNN as TextZoom's evaluation loads it (crnn.pth)."""

from textsr_jax.convert.table import NameTable

# At the top of the tree, or as the recogniser of a text prior (`convert.tpgsr`).
_START = r"(?:^|(?<=^prior\.\d\.))"

RENAMES = (
    (_START + r"convs\.(\d)\.conv\.", r"cnn.conv\1."),
    (_START + r"convs\.(\d)\.bn\.", r"cnn.batchnorm\1."),
    (r"(rnn\.\d)\.output\.", r"\1.embedding."),
    # PyTorch's LSTM: products with the input and with the state, then the other direction.
    (r"(rnn\.\d)\.(forward|backward)\.input\.(weight|bias)$", r"\1.\2.\3_ih_l0"),
    (r"(rnn\.\d)\.(forward|backward)\.recurrent\.(weight|bias)$", r"\1.\2.\3_hh_l0"),
    (r"(rnn\.\d)\.forward\.", r"\1.rnn."),
    (r"(rnn\.\d)\.backward\.(.*)$", r"\1.rnn.\2_reverse"),
)

TABLE = NameTable(renames=RENAMES)
