"""`enhance_page`: words of a photograph, enlarged by an SR model and put back."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

import textsr_jax
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, resize
from textsr_jax.photos import enhancing, quadrilaterals
from textsr_jax.photos.page import Line, Page, Word


def lanczos(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


class SRModel:
    """Stands for a reader: Lanczos' filter, and something added to its tiles.

    Args:
      added: levels, broadcast to (n, 32, 128, 3).
    """

    def __init__(self, added=0):
        self.added, self.tiles = added, 0

    def enhance(self, images: list[np.ndarray]) -> np.ndarray:
        self.tiles += len(images)
        smooth = np.stack([lanczos(resize(image, LR_SIZE), HR_SIZE) for image in images])
        return (smooth.astype(np.int16) + self.added).clip(0, 255).astype(np.uint8)


def dot(column: int, row: int) -> np.ndarray:
    """A tile that is 0, but 100 at one place."""
    tile = np.zeros((HR_SIZE[1], HR_SIZE[0], 1), np.int16)
    tile[row, column] = 100
    return tile


def photograph(seed: int = 0, width: int = 160, height: int = 96) -> np.ndarray:
    """Noise: nothing that is added looks like a halo."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def page_of(photograph: np.ndarray, *boxes: np.ndarray) -> Page:
    words = [Word("word", 0.9, box) for box in boxes]
    height, width = photograph.shape[:2]
    return Page(tuple(Line((word,), word.box) for word in words), width, height)


def rectangle(centre, width: float, height: float, degrees: float = 0.0) -> np.ndarray:
    """A rectangle around a centre, turned clockwise."""
    angle = np.deg2rad(degrees)
    right = np.array([np.cos(angle), np.sin(angle)])
    down = np.array([-right[1], right[0]])
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    return centre + signs @ np.stack([width * right, height * down])


def doubled(image: np.ndarray) -> np.ndarray:
    """The photograph without words."""
    return enhancing.enhance_page(image, page_of(image), SRModel())


def test_halving_the_enlarged_photograph_nearly_gives_it_again():
    image = resize(photograph(width=80, height=48), (160, 96))
    lost = [
        np.square(resize(made, (160, 96)).astype(float) - image).mean()
        for made in (doubled(image), lanczos(image, (320, 192)))
    ]
    assert lost[0] < 0.2 * lost[1]


def test_edges_get_no_halos():
    step = np.full((32, 64, 3), 60, np.uint8)
    step[:, 32:] = 180
    # Lanczos' filter itself goes beyond them by a tenth of the step.
    smooth = lanczos(step, (128, 64))
    made = doubled(step)
    assert smooth.min() <= made.min()
    assert made.max() <= smooth.max()
    # Yet the edge is steeper.
    assert np.diff(made[30, :, 0].astype(int)).max() > np.diff(smooth[30, :, 0].astype(int)).max()


def test_photographs_are_enlarged_in_parts_that_join(monkeypatch):
    image = photograph(width=60, height=100)
    whole = doubled(image)
    monkeypatch.setattr(enhancing, "_ROWS", 24)
    assert (doubled(image) == whole).all()


def test_a_model_that_adds_nothing_leaves_words_as_their_surroundings():
    image = resize(photograph(width=20, height=12), (160, 96))
    page = page_of(image, rectangle((60, 40), 60, 14, 8), rectangle((100, 80), 30, 14))
    made = enhancing.enhance_page(image, page, SRModel()).astype(float)
    assert np.abs(made - doubled(image)).max() <= 2


def test_another_brightness_and_colour_is_taken_off():
    image = photograph() // 2 + 64
    page = page_of(image, rectangle((60, 40), 64, 16))
    model = SRModel(np.array([30, -30, 20]))
    enhanced = enhancing.enhance_page(image, page, model).astype(float)
    assert model.tiles == 1
    assert np.abs(enhanced - doubled(image)).mean(axis=(0, 1)).max() < 0.5


@pytest.mark.parametrize("degrees", [0, 20, 90, -145])
def test_what_the_model_adds_lands_in_the_quadrilateral_of_the_word(degrees):
    image = photograph()
    box = rectangle((80, 48), 64, 16, degrees)
    plain, dotted = (
        enhancing.enhance_page(image, page_of(image, box), SRModel(added)).astype(float)
        for added in (0, dot(40, 10))
    )
    change = np.abs(dotted - plain).sum(axis=2)
    weights = np.where(change > change.max() / 2, change, 0)
    y, x = np.mgrid[: change.shape[0], : change.shape[1]]
    centre = [(weights * (axis + 0.5)).sum() / weights.sum() for axis in (x, y)]
    # The tile shows the box with its margin.
    grown = quadrilaterals.grown(box, 16 * enhancing.MARGIN)
    (expected,) = 2 * quadrilaterals.places(grown, np.array([(40.5 / 128, 10.5 / 32)]))
    assert np.abs(centre - expected).max() <= 1
    assert change.max() > 40
    # Nothing changes outside of the margin.
    places = quadrilaterals.shares(grown, np.stack([x.ravel(), y.ravel()], axis=-1) / 2 + 0.25)
    outside = ((places < 0) | (places > 1)).any(axis=1).reshape(change.shape)
    assert 0 < outside.sum() < change.size
    assert not (dotted - doubled(image))[outside].any()


