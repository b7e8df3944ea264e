"""The paper's pair: STN + EDSR-32x256 and the published CDistNet, by the published recipes.

The paper prints few settings of training. Where it has none, those of its sources' code are taken:
the text-focus reference (scene-text-telescope) for stage 1, CDistNet's for the recogniser, the
resampler's paper for stage 0. docs/deviations.md lists what differs all the same, and why; what is
our choice is marked so below. The other configs of networks of these sizes follow this one.

Command:
  python train.py --config=configs/paper.py --workdir=runs/paper --config.data.root=TEXTZOOM
where TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium, test/hard.

Cost: 42.6 and 46.5 million live parameters; for accelerators. A step of stage 1 is about 250 GFLOP
a pair for EDSR alone, so one epoch of TextZoom (17,367 pairs) is some 4 PFLOP.
Reaches: not trained to its end by us yet; docs/models.md has what some minutes of a GPU gave. The
paper prints a mean PSNR of 21.42 dB and a mean accuracy of 71.08 % on TextZoom, from a
DIV2K-trained EDSR and the published CDistNet as starting points.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    # Which stages to run, in this order: stage0 (resampler + EDSR on photographs: a start for
    # stage1; see configs/div2k.py), pretrain (both recognisers), stage1 (STN + SR), stage2 (the
    # recogniser on SR images); or joint in place of the last two (configs/ablation_joint.py).
    config.stages = "pretrain,stage1,stage2"
    # The longest label, in characters, that is trained on; CDistNet's code cuts longer ones there.
    config.max_length = 30

    config.data = ConfigDict()
    # A folder with TextZoom's LMDB folders; empty: synthetic words, made here.
    config.data.root = ""
    # Where prepared data sets are kept; empty: TFDS's own default, ~/tensorflow_datasets.
    config.data.data_dir = ""
    # How labels with letters beside 0-9a-z are read. "strip" drops these letters (café: caf), as
    # the published code of TextZoom, TBSRN and CDistNet does, so that published scores can be
    # compared; "fold" takes their plain forms first (café: cafe, full-width ＯＰＥＮ: open), as
    # PARSeq does: what the image shows. config.evaluation.punctuation is about what is left then.
    config.data.labels = "strip"
    # The part of the training pairs that chooses checkpoints. Test splits never do.
    config.data.validation_fraction = 0.05
    config.data.synthetic = ConfigDict()
    config.data.synthetic.train = 50_000
    config.data.synthetic.validation = 1_000
    config.data.synthetic.test = 500  # of each difficulty
    config.data.synthetic.seed = 0
    config.data.synthetic.min_length = 1
    config.data.synthetic.max_length = 14
    config.data.synthetic.words = "mixed"  # dictionary words, numbers and codes
    config.data.synthetic.plain = 0.0  # the part printed clearly, not photographed
    config.data.synthetic.workers = 2

    # The photographs of stage 0.
    config.photographs = ConfigDict()
    # A folder of images, such as DIV2K_train_HR, or "tfds:div2k", prepared in data.data_dir.
    config.photographs.train = ""
    # Likewise, those that choose its checkpoint; empty: a part of `train`, or TFDS's own split.
    config.photographs.validation = ""
    config.photographs.validation_fraction = 0.05

    config.sr = ConfigDict()
    config.sr.name = "edsr"  # which of the networks below: edsr, tbsrn, tsrn, or bicubic
    config.sr.edsr = ConfigDict()
    config.sr.edsr.blocks = 32
    config.sr.edsr.channels = 256
    config.sr.edsr.residual_scale = 0.1
    config.sr.edsr.remat = False  # training computes blocks twice instead of keeping what they make
    config.sr.tbsrn = ConfigDict()
    config.sr.tbsrn.blocks = 5
    config.sr.tbsrn.channels = 64
    config.sr.tbsrn.heads = 4
    config.sr.tbsrn.dropout = 0.1  # in training
    config.sr.tsrn = ConfigDict()
    config.sr.tsrn.blocks = 5
    config.sr.tsrn.channels = 64
    # When the STN rectifies LR images: "train" (as the published code), "always" or "never".
    config.sr.apply_stn = "train"
    config.sr.stn = ConfigDict()
    config.sr.stn.channels = (32, 64, 128, 256, 256, 256)
    config.sr.stn.features = 512
    config.sr.dtype = "float32"  # the compute dtype: float32 or bfloat16; parameters stay float32

    # The content-adaptive resampler of stage 0, which makes the LR images that EDSR enlarges there.
    config.resampler = ConfigDict()
    config.resampler.stem_channels = 64
    config.resampler.channels = 128
    config.resampler.trunk_channels = 256
    config.resampler.blocks = 5
    config.resampler.dtype = "float32"

    config.ocr = ConfigDict()
    config.ocr.name = "cdistnet"  # which of the networks below: cdistnet or crnn
    config.ocr.cdistnet = ConfigDict()
    config.ocr.cdistnet.width = 512
    config.ocr.cdistnet.heads = 8
    config.ocr.cdistnet.encoder_layers = 3
    config.ocr.cdistnet.decoder_layers = 3
    config.ocr.cdistnet.encoder_hidden = 2048
    config.ocr.cdistnet.decoder_hidden = 1024
    config.ocr.cdistnet.positional_hidden = 512
    config.ocr.cdistnet.channels = (32, 32, 64, 128, 256, 512)
    config.ocr.cdistnet.depths = (3, 4, 6, 6, 3)
    config.ocr.cdistnet.rectify = True
    config.ocr.cdistnet.rectifier_channels = (64, 128, 256, 512)
    config.ocr.cdistnet.rectifier_features = 256
    config.ocr.cdistnet.dropout = 0.1
    config.ocr.crnn = ConfigDict()
    config.ocr.crnn.channels = (64, 128, 256, 256, 512, 512, 512)
    config.ocr.crnn.hidden = 256
    config.ocr.dtype = "float32"

    # The recogniser inside the text-focus loss.
    config.focus = ConfigDict()
    config.focus.stem_channels = (64, 128)
    config.focus.stage_channels = (256, 256, 512, 512)
    config.focus.stage_depths = (1, 2, 5, 3)
    config.focus.width = 1024
    config.focus.heads = 16
    config.focus.feed_forward = 2048
    config.focus.embedding = 512
    config.focus.dropout = 0.1  # in its own training; inside the loss it runs without
    config.focus.dtype = "float32"

    # Starting points: parameter files (python -m textsr_jax.convert), packed files (quantize.py) or
    # workdirs. Stage 0 goes on
    # from `sr` and `resampler`; stage 1 from stage 0 where that was run, else from `sr`; `ocr` and
    # `focus` stand in place of pre-training.
    config.init = ConfigDict()
    config.init.sr = ""
    config.init.resampler = ""
    config.init.ocr = ""
    config.init.focus = ""
    # A recogniser that pre-training goes on from.
    config.init.pretrain = ""
    # Whether `ocr` and `pretrain` name a smaller CDistNet of the same width, which grows to
    # config.ocr's size and begins by computing what it did (textsr_jax/models/growth.py).
    config.init.grow = False

    config.parallel = ConfigDict()
    # Over how many devices each parameter, and what the optimiser keeps for it, is split; 1: every
    # device has all of them. It divides the number of devices.
    config.parallel.fsdp = 1
    # Which axis is split, by the array's path: (regular expression, axis), first match wins.
    config.parallel.rules = ((".*/(kernel|embedding)", -1),)

    config.decoding = ConfigDict()
    config.decoding.beam = 10  # 1: greedy
    config.decoding.steps = 49  # at most, the end token included
    # What it counts in the choice among a word's beams, beside the recogniser's log probability,
    # how much likelier the word is as English than at random; 0, as published: nothing. See
    # textsr_jax/decoding/word_search.py.
    config.decoding.language_weight = 0.0
    # A word that is less sure than this is looked at four times more, its image moved by two pixels
    # to each corner; 0, as published: never.
    config.decoding.second_look = 0.0
    # Confidence is a word's probability to the power of 1 / temperature; 1 leaves it as it is.
    config.decoding.temperature = 1.0

    config.pretrain = ConfigDict()
    config.pretrain.synthetic = True  # add synthetic words to those of data.root
    # CDistNet's code: ten epochs of 14 million words by 1,400; "noam" with the peak of 512 channels
    # and 10,000 steps of warm-up, 512^-0.5 x 10,000^-0.5; 1e-5 from the eighth epoch on; Adam (0.9,
    # 0.98), epsilon 1e-9; clip 5.
    config.pretrain.ocr = optimization(steps=100_000, batch_size=1400, learning_rate=4.419e-4)
    config.pretrain.ocr.schedule, config.pretrain.ocr.warmup = "noam", 0.1
    config.pretrain.ocr.final_from, config.pretrain.ocr.final_learning_rate = 0.7, 1e-5
    config.pretrain.ocr.b2, config.pretrain.ocr.eps = 0.98, 1e-9
    # Ours: of this recogniser the weights are published, not how it was trained.
    config.pretrain.focus = optimization(steps=100_000, batch_size=256, learning_rate=3e-4)

    # Adam 1e-4, beta (0.9, 0.999), batch 16: the resampler's paper, which lowers the rate whenever
    # validation stands still for 100 epochs.
    config.stage0 = optimization(steps=300_000, batch_size=16, learning_rate=1e-4)
    config.stage0.schedule, config.stage0.warmup = "constant", 0.0
    config.stage0.crop = 192  # the side of a crop, in pixels: a multiple of 8
    # Weights of the regularisers beside L1. The paper prints none; these are a public
    # reimplementation's: 0.001, and 0.005 for the sum over 48x48 kernels, where ours is their mean.
    config.stage0.offset_distance = 0.001
    config.stage0.offset_variation = 0.005 * 48 * 48

    # The text-focus reference: Adam 1e-4 all along, beta (0.5, 0.999), clip 0.25, loss x 100, batch
    # 16, images as they are. It names no number of steps.
    config.stage1 = optimization(steps=500_000, batch_size=16, learning_rate=1e-4, clip=0.25)
    config.stage1.schedule, config.stage1.warmup, config.stage1.b1 = "constant", 0.0, 0.5
    config.stage1.augment = False
    config.stage1.synthetic = False  # add the synthetic pairs of the pre-training
    # Of SR and HR images: "mse", or "log_mse", the mean of each image's logarithm, so that the mean
    # PSNR is trained; its gradient is some 100 times as large.
    config.stage1.error = "mse"
    # Weights of the text-focus loss's parts beside that error, and of the whole. Without
    # both parts no text-focus recogniser is needed (configs/ablation_no_text_focus.py).
    config.stage1.position = 10.0
    config.stage1.recognition = 0.0005
    config.stage1.scale = 100.0
    # The confusion matrix that weighs characters in the recognition part: a .npy file of 62 x 62
    # counts (docs/deviations.md says where the published one is); empty: all weigh alike.
    config.stage1.confusion = ""
    # With augment=False the recogniser's attention to HR images is computed once and kept in the
    # stage's folder, up to this many 10^9 bytes (TextZoom: 8.4); 0: computed in every step.
    config.stage1.hr_cache_gb = 9.0

    # The paper fine-tunes the published CDistNet and says no more. CDistNet's code goes on from its
    # last epochs with 1e-5; steps and batch size are ours.
    config.stage2 = optimization(steps=50_000, batch_size=128, learning_rate=1e-5)
    config.stage2.schedule, config.stage2.warmup = "constant", 0.0
    config.stage2.b2, config.stage2.eps = 0.98, 1e-9
    config.stage2.synthetic = False  # add SR images of the synthetic words of the pre-training
    # What the recogniser is trained on: "sr", "hr" (configs/ablation_hr.py) or "both", for a reader
    # of sharp images too. SR images judge it.
    config.stage2.images = "sr"

    # Stage 1 with the recogniser's own loss added, which trains the recogniser too. The paper has
    # no settings of it: those of stage 1.
    config.joint = optimization(steps=500_000, batch_size=16, learning_rate=1e-4, clip=0.25)
    config.joint.schedule, config.joint.warmup, config.joint.b1 = "constant", 0.0, 0.5
    config.joint.augment = False
    config.joint.reading = 1.0  # the weight of the recogniser's loss beside that of stage 1

    # How quantize.py quantises each model; see `textsr_jax.quantization.rules`.
    config.quantization = ConfigDict()
    config.quantization.sr = quantization()
    config.quantization.ocr = quantization()
    # Quantisation-aware fine-tuning (--finetune), of the SR model and then of the recogniser. The
    # paper has none.
    config.quantization.finetune_sr = optimization(steps=300, batch_size=16, learning_rate=1e-4)
    config.quantization.finetune_sr.b1 = 0.5
    config.quantization.finetune_ocr = optimization(steps=300, batch_size=64, learning_rate=1e-4)

    config.evaluation = ConfigDict()
    config.evaluation.batch_size = 64
    # How many images the published code's PSNR pools.
    config.evaluation.psnr_batch = 16
    # Words whose labels hold more than 0-9a-z, as config.data.labels reads them: "strip" that (as
    # TextZoom does), "skip" or "keep" them.
    config.evaluation.punctuation = "strip"
    return config.lock()


def optimization(
    steps: int, batch_size: int, learning_rate: float, clip: float = 5.0
) -> ConfigDict:
    """A stage's optimisation by our choice: Adam, linear warm-up, a cosine down to a hundredth."""
    config = ConfigDict()
    config.steps = steps
    config.batch_size = batch_size  # of all devices together
    config.accumulate = 1  # parts a batch is split into, one after another, to need less memory
    config.average = 0.0  # decay of the moving average of weights that is kept; 0: none
    config.learning_rate = learning_rate  # the highest
    # Behind the warm-up: "cosine" to a hundredth, "constant", or "noam", the inverse square root.
    config.schedule = "cosine"
    config.warmup = 0.05  # part of the steps
    config.final_from = 1.0  # the part of the steps from which the next rate is taken; 1: never
    config.final_learning_rate = 0.0
    config.b1 = 0.9
    config.b2 = 0.999
    config.eps = 1e-8
    config.weight_decay = 0.0
    config.clip = clip  # of the gradient's global norm
    config.augment = True  # changes images at random, in the step
    # Training images lie on every device (12 kB a word, 15 in stage 1), read once before the first
    # step: where reading them is what a step would wait for.
    config.on_device = False
    config.skip_at_most = 10  # batches whose loss is not finite; one more stops the run
    config.validate_every = max(1, steps // 20)
    config.patience = 0  # validations without a better score after which a stage ends; 0: never
    config.checkpoint_every = max(1, steps // 20)
    return config


def quantization() -> ConfigDict:
    """The paper's: its selection of the network, ACIQ's Laplace range, one for each tensor."""
    config = ConfigDict()
    config.set = ""  # a rule set; empty: the paper's selection; "none": only the rules below
    config.bits = 8  # 2 to 8
    config.prior = "laplace"  # laplace, gaussian, minmax, or auto: the least error measured
    config.granularity = "tensor"  # tensor, channel, or channel-bits: bits is their mean
    config.correct = False  # restore the mean and deviation of each channel
    # Looked at before the set, first match wins: {"pattern": REGEX} or {"set": NAME}, with bits,
    # prior, granularity and correct where they differ from those above.
    config.rules = ()
    return config
