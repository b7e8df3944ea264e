"""CDistNet, the paper's recogniser: rectifier, backbone, encoder and the MDCDP decoder.

"CDistNet: Perceiving multi-domain character distance for robust text recognition" (Zheng et al.,
2021), as its published code computes it.
"""

from textsr_jax.models.cdistnet.model import CDistNet

__all__ = ["CDistNet"]
