"""The paper's models: STN + EDSR-32x256 and the published CDistNet, by the published recipes.

The paper prints few settings of its training. Where it has none, this file takes those of its
sources: the text-focus reference (scene-text-telescope) for stage 1, CDistNet's code for the
recogniser, the resampler's paper for stage 0. A comment says where a value comes from, and which
values are our choice. docs/concepts/deviations.md lists what still differs.
textsr_jax/config/settings.py says what each field does; so does `--help`.

Command:
  python train.py --config=configs/paper.py --workdir=runs/paper --config.data.root=TEXTZOOM
TEXTZOOM holds the LMDB folders train1, train2, test/easy, test/medium and test/hard.
The paper's baselines and ablations are variants of this file, or of any other:
  --config=configs/paper.py:VARIANT with tbsrn, tsrn, tpgsr, tpgsr3, tatt, lemma, bicubic, hr,
  joint or no_text_focus;
textsr_jax/config/variants.py has the command, the cost and the score of each.

Cost: 42.6 and 46.5 million live parameters; for accelerators. A step of stage 1 is about 250 GFLOP
a word for EDSR alone, so one epoch of TextZoom (17,367 pairs) is about 4 PFLOP.
Reaches: we have not trained it to its end; docs/history.md has what some minutes of a GPU gave. The
paper prints a mean PSNR of 21.42 dB and a mean accuracy of 71.08 % on TextZoom. It starts from a
DIV2K-trained EDSR and the published CDistNet.
"""

from typing import Any

from ml_collections import ConfigDict

from textsr_jax.config.variants import varied


