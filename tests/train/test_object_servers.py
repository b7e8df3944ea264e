"""train.py and its kin with workdirs on servers that speak S3's and Google's protocols.

The servers and the stores' packages are not among the tests' own (30 of them, 150 MB):

  pip install 'moto[server]' gcp-storage-emulator s3fs gcsfs
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import pytest

from tests.conftest import same, word_image
from tests.train import test_processes
from tests.train.test_processes import last
from textsr_jax.runtime import paths
from textsr_jax.storage.checkpoints import SavedCheckpoints

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
WHY = "the servers and the stores' packages are not installed; this file says how"
STEPS = 12

config_file = test_processes.config_file


def serve_s3(monkeypatch):
    server = pytest.importorskip("moto.server", reason=WHY).ThreadedMotoServer("127.0.0.1", 0)
    s3fs = pytest.importorskip("s3fs", reason=WHY)
    server.start()
    host, port = server.get_host_and_port()
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name, value in (*((name, "tests") for name in names), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem().mkdir("bucket")
    return server


def serve_gs(monkeypatch):
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason=WHY)
    gcsfs = pytest.importorskip("gcsfs", reason=WHY)
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    port = server._api._httpd.socket.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # It would ask Google of what kind the bucket is.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    assert gcsfs.GCSFileSystem().exists("bucket")
    return server


@pytest.fixture(params=["s3", "gs"])
def bucket(request, monkeypatch):
    server = {"s3": serve_s3, "gs": serve_gs}[request.param](monkeypatch)
    yield f"{request.param}://bucket"
    server.stop()


def start(*command):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*command, status=0):
    with start(*command) as process:
        try:
            printed, _ = process.communicate(timeout=900)
        finally:
            process.kill()
    assert process.returncode == status, printed
    return printed


def test_kills_at_any_moment_change_nothing(bucket, tmp_path, request):
    config = request.getfixturevalue("config_file")(steps=STEPS, every=1, reads=False)
    url, workdir = f"{bucket}/runs/killed", paths.named(f"{bucket}/runs/killed")
    train = ("train.py", f"--config={config}", "--workdir")
    finish(*train, tmp_path / "plain")
    saved = SavedCheckpoints(workdir / "stage1" / "checkpoints")
    for seed in range(2):
        process, before = start(*train, url), saved.steps()
        while process.poll() is None and saved.steps() == before:
            time.sleep(0.5)
        time.sleep(random.Random(seed).random())
        process.kill()
        assert process.wait() == -9, process.stdout.read()
    printed = finish(*train, url)
    assert "stage1: resumed at step" in printed and "Traceback" not in printed
    (step, state, record), (_, expected, expected_record) = last(workdir), last(tmp_path / "plain")
    assert step == STEPS
    assert same(state, expected) and record == expected_record
    assert "stage1, done already" in finish(*train, url)


def test_every_command_takes_such_a_workdir(bucket, tmp_path, request):
    """The workdir is copied there from a disk."""
    # Trained only where the test is not skipped.
    trained = request.getfixturevalue("trained")
    url, disk = f"{bucket}/runs/trained", tmp_path / "trained"
    shutil.copytree(trained, disk)
    for file in trained.rglob("*"):
        if file.is_file():
            paths.upload(file, paths.named(url) / file.relative_to(trained).as_posix())
    results = []
    for where in (disk, url):
        assert f"page: {where}/page.html" in finish("evaluate.py", f"--workdir={where}")
        finish("-m", "textsr_jax.report.page", where)
        results.append(json.loads((paths.named(where) / "results.json").read_text()))
    assert results[0] == results[1]
    quantize = ("quantize.py", f"--workdir={url}", "--bits=4", "--target=sr")
    finish(*quantize, "--prior=laplace")
    finish(*quantize, f"--out={url}/4.safetensors")
    word_image("open").save(tmp_path / "open.png")
    read = ("read.py", tmp_path / "open.png", "--format=tsv")
    assert finish(*read, f"--workdir={url}") == finish(*read, f"--workdir={disk}")
    assert finish(*read, f"--model={url}/4.safetensors")
    line = finish("evaluate.py", f"--workdir={bucket}/runs/none", status=2)
    assert line.startswith("error: ") and line.count("\n") == 1
