"""The demo as its users have it: in a browser, under many uploads, and after it ended."""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.chromium import Watched, browser
from tests.conftest import word_image

pytest.importorskip("gradio", reason="Gradio is not installed; it comes with the extra [demo]")
ROOT = pathlib.Path(__file__).parents[2]
WORDS = ROOT / "docs" / "images" / "words"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def temporary(tmp_path_factory) -> pathlib.Path:
    """Where the demo makes its temporary folder."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(temporary):
    """The address of a demo, which must end in good order and leave no file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "textsr_jax.demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("demo: http://127.0.0.1:"), line
    yield line.split()[1]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not list(temporary.glob("textsr_jax-demo-*"))


@pytest.fixture
def watched(address):
    with browser() as chromium:
        watched = Watched(chromium)
        watched.page.goto(address)
        yield watched
        # No other machine was asked for anything, and nothing was refused by the policy.
        assert watched.hosts == {address.split("/")[2]}
        assert watched.errors == []


def test_a_crop_is_sharpened_and_read_at_the_bits_that_are_chosen(watched):
    page = watched.page
    page.set_input_files("input[type=file]", WORDS / "villages.png")
    page.wait_for_selector(".read:has-text('villages')", timeout=120_000)
    assert "cdistnet (8 bits)" in page.inner_text(".html-container:has(.read)")
    # The slider lies over two images of one size.
    page.wait_for_selector(".slider-wrap img, .slider-wrap + img, [data-testid*=slider] img")
    page.get_by_label("2", exact=True).check()
    page.wait_for_selector(".html-container:has-text('cdistnet (2 bits)')", timeout=120_000)


def test_a_photograph_is_shown_with_its_words_and_their_boxes(watched, tmp_path):
    pytest.importorskip("rapidocr", reason="rapidocr is not installed; it comes with [photos]")
    photograph = Image.new("RGB", (1000, 750), (120, 130, 140))
    sign = ImageDraw.Draw(photograph)
    sign.rectangle((80, 60, 900, 420), (225, 220, 205))
    for top, line in ((100, "central station"), (210, "open daily"), (320, "fire exit")):
        sign.text((140, top), line, fill=(40, 30, 60), font=ImageFont.load_default(60))
    photograph.save(tmp_path / "sign.png")
    page = watched.page
    page.set_input_files("input[type=file]", tmp_path / "sign.png")
    page.wait_for_selector(".html-container:has-text('A whole photograph.')", timeout=120_000)
    shown = page.inner_text(".html-container:has(.read)")
    assert [line for line in shown.splitlines() if line][:3] == [
        "central station",
        "open daily",
        "fire exit",
    ]
    # The photograph with the boxes, as wide as pictures are shown at most.
    boxes = page.get_by_test_id("block-label").filter(has_text=re.compile(r"^\s*words\s*$"))
    image = boxes.locator("..").locator("img").last
    assert image.evaluate("image => image.naturalWidth") == 1600


def test_damaged_files_and_many_at_once_leave_it_alive(address, tmp_path):
    from gradio_client import Client, handle_file

    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((WORDS / "where.png").read_bytes()[:300])
    large = tmp_path / "large.png"
    large.write_bytes(b"x" * (11 * 2**20))
    word_image("open").save(tmp_path / "open.png")
    client = Client(address, verbose=False, download_files=False)

    def ask(path: pathlib.Path) -> str:
        try:
            found = client.predict(
                handle_file(str(path)), "the shipped models", "JAX", "as stored", api_name="/shown"
            )
        except Exception as error:
            return f"error: {error}"
        return found[1]

    paths = [(damaged, large, tmp_path / "open.png")[number % 3] for number in range(30)]
    with concurrent.futures.ThreadPoolExecutor(30) as threads:
        found = list(threads.map(ask, paths))
    for path, shown in zip(paths, found, strict=True):
        assert shown.startswith("error: ") != (path.name == "open.png"), (path.name, shown)
    assert "damaged.png: cannot read it" in found[0]
    assert "confidence" in ask(tmp_path / "open.png")


def test_images_of_other_places_are_refused(address):
    from gradio_client import Client

    client = Client(address, verbose=False, download_files=False)
    refused = {"http://192.0.2.1/a.png": "by address are refused", "/etc/passwd": "."}
    for path, reason in refused.items():
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        with pytest.raises(Exception, match=reason):
            client.predict(image, "the shipped models", "JAX", "as stored", api_name="/shown")
