"""Stage 0: the content-adaptive resampler with EDSR-32x256 on DIV2K, a start for stage 1.

Command:
  python train.py --config=configs/div2k.py --workdir=runs/div2k \
      --config.photographs.train=DIV2K_train_HR --config.photographs.validation=DIV2K_valid_HR
If TFDS has prepared DIV2K as ArrayRecord files: --config.photographs.train=tfds:div2k
Then:
  python evaluate.py --workdir=runs/div2k --photographs=Set5,Set14,BSD100,Urban100
  python train.py --config=configs/paper.py --workdir=runs/paper --config.data.root=TEXTZOOM \
      --config.init.sr=runs/div2k

Cost: 51.4 million parameters; for accelerators. A step is 16 crops of 192x192, about 36 TFLOP for
EDSR alone, so 300,000 steps (6,000 epochs of 800 photographs) are about 11 EFLOP.
Reaches: we have not trained it. The resampler's paper (Sun and Chen, 2020) has crops of 96x96 at
this scale, and prints no weights of its regularisers; configs/paper.py says where ours are from.
"""

from ml_collections import ConfigDict

from configs import paper


def get_config(variant: str = "") -> ConfigDict:
    config = paper.get_config(variant)
    config.stages = "stage0"
    config.evaluation.batch_size = 16  # crops of validation are larger than words
    return config
