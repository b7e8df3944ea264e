"""Training steps: pure, they lower the loss, and they change only what they train."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import WORDS, micro_config, same, word_image
from textsr_jax import decoding, losses, text
from textsr_jax.data.batching import Batch
from textsr_jax.images import to_float
from textsr_jax.models import (
    Network,
    build_focus,
    build_ocr,
    build_sr,
    join,
    together,
)
from textsr_jax.models.crnn import CRNN
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.train import state as states
from textsr_jax.train import steps

pytestmark = pytest.mark.slow

CONFIG = micro_config("", "")


def batch() -> Batch:
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (4, 32, 128, 3), np.uint8)
    return Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.ALPHANUMERIC.encode(["open", "2nd", "a", "zoo"], CONFIG.max_length),
        index=np.arange(4, dtype=np.int32),
        valid=np.ones(4, bool),
    )


@pytest.fixture(scope="module", params=["ocr", "focus", "sr"])
def training(request):
    """(network, loss, frozen variables) of each kind of stage."""
    focus = build_focus(CONFIG.focus)
    if request.param == "ocr":
        network = build_ocr(CONFIG.ocr)
        return network, steps.recognizer_loss(network), {}
    if request.param == "focus":
        return focus, steps.focus_loss(focus), {}
    sr = build_sr(CONFIG.sr)
    frozen = focus.init(jax.random.key(9))
    return sr, steps.super_resolution_loss(sr, focus, CONFIG.stage1), frozen


def test_a_step_is_pure_and_lowers_the_loss(training):
    network, loss, frozen = training
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.steps, settings.warmup = 100, 0.01
    optimizer = states.make_optimizer(settings)
    first = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))
    before = jax.tree.map(np.asarray, first)
    step = jax.jit(steps.make_step(loss, optimizer))

    state, parts = step(first, frozen, batch())
    assert same(first, before)
    assert same(step(first, frozen, batch())[0], state)
    assert int(state.step) == 1
    # The learning rate warms up from 0: the first step moves nothing but statistics.
    assert same(state.params, first.params)
    if first.stats:
        assert not same(state.stats, first.stats)

    start = float(parts["loss"])
    for _ in range(12):
        state, parts = step(state, frozen, batch())
    assert float(parts["loss"]) < start
    assert all(np.isfinite(float(part)) for part in parts.values())


def products(jaxpr):
    """The operands' dtypes of each convolution and matrix product, in calls and loops too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation.primitive.name, {v.aval.dtype.name for v in equation.invars}
        for part in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.mark.parametrize("part", ["sr", "ocr", "focus"])
def test_bfloat16_computes_and_float32_is_kept(part):
    config = CONFIG.copy_and_resolve_references()
    config.sr.apply_stn = "never"
    config[part].dtype = "bfloat16"
    build = {"sr": build_sr, "ocr": build_ocr, "focus": build_focus}[part]
    focus = build_focus(config.focus)
    frozen = focus.init(jax.random.key(9)) if part == "sr" else {}

    def made(config):
        network = build(config[part])
        loss = {
            "sr": lambda: steps.super_resolution_loss(network, focus, config.stage1),
            "ocr": lambda: steps.recognizer_loss(network),
            "focus": lambda: steps.focus_loss(network),
        }[part]()
        return loss, network.init(jax.random.key(0))

    loss, variables = made(config)
    optimizer = states.make_optimizer(config.stage1)
    before = states.create(variables, optimizer, jax.random.key(1), averaged=True)
    step = steps.make_step(loss, optimizer, decay=0.9)
    after, parts = jax.jit(step)(before, frozen, batch())
    for leaf in jax.tree.leaves((before, after)):
        assert leaf.dtype != jnp.bfloat16
    assert jax.tree.map(lambda a: a.dtype, before) == jax.tree.map(lambda a: a.dtype, after)
    assert not same(before.stats, after.stats) or not before.stats
    found = list(products(jax.make_jaxpr(step)(before, frozen, batch()).jaxpr))
    low = [kind for kind, dtypes in found if dtypes == {"bfloat16"}]
    if part == "sr":
        # EDSR's layers and both of their gradients; the frozen recogniser stays in float32.
        layers = 2 * config.sr.edsr.blocks + 4
        assert low.count("conv_general_dilated") >= 3 * layers - 1
    else:
        # But for attention's scores and CDistNet's control points: small errors of these go far.
        assert low.count("conv_general_dilated") > 40 and len(low) > 0.85 * len(found)
    # Without dropout the step's key does not matter.
    loss, variables = made(with_dtype(config, part, "float32"))
    _, (plain, _) = jax.jit(loss)(variables, frozen, batch(), jax.random.key(1))
    assert float(parts["loss"]) == pytest.approx(float(plain["loss"]), rel=0.02)
    assert float(parts["loss"]) != float(plain["loss"])


