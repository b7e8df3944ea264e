"""The config in a packed file names no place of the machine that wrote it."""

import json

from configs import tiny
from textsr_jax.config.checks import checked
from textsr_jax.config.portable import portable


def test_a_config_that_travels_names_no_places(tmp_path):
    config = tiny.get_config()
    config.data.root = config.photographs.train = str(tmp_path / "somewhere")
    config.photographs.validation = config.init.resampler = str(tmp_path / "elsewhere")
    plain = portable(checked(config))
    assert str(tmp_path) not in json.dumps(plain)
    assert plain["data"]["root"] == "somewhere"
    assert "init" not in plain and "parallel" not in plain