def test_what_the_model_adds_fades_out_towards_the_edge_of_a_word():
    image = photograph()
    box = rectangle((80, 48), 64, 16)
    stripes = np.where(np.arange(HR_SIZE[0]) % 4 < 2, 60, -60).reshape(1, 1, -1, 1)
    plain, striped = (
        enhancing.enhance_page(image, page_of(image, box), SRModel(added)).astype(float)
        for added in (0, stripes)
    )
    change = np.abs(striped - plain).mean(axis=(1, 2))
    # The margin begins 2.4 rows of the photograph above the word.
    assert change[: 2 * 37].max() == 0
    assert change[76] < change[78] < change[80]
    assert change[75] < 0.2 * change[82:110].mean()


def test_wide_words_are_enlarged_in_windows_that_join():
    image = np.repeat(photograph(width=1, height=64), 320, axis=1)
    box = rectangle((160, 32), 200, 16)
    stripes = np.where(np.arange(HR_SIZE[1]) % 4 < 2, 50, -50).reshape(1, -1, 1, 1)
    model = SRModel(stripes)
    enhanced = enhancing.enhance_page(image, page_of(image, box), model).astype(float)
    assert model.tiles > 3
    # Rows are alike in every window, so that joints would show.
    inside = np.s_[2 * 24 : 2 * 40, 2 * 62 : 2 * 258]
    assert np.abs(enhanced - doubled(image))[inside].max() > 10
    assert np.ptp(enhanced[inside], axis=1).max() <= 2


def test_a_word_that_was_found_twice_changes_once():
    image = photograph()
    box = rectangle((80, 48), 64, 16)
    once, twice = (
        enhancing.enhance_page(image, page_of(image, *[box] * count), SRModel(dot(40, 16)))
        for count in (1, 2)
    )
    inside = np.s_[2 * 41 : 2 * 55, 2 * 49 : 2 * 111]
    assert np.abs(once[inside].astype(int) - twice[inside]).max() <= 1


def test_words_at_the_edge_of_the_photograph_are_enlarged_too():
    image = photograph()
    page = page_of(image, rectangle((10, 4), 60, 14, -12), rectangle((300, 300), 60, 14))
    enhanced = enhancing.enhance_page(image, page, SRModel(dot(64, 16)))
    assert enhanced.shape == (192, 320, 3)
    assert (enhanced != doubled(image)).any()


def test_words_as_high_as_an_sr_image_stay_as_they_are():
    image = photograph()
    model = SRModel(dot(64, 16))
    page = page_of(image, rectangle((80, 48), 100, 32))
    assert (enhancing.enhance_page(image, page, model) == doubled(image)).all()
    assert model.tiles == 0


def test_photographs_that_are_not_of_the_page_or_too_large_are_refused():
    image = photograph()
    page = page_of(image, rectangle((80, 48), 64, 16))
    with pytest.raises(ValueError, match="80 x 96 pixels and the page 160 x 96"):
        enhancing.enhance_page(image[:, :80], page, SRModel())
    large = np.zeros((4096, 4100, 3), np.uint8)
    with pytest.raises(UserError, match="4100 x 4096 is too large to be doubled"):
        enhancing.enhance_page(large, Page((), 4100, 4096), SRModel())


def drawn(
    font_size: int, *texts: tuple[tuple[int, int], str]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture of 512 x 256 with texts, and the boxes of these when it is halved."""
    picture = Image.fromarray(np.full((256, 512, 3), (70, 110, 90), np.uint8))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(font_size)
    boxes = []
    for place, text in texts:
        draw.text(place, text, fill=(235, 230, 200), font=font)
        left, top, right, bottom = draw.textbbox(place, text, font=font)
        boxes.append(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) / 2)
    return np.asarray(picture), boxes


@pytest.mark.slow
def test_shipped_models_sharpen_words_of_a_halved_photograph():
    hr, boxes = drawn(34, ((30, 30), "station"), ((260, 40), "central"), ((60, 120), "open daily"))
    lr = resize(hr, (256, 128))
    made = [
        enhancing.enhance_page(lr, page_of(lr, *boxes), textsr_jax.load()),
        doubled(lr),
        resize(lr, (512, 256)),
    ]
    for box in boxes:
        (left, top), (right, bottom) = (2 * box[0]).astype(int), (2 * box[2]).astype(int)
        word = np.s_[top:bottom, left:right]
        errors = [np.square(one[word].astype(float) - hr[word]).mean() for one in made]
        # By 0.4 dB more than without the SR model, by 2 dB more than the bicubic filter.
        assert errors[0] < 0.9 * errors[1]
        assert errors[0] < 0.63 * errors[2]


@pytest.mark.slow
@pytest.mark.parametrize(("blur", "least", "most"), [(0, 1.0, 1.05), (3, 1.1, 1.3)])
def test_shipped_models_make_edges_of_blurred_words_steeper(blur, least, most):
    hr, boxes = drawn(44, ((60, 100), "open daily"))
    lr = resize(ndimage.gaussian_filter(hr, (blur, blur, 0)), (256, 128))
    made = enhancing.enhance_page(lr, page_of(lr, *boxes), textsr_jax.load()), doubled(lr)
    steepest = [np.abs(np.diff(one.astype(float), axis=1)).max(axis=(0, 2)) for one in made]
    word = slice(*(2 * boxes[0][:2, 0]).astype(int))
    assert least < steepest[0][word].mean() / steepest[1][word].mean() < most
