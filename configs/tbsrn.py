"""The paper's baseline pair: STN + TBSRN and the published CDistNet, on TextZoom.

Command:
  python train.py --config=configs/tbsrn.py --workdir=runs/tbsrn --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard.

Cost: a step of stage 1 costs a small part of EDSR's: TBSRN has 1.1 million parameters.
Reaches: not trained by us yet.
"""

from ml_collections import ConfigDict

from configs import paper
from textsr_jax.config import variants


def get_config() -> ConfigDict:
    return variants.tbsrn(paper.get_config())
