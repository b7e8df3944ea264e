"""Whole photographs in bulk: the rows are what `read.py --page --format=jsonl` writes of each."""

import json
import pickle

import numpy as np
from PIL import Image
from pyarrow import parquet

from tests.bulk.test_words import Shades, striped
from textsr_jax import reading
from textsr_jax.bulk import plans
from textsr_jax.bulk.parts import PartReader, counts_of
from textsr_jax.bulk.places import find
from textsr_jax.photos import detector, page_reading


class TwoLines:
    """Finds a line in the left and one in the right half, where an image is not blank."""

    def looks(self, image):
        height, width = image.shape[:2]
        corners = np.array([[0, 0], [width / 2, 0], [width / 2, height], [0, height]], float)
        found = [corners, np.add(corners, [width / 2, 0])] if image.any() else []
        return [np.array(found).reshape(-1, 4, 2)]


def test_words_with_their_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "shipped", TwoLines)
    photographs, out = tmp_path / "photographs", find(str(tmp_path / "out"))
    photographs.mkdir()
    both = np.concatenate([striped(100), striped(120)], axis=1)
    Image.fromarray(both).save(photographs / "a.png")
    Image.fromarray(np.zeros_like(both)).save(photographs / "blank.png")
    whole = (photographs / "a.png").read_bytes()
    (photographs / "cut.png").write_bytes(whole[: len(whole) // 2])
    source, files = plans.find_source(str(photographs))
    settings = {"source": source.name, "sr": False, "pages": True, "reader": ""}
    plan = plans.write(out, plans.make(source, files), settings)
    reader = reading.Reader(Shades())
    PartReader(plan, source, pickle.dumps(reader), 0)({"part": np.arange(plan.parts)})
    rows = [
        row
        for part in range(plan.parts)
        for row in parquet.read_table(tmp_path / "out" / plans.result_file(part)).to_pylist()
    ]
    assert [row["id"] for row in rows] == ["a.png", "blank.png", "cut.png"]
    page = page_reading.read_page(both, reader)
    assert "shade100" in page.text and "shade120" in page.text
    expected = json.loads(page.to_json("a.png"))["words"]
    assert (rows[0]["text"], rows[0]["words"]) == (page.text, expected)
    assert rows[0]["error"] is None
    assert (rows[1]["text"], rows[1]["words"], rows[1]["error"]) == ("", [], None)
    assert (rows[2]["text"], rows[2]["words"]) == (None, None)
    assert "cut.png: cannot read it (image file is truncated)" in rows[2]["error"]
    counts = sum((counts_of(out, part) for part in range(1, plan.parts)), counts_of(out, 0))
    assert counts.crops == 3
    assert dict(counts.errors) == {"cannot read it (image file is truncated)": 1}
