"""Stage 1 with the squared error alone, without the text-focus loss's position and recognition.

No text-focus recogniser is pre-trained, and none runs.

Command:
  python train.py --config=configs/ablation_no_text_focus.py --workdir=runs/no_text_focus \
      --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard. For another
size: --config=configs/tiny.py --config.stage1.position=0 --config.stage1.recognition=0.

Cost: less than configs/paper.py, by all that the text-focus recogniser costs; for accelerators.
Reaches: not trained by us. The paper prints no figure for it.
"""

from ml_collections import ConfigDict

from configs import paper
from textsr_jax.config import variants


def get_config() -> ConfigDict:
    return variants.no_text_focus(paper.get_config())
