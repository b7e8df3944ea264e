"""Checks rules, configs of them, and that the named sets select the paper's tensors."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from benchmarks.golden import vectors as golden_vectors
from configs import paper
from textsr_jax import convert
from textsr_jax.convert.table import leaves
from textsr_jax.errors import UserError
from textsr_jax.quantization import RULE_SETS, Rule, layer_types, rule_set, selection
from textsr_jax.quantization.rules import (
    GRANULARITIES,
    GROUP_SIZES,
    first_match,
    from_config,
    to_config,
)

NETWORKS = ("edsr", "tbsrn", "cdistnet")
STATISTICS = r".*\b(mean|var)"


def sizes(name):
    """{path: elements} of the leaves of a full-size network, the STN in front of an SR model."""
    if name == "edsr":
        return {path: leaf.size for path, leaf in leaves(convert.network(name, stn=True).template)}
    return {path: leaf.size for path, leaf in leaves(golden_vectors.network(name).template)}


@pytest.fixture(scope="module")
def networks():
    return {name: sizes(name) for name in NETWORKS}


def selected(paths, name):
    rules = rule_set(name, 4)
    return {path for path in paths if first_match(rules, path)}


def groups(paths):
    """Modules that hold the leaves at `paths`, without numbers."""
    return {re.sub(r"/\d+", "", path).rpartition("/")[0] for path in paths}


def test_first_match_wins_and_whole_paths_count():
    rules = [Rule("head/bias", None), Rule("head/.*", 4), Rule(".*kernel", 6)]
    assert first_match(rules, "head/bias") is None
    assert first_match(rules, "head/kernel").bits == 4
    assert first_match(rules, "body/0/kernel").bits == 6
    assert first_match(rules, "body/head/bias") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "a("}, r"rule 'a\(': not a regular expression"),
        ({"pattern": "a{99999999999}"}, "not a regular expression"),
        ({"pattern": 7}, "rule 7: not a regular expression"),
        ({"bits": 9}, "rule 'a': 9 bits; use 2 to 8, or none"),
        ({"bits": float("nan")}, "nan bits; use 2 to 8"),
        ({"bits": "4"}, "bits '4'; use a number or none"),
        ({"bits": True}, "bits True; use a number or none"),
        ({"bits": 3.5}, "3.5 bits; only granularity channel-bits takes fractions"),
        ({"bits": 3.5, "granularity": "channel"}, "only granularity channel-bits"),
        (
            {"prior": "cauchy"},
            "rule 'a': prior 'cauchy'; use one of laplace, gaussian, minmax, least_squares, auto",
        ),
        ({"granularity": "row"}, "rule 'a': granularity 'row'; use one of tensor, channel"),
        ({"correct": "no"}, "rule 'a': correct 'no'; use true or false"),
        ({"correct": True, "granularity": "group"}, "granularity group corrects nothing; leave"),
        ({"group_size": 48}, "rule 'a': group_size 48; use one of 32, 64, 128"),
        ({"group_size": True}, "rule 'a': group_size True; use one of"),
    ],
)
def test_bad_rules_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Rule(**{"pattern": "a", "bits": 4, **settings})


def test_broken_bits_are_for_channels():
    assert Rule("a", 3.5, granularity="channel-bits").bits == 3.5
    assert Rule("a", 4.0).bits == 4


def test_sets_have_their_settings_in_every_rule_and_unknown_ones_a_hint():
    for rule in rule_set("edsr-sr", 3.5, "auto", "channel-bits", True, 32):
        assert rule == Rule(rule.pattern, 3.5, "auto", "channel-bits", True, 32)
    with pytest.raises(UserError, match="there is no rule set 'edsr-st'; did you mean 'edsr-st"):
        rule_set("edsr-st", 4)
    with pytest.raises(UserError, match="'xyz'; take one of edsr-convolution, "):
        rule_set("xyz", 4)


# What the paper quantises in Table 2: live parameters in the set, and modules that it leaves out.
SELECTIONS = {
    "edsr": ("edsr-sr", 40_217_128, {"edsr/upsample", "edsr/tail"}),
    "tbsrn": (
        "tbsrn-sr",
        2_908_392,
        {
            *(f"tbsrn/blocks/convs/{name}" for name in ("bn1", "bn2")),
            *(f"tbsrn/blocks/enhancer/{name}" for name in ("norm1", "norm2")),
            *(f"tbsrn/{name}" for name in ("head", "body_end", "body_end_bn", "tail")),
            "tbsrn",  # the PReLU's slope
        },
    ),
    "cdistnet": ("cdistnet-ocr", 22_725_416, None),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_papers_sets_select_the_papers_parameters(networks, network):
    name, count, left = SELECTIONS[network]
    assert selection(network) == name
    paths = networks[network]
    chosen = selected(paths, name)
    assert sum(paths[path] for path in chosen) == count
    others = {path for path in paths.keys() - chosen if not re.fullmatch(STATISTICS, path)}
    if left is not None:
        assert groups(others) == left


def test_cdistnet_ocr_selects_projections_and_the_decoders_linear_layers(networks):
    streams = ("positional", "visual", "semantic")
    assert groups(selected(networks["cdistnet"], "cdistnet-ocr")) == {
        "encoder/qkv",
        "encoder/out_proj",
        *(
            f"mdcdp/{stream}/{part}"
            for stream in streams
            for part in ("linear1", "linear2", "out_proj")
        ),
        "mdcdp/positional/qkv",
        *(
            f"mdcdp/{stream}/{part}"
            for stream in ("visual", "semantic")
            for part in ("query", "key_value")
        ),
        "positional_branch/linear1",
        "positional_branch/linear2",
        "rectifier/fc1",
        "rectifier/fc2",
    }


def test_networks_that_the_paper_left_alone_have_their_kernels_selected():
    for network in ("crnn", "tsrn", "bicubic"):
        assert selection(network) == "kernels"
        assert layer_types(network) == []
    paths = sizes("crnn")
    kernels = selected(paths, "kernels")
    assert kernels == {path for path in paths if path.endswith("/kernel")}
    assert kernels


@pytest.mark.parametrize("network", NETWORKS)
def test_all_is_every_parameter_and_no_statistic(networks, network):
    paths = networks[network]
    assert paths.keys() - selected(paths, "all") == {
        path for path in paths if re.fullmatch(STATISTICS, path)
    }


# A block holds layers of several types; so do these, which are blocks.
BLOCKS = {"edsr-head", "edsr-body", "edsr-tail"}
BLOCKS |= {f"{network}-stn" for network in ("edsr", "tbsrn", "tpgsr", "tatt", "lemma")}


@pytest.mark.parametrize("network", (*NETWORKS, "tpgsr", "tatt", "lemma"))
def test_every_layer_type_selects_something_and_types_do_not_overlap(networks, network):
    paths, names = networks.get(network) or sizes(network), layer_types(network)
    parts = {name: selected(paths, name) for name in names}
    assert all(parts.values())
    types = [name for name in names if name not in BLOCKS]
    for one, other in itertools.combinations(types, 2):
        assert not parts[one] & parts[other], (one, other)
    for one, other in itertools.combinations([name for name in names if name in BLOCKS], 2):
        assert not parts[one] & parts[other], (one, other)
    # The types together are every parameter, but for the slopes of PReLUs.
    slope = re.compile(r".*/slope|.*/slopes/\d+")
    everything = {path for path in selected(paths, "all") if not slope.fullmatch(path)}
    assert set().union(*(parts[name] for name in types)) == everything


def test_blocks_of_edsr_are_every_parameter_too(networks):
    parts = [selected(networks["edsr"], name) for name in sorted(BLOCKS) if "edsr" in name]
    assert set().union(*parts) == selected(networks["edsr"], "all")


def test_sets_are_for_one_network(networks):
    for name in set(RULE_SETS) - {"kernels", "all"}:
        home = name.partition("-")[0]
        for network in NETWORKS:
            found = {path for path in selected(networks[network], name) if path[:3] != "stn"}
            assert network == home or not found


def settings(**changes):
    """`config.quantization.sr` of the paper's config, some fields changed."""
    return paper.quantization().to_dict() | changes


