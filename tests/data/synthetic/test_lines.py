"""Drawn lines: the same seed gives the same line, and its words stand where it says."""

import numpy as np

from textsr_jax.data.synthetic import lettering, lines


def test_words_of_a_flat_line_begin_and_end_with_their_ink(monkeypatch):
    monkeypatch.setattr(lettering, "NEIGHBOURED", 0.0)
    for seed in range(12):
        drawn = lettering.letter("MIN 27 HIM", np.random.default_rng(seed), gap=1.5)
        columns = np.asarray(drawn.ink).max(axis=0) > 64
        (_, first), (left, right), (last, _) = drawn.words
        for start, end in ((first, left), (right, last)):
            assert not columns[round(start) + 6 : round(end) - 6].any()
        assert columns[round(left) - 1 : round(right) + 1].any()
        inked = np.flatnonzero(columns[round(first) + 6 : round(last) - 6]) + round(first) + 6
        assert abs(inked[0] - left) < 7 and abs(inked[-1] + 1 - right) < 7


def test_lines_have_letters_where_words_are_and_none_between_them():
    differences = []
    for seed in range(60):
        line = lines.draw(np.random.default_rng(seed))
        height, width = line.image.shape[:2]
        assert (height, line.image.dtype) == (32, np.uint8) and width <= 256
        rows = line.image.mean(axis=2).std(axis=0)
        inside = np.zeros(width, bool)
        for left, right in line.words.round().astype(int).tolist():
            inside[max(0, left) : max(0, right)] = True
        between = ~inside
        if inside.any() and between.sum() > 5:
            differences.append(rows[inside].mean() - rows[between].mean())
    assert len(differences) > 40 and np.mean(np.array(differences) > 0) > 0.9


def test_the_same_seed_gives_the_same_line():
    first, second, other = (lines.draw(np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.words, second.words)
    assert first.image.shape != other.image.shape or (first.image != other.image).any()
