"""Scores by hand, and the examples that stand in docstrings."""

import doctest
import importlib

import pytest

from medvl.measures import score, summarize, values_in
from medvl.table import table

REFERENCE = "Aspirin 81 mg daily, BP 120/80 mmHg"


def test_a_score_by_hand():
    """Aspirin is found, heparin is not; 81 mg is found, 120/80 mmHg is not; one of 35 characters is missing."""
    said = "Aspirin 81 mg daily, BP 12/80 mmHg"
    got = score(REFERENCE, said, ["aspirin", "heparin"], ["81 mg", "120/80 mmHg"])
    assert got == {"term": 0.5, "value": 0.5, "combined": 0.5, "cer": 1 / 35, "exact": 0.0}


def test_the_seeds_definition_is_a_substring():
    assert score("x", "15", [], ["5"])["value"] == 1.0
    assert score("x", "ASPIRIN", ["aspirin"], [])["combined"] == 1.0


def test_what_is_not_expected_is_not_scored():
    assert score("abc", " abc\n", [], []) == {"term": None, "value": None, "combined": None, "cer": 2 / 3, "exact": 1.0}


def test_a_summary_divides_once():
    rows = [
        {"reference": "a" * 10, **score("a" * 10, "", ["x"], [])},
        {"reference": "b" * 90, **score("b" * 90, "b" * 90, [], [])},
    ]
    got = summarize(rows)
    assert got["cer"] == pytest.approx(0.1) and got["term"] == 0.0 and got["exact"] == 0.5
    assert got["value"] is None and got["examples"] == 2


def test_values():
    text = "Na 138 mEq/L, WBC 7.4, FiO2 40 %, 1,200 mL/hr, on 2014-03-19; 5 mcg/kg"
    assert values_in(text) == ["138 mEq/L", "7.4", "2", "40 %", "1,200 mL/hr", "2014-03-19", "5 mcg/kg"]


def test_a_table_shows_the_change():
    before, after = {"cer": 0.5, "exact": None}, {"cer": 0.25, "exact": 1.0}
    lines = table({"before": before, "after": after}).splitlines()
    assert lines[1].split() == ["character", "error", "rate", "50.00", "%", "25.00", "%", "-25.00"]
    assert lines[2].split() == ["exact", "match", "n/a", "100.00", "%"]


@pytest.mark.parametrize("name", ["geometry", "measures", "bench"])
def test_examples_in_docstrings(name):
    outcome = doctest.testmod(importlib.import_module(f"medvl.{name}"))
    assert outcome.attempted and not outcome.failed