def with_dtype(config, part, dtype):
    config = config.copy_and_resolve_references()
    config[part].dtype = dtype
    return config


def quadratic(variables, frozen, batch, key):
    """Mean squared distance of pixels from a weight, and a statistic that counts parts."""
    error = jnp.square(to_float(batch.hr).mean((1, 2, 3)) - variables["params"]["w"]).mean()
    noise = jax.random.uniform(key)
    return error, ({"loss": error, "noise": noise}, {"parts": variables["stats"]["parts"] + 1})


@pytest.mark.parametrize("accumulate", [2, 4])
def test_parts_of_a_batch_together_make_its_step(accumulate):
    optimizer = optax.sgd(0.1)
    variables = {"params": {"w": jnp.float32(0.1)}, "stats": {"parts": jnp.int32(0)}}
    state = states.create(variables, optimizer, jax.random.key(3))
    whole, whole_parts = jax.jit(steps.make_step(quadratic, optimizer))(state, {}, batch())
    split = jax.jit(steps.make_step(quadratic, optimizer, accumulate=accumulate))
    made, parts = split(state, {}, batch())
    assert float(made.params["w"]) != 0.1
    for name in ("loss", "gradient_norm"):
        assert float(parts[name]) == pytest.approx(float(whole_parts[name]), rel=1e-6)
    assert float(made.params["w"]) == pytest.approx(float(whole.params["w"]), rel=1e-6)
    # Statistics go from part to part, and each part draws for itself.
    assert int(made.stats["parts"]) == accumulate
    key = jax.random.fold_in(jax.random.key(3), 0)
    drawn = [float(jax.random.uniform(jax.random.fold_in(key, i))) for i in range(accumulate)]
    assert len(set(drawn)) == accumulate
    assert float(parts["noise"]) == pytest.approx(np.mean(drawn), rel=1e-6)


def one_image_in_many() -> Batch:
    """One image four times, so that BatchNorm sees in each part what it sees in the whole batch.

    Labels of unequal lengths: the parts, every other word, hold 10 and 6 characters.
    """
    whole = batch()
    return whole.replace(
        lr=np.repeat(whole.lr[:1], 4, axis=0),
        hr=np.repeat(whole.hr[:1], 4, axis=0),
        characters=text.ALPHANUMERIC.encode(["open", "2nd", "ab12", "z"], CONFIG.max_length),
    )


# Quickly compiled: the loss of SR images is the same with and without an STN before the network.
NO_STN = CONFIG.sr.copy_and_resolve_references()
NO_STN.apply_stn = "never"


# The joint loss holds those of both stages.
@pytest.mark.parametrize("kind", ["focus", "joint"])
def test_words_of_unequal_lengths_accumulate_to_the_gradient_of_the_batch(kind):
    sr, ocr, focus = build_sr(NO_STN), build_ocr(CONFIG.ocr), build_focus(CONFIG.focus)
    # All parts weigh alike in the sum.
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.position, settings.recognition, settings.scale = 10.0, 1.0, 1.0
    network, loss = {
        "focus": lambda: (focus, steps.focus_loss(focus)),
        "joint": lambda: (
            together(sr=sr, ocr=ocr),
            steps.joint_loss(sr, ocr, focus, settings, reading=1.0),
        ),
    }[kind]()
    # The difference that a step makes is the gradient.
    optimizer = optax.sgd(1.0)
    state = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))
    frozen, words = focus.init(jax.random.key(9)), one_image_in_many()
    made = {}
    for accumulate in (1, 2):
        step = jax.jit(steps.make_step(loss, optimizer, accumulate=accumulate))
        after, parts = step(state, frozen, words)
        made[accumulate] = jax.tree.map(jnp.subtract, after.params, state.params), parts
    (whole, whole_parts), (split, split_parts) = made[1], made[2]
    size = float(optax.tree.norm(whole))
    difference = float(optax.tree.norm(jax.tree.map(jnp.subtract, whole, split)))
    assert size > 1e-3 and difference < 3e-5 * size
    for name, value in whole_parts.items():
        assert float(split_parts[name]) == pytest.approx(float(value), rel=2e-5), name


