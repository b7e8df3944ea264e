"""Which LMDBs `config.data.words` names, and how the words are shared among them."""

import pytest

from configs import tiny
from textsr_jax.config.checks import checked
from textsr_jax.config.differences import first_difference, plain
from textsr_jax.config.word_sources import parts
from textsr_jax.errors import UserError


@pytest.mark.parametrize(
    ("value", "shares"),
    [
        ("", []),
        ("mj", [("mj", 1)]),
        ("mj, st", [("mj", 0.5), ("st", 0.5)]),
        ("mj:0.4,st:.4", [("mj", 0.4), ("st", 0.4)]),
        ("mj:0.25,st,more", [("mj", 0.25), ("st", 0.375), ("more", 0.375)]),
        ("gs://bucket/mj,/a:b/st:0.5", [("gs://bucket/mj", 0.5), ("/a:b/st", 0.5)]),
    ],
)
def test_lmdbs_without_a_part_share_what_the_others_leave(value, shares):
    assert parts(value) == shares
    config = tiny.get_config()
    config.data.words = value
    assert checked(config).data.words == value


@pytest.mark.parametrize(
    "value", ["mj:0", "mj:2", "mj:0.6,st:0.6", "mj:1,st", "mj,,st", ":0.5", ","]
)
def test_parts_that_cannot_be_are_one_line(value):
    config = tiny.get_config()
    config.data.words = value
    with pytest.raises(UserError, match=r"^config\.data\.words='.*': must be PATH or PATH:PART"):
        checked(config)


def test_a_run_goes_on_with_the_same_words_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = checked(tiny.get_config()).replace(data={"words": "mj:0.5,st"})
    assert plain(config)["data"]["words"] == f"{tmp_path}/mj:0.5,{tmp_path}/st"
    assert first_difference(config, config.replace(data={"words": f"mj:0.5,{tmp_path}/st"})) is None
    assert first_difference(config, config.replace(data={"words": "mj:0.4,st"}))[0] == "data.words"
