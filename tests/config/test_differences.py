"""What makes two configs differ, and what does not."""

from configs import small
from textsr_jax.config.checks import checked
from textsr_jax.config.differences import first_difference, same_network

TBSRN = checked(small.get_config("tbsrn"))


def test_dropout_makes_no_other_network():
    other = TBSRN.replace(sr={"tbsrn": {"dropout": 0.1}}, ocr={"cdistnet": {"dropout": 0.3}})
    assert same_network(TBSRN, other, "sr") and same_network(TBSRN, other, "ocr")
    other = TBSRN.replace(sr={"tbsrn": {"blocks": 7}})
    assert not same_network(TBSRN, other, "sr") and same_network(TBSRN, other, "ocr")


def test_the_first_difference_is_that_of_a_field_that_changes_models():
    free = TBSRN.replace(stages="stage2", decoding={"temperature": 2.0}, data={"data_dir": "x"})
    free = free.replace(parallel={"pmap": True})
    assert first_difference(TBSRN, free) is None
    other = free.replace(stage2={"images": "hr"}, seed=1)
    assert first_difference(TBSRN, other) == ("seed", 0, 1)


def test_sizes_of_networks_that_are_not_used_make_no_difference():
    """As those of networks that are newer than a workdir."""
    sizes = {"abinet": {"hidden": 8}, "prior": {"hidden": 8}, "tsrn": {"channels": 8}}
    other = TBSRN.replace(sr=sizes, ocr={"crnn": {"hidden": 8}})
    assert first_difference(TBSRN, other) is None
    other = other.replace(sr={"tbsrn": {"dropout": 0.5}})
    assert first_difference(TBSRN, other) == ("sr.tbsrn.dropout", 0.0, 0.5)
    lemma = TBSRN.replace(sr={"name": "lemma"})
    assert first_difference(lemma, lemma.replace(sr=sizes))[0] == "sr.abinet.hidden"