def test_a_recogniser_learns_from_parts_of_batches():
    network = build_ocr(CONFIG.ocr)
    optimizer = optax.adam(0.003)
    step = jax.jit(steps.make_step(steps.recognizer_loss(network), optimizer, accumulate=2))
    state = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))
    state, first = step(state, {}, batch())
    for _ in range(12):
        state, parts = step(state, {}, batch())
    assert float(parts["loss"]) < float(first["loss"])
    assert np.isfinite(float(parts["gradient_norm"]))


def test_the_average_follows_the_weights():
    optimizer = optax.sgd(0.5)

    def create(**settings):
        variables = {"params": {"w": jnp.float32(0.0)}, "stats": {"parts": jnp.int32(0)}}
        return states.create(variables, optimizer, jax.random.key(0), **settings)

    plain, state = create(), create(averaged=True)
    assert plain.average == {} and same(plain.variables["params"], plain.params)
    step = jax.jit(steps.make_step(quadratic, optimizer, decay=0.3), donate_argnums=0)
    average, weights = 0.0, []
    for number in range(6):
        state, _ = step(state, {}, batch())
        keep = min(0.3, (1 + number) / (10 + number))
        average = keep * average + (1 - keep) * float(state.params["w"])
        weights.append(float(state.params["w"]))
        assert float(state.variables["params"]["w"]) == pytest.approx(average, rel=1e-6)
    assert weights[-1] != pytest.approx(average, rel=1e-6)
    # It leaves training alone.
    unaveraged = jax.jit(steps.make_step(quadratic, optimizer))
    for number in range(6):
        plain, _ = unaveraged(plain, {}, batch())
        assert float(plain.params["w"]) == weights[number]


def test_the_weights_of_the_text_focus_parts_come_from_the_config():
    sr, focus = build_sr(NO_STN), build_focus(CONFIG.focus)
    variables, frozen = sr.init(jax.random.key(0)), focus.init(jax.random.key(9))
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.position, settings.recognition, settings.scale = 3.0, 0.5, 2.0
    loss = steps.super_resolution_loss(sr, focus, settings)
    total, (parts, _) = jax.jit(loss)(variables, frozen, batch(), jax.random.key(1))
    expected = parts["mse"] + 3 * parts["position"] + 0.5 * parts["recognition"]
    assert float(total) == pytest.approx(2 * float(expected), rel=1e-5)


def test_padded_steps_change_neither_the_focus_loss_nor_its_gradient():
    focus, words = build_focus(CONFIG.focus), batch()
    variables, loss = focus.init(jax.random.key(0)), steps.focus_loss(focus)
    further = words.replace(characters=np.pad(words.characters, ((0, 0), (0, 5))))
    found = []
    for padded in (words, further):

        def of(params, padded=padded):
            return loss(variables | {"params": params}, {}, padded, jax.random.key(1))

        found.append(jax.jit(jax.value_and_grad(of, has_aux=True))(variables["params"]))
    (value, (parts, _)), gradient = found[0]
    (padded_value, (padded_parts, _)), padded_gradient = found[1]
    assert float(padded_value) == pytest.approx(float(value), rel=1e-5)
    assert float(padded_parts["characters_right"]) == pytest.approx(
        float(parts["characters_right"]), rel=1e-5
    )
    difference = jax.tree.map(jnp.subtract, gradient, padded_gradient)
    assert optax.tree.norm(difference) < 1e-4 * optax.tree.norm(gradient)


