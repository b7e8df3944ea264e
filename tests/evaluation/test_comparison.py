"""Which rows an evaluation has, and models from parameter files beside those of a workdir."""

import numpy as np
import pytest

from tests.conftest import micro_config, same
from textsr_jax import reading
from textsr_jax.errors import UserError
from textsr_jax.evaluation import comparison, named_models, protocol
from textsr_jax.storage import parameter_files, workdirs
from textsr_jax.storage.models import Models


@pytest.fixture(scope="module")
def config(trained):
    return workdirs.load_config(trained)


@pytest.fixture(scope="module")
def models(trained):
    return Models.load(trained)


@pytest.fixture(scope="module")
def evaluation(config):
    return protocol.Evaluation.open(config)


def write_file(path, config, part, variables):
    settings = {"name": config[part].name, config[part].name: config[part][config[part].name]}
    if "stn" in variables["params"]:
        settings["stn"] = config[part].stn
    settings = {
        key: value if isinstance(value, str) else dict(value) for key, value in settings.items()
    }
    file = parameter_files.ParameterFile(config[part].name, part, settings, variables)
    parameter_files.save(path, file)
    return str(path)


@pytest.fixture(scope="module")
def files(config, models, tmp_path_factory):
    """The trained models as parameter files, the SR network without its STN."""
    folder = tmp_path_factory.mktemp("files")
    lone = {"params": {"edsr": models.sr_variables["params"]["edsr"]}, "stats": {}}
    return {
        "sr": write_file(folder / "sr.safetensors", config, "sr", lone),
        "whole": write_file(folder / "whole.safetensors", config, "sr", models.sr_variables),
        "ocr": write_file(folder / "ocr.safetensors", config, "ocr", models.pretrained),
    }


def test_rows_are_bicubic_sr_before_and_after_fine_tuning_and_hr(models, evaluation):
    rows, images = comparison.compare(models, evaluation)
    assert [(row.sr, row.ocr) for row in rows] == [
        ("bicubic", "pretrained"),
        ("edsr", "pretrained"),
        ("edsr", "fine-tuned"),
        ("HR", "pretrained"),
    ]
    assert set(images) == {"bicubic", "edsr", "HR"}
    for row in rows:
        assert list(row.splits) == ["easy", "hard"]
        assert [scores["n"] for scores in row.splits.values()] == [9, 9]
        assert row.mean["n"] == 18
    assert rows[-1].splits["easy"]["psnr"] is None
    assert rows[-1].splits["easy"]["ssim"] == pytest.approx(1)
    assert rows[1].splits["easy"]["psnr"] == rows[2].splits["easy"]["psnr"]


def test_several_sr_models_under_one_judge(models, evaluation, config, files, trained):
    others = [named_models.load_sr(source, config) for source in (files["sr"], str(trained))]
    judge = named_models.load_judge(files["ocr"], config)
    rows, images = comparison.compare(models, evaluation, others, judge)
    names = ["bicubic", "edsr", "edsr 2", "edsr 3", "HR"]
    assert [(row.sr, row.ocr) for row in rows] == [(name, "cdistnet") for name in names]
    # All three are the same model: in evaluation the STN is skipped.
    for name in ("edsr 2", "edsr 3"):
        assert (images[name]["easy"] == images["edsr"]["easy"]).all()
    alone, _ = comparison.compare(models, evaluation)
    assert [row.words for row in rows[:2]] == [row.words for row in alone[:2]]


def test_a_pair_of_files_is_the_workdir_s_pair(models, config, files, evaluation):
    changed = config.replace(init={"sr": files["sr"], "ocr": files["ocr"]})
    loaded = Models.load(None, changed)
    assert loaded.fine_tuned is None
    assert same(loaded.pretrained, models.pretrained)
    expected = evaluation.enhance(models.sr, models.sr_variables)["easy"]
    made = evaluation.enhance(loaded.sr, loaded.sr_variables)["easy"]
    assert (made == expected).all()
    pair = reading.load(config=changed)
    assert np.abs(pair.enhance(list(evaluation.lr["easy"])).astype(int) - expected).max() <= 1
    changed = changed.replace(sr={"apply_stn": "always"})
    with pytest.raises(UserError, match="hold no STN"):
        Models.load(None, changed)
    whole = Models.load(None, changed.replace(init={"sr": files["whole"]}))
    assert same(whole.sr_variables, models.sr_variables)


def test_a_named_file_goes_before_the_workdir_s_own_stage(trained, config, models, files):
    changed = config.replace(init={"ocr": files["ocr"]})
    loaded = Models.load(trained, changed)
    assert same(loaded.sr_variables, models.sr_variables)
    assert same(loaded.pretrained, models.pretrained)
    assert loaded.fine_tuned is None


def test_models_that_do_not_fit_are_named(trained, config, files, tmp_path):
    changed = config.replace(sr={"name": "tbsrn"})
    with pytest.raises(UserError, match=r"was trained with another config\.sr"):
        Models.load(trained, changed)
    changed = changed.replace(init={"sr": files["sr"]})
    with pytest.raises(UserError, match=r"holds 'edsr', but config\.sr\.name is 'tbsrn'"):
        Models.load(trained, changed)
    with pytest.raises(UserError, match="which is not a recogniser"):
        named_models.load_judge(files["sr"], config)
    with pytest.raises(UserError, match="which is not an SR model"):
        named_models.load_sr(files["ocr"], config)
    changed = changed.replace(init={"sr": str(tmp_path / "none")})
    with pytest.raises(UserError, match=r"none: no such parameter file, packed file or workdir"):
        Models.load(None, changed)


def test_an_evaluation_without_a_recogniser(data_root, tmp_path, evaluation):
    empty = Models.load(None, micro_config(data_root, tmp_path))
    with pytest.raises(UserError, match="there is no recogniser to judge by"):
        comparison.compare(empty, evaluation)
