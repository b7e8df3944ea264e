"""Training in two real processes on loopback, with gloo: killed, started again, stopped.

The command is train.py's, the networks are those of the micro config.
"""

import os
import signal
import socket
import time

import jax
import numpy as np
import pytest

from tests import forked
from tests.conftest import micro_config, same
from textsr_jax import data
from textsr_jax.data import batching
from textsr_jax.errors import UserError
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.storage import checkpoints, parameter_files
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.train import mesh as meshes
from textsr_jax.train import state as states

pytestmark = pytest.mark.slow

STEPS = 12

CONFIG = """
from tests.conftest import micro_config


def get_config():
    config = micro_config({root!r}, {folder!r} + "/data")
    config.stages = "stage1"
    # The squared error alone: how processes start, stop and agree does not depend on the loss.
    config.stage1.position = config.stage1.recognition = 0.0
    if {reads}:
        config.init.ocr = {folder!r} + "/ocr.params"
    config.sr.apply_stn = {apply_stn!r}
    config.stage1.steps = {steps}
    config.stage1.checkpoint_every = {every}
    config.stage1.validate_every = 4
    config.stage1.average = 0.5
    return config
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, data_root):
    """Writes configs of stage 1, whose recogniser has learnt nothing: none is trained first.

    With `apply_stn="never"` a step compiles in a tenth of the time.
    """
    folder = tmp_path_factory.mktemp("config")
    config = micro_config("", "")
    variables = jax.tree.map(np.asarray, build_ocr(config.ocr).init(jax.random.key(1)))
    file = parameter_files.ParameterFile(config.ocr.name, "ocr", config.ocr.to_dict(), variables)
    parameter_files.save(folder / "ocr.params", file)

    def write(steps=STEPS, every=2, reads=True, apply_stn="train"):
        path = folder / f"micro_{steps}_{every}_{reads}_{apply_stn}.py"
        about = {"steps": steps, "every": every, "reads": reads, "apply_stn": apply_stn}
        path.write_text(CONFIG.format(root=str(data_root), folder=str(folder), **about))
        return path

    return write


def start(config, workdir, distributed=None):
    command = ["train.py", f"--config={config}", f"--workdir={workdir}"]
    if distributed:
        command.append(f"--distributed={distributed}")
    return forked.Process(command, environment=os.environ | {"JAX_PLATFORMS": "cpu"})


def start_two(config, workdir):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [start(config, workdir, f"{address},2,{index}") for index in range(2)]


def finish(processes, status=0):
    """What the processes printed; all of them end with that status."""
    printed = ["".join(process.communicate(timeout=300)) for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), printed
    return printed


def wait_for_checkpoint(workdir, step, processes):
    folder = workdir / "stage1" / "checkpoints" / str(step)
    for _ in range(6000):
        if folder.is_dir():
            return
        if any(process.poll() is not None for process in processes):
            break
        time.sleep(0.05)
    for process in processes:
        process.kill()
    raise AssertionError([process.communicate() for process in processes])


def sr_network(apply_stn="train"):
    config = micro_config("", "")
    config.sr.apply_stn = apply_stn
    return build_sr(config.sr)


def last(workdir, apply_stn="train"):
    """The last checkpoint's step, state and record, read by this one process."""
    network = sr_network(apply_stn)
    optimizer = states.make_optimizer(micro_config("", "").stage1)
    template = jax.eval_shape(
        lambda: states.create(
            network.init(jax.random.key(0)), optimizer, jax.random.key(0), averaged=True
        )
    )
    saved = Checkpoints(workdir / "stage1" / "checkpoints")
    restored = saved.restore(checkpoints.abstract(template))
    saved.close()
    return restored


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, config_file):
    workdir = tmp_path_factory.mktemp("undisturbed") / "w"
    finish(start_two(config_file(), workdir))
    return workdir