def test_known_attention_changes_nothing_but_the_work():
    sr, focus = build_sr(NO_STN), build_focus(CONFIG.focus)
    variables, frozen = sr.init(jax.random.key(0)), focus.init(jax.random.key(9))
    loss = steps.super_resolution_loss(sr, focus, CONFIG.stage1)
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    words = batch()
    inputs = text.focus_tokens(words.characters)[0]
    # One image at a time, as batches of any other size would give it.
    read = jax.jit(focus)
    maps = [
        read(frozen, to_gray(to_float(words.hr[i : i + 1])), inputs[i : i + 1])[1]
        for i in range(len(words.hr))
    ]
    known = words.replace(attention=np.concatenate(maps))
    (value, (parts, _)), plain = gradient(variables, frozen, words, jax.random.key(1))
    (same_value, (same_parts, _)), fast = gradient(variables, frozen, known, jax.random.key(1))
    assert float(same_value) == pytest.approx(float(value), rel=1e-6)
    for name, part in parts.items():
        assert float(same_parts[name]) == pytest.approx(float(part), rel=1e-5), name
    for left, right in zip(
        jax.tree.leaves(plain["params"]), jax.tree.leaves(fast["params"]), strict=True
    ):
        assert np.abs(left - right).max() <= 1e-4 * np.abs(left).max() + 1e-7
    # Other maps are another loss: they are really used.
    wrong = words.replace(attention=known.attention[::-1].copy())
    (other, _), _ = gradient(variables, frozen, wrong, jax.random.key(1))
    assert abs(float(other) - float(value)) > 1e-4 * float(value)


def test_a_small_crnn_learns_to_read_twelve_words():
    hr = np.stack([np.asarray(word_image(word)) for word in WORDS])
    words = Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.ALPHANUMERIC.encode(WORDS, CONFIG.max_length),
        index=np.arange(len(WORDS), dtype=np.int32),
        valid=np.ones(len(WORDS), bool),
    )
    network = Network(lambda rngs: CRNN(channels=(16, 16, *(32,) * 5), hidden=32, rngs=rngs))
    read = decoding.recognizer(network, beam=1, steps=1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))
    step = jax.jit(steps.make_step(steps.recognizer_loss(network), optimizer))
    state = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))

    def right() -> int:
        decoded = read({"params": state.params, "stats": state.stats}, to_float(hr))
        read_and_label = zip(text.ALPHANUMERIC.decode_tokens(decoded.tokens), WORDS, strict=True)
        return sum(word == text.normalize(label) for word, label in read_and_label)

    assert right() == 0
    # It says nothing at first, and reads all twelve after about 200 steps here; how soon depends
    # on how a processor rounds.
    loss = np.inf
    while (right() < 10 or loss >= 0.5) and int(state.step) < 1000:
        for _ in range(50):
            state, parts = step(state, {}, words)
        loss = float(parts["loss"])
    assert right() >= 10
    assert loss < 0.5


def joint_start():
    sr, ocr, focus = build_sr(CONFIG.sr), build_ocr(CONFIG.ocr), build_focus(CONFIG.focus)
    keys = jax.random.split(jax.random.key(5), 3)
    return (
        sr,
        ocr,
        focus,
        *(network.init(k) for network, k in zip((sr, ocr, focus), keys, strict=True)),
    )


