"""The baseline without super-resolution: CDistNet fine-tuned on images enlarged by bicubic.

Command:
  python train.py --config=configs/bicubic.py --workdir=runs/bicubic --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard.

Cost: that of the recogniser alone; there is nothing to train in stage 1.
Reaches: not trained by us yet. The paper prints a mean accuracy of 61.47 % on TextZoom.
"""

from ml_collections import ConfigDict

from configs import paper
from textsr_jax.config import variants


def get_config() -> ConfigDict:
    return variants.bicubic(paper.get_config())
