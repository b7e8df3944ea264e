"""The one call for a lent GPU: what it measures first, and what a cut or an error leaves."""

import json

import pytest

from benchmarks import accelerator, drawing, parts, train


def test_the_order_is_that_of_worth(tmp_path):
    made = accelerator.jobs([16, 64, 256], "bfloat16", 3, str(tmp_path), gpu=True)
    assert list(made) == [
        *("parts of stage1, batch 16", "parts of stage2, batch 16"),
        *("stage1 beside PyTorch", "stage2 beside PyTorch", "drawing"),
        *("parts of stage1, batch 64", "parts of stage2, batch 64"),
        *("parts of stage1, batch 256", "parts of stage2, batch 256"),
    ]


def test_a_job_measures_what_its_name_says(tmp_path, monkeypatch):
    measured = []

    def measure(stage, config, batch, runs):
        measured.append((stage, config.sr.dtype, len(batch), runs))
        return {"stage": stage}

    monkeypatch.setattr(train, "training_batches", lambda stage, c, size, f: iter([[0] * size]))
    monkeypatch.setattr(parts, "measure", measure)
    monkeypatch.setattr(parts, "print_parts", lambda rows: None)
    monkeypatch.setattr(drawing, "measure", lambda **given: given)
    monkeypatch.setattr(drawing, "print_results", lambda results: None)
    made = accelerator.jobs([16, 64], "bfloat16", 3, str(tmp_path), gpu=True)
    assert made["parts of stage2, batch 64"]() == {"stage": "stage2"}
    assert measured == [("stage2", "bfloat16", 64, 3)]
    assert made["drawing"]()["batches"] == [64, 256]


def test_a_cut_or_an_error_leaves_what_was_measured(tmp_path, monkeypatch):
    out, now, seen = tmp_path / "figures.json", [0.0], []

    def job(result):
        def run():
            if out.exists():
                seen.append(json.loads(out.read_text()))
            now[0] += 100
            if isinstance(result, Exception):
                raise result
            return result

        return run

    monkeypatch.setattr(accelerator.time, "perf_counter", lambda: now[0])
    made = {
        "one": job({"ms": 1}),
        "two": job(MemoryError("no space\nfor it")),
        "three": job({"ms": 3}),
        "four": job({"ms": 4}),
    }
    accelerator.run(made, str(out), {"machine": "m"}, minutes=4)
    # What a kill during the second and the third would have left.
    assert [list(left["measured"]) for left in seen] == [["one"], ["one"]]
    assert seen[0]["left_out"] == ["two", "three", "four"]
    assert json.loads(out.read_text()) == {
        "machine": "m",
        "measured": {"one": {"ms": 1}, "three": {"ms": 3}},
        "seconds": {"one": 100, "two": 100, "three": 100},
        "failed": {"two": "no space"},
        "left_out": ["four"],
    }


@pytest.mark.parametrize(("value", "wrong"), [(["16", "1"], "1"), (["a"], "a")])
def test_batches_of_one_or_of_no_number_are_one_line(value, wrong):
    with pytest.raises(train.UserError, match=f"'{wrong}' is no whole number from 2 on"):
        train.batch_sizes(value)
