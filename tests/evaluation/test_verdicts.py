"""Whether a model reads the page: what few documents, equal scores and wide intervals allow to say."""

import math

import pytest

from medvl.evaluation.evaluation import Ablation, does_it_read
from medvl.evaluation.gate import BeforeAfter
from medvl.metrics import summarize, summary_table
from medvl.metrics.confidence import intervals, paired, sentence


def rows(shares, measure="exact"):
    return [
        {"id": str(at), "document": str(at), "reference": "r", "scores": {measure: [share, 1.0]}}
        for at, share in enumerate(shares)
    ]


def reads(with_page, without, measure="exact"):
    return does_it_read(rows(with_page, measure), rows(without, measure), Ablation.blank, measure)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("blank", [0.0, 1.0])
def test_a_perfect_score_on_few_documents_cannot_tell_whether_it_reads(count, blank):
    said = reads([1.0] * count, [blank] * count)
    assert said.startswith("Cannot tell whether it reads: exact match 100.00 % with the page")
    assert f"{count} document{' is' if count == 1 else 's are'} too few. Set eval.limit higher." in said
    assert ("100.0 points survive" in said) == bool(blank)


def test_enough_documents_tell_whether_it_reads():
    assert reads([1.0] * 6, [0.0] * 6).startswith("It reads")
    assert reads([0.1] * 6, [0.9] * 6, "cer").startswith("It reads")
    assert reads([0.5] * 6, [0.5] * 6).startswith("It does not read")
    assert reads([0.1] * 6, [0.9] * 6).startswith("It does not read")


def test_an_interval_on_both_sides_of_0_cannot_tell_whether_it_reads():
    said = reads([1, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 1, 0, 0, 0])
    assert said.startswith("Cannot tell whether it reads") and "the interval holds 0" in said


@pytest.mark.filterwarnings("error")
def test_a_score_that_is_no_number_decides_nothing():
    broken = rows([math.nan, *[0.1] * 7], "cer")
    good = rows([0.5] * 8, "cer")
    for a, b in ((good, broken), (broken, good)):
        got = paired(a, b)["cer"]
        assert got.verdict == "cannot tell" and got.low is None and got.high is None
        assert sentence("cer", got).startswith("Cannot tell") and "no number" in sentence("cer", got)
    assert intervals(broken) == {"cer": None}
    assert summary_table({"test": summarize(broken)}).split()[-1] == "n/a"
    contrast = BeforeAfter(
        title="x", objective="cer", before=(good, summarize(good)), after=(broken, summarize(broken))
    )
    assert contrast.difference.verdict == "cannot tell"


def test_runs_without_any_difference_cannot_be_told_apart():
    got = paired(rows([1.0] * 8), rows([1.0] * 8))["exact"]
    assert (got.low, got.high, got.verdict) == (0, 0, "cannot tell")
