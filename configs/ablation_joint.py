"""The paper's ablation of its two steps: SR model and recogniser trained in one joint step.

The recogniser reads the SR images of stage 1 as it goes on; its own loss is added to the text-focus
loss, weighted by `joint.reading`, and the sum trains both networks.

Command:
  python train.py --config=configs/ablation_joint.py --workdir=runs/joint \
      --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard. For another
size: --config=configs/tiny.py --config.stages=pretrain,joint.

Cost: a step is one of stage 1 and one of stage 2 at its batch size; for accelerators.
Reaches: not trained by us. The paper prints no figure; it finds that two separate steps give better
images and better reading.
"""

from ml_collections import ConfigDict

from configs import paper
from textsr_jax.config import variants


def get_config() -> ConfigDict:
    return variants.joint(paper.get_config())
