"""Characters: the label format of all systems, and its turn into each system's tokens."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax import text

words = st.lists(st.text(text.ALPHABET, min_size=1, max_size=8), min_size=1, max_size=4)


def test_normalize_keeps_what_textzoom_scores():
    assert text.normalize("St. John's-7!") == "stjohns7"
    assert text.normalize("Ünï…") == "n"
    assert text.normalize("…") == ""


@given(st.text(max_size=30))
def test_normalize_is_idempotent_and_stays_in_the_alphabet(label):
    word = text.normalize(label)
    assert text.normalize(word) == word
    assert set(word) <= set(text.ALPHABET)


@pytest.mark.parametrize(
    ("label", "folded"),
    [
        ("café", "cafe"),
        ("cafe\u0301", "cafe"),
        ("ﬁnd", "find"),
        ("ＯＰＥＮ２４", "OPEN24"),
        ("Ångström x²", "Angstrom x2"),
        # These have no plain form.
        ("straße, Øl, улица", "straße, Øl, улица"),
    ],
)
def test_folding_gives_letters_their_plain_forms(label, folded):
    assert text.fold(label) == folded


@given(st.text(max_size=30))
def test_folding_is_idempotent_and_keeps_what_is_plain(label):
    once = text.fold(label)
    assert text.fold(once) == once
    assert text.fold(text.normalize(label)) == text.normalize(label)
    # As PARSeq counts letters: all ASCII of the compatible forms.
    ascii_ = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    assert text.normalize(once) == text.normalize(ascii_)


@given(words)
def test_cdistnet_tokens_decode_to_the_same_words(labels):
    tokens = np.asarray(text.cdistnet_tokens(text.encode(labels, 8)))
    assert (tokens[:, 0] == text.START).all()
    assert ((tokens == text.END).sum(axis=1) == 1).all()
    assert text.decode_tokens(tokens) == labels


def test_cdistnet_tokens_of_a_known_word():
    tokens = text.cdistnet_tokens(text.encode(["a0", "abc"], 3))
    assert tokens.tolist() == [[2, 14, 4, 3, 0], [2, 14, 15, 16, 3]]


def test_focus_tokens_of_known_words():
    inputs, targets, mask = text.focus_tokens(text.encode(["a0", "z"], 2))
    assert inputs.tolist() == [[0, 11, 1], [0, 36, 0]]
    assert targets.tolist() == [[11, 1, 0], [36, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_decoding_stops_at_end_and_pad_and_leaves_out_unknown():
    tokens = [[text.START, 14, 1, 15, text.END, 16], [14, text.PAD, 15, 15, 15, 15]]
    assert text.decode_tokens(np.array(tokens)) == ["ab", "a"]


def test_a_label_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="'abcd' has 4 characters; at most 3"):
        text.encode(["abcd"], 3)


@given(words)
def test_character_indices_are_the_classes_of_ctc_and_never_its_blank(labels):
    alphabet = "-0123456789abcdefghijklmnopqrstuvwxyz"
    assert len(alphabet) == text.NUM_CTC_CLASSES
    for label, row in zip(labels, text.encode(labels, 8), strict=True):
        assert "".join(alphabet[index] for index in row).rstrip(alphabet[text.BLANK]) == label