def test_one_of_two_is_killed_and_both_start_again(tmp_path, config_file, undisturbed):
    workdir = tmp_path / "w"
    processes = start_two(config_file(), workdir)
    wait_for_checkpoint(workdir, 4, processes)
    processes[1].kill()
    processes[1].communicate()
    # It cannot go on alone; a cluster's launcher ends it, as here.
    processes[0].kill()
    processes[0].communicate()
    printed = finish(start_two(config_file(), workdir))
    assert "stage1: resumed at step" in printed[0] and "resumed" not in printed[1]
    (step, state, record), (_, expected, expected_record) = last(workdir), last(undisturbed)
    assert step == STEPS
    assert same(state, expected) and record == expected_record
    name, template = "stage1", sr_network().template
    bests = [
        checkpoints.load_best(w, name, checkpoints.abstract(template))
        for w in (workdir, undisturbed)
    ]
    assert same(*(best for best, _ in bests)) and bests[0][1] == bests[1][1]


def test_two_processes_give_what_one_does(tmp_path, config_file, undisturbed):
    workdir = tmp_path / "w"
    finish([start(config_file(), workdir)])
    (_, state, record), (_, expected, expected_record) = last(workdir), last(undisturbed)
    assert record["best_step"] == expected_record["best_step"]
    np.testing.assert_allclose(record["best_score"], expected_record["best_score"], rtol=1e-5)
    assert int(state.step) == int(expected.step) == STEPS
    # The gradient of the bias before a BatchNorm is only rounding. Adam makes steps of full size of
    # it, and the running mean follows the bias.
    idle = {"['params']['stn']['fc1']['bias']", "['stats']['stn']['fc1_bn']['mean']"}
    longest = 2 * STEPS * micro_config("", "").stage1.learning_rate
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(state.variables),
        jax.tree.leaves(expected.variables),
        strict=True,
    ):
        name = jax.tree_util.keystr(path)
        bound = longest if name in idle else 5e-5
        np.testing.assert_allclose(one, two, rtol=0, atol=bound, err_msg=name)
        idle.discard(name)
    assert not idle


def test_a_signal_to_one_stops_both_at_the_same_step(tmp_path, config_file):
    config, workdir = config_file(steps=100_000, apply_stn="never"), tmp_path / "w"
    processes = start_two(config, workdir)
    wait_for_checkpoint(workdir, 2, processes)
    processes[1].send_signal(signal.SIGTERM)
    printed = finish(processes, status=130)
    stopped = [text.strip().splitlines()[-1] for text in printed]
    assert "stage1: stopped and saved at step" in stopped[0]
    assert stopped[0].split(";")[0] == stopped[1].split(";")[0]
    assert f"at step {last_step(workdir)};" in stopped[0]


def last_step(workdir):
    saved = Checkpoints(workdir / "stage1" / "checkpoints")
    try:
        return saved.steps()[-1]
    finally:
        saved.close()


def test_every_sample_is_seen_once_an_epoch_by_all_together(data_root, tmp_path):
    source = data.load(micro_config(data_root, tmp_path).data).train
    count = len(source)
    size = next(size for size in (4, 3, 2, 1) if count % (2 * size) == 0)
    seen = [
        batching.train_batches(
            source, batch_size=size, max_length=6, seed=3, process_index=index, process_count=2
        )
        for index in range(2)
    ]
    for _ in range(3):
        epoch = [next(seen[turn % 2]).index for turn in range(count // size)]
        assert sorted(np.concatenate(epoch)) == list(range(count))


@pytest.mark.parametrize(
    "how", ["here", "127.0.0.1:1,2", "127.0.0.1:1,2,2", "127.0.0.1,2,0", "host:x,2,0", ""]
)
def test_addresses_that_are_none(how):
    with pytest.raises(UserError, match=r"--distributed=.*: write auto, or HOST:PORT,COUNT,INDEX"):
        meshes.join_processes(how)


def test_nothing_to_find_is_one_line(tmp_path, config_file):
    (printed,) = finish([start(config_file(), tmp_path / "w", "auto")], status=2)
    assert "error: --distributed=auto: cannot join the other processes" in printed
    assert "Traceback" not in printed
