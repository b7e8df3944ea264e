"""The page of a run in a browser: no complaints, sorting, filtering, the points of charts."""

import pytest

from tests.chromium import Watched, browser
from textsr_jax.report.page import document

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture
def watched(chromium, workdir):
    """The page, with a network that does not answer; it must not complain of anything."""
    watched = Watched(chromium, viewport={"width": 390, "height": 844}, offline=True)
    watched.page.goto(f"file://{document.write(workdir)}")
    yield watched
    assert watched.errors == [] and watched.hosts == set()
    watched.page.context.close()


def labels(page) -> list[str]:
    return page.eval_on_selector_all("#gallery .word", "all => all.map(w => w.dataset.label)")


def test_words_are_sorted_and_filtered(watched):
    page = watched.page
    everything = labels(page)
    assert everything[:4] == ["open", "exit", "taxi", "cafe"] and len(everything) == 6
    page.select_option("#sort", "-sure")
    assert labels(page)[:2] == ["taxi", "open"]
    page.select_option("#sort", "-wrong")
    assert page.locator("#gallery .word").first.get_attribute("data-wrong") != "0"
    page.select_option("#sort", "label")
    assert labels(page)[-1] == "taxi"
    page.select_option("#outcome", "lost neither")
    assert sorted(labels(page)) == ["cafe", "taxi"]
    page.select_option("#outcome", "gained")
    assert set(labels(page)) == {everything[4], "exit"}
    page.select_option("#split", "hard")
    assert labels(page) == [everything[4]]
    assert page.inner_text("#count") == "1 of 6 words"
    page.select_option("#split", "")
    page.select_option("#outcome", "")
    # What was read is found too.
    page.fill("#find", "TAXL")
    assert labels(page) == ["taxi"]
    page.fill("#find", "nothing of this kind")
    assert labels(page) == [] and page.inner_text("#count") == "0 of 6 words"


def test_a_table_is_sorted_by_a_click_on_its_header(watched):
    page = watched.page
    header = page.locator("#scores th", has_text="mean, %")
    means = "#scores td:nth-last-child(2)"
    for expected in (["52.2", "53.2", "54.2"], ["54.2", "53.2", "52.2"]):
        header.click()
        assert page.locator(means).all_inner_texts() == expected


def test_the_point_below_the_pointer_is_named(watched):
    page = watched.page
    chart = page.locator("#quantized svg").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.inner_text("#tip") == "SR, laplace 4 bits: 50.50, 12.50 x 10^6"
    page.mouse.move(0, 0)
    assert page.locator("#tip").is_hidden()


def test_a_phone_needs_no_scrolling_to_the_side_and_the_dark_is_dark(watched):
    page = watched.page
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == "rgb(20, 23, 26)"
    # Paper stays white.
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.locator(".controls").is_hidden()
