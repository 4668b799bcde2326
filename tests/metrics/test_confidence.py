"""Intervals, paired differences and the comparison of two run directories."""

import json

import numpy as np
import pytest

from medvl.evaluation.comparison import compare
from medvl.metrics.confidence import enough, intervals, paired, sentence
from medvl.record.directory import Record


def rows(shares, per_document=1, measure="cer", **more):
    """Rows with one document per share, each with `per_document` equal rows."""
    return [
        {"id": f"{at}-{page}", "document": str(at), "reference": "r", "scores": {measure: [share, 1.0]}, **more}
        for at, share in enumerate(shares)
        for page in range(per_document)
    ]


NOISE = np.random.default_rng(1).normal(0, 0.1, 60)


def test_an_interval_is_that_of_the_mean():
    """The middle 95 % of means of 60 normal values are within 1.96 standard errors."""
    low, high = intervals(rows(0.5 + NOISE))["cer"]
    mean, error = 0.5 + NOISE.mean(), NOISE.std() / np.sqrt(60)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)


def test_pages_of_one_document_are_no_news():
    """Ten copies of every page add no information: the bootstrap draws documents, not pages."""
    assert intervals(rows(0.5 + NOISE, 10))["cer"] == pytest.approx(intervals(rows(0.5 + NOISE))["cer"])


def test_sums_weigh_documents_by_their_size():
    """Errors 1 of 1 and 0 of 99: the draws are 0, 1/100 and 1, so their middle half is 1/100 throughout."""
    made = [{"document": "a", "scores": {"cer": (1, 1)}}, {"document": "b", "scores": {"cer": (0, 99)}}]
    assert intervals(made, level=0.4)["cer"] == pytest.approx((0.01, 0.01)) and intervals(made)["cer"] == (0, 1)


def test_one_document_has_no_interval():
    made = rows([0.5], 4)
    assert intervals(made) == {"cer": None} and intervals([]) == {}
    got = paired(made, rows([0.1], 4))["cer"]
    assert got.verdict == "cannot tell" and got.low is None and got.documents == 1
    assert "one document only" in sentence("cer", got)


def test_what_pairing_sees():
    """The intervals of runs that differ by 0.02 on documents that differ by 0.1 overlap, unless runs are paired."""
    a, b = rows(0.5 + NOISE), rows(0.48 + NOISE)
    assert intervals(a)["cer"][0] < intervals(b)["cer"][1]
    got = paired(a, b)["cer"]
    assert [got.difference, got.low, got.high] == pytest.approx([-0.02] * 3) and got.verdict == "better"
    assert paired(b, a)["cer"].verdict == "worse"
    assert paired(rows(0.5 + NOISE, measure="exact"), rows(0.48 + NOISE, measure="exact"))["exact"].verdict == "worse"


def test_a_difference_of_chance():
    got = paired(rows(0.5 + NOISE), rows(0.5 + NOISE[::-1]))["cer"]
    assert got.verdict == "cannot tell" and got.low < 0 < got.high and "holds 0" in sentence("cer", got)
    assert paired(rows(NOISE), rows(NOISE))["cer"].verdict == "cannot tell"


def test_few_documents_decide_nothing():
    assert not enough(5) and enough(6)
    got = paired(rows([0.5] * 5), rows([0.1] * 5))["cer"]
    assert got.high < 0 and got.verdict == "cannot tell" and "too few" in sentence("cer", got)
    assert paired(rows([0.5] * 6), rows([0.1] * 6))["cer"].verdict == "better"


def test_rows_that_do_not_match():
    with pytest.raises(ValueError, match="no example in common"):
        paired(rows([0.5]), [])
    with pytest.raises(ValueError, match="reference of 1 of 2 examples differs, that of 1-0"):
        other = rows([0.5, 0.5])
        other[1]["reference"] = "else"
        paired(rows([0.5, 0.5]), other)
    with pytest.raises(ValueError, match="twice"):
        paired(rows([0.5]) * 2, rows([0.5]))


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a run directory."""

    def write(name, predictions, objective=None):
        record = Record(tmp_path / name)
        (record.path / "config.yaml").write_text("")
        record.status("done", **({"objective": {"name": objective}} if objective else {}))
        if predictions is not None:
            record.predictions(predictions)
        return record.path

    return write


def test_a_comparison_of_two_runs(run):
    a = run("a", rows(0.5 + NOISE))
    b = run("b", [*rows(0.4 + NOISE)[1:], {**rows([0])[0], "id": "new"}], "cer")
    got = compare(a, b)
    assert got.examples == got.documents == 59 and got.left_out == 2 and got.objective == "cer"
    header, line = got.table.splitlines()
    assert header.split() == ["a", "b", "b", "-", "a", "95", "%", "interval", "b", "is"]
    assert line.split()[-4:] == ["-10.00", "[-10.00,", "-10.00]", "better"]
    assert got.sentence.startswith("b is better than a: character error rate")
    assert "2 that only one of them scored are left out" in str(got)


def test_the_objective_of_a_sweep_is_what_is_said(run):
    made = [{**row, "scores": {"cer": [0.1, 1], "anls": [0.5, 1]}} for row in rows(NOISE)]
    assert compare(run("a", made), run("b", made, "anls")).objective == "anls"
    assert compare(run("a", made), run("b", made, "critical")).objective == "cer"


def test_runs_that_cannot_be_compared(run, tmp_path):
    good = run("good", rows([0.5]))
    with pytest.raises(ValueError, match="not a run directory"):
        compare(good, tmp_path / "none")
    with pytest.raises(ValueError, match=r"no predictions.jsonl .*evaluate.py run="):
        compare(good, run("empty", None))
    with pytest.raises(ValueError, match=r"another version.*evaluate.py run="):
        compare(good, run("old", [{"id": "0-0", "cer": 0.5}]))
    with pytest.raises(ValueError, match=r"no example in common.*same data"):
        compare(good, run("other", [{**rows([0.5])[0], "id": "x"}]))
    with pytest.raises(ValueError, match="no measure in common"):
        compare(good, run("task", rows([0.5], measure="anls")))
    assert json.loads((good / "status.json").read_text())["state"] == "done"
