"""Which recognisers `config.init.external` names."""

import pytest

from configs import tiny
from textsr_jax.config.checks import checked
from textsr_jax.config.differences import first_difference, plain
from textsr_jax.config.recognizer_files import split
from textsr_jax.errors import UserError


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("", []),
        ("a.onnx", [("a.onnx", "")]),
        ("a.onnx, b.onnx:b.txt", [("a.onnx", ""), ("b.onnx", "b.txt")]),
    ],
)
def test_a_colon_stands_before_the_characters(value, files):
    assert split(value) == files
    config = tiny.get_config()
    config.init.external = value
    assert checked(config).init.external == value


@pytest.mark.parametrize("value", [",", "a.onnx,", ":a.txt", "a.onnx,,b.onnx"])
def test_a_missing_model_is_one_line(value):
    config = tiny.get_config()
    config.init.external = value
    with pytest.raises(UserError, match=r"^config\.init\.external='.*': must be MODEL\.onnx or"):
        checked(config)


def test_a_run_goes_on_with_the_same_recognisers_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def named(value):
        config = tiny.get_config()
        config.init.external = value
        return checked(config)

    here = named("a.onnx:a.txt")
    whole = f"{tmp_path}/a.onnx:{tmp_path}/a.txt"
    assert plain(here)["init"]["external"] == whole
    assert first_difference(here, named(whole)) is None
    name, *values = first_difference(here, named("b.onnx:a.txt"))
    assert name == "init.external"
    assert values == [whole, f"{tmp_path}/b.onnx:{tmp_path}/a.txt"]