def get_config(variant: str = "") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    # In this order. configs/div2k.py runs stage0, the variant `joint` the joint stage.
    config.stages = "pretrain,stage1,stage2"
    config.max_length = 30  # CDistNet's code cuts longer labels here
    config.alphabet = "alphanumeric"  # 0-9a-z, as the published recognisers

    # ---- data: TextZoom, where --config.data.root names it; else words that are drawn

    config.data = part(
        root="",
        data_dir="",
        words="",
        # As the published code of TextZoom, TBSRN and CDistNet reads labels, so that published
        # scores can be compared.
        labels="strip",
        validation_fraction=0.05,
        synthetic=part(
            train=50_000,
            validation=1_000,
            test=500,
            seed=0,
            min_length=1,
            max_length=14,
            words="mixed",
            plain=0.0,
            workers=2,
        ),
    )
    config.photographs = part(train="", validation="", validation_fraction=0.05)

    # ---- networks, by the names and sizes of their published code

    config.sr = part(
        name="edsr",
        edsr=part(blocks=32, channels=256, residual_scale=0.1, remat=False),
        tbsrn=part(blocks=5, channels=64, heads=4, dropout=0.1),
        tsrn=part(blocks=5, channels=64),
        tpgsr=part(
            blocks=5, channels=64, prior_channels=32, stages=1, mask=True, prior_dropout=0.25
        ),
        tatt=part(
            blocks=5,
            channels=64,
            heads=4,
            encoder_layers=1,
            decoder_layers=2,
            queries="batch",
            mask=True,
            dropout=0.1,
        ),
        lemma=part(
            blocks=5,
            channels=64,
            heads=4,
            encoder_layers=2,
            decoder_layers=3,
            selected=500,
            mask=True,
            dropout=0.1,
        ),
        prior=part(channels=(64, 128, 256, 256, 512, 512, 512), hidden=256),
        abinet=part(
            heads=8,
            hidden=2048,
            encoder_layers=3,
            decoder_layers=4,
            key_channels=64,
            channels=(32, 32, 64, 128, 256, 512),
            depths=(3, 4, 6, 6, 3),
            dropout=0.1,
        ),
        apply_stn="train",  # as the published code; it does not rectify in evaluation
        stn=part(channels=(32, 64, 128, 256, 256, 256), features=512),
        dtype="float32",
    )
    config.resampler = part(
        stem_channels=64, channels=128, trunk_channels=256, blocks=5, dtype="float32"
    )
    config.ocr = part(
        name="cdistnet",
        cdistnet=part(
            width=512,
            heads=8,
            encoder_layers=3,
            decoder_layers=3,
            encoder_hidden=2048,
            decoder_hidden=1024,
            positional_hidden=512,
            channels=(32, 32, 64, 128, 256, 512),
            depths=(3, 4, 6, 6, 3),
            rectify=True,
            rectifier_channels=(64, 128, 256, 512),
            rectifier_features=256,
            dropout=0.1,
        ),
        crnn=part(channels=(64, 128, 256, 256, 512, 512, 512), hidden=256),
        dtype="float32",
    )
    config.focus = part(
        stem_channels=(64, 128),
        stage_channels=(256, 256, 512, 512),
        stage_depths=(1, 2, 5, 3),
        width=1024,
        heads=16,
        feed_forward=2048,
        embedding=512,
        dropout=0.1,
        dtype="float32",
    )
    config.init = part(
        sr="", resampler="", ocr="", focus="", prior="", pretrain="", grow=False, external=""
    )
    config.parallel = part(fsdp=1, pmap=False, rules=((".*/(kernel|embedding)", -1),))

    # ---- decoding: the published beam search and nothing beside it

    config.decoding = part(beam=10, steps=49, language_weight=0.0, second_look=0.0, temperature=1.0)
    # Filled in by textsr_jax/experiments/fit_temperature.py, in packed files.
    config.held_out = part(words=0, wrong_words=(), wrong_letters=())

    # ---- training

    config.pretrain = part(
        synthetic=True,
        # CDistNet's code: ten epochs of 14 million words in batches of 1,400. The schedule "noam"
        # has the peak of 512 channels and 10,000 steps of warm-up, 512^-0.5 x 10,000^-0.5; the rate
        # is 1e-5 from the eighth epoch on. Adam (0.9, 0.98), epsilon 1e-9, clip 5.
        ocr=optimization(
            steps=100_000,
            batch_size=1400,
            learning_rate=4.419e-4,
            schedule="noam",
            warmup=0.1,
            final_from=0.7,
            final_learning_rate=1e-5,
            b2=0.98,
            eps=1e-9,
            drawn=0.0,
        ),
        # Ours: the weights of this recogniser are published, its training is not.
        focus=optimization(steps=100_000, batch_size=256, learning_rate=3e-4, drawn=0.0),
    )

    # The resampler's paper: Adam 1e-4, beta (0.9, 0.999), batch 16. It lowers the rate whenever
    # validation stands still for 100 epochs.
    config.stage0 = optimization(
        steps=300_000,
        batch_size=16,
        learning_rate=1e-4,
        schedule="constant",
        warmup=0.0,
        crop=192,
        # The paper prints no weights. These are of a public reimplementation: 0.001, and 0.005 for
        # the sum over 48x48 kernels, where ours is their mean.
        offset_distance=0.001,
        offset_variation=0.005 * 48 * 48,
    )

    # The text-focus reference: Adam 1e-4 all along, beta (0.5, 0.999), clip 0.25, batch 16, images
    # as they are. It names no number of steps.
    text_focus = {
        "batch_size": 16,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0.0,
        "b1": 0.5,
        "clip": 0.25,
        "augment": False,
    }
    config.stage1 = optimization(
        steps=500_000,
        **text_focus,
        drawn=0.0,
        synthetic=False,
        # The reference's loss: 100 x (MSE + 10 position + 0.0005 recognition).
        error="mse",
        position=10.0,
        recognition=0.0005,
        gradient=0.0,
        prior=0.0,
        structure=0.0,
        turn=0.0,
        reading=0.0,
        softmax_twice=True,
        reader_rate=1.0,
        # ours, not published: other readers' loss
        external=0.0,
        scale=100.0,
        confusion="",  # docs/concepts/deviations.md says where the published matrix is
        hr_cache_gb=9.0,  # TextZoom takes 8.4
    )

    # The paper fine-tunes the published CDistNet and says no more. CDistNet's code goes on from its
    # last epochs with 1e-5. Steps and batch size are ours.
    config.stage2 = optimization(
        steps=50_000,
        batch_size=128,
        learning_rate=1e-5,
        schedule="constant",
        warmup=0.0,
        b2=0.98,
        eps=1e-9,
        synthetic=False,
        images="sr",
    )

    # The paper has no settings of the joint stage: those of stage 1.
    config.joint = optimization(steps=500_000, **text_focus, drawn=0.0, reading=1.0)

    # ---- quantisation: the paper's selection; it has no fine-tuning, so that is ours

    config.quantization = part(
        sr=quantization(),
        ocr=quantization(),
        compute="float",
        finetune_sr=optimization(steps=300, batch_size=16, learning_rate=1e-4, b1=0.5),
        finetune_ocr=optimization(steps=300, batch_size=64, learning_rate=1e-4),
    )

    # ---- scores, as TextZoom's code computes them

    config.evaluation = part(batch_size=64, psnr_batch=16, punctuation="strip")
    return varied(config, variant).lock()


def optimization(steps: int, batch_size: int, learning_rate: float, **others: Any) -> ConfigDict:
    """A stage's optimisation by our choice: Adam, linear warm-up, a cosine down to a hundredth.

    Args:
      others: fields with other values, and the stage's own fields.
    """
    config = part(
        steps=steps,
        batch_size=batch_size,
        accumulate=1,
        average=0.0,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup=0.05,
        final_from=1.0,
        final_learning_rate=0.0,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        weight_decay=0.0,
        clip=5.0,
        augment=True,
        on_device=False,
        skip_at_most=10,
        validate_every=max(1, steps // 20),
        patience=0,
        checkpoint_every=max(1, steps // 20),
    )
    config.update(others)
    return config


def quantization() -> ConfigDict:
    """The paper's: its selection of the network, 8 bits, ACIQ's Laplace range for each tensor."""
    return part(
        set="",
        bits=8,
        prior="laplace",
        granularity="tensor",
        correct=False,
        group_size=64,
        rules=(),
    )


def part(**fields: Any) -> ConfigDict:
    """A part of the config with these fields."""
    return ConfigDict(fields)
