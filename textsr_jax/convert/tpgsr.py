"""The name table of TPGSR's published checkpoints: the network's, and one CRNN for each stage.

The network's file is model_best_0.pth (state_dict_G), those of the recognisers are
recognizer_best_0.pth and so on. `convert.joined` puts `prior.0.` before the names of the latter.
Of the transposed convolutions' kernels the middle row alone is used; all of it is kept.
"""

from textsr_jax.convert import crnn, srresnet, tsrn
from textsr_jax.convert.table import NameTable

TABLE = NameTable(
    renames=(
        *((rf"^tpgsr\.interpreter\.convs\.{i}\.", f"infoGen.tconv{i + 1}.") for i in range(4)),
        *((rf"^tpgsr\.interpreter\.bns\.{i}\.", f"infoGen.bn{i + 1}.") for i in range(4)),
        # First, because the networks of `srresnet` drop the name `convs`.
        *crnn.RENAMES,
        *tsrn.RENAMES,
    ),
    pointwise=tsrn.POINTWISE,
    constants=srresnet.CONSTANTS,
    blocks=5,
)
