"""Fixtures that several tests share: a small LMDB data root, and models trained on it."""

import contextlib
import gc
import importlib.metadata
import io
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import hypothesis
import lmdb
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageFont

# The first example compiles; a deadline would measure the compiler.
hypothesis.settings.register_profile("textsr", deadline=None, max_examples=50)
hypothesis.settings.load_profile("textsr")

# Small networks run for a moment and compile for long. LLVM optimises nothing; fusions are emitted
# as LLVM's code at once, not through MLIR; and all of it as one module: a worker has one core. A
# step of the micro recogniser then compiles in 2.6 s of 7.8.
XLA_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)

WORDS = ["open", "2nd", "exit", "Cafe", "taxi", "no7", "park", "Bus", "stop", "hotel", "a1", "zoo"]


def pytest_configure(config: pytest.Config) -> None:
    """Shares cores and compiled functions among workers and the scripts that tests start.

    XLA's threads wait by spinning: two workers on two shared cores take as long as one on one core.
    """
    # Tracing makes many objects and hardly a cycle. Looking for cycles every 700 objects, as Python
    # does, took an eighth of the time of tests that compile.
    gc.set_threshold(100_000, 10, 10)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        first, workers = int(worker[2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        os.sched_setaffinity(0, cores[first::workers] or {cores[first % len(cores)]})
    if worker:
        # The rest stands in the environment already.
        return
    cache = getattr(config, "cache", None)
    if cache is None:
        # pytest -p no:cacheprovider
        compiled = tempfile.mkdtemp(prefix="textsr_jax-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(compiled, ignore_errors=True))
    else:
        compiled = cache.mkdir("compiled")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    # Kernels of single operations too: a process of tests has hundreds, and reads one three times
    # as fast as it compiles it.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if "XLA_FLAGS" not in os.environ:
        tried = [importlib.metadata.version("jaxlib"), *XLA_FLAGS]
        found = cache and cache.get("textsr_jax/xla_flags", None)
        if not found or found["tried"] != tried:
            found = {"tried": tried, "known": known_flags(XLA_FLAGS)}
            if cache is not None:
                cache.set("textsr_jax/xla_flags", found)
        os.environ["XLA_FLAGS"] = " ".join(found["known"])


def known_flags(flags: Sequence[str]) -> list[str]:
    """Those flags that the installed XLA knows: one that it does not know ends its process."""
    start = [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"]

    def starts(flags: Sequence[str]) -> bool:
        environment = os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
        return not subprocess.run(start, env=environment, capture_output=True).returncode

    return [*flags] if starts(flags) else [flag for flag in flags if starts([flag])]


# First, so that pytest-xdist sees the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what trains a pair or traces its ONNX graphs first, and full-size parity.

    Of the workers one runs all that needs the trained pair, so that it is trained once; the tests
    of any other file share their fixtures in one worker too. Groups with slow tests come first, so
    that no worker is left alone with a long one at the end.
    """
    slow = set()
    for item in items:
        trained = "trained" in item.fixturenames
        traced = "traced" in item.fixturenames
        if trained or traced or item.name.startswith("test_golden_"):
            item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.xdist_group(group := "trained" if trained else str(item.path)))
        if item.get_closest_marker("slow"):
            slow.add(group)
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] not in slow)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def word_image(word: str) -> Image.Image:
    """`word` in black on grey, 128x32."""
    image = Image.new("RGB", (128, 32), (190, 180, 170))
    ImageDraw.Draw(image).text((4, 2), word, fill="black", font=ImageFont.load_default(24))
    return image


def write_lmdb(
    folder: pathlib.Path,
    records: list[dict[str, bytes]],
    count: int | str | None = None,
    first: int = 1,
):
    """Writes an LMDB of TextZoom's form: records hold `image_lr`, `image_hr`, `label`.

    Args:
      count: what `num-samples` says; None for how many they are.
      first: the first one's number.
    """
    folder.mkdir(parents=True)
    with (
        lmdb.open(str(folder), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number, record in enumerate(records, first):
            for name, value in record.items():
                transaction.put(f"{name}-{number:09d}".encode(), value)
        transaction.put(b"num-samples", str(len(records) if count is None else count).encode())


def record(word: str) -> dict[str, bytes]:
    hr = word_image(word)
    lr = hr.resize((64, 16), Image.Resampling.BICUBIC)
    return {"image_hr": png(hr), "image_lr": png(lr), "label": word.encode()}


@contextlib.contextmanager
def files_up_to(size):
    """No file may grow above `size` bytes: writing fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> pathlib.Path:
    """A folder in TextZoom's format: 96 training words, 9 in each of two test splits."""
    root = tmp_path_factory.mktemp("words")
    write_lmdb(root / "train1", [record(word) for word in WORDS * 8])
    write_lmdb(root / "test" / "easy", [record(word) for word in WORDS[:9]])
    write_lmdb(root / "test" / "hard", [record(word) for word in WORDS[3:]])
    return root


def micro_config(data_root: pathlib.Path, data_dir: pathlib.Path) -> ConfigDict:
    """A pair that trains in seconds: widths of a few channels, a few steps a stage."""
    from configs import tiny

    config = tiny.get_config()
    config.data.root = str(data_root)
    config.data.data_dir = str(data_dir)
    config.max_length = 6
    config.data.synthetic.train = 24
    config.data.synthetic.validation = config.data.synthetic.test = 3
    config.data.synthetic.max_length = 5
    config.data.synthetic.workers = 1
    config.sr.edsr.blocks = 1
    config.sr.edsr.channels = 8
    guided = config.sr.tpgsr, config.sr.tatt, config.sr.lemma
    for network in (config.sr.tbsrn, config.sr.tsrn, *guided):
        network.blocks, network.channels = 1, 8
    config.sr.tpgsr.prior_channels = 4
    config.sr.prior.channels = (4, 4, 4, 4, 8, 8, 8)
    config.sr.prior.hidden = 8
    config.sr.lemma.heads = 2
    config.sr.lemma.encoder_layers, config.sr.lemma.decoder_layers = 0, 1
    config.sr.abinet.heads, config.sr.abinet.hidden = 2, 8
    config.sr.abinet.encoder_layers, config.sr.abinet.key_channels = 0, 4
    config.sr.abinet.channels = (4, 4, 4, 4, 4, 8)
    config.sr.stn.channels = (4, 4, 4, 4, 4, 4)
    config.sr.stn.features = 8
    config.ocr.cdistnet.width = 16
    config.ocr.cdistnet.heads = 2
    for hidden in ("encoder_hidden", "decoder_hidden", "positional_hidden"):
        config.ocr.cdistnet[hidden] = 16
    config.ocr.cdistnet.channels = (4, 4, 4, 4, 4, 8)
    config.ocr.cdistnet.depths = (1, 1, 1, 1, 1)
    config.ocr.cdistnet.rectifier_channels = (4, 4, 4, 4)
    config.ocr.cdistnet.rectifier_features = 8
    config.ocr.crnn.channels = (4, 4, 4, 4, 8, 8, 8)
    config.ocr.crnn.hidden = 8
    config.resampler.stem_channels = config.resampler.channels = 4
    config.resampler.trunk_channels = 8
    config.focus.stem_channels = (2, 4)
    config.focus.stage_channels = (4, 4, 4, 4)
    config.focus.width = 16
    config.focus.heads = 2
    config.focus.feed_forward = 16
    config.focus.embedding = 8
    config.decoding.steps = 8
    config.evaluation.batch_size = 8
    pretrain = (config.pretrain.ocr, config.pretrain.focus)
    for stage in (config.stage0, *pretrain, config.stage1, config.stage2, config.joint):
        stage.steps = 6
        stage.batch_size = 8
        stage.warmup = 0.2
        stage.validate_every = 3
        stage.checkpoint_every = 2
    # The recogniser's steps of both stages are then one compiled function.
    config.stage2.learning_rate = config.pretrain.ocr.learning_rate
    return config


@pytest.fixture(scope="session")
def trained(data_root, tmp_path_factory) -> pathlib.Path:
    """A workdir in which all stages of the micro config have run."""
    from textsr_jax.train import runner

    workdir = tmp_path_factory.mktemp("trained")
    config = micro_config(data_root, tmp_path_factory.mktemp("data"))
    runner.train(config, workdir, "again")
    return workdir


@pytest.fixture(scope="session")
def studied(trained, tmp_path_factory) -> pathlib.Path:
    """A copy of `trained` in which tests keep what they measure of quantised models.

    A command goes on from there, so what one test measured no other measures again.
    """
    workdir = tmp_path_factory.mktemp("studied") / "w"
    shutil.copytree(trained, workdir)
    return workdir


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> pathlib.Path:
    """A folder of ten small pictures of several sizes: soft colours, and lines across them."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(10):
        rng = np.random.default_rng(number)
        soft = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        image = soft.resize((40 + 3 * number, 37), Image.Resampling.BICUBIC)
        for _ in range(5):
            line = rng.integers(0, 40, 4).tolist()
            color = tuple(rng.integers(0, 256, 3).tolist())
            ImageDraw.Draw(image).line(line, fill=color, width=2)
        image.save(folder / f"{number:04d}.png")
    return folder


def stage0_config(photographs: pathlib.Path) -> ConfigDict:
    """A resampler and an EDSR that train in seconds."""
    config = micro_config("", "")
    config.stages = "stage0"
    config.photographs.train = str(photographs)
    config.photographs.validation_fraction = 0.3
    config.stage0.crop = 16
    return config


@pytest.fixture(scope="session")
def stage0(photographs, tmp_path_factory) -> pathlib.Path:
    """A workdir in which stage 0 of the micro config has run, and nothing else."""
    from textsr_jax.train import runner

    workdir = tmp_path_factory.mktemp("stage0")
    runner.train(stage0_config(photographs), workdir, "again")
    return workdir


def same(first, second) -> bool:
    """Whether two trees hold the same arrays, bit for bit."""
    import jax

    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return jax.tree.structure(first) == jax.tree.structure(second) and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves
    )