def test_a_config_without_changes_is_the_papers():
    assert from_config(settings(), "edsr", "f") == rule_set("edsr-sr", 8)
    assert from_config(settings(), "crnn", "f") == rule_set("kernels", 8)
    assert from_config(ConfigDict(settings()), "edsr", "f") == rule_set("edsr-sr", 8)
    assert from_config(settings(set="none"), "edsr", "f") == ()


def test_rules_of_a_config_come_before_its_set_with_its_settings_where_they_have_none():
    config = settings(
        set="edsr-head",
        bits=5,
        prior="auto",
        granularity="channel",
        correct=True,
        rules=[
            {"pattern": "edsr/head/bias", "bits": None},
            {"set": "edsr-tail", "bits": 3, "prior": "minmax", "granularity": "tensor"},
            {"pattern": "x", "correct": False, "granularity": "group", "group_size": 128},
        ],
    )
    for form in (config, ConfigDict(config)):
        assert from_config(form, "edsr", "f") == (
            Rule("edsr/head/bias", None, "auto", "channel", True),
            *rule_set("edsr-tail", 3, "minmax", "tensor", True),
            Rule("x", 5, "auto", "group", False, 128),
            *rule_set("edsr-head", 5, "auto", "channel", True),
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": "edsr"}, "^config.quantization.sr: there is no rule set 'edsr'"),
        ({"bits": 1}, "^config.quantization.sr: rule '.*': 1 bits"),
        ({"rules": [{"bits": 4}]}, r"sr: rules\[0\]: must be a mapping with either"),
        ({"rules": [{"set": "all", "pattern": "x"}]}, r"rules\[0\]: must be a mapping with either"),
        ({"rules": ["edsr-head"]}, r"rules\[0\]: must be a mapping"),
        (
            {"rules": [{"set": "all"}, {"set": "all", "bit": 4}]},
            r"rules\[1\]: there is no setting 'bit'; take bits, prior, granularity, correct, gr",
        ),
        ({"rules": [{"pattern": "(", "bits": 4}]}, r"rules\[0\]: rule '\(': not a regular"),
        ({"rules": [{"set": "x"}]}, r"rules\[0\]: there is no rule set 'x'"),
    ],
)
def test_bad_configs_are_refused_by_place(changes, message):
    with pytest.raises(UserError, match=message):
        from_config(settings(**changes), "edsr", "config.quantization.sr")


