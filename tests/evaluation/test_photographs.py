"""Photographs halved and enlarged: scores against their definition, and the command."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from tests.conftest import stage0_config
from tests.test_metrics import published_quality
from tests.test_scripts import complaint, run
from textsr_jax.errors import UserError
from textsr_jax.evaluation import photographs as evaluation
from textsr_jax.images import open_rgb, to_float, to_uint8
from textsr_jax.storage import parameter_files, workdirs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(stage0):
    return evaluation.load_rescaler(str(stage0), workdirs.load_config(stage0))


@pytest.fixture
def two_sizes(tmp_path):
    """A folder of two sizes, one of them no multiple of 8."""
    folder = tmp_path / "Set2"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (24, 24)), ("b.png", (31, 18))):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder


def test_scores_are_those_of_8_bit_images_cropped_to_multiples_of_8(pair, two_sizes):
    network, variables = pair
    rows, details = evaluation.evaluate(network, variables, [str(two_sizes)])
    assert [(row.down, row.up) for row in rows] == [
        ("bicubic", "bicubic"),
        ("bicubic", "edsr"),
        ("resampler", "edsr"),
    ]
    expected = []
    for name, (height, width) in (("a.png", (24, 24)), ("b.png", (16, 24))):
        hr = open_rgb(two_sizes / name)[:height, :width]
        low = Image.fromarray(hr).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        high = np.asarray(low.resize((width, height), Image.Resampling.BICUBIC))
        sr, _ = network(variables, to_float(hr[None]))
        of_low = network(variables, to_float(np.asarray(low)[None]), method="enlarge")
        sr, of_low = (np.asarray(to_uint8(images))[0] for images in (sr, of_low))
        expected.append([published_quality(image, hr, 2) for image in (high, of_low, sr)])
    # Pillow rounds between its two passes too, by which levels of the baselines may differ.
    bounds = ((0.05, 0.002), (0.05, 0.002), (0.002, 0.0002))
    for row, bound, scores in zip(rows, bounds, np.mean(expected, axis=0), strict=True):
        found = row.folders["Set2"]
        assert found["n"] == 2
        np.testing.assert_allclose(found["psnr"], scores[0], rtol=0, atol=bound[0])
        np.testing.assert_allclose(found["ssim"], scores[1], rtol=0, atol=bound[1])
    tiles = dict(details["Set2"][1].tiles)
    np.testing.assert_array_equal(tiles["HR"], open_rgb(two_sizes / "b.png")[:16, :24])
    np.testing.assert_array_equal(tiles["resampler + edsr"], sr)
    assert tiles["LR, resampler"].shape == (8, 12, 3)


def test_images_do_not_depend_on_their_neighbours(pair, two_sizes, tmp_path):
    both, _ = evaluation.evaluate(*pair, [str(two_sizes)])
    singles = []
    for name in ("a.png", "b.png"):
        folder = tmp_path / name.removesuffix(".png")
        folder.mkdir()
        (folder / name).write_bytes((two_sizes / name).read_bytes())
        singles.append(str(folder))
    rows, _ = evaluation.evaluate(*pair, singles)
    for whole, parts in zip(both, rows, strict=True):
        mean = np.mean([parts.folders[name]["psnr"] for name in ("a", "b")])
        np.testing.assert_allclose(whole.folders["Set2"]["psnr"], mean, rtol=1e-6)


def test_folders_of_one_name_are_told_apart_and_files_named(pair, two_sizes, tmp_path):
    other = tmp_path / "other" / "Set2"
    other.mkdir(parents=True)
    (other / "a.png").write_bytes((two_sizes / "a.png").read_bytes())
    rows, _ = evaluation.evaluate(*pair, [str(two_sizes), str(other)])
    assert list(rows[0].folders) == [str(two_sizes), str(other)]
    with pytest.raises(UserError, match="names a folder twice"):
        evaluation.evaluate(*pair, [str(other), str(other)])
    Image.new("RGB", (40, 12)).save(other / "low.png")
    with pytest.raises(UserError, match=r"low.png: is 40x12; each side needs at least 16 pixels"):
        evaluation.evaluate(*pair, [str(other)])


def test_a_perfect_image_has_no_psnr_in_json(pair, tmp_path):
    Image.new("RGB", (16, 16), (128, 128, 128)).save(tmp_path / "flat.png")
    rows, _ = evaluation.evaluate(*pair, [str(tmp_path)])
    scores = rows[0].as_json()["folders"][tmp_path.name]
    assert scores["psnr"] is None
    # In float32 the variance of a flat image is off by some 1e-8, beside a constant of 9e-4.
    assert scores["ssim"] == pytest.approx(1, abs=1e-4)


def test_the_pair_of_parameter_files_is_the_workdirs(pair, stage0, photographs, tmp_path):
    variables = pair[1]
    config = stage0_config(photographs)
    for part, name in (("sr", "edsr"), ("resampler", "resampler")):
        params = variables["params"][name]
        config.init[part] = str(tmp_path / f"{part}.safetensors")
        params = params if part == "resampler" else {name: params}
        arrays = jax.tree.map(np.asarray, {"params": params, "stats": {}})
        file = parameter_files.ParameterFile(name, part, {"name": name}, arrays)
        parameter_files.save(config.init[part], file)
    _, loaded = evaluation.load_rescaler(None, config)
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, variables))
    config.init.resampler = ""
    with pytest.raises(UserError, match=r"the config: has no model of stage 0.*init.resampler"):
        evaluation.load_rescaler(None, config)


def test_the_command_writes_a_table_json_and_a_picture(stage0, photographs, two_sizes, tmp_path):
    out = tmp_path / "out" / "scores.json"
    done = run(
        "evaluate.py", f"--workdir={stage0}", f"--photographs={photographs},{two_sizes}",
        f"--out={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "halved by" in done.stdout and "2 images" in done.stdout
    written = json.loads(out.read_text())
    assert written["folders"] == [str(photographs), str(two_sizes)]
    for row in written["rows"]:
        assert row["folders"]["Set2"]["n"] == 2
        assert 5 < row["folders"]["Set2"]["psnr"] < 60
    pictures = sorted((tmp_path / "out" / "scores_pictures").iterdir())
    assert [path.name for path in pictures] == [f"1_{photographs.name}.png", "2_Set2.png"]
    with Image.open(pictures[1]) as picture:
        sheet = np.asarray(picture.convert("RGB"))
    # The HR tile of a.png stands at the right, twice its size.
    hr = open_rgb(two_sizes / "a.png").repeat(2, axis=0).repeat(2, axis=1)
    places = np.lib.stride_tricks.sliding_window_view(sheet, hr.shape)[:, :, 0]
    assert (places[..., ::12, ::12, :] == hr[::12, ::12]).all(axis=(2, 3, 4)).any()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--photographs=nowhere"], "nowhere: no such folder"),
        (["--photographs=x", "--sr=y"], "--photographs and --sr: take one of them"),
        (["--photographs=x", "--judge=y"], "--photographs and --judge: take one of them"),
    ],
)
def test_bad_input_is_one_line_and_status_2(stage0, arguments, expected):
    assert expected in complaint(run("evaluate.py", f"--workdir={stage0}", *arguments))


def test_models_that_are_not_there():
    line = complaint(run("evaluate.py", "--config=configs/tiny.py", "--photographs=x"))
    assert "the config: has no model of stage 0; run that stage" in line
