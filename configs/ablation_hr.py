"""The paper's ablation of fine-tuning: CDistNet fine-tuned on HR images, evaluated on SR ones.

The checkpoint is chosen by reading SR validation images, so that the images of the training are all
that differs from configs/paper.py.

Command:
  python train.py --config=configs/ablation_hr.py --workdir=runs/hr --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard. Models of
stages before may be those of another workdir: --config.stages=stage2 --config.init.sr=runs/paper
--config.init.ocr=runs/paper. For another size: --config=configs/tiny.py --config.stage2.images=hr.

Cost: as configs/paper.py; with stage 2 alone that of the recogniser.
Reaches: not trained by us. The paper prints a mean accuracy of 64.18 % on TextZoom, against 71.08 %
when fine-tuned on SR images.
"""

from ml_collections import ConfigDict

from configs import paper
from textsr_jax.config import variants


def get_config() -> ConfigDict:
    return variants.hr(paper.get_config())
