"""Models trained from nothing on two CPU cores, on synthetic words of 3 to 6 characters.

Command:
  python train.py --config=configs/tiny.py --workdir=runs/tiny
On real words (TextZoom's LMDB folders), pre-trained on both:
  python train.py --config=configs/tiny.py --workdir=runs/real --config.data.root=FOLDER
The variants of configs/paper.py are variants of this file too: --config=configs/tiny.py:hr

Cost: about 17 minutes on two CPU cores for synthetic words; more with real words beside them.
Reaches: SR images 0.8 dB above bicubic. The recogniser reads 22 % of synthetic test words after
fine-tuning and 13 % before it (HR: 25 %). These numbers are from an earlier generator of words.
`make demo` starts from models that were trained longer (configs/demo.py).
"""

from ml_collections import ConfigDict

from configs import paper
from textsr_jax.config.variants import varied


def get_config(variant: str = "") -> ConfigDict:
    config = paper.get_config()
    config.max_length = 12

    # The image of café shows an e, so the recogniser should learn to read one.
    config.data.labels = "fold"
    config.data.validation_fraction = 0.1
    config.data.synthetic.train = 7_000
    config.data.synthetic.validation = 200
    config.data.synthetic.test = 100
    config.data.synthetic.min_length = 3
    config.data.synthetic.max_length = 6
    config.data.synthetic.plain = 0.8

    config.sr.edsr.blocks = 4
    config.sr.edsr.channels = 32
    config.sr.edsr.residual_scale = 1.0
    guided = config.sr.tpgsr, config.sr.tatt, config.sr.lemma
    for network in (config.sr.tbsrn, config.sr.tsrn, *guided):
        network.blocks, network.channels = 1, 32
    config.sr.tatt.dropout = config.sr.lemma.dropout = 0.0
    config.sr.prior.channels = (16, 32, 64, 64, 128, 128, 128)
    config.sr.prior.hidden = 64
    config.sr.abinet.hidden = 256
    config.sr.abinet.encoder_layers, config.sr.abinet.decoder_layers = 1, 1
    config.sr.abinet.key_channels = 16
    config.sr.abinet.channels = (8, 8, 16, 48, 64, 128)
    config.sr.abinet.depths = (1, 1, 1, 1, 1)
    config.sr.abinet.dropout = 0.0
    config.sr.tbsrn.dropout = 0.0
    config.sr.stn.channels = (8, 16, 32, 32, 32, 32)
    config.sr.stn.features = 64

    config.resampler.stem_channels = 8
    config.resampler.channels = 16
    config.resampler.trunk_channels = 32
    config.resampler.blocks = 1

    config.ocr.cdistnet.width = 128
    # Attention scores are divided by the head size twice, so small heads learn to attend sooner.
    config.ocr.cdistnet.heads = 16
    config.ocr.cdistnet.encoder_layers = 1
    config.ocr.cdistnet.decoder_layers = 1
    config.ocr.cdistnet.encoder_hidden = 256
    config.ocr.cdistnet.decoder_hidden = 256
    config.ocr.cdistnet.positional_hidden = 128
    config.ocr.cdistnet.channels = (8, 8, 16, 48, 64, 128)
    config.ocr.cdistnet.depths = (1, 1, 1, 1, 1)
    config.ocr.cdistnet.rectifier_channels = (8, 16, 16, 32)
    config.ocr.cdistnet.rectifier_features = 64
    config.ocr.cdistnet.dropout = 0.0

    config.ocr.crnn.channels = (16, 32, 64, 64, 128, 128, 128)
    config.ocr.crnn.hidden = 64

    config.focus.stem_channels = (8, 16)
    config.focus.stage_channels = (16, 16, 32, 32)
    config.focus.stage_depths = (1, 1, 1, 1)
    config.focus.width = 128
    config.focus.heads = 4
    config.focus.feed_forward = 256
    config.focus.embedding = 64
    config.focus.dropout = 0.0

    config.decoding.beam = 1
    config.decoding.steps = 14

    config.pretrain.ocr.update(paper.optimization(2_400, 16, 1e-3))
    config.pretrain.focus.update(paper.optimization(200, 32, 1e-3))
    config.stage0.update(paper.optimization(1_000, 8, 1e-3))
    config.stage0.crop = 64
    config.stage1.update(paper.optimization(300, 32, 1e-3))
    config.stage1.hr_cache_gb = 8.0
    config.stage2.update(paper.optimization(500, 16, 5e-4))
    config.joint.update(paper.optimization(300, 32, 1e-3))
    config.quantization.finetune_sr.update(paper.optimization(300, 32, 3e-4))
    config.quantization.finetune_ocr.update(paper.optimization(300, 32, 2e-4))
    # The recogniser would learn a thousand real words by heart.
    config.stage2.synthetic = True
    # Few words are seen so often here that they need augmentation.
    config.pretrain.ocr.augment = config.pretrain.focus.augment = config.stage2.augment = False
    stages = (config.pretrain.ocr, config.pretrain.focus, config.stage1, config.stage2)
    for stage in (*stages, config.joint):
        stage.validate_every = stage.checkpoint_every = stage.steps // 10
    return varied(config, variant)