PRIORS = st.sampled_from(["laplace", "gaussian", "minmax", "auto", "least_squares"])
RULES = st.builds(
    lambda pattern, bits, prior, ways, size: Rule(pattern, bits, prior, *ways, size),
    st.sampled_from([".*", ".*/kernel", "edsr/head/.*"]),
    st.none() | st.integers(2, 8),
    PRIORS,
    # Granularity, and whether moments are corrected: not those of groups and layers.
    st.sampled_from(
        [(name, False) for name in GRANULARITIES] + [(name, True) for name in GRANULARITIES[:3]]
    ),
    st.sampled_from(GROUP_SIZES),
)


@given(st.lists(RULES, max_size=3))
def test_a_config_asks_for_the_rules_that_were_used(rules):
    asked = to_config(rules, settings(), "edsr")
    assert from_config(asked, "edsr", "file") == tuple(rules)
    assert asked.keys() == settings().keys()


@given(st.integers(2, 8), PRIORS)
def test_other_bits_and_another_prior_leave_the_set_its_name(bits, prior):
    own = settings(set="kernels")
    rules = from_config({**own, "bits": bits, "prior": prior}, "edsr", "flags")
    asked = to_config(rules, own, "edsr")
    assert asked == {**own, "bits": bits, "prior": prior}
