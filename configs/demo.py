"""The demo: the shipped models, trained further for some minutes on synthetic words, and measured.

They are in textsr_jax/weights/shipped.safetensors.

Command:
  python train.py --config=configs/demo.py --workdir=runs/demo
On real words (TextZoom's LMDB folders):
  python train.py --config=configs/demo.py --workdir=runs/real --config.data.root=FOLDER

The variants of configs/paper.py are variants of this file too: --config=configs/demo.py:hr

Cost: minutes on two CPU cores.
Reaches: the table that `make demo` ends with, which is in docs/start/install.md;
docs/results/models.md has the scores of the shipped models.
"""

import pathlib

from ml_collections import ConfigDict

import textsr_jax
from configs import paper, small, tiny
from textsr_jax.config.variants import varied


def get_config(variant: str = "") -> ConfigDict:
    config = small.get_config()
    # The sizes of the shipped models: the recogniser of configs/small.py, and the SR model of
    # configs/tiny.py, which two cores can train.
    config.sr = tiny.get_config().sr
    config.sr.apply_stn = "never"
    config.focus = tiny.get_config().focus
    weights = pathlib.Path(textsr_jax.__file__).parent / "weights" / "shipped.safetensors"
    config.init.sr = config.init.ocr = str(weights)

    config.data.validation_fraction = 0.1
    config.data.synthetic.train = 4_000
    config.data.synthetic.validation = 200
    config.data.synthetic.test = 100
    config.data.synthetic.max_length = 12

    config.decoding.steps = 18

    config.pretrain.focus.update(paper.optimization(150, 32, 1e-3))
    config.stage1.update(paper.optimization(200, 32, 5e-4))
    # As the shipped recogniser was trained. With larger steps it forgets.
    config.stage2.update(paper.optimization(200, 16, 1e-4))
    config.stage2.images, config.stage2.augment = "both", False
    for stage in (config.pretrain.focus, config.stage1, config.stage2):
        stage.validate_every = stage.checkpoint_every = stage.steps // 4
    return varied(config, variant)
