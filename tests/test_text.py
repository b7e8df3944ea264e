"""Characters: the label format of all systems, and its turn into each system's tokens."""

import unicodedata

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax import text

alphabets = st.sampled_from(list(text.ALPHABETS.values()))
words = st.lists(
    st.text(text.ALPHANUMERIC.characters, min_size=1, max_size=8), min_size=1, max_size=4
)


def test_normalize_keeps_what_textzoom_scores():
    assert text.normalize("St. John's-7!") == "stjohns7"
    assert text.normalize("Ünï…") == "n"
    assert text.normalize("…") == ""


@given(st.text(max_size=30))
def test_normalize_is_idempotent_and_stays_in_the_alphabet(label):
    word = text.normalize(label)
    assert text.normalize(word) == word
    assert set(word) <= set(text.ALPHANUMERIC.characters)


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


def test_the_alphabets_are_0_to_z_and_printable_ascii_behind_them():
    assert text.ALPHANUMERIC.characters == "0123456789abcdefghijklmnopqrstuvwxyz"
    assert sorted(text.PRINTABLE.characters) == [chr(code) for code in range(32, 127)]
    assert text.PRINTABLE.characters.startswith(text.ALPHANUMERIC.characters)
    assert text.PRINTABLE.characters.endswith("~ ")


def test_printable_keeps_what_can_be_written_and_spaces_between_words():
    assert text.PRINTABLE.normalize("St. John's-7!") == "St. John's-7!"
    assert text.PRINTABLE.normalize("  £5 £ für\t2 ") == "5 fr2"


@given(alphabets, st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_what_is_encoded_is_decoded(alphabet, labels):
    characters = alphabet.encode(labels, 24)
    tokens = np.asarray(text.cdistnet_tokens(characters))
    written = [alphabet.normalize(label) for label in labels]
    assert (tokens[:, 0] == text.START).all()
    assert ((tokens == text.END).sum(axis=1) == 1).all()
    assert tokens.max() < alphabet.num_tokens
    assert alphabet.decode_tokens(tokens) == written
    # Nothing more is lost the second time, and scores see no difference.
    assert [alphabet.normalize(word) for word in written] == written
    kept = [text.normalize(word) for word in written]
    assert kept == [text.normalize("".join(filter(str.isascii, label))) for label in labels]


to_alphanumeric = jax.jit(text.to_alphanumeric)


@given(st.lists(st.text(text.PRINTABLE.characters, max_size=9), min_size=3, max_size=3))
def test_the_text_focus_recogniser_reads_letters_and_digits_alone(labels):
    found = to_alphanumeric(text.PRINTABLE.encode(labels, 9))
    np.testing.assert_array_equal(found, text.ALPHANUMERIC.encode(labels, 9))
    plain = text.ALPHANUMERIC.encode(labels, 9)
    for written, expected in zip(
        text.focus_tokens(text.PRINTABLE.encode(labels, 9)), text.focus_tokens(plain), strict=True
    ):
        np.testing.assert_array_equal(written, expected)


def test_cdistnet_tokens_of_a_known_word():
    tokens = text.cdistnet_tokens(text.ALPHANUMERIC.encode(["a0", "abc"], 3))
    assert tokens.tolist() == [[2, 14, 4, 3, 0], [2, 14, 15, 16, 3]]


def test_focus_tokens_of_known_words():
    inputs, targets, mask = text.focus_tokens(text.ALPHANUMERIC.encode(["a0", "z"], 2))
    assert inputs.tolist() == [[0, 11, 1], [0, 36, 0]]
    assert targets.tolist() == [[11, 1, 0], [36, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_decoding_stops_at_end_and_pad_and_leaves_out_unknown():
    tokens = [[text.START, 14, 1, 15, text.END, 16], [14, text.PAD, 15, 15, 15, 15]]
    assert text.ALPHANUMERIC.decode_tokens(np.array(tokens)) == ["ab", "a"]


def test_a_label_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="'abcd' has 4 characters; at most 3"):
        text.ALPHANUMERIC.encode(["abcd"], 3)


@given(alphabets, words)
def test_character_indices_are_the_classes_of_ctc_and_never_its_blank(alphabet, labels):
    classes = "\0" + alphabet.characters
    assert len(classes) == alphabet.num_ctc_classes
    for label, row in zip(labels, alphabet.encode(labels, 8), strict=True):
        assert "".join(classes[index] for index in row).rstrip(classes[text.BLANK]) == label