def test_the_joint_loss_is_the_sum_of_both_and_its_gradient_reaches_both_networks():
    sr, ocr, focus, sr_variables, ocr_variables, frozen = joint_start()
    words, key, reading = batch(), jax.random.key(6), 0.7
    joint = steps.joint_loss(sr, ocr, focus, CONFIG.stage1, reading)
    alone = steps.super_resolution_loss(sr, focus, CONFIG.stage1)
    tokens = text.cdistnet_tokens(words.characters)

    def read(sr_params, ocr_params):
        """The recogniser's loss on SR images, put together by hand."""
        images, _ = sr.train(sr_variables | {"params": sr_params}, to_float(words.lr))
        variables = ocr_variables | {"params": ocr_params}
        logits, stats = ocr.train(variables, images, tokens[:, :-1], rngs=nnx.Rngs(dropout=key))
        return losses.cross_entropy(logits, tokens[:, 1:], smoothing=0.1), stats

    def enlarge(params):
        return alone(sr_variables | {"params": params}, frozen, words, key)

    def both(params):
        variables = join(
            sr=sr_variables | {"params": params["sr"]},
            ocr=ocr_variables | {"params": params["ocr"]},
        )
        return joint(variables, frozen, words, key)

    params = {"sr": sr_variables["params"], "ocr": ocr_variables["params"]}
    (value, (parts, stats)), gradient = jax.jit(jax.value_and_grad(both, has_aux=True))(params)
    (sr_value, (_, sr_stats)), sr_gradient = jax.jit(jax.value_and_grad(enlarge, has_aux=True))(
        params["sr"]
    )
    (read_value, ocr_stats), (through, ocr_gradient) = jax.jit(
        jax.value_and_grad(read, argnums=(0, 1), has_aux=True)
    )(params["sr"], params["ocr"])

    assert float(value) == pytest.approx(float(sr_value) + reading * float(read_value), rel=1e-5)
    assert float(parts["reading"]) == pytest.approx(float(read_value), rel=1e-5)
    expected = {
        "sr": jax.tree.map(lambda a, b: a + reading * b, sr_gradient, through),
        "ocr": jax.tree.map(lambda a: reading * a, ocr_gradient),
    }
    for name, tree in expected.items():
        size = float(optax.tree.norm(tree))
        error = float(optax.tree.norm(jax.tree.map(jnp.subtract, gradient[name], tree)))
        assert size > 0 and error < 1e-4 * size
    # What the recogniser asks of the SR model is part of it.
    assert float(optax.tree.norm(through)) > 0
    for name, tree in {"sr": sr_stats, "ocr": ocr_stats}.items():
        assert jax.tree.structure(stats[name]) == jax.tree.structure(tree)
        for leaf, wanted in zip(jax.tree.leaves(stats[name]), jax.tree.leaves(tree), strict=True):
            assert np.allclose(leaf, wanted, rtol=1e-4, atol=1e-6)


def test_without_text_focus_the_loss_is_the_scaled_squared_error():
    sr, focus = build_sr(NO_STN), build_focus(CONFIG.focus)
    variables, frozen = sr.init(jax.random.key(5)), focus.init(jax.random.key(9))
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.position = settings.recognition = 0.0
    words, key = batch(), jax.random.key(6)
    # Nothing is read of a recogniser that is not there.
    loss = jax.jit(steps.super_resolution_loss(sr, focus, settings))
    value, (parts, _) = loss(variables, {}, words, key)
    images, _ = jax.jit(sr.train)(variables, to_float(words.lr))
    error = float(np.mean((np.asarray(images, np.float64) - words.hr / 255.0) ** 2))
    assert float(value) == pytest.approx(100 * error, rel=1e-5)
    assert float(parts["mse"]) == pytest.approx(error, rel=1e-5) and set(parts) == {"loss", "mse"}
    # The text-focus loss holds the same squared error.
    whole = jax.jit(steps.super_resolution_loss(sr, focus, CONFIG.stage1))
    _, (whole_parts, _) = whole(variables, frozen, words, key)
    assert float(whole_parts["mse"]) == pytest.approx(error, rel=1e-5)
    assert float(whole_parts["loss"]) > error


def test_the_error_of_images_comes_from_the_config():
    sr, focus = build_sr(NO_STN), build_focus(CONFIG.focus)
    variables, frozen = sr.init(jax.random.key(5)), focus.init(jax.random.key(9))
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.error, settings.scale = "log_mse", 1.0
    words, key = batch(), jax.random.key(6)
    images, _ = jax.jit(sr.train)(variables, to_float(words.lr))
    squared = (np.asarray(images, np.float64) - words.hr / 255.0) ** 2
    error = np.log(squared.mean(axis=(1, 2, 3)) + 1e-5).mean()
    whole = jax.jit(steps.super_resolution_loss(sr, focus, settings))
    value, (parts, _) = whole(variables, frozen, words, key)
    rest = settings.position * parts["position"] + settings.recognition * parts["recognition"]
    assert float(value) == pytest.approx(float(error + rest), rel=1e-4)
    settings.position = settings.recognition = 0.0
    alone = jax.jit(steps.super_resolution_loss(sr, focus, settings))
    value, (parts, _) = alone(variables, {}, words, key)
    assert float(value) == pytest.approx(float(error), rel=1e-4)
    assert float(parts["mse"]) == pytest.approx(float(squared.mean()), rel=1e-4)
