"""STN + TSRN, the network published with TextZoom, and the published CDistNet.

Its authors train it with the squared error and a gradient prior; here it has the text-focus loss,
as the other networks do.

Command:
  python train.py --config=configs/tsrn.py --workdir=runs/tsrn --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard.

Cost: as configs/tbsrn.py; the recurrent layers run step by step, which accelerators do not like.
Reaches: not trained by us yet.
"""

from ml_collections import ConfigDict

from configs import paper


def get_config() -> ConfigDict:
    config = paper.get_config()
    config.sr.name = "tsrn"
    return config
