"""Scores against hand-computed and published values, and properties that hold for any text."""

import doctest
import importlib
import json
from datetime import timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvl.metrics import METRICS, score, summarize, summary_table, values_in
from medvl.metrics.scoring import entries
from medvl.metrics.text import anls, character_errors, found_share, plain, says_yes_or_no, token_f1, word_errors
from medvl.metrics.totals import Scores
from medvl.types import Example, Field

# The example in tests/metrics/score_test.py of github.com/shunk031/ANLS at 6472e1d (MIT); scores without its rounding.
COLA = ["Coca Cola", "Coca Cola Company"]
COLA_SCORES = {"The Coca": 0, "CocaCola": 8 / 9, "Coca cola": 1, "Cola": 0, "Cat": 0, " Coca cola": 1, "coca  COLA": 1}
ERRORS = ("cer_text", "cer", "wer", "omitted", "invented", "invalid_json")


def example(response, task="transcribe", **given):
    return Example(id="1", document="d", split="test", images=[], prompt="", response=response, task=task, **given)


def shares(made, prediction):
    return {name: above / below for name, (above, below) in score(made, prediction).items()}


def test_a_transcription_by_hand():
    """Aspirin is found, heparin is not; 81 mg is found, 120/80 mmHg is not; one of 35 characters is missing."""
    reference = "Aspirin 81 mg daily, BP 120/80 mmHg"
    made = example(reference, terms=["aspirin", "heparin"], values=["81 mg", "120/80 mmHg"], page_text=reference)
    assert score(made, "Aspirin 81 mg daily, BP 12/80 mmHg") == {
        "term": (0.5, 1),
        "value": (0.5, 1),
        "combined": (0.5, 1),
        "term_strict": (0.5, 1),
        "value_strict": (0.5, 1),
        "combined_strict": (0.5, 1),
        "cer_text": (1, 29),
        "cer": (1, 35),
        "wer": (1, 7),
        "exact": (0, 1),
        "invented": (1, 2),
    }


@pytest.mark.parametrize(
    ("reference", "prediction", "errors"),
    [
        ("Dose | 81 mg\nRoute | oral", "Dose  81 mg Route oral", 0),
        ("Dose | 81 mg", "| Dose | 81 mg |\n|---|:--:|\n", 0),  # a table of Markdown
        ("a |  | c", "ac", 0),
        ("81 mg\noral", "8 1mg oral", 0),
        ("Dose | 81 mg", "Dose 8l mg", 1),
        ("a - b", "a b", 1),  # a sign that stands on the page
        ("left | right", "right | left", 8),  # the order counts
        ("", "| 5", 1),
    ],
)
def test_layout_is_no_error_of_the_text(reference, prediction, errors):
    above, below = score(example(reference), prediction)["cer_text"]
    assert above == errors and below == max(1, len(reference.replace("|", "").replace(" ", "").replace("\n", "")))


def test_the_seeds_definition_is_a_substring():
    assert found_share(["5"], "15") == 1 and found_share(["aspirin", "bp"], "ASPIRIN for BPH") == 1
    assert found_share([], "x") is None


@pytest.mark.parametrize("text", ["15", "1.5", "5.2", "5,000", "5/8", "0.5", ".5", "2-5", "5:30", "B5", "5mg"])
def test_a_number_is_not_part_of_another(text):
    assert found_share(["5"], text) == 1 and found_share(["5"], text, strict=True) == 0


@pytest.mark.parametrize("text", ["It was 5.", "5, then 6", "(5)", "pH: 5", "5 mg", "5", "5;6"])
def test_a_number_beside_punctuation_counts(text):
    assert found_share(["5"], text, strict=True) == 1


@pytest.mark.parametrize(
    ("expected", "text"), [("mg", "5 mcg"), ("81 mg", "181 mg"), ("BP", "BPH"), ("81 mg", "81 mg/kg")]
)
def test_a_word_is_not_part_of_another(expected, text):
    assert found_share([expected], text, strict=True) == 0


def test_what_the_reference_has_within_a_word_stays_a_substring():
    """The baseline's pattern finds the 2 of FiO2 as a value, though it is never a word of its own."""
    assert found_share(["2"], "FiO2", strict=True, reference="FiO2") == 1
    assert found_share(["2"], "12", strict=True, reference="2 FiO2") == 0


def test_error_rates():
    assert character_errors("kitten", "sitting") == (3, 6)  # Levenshtein's own example
    assert word_errors("the cat sat on the mat", "the cat sat on mat") == (1, 6)
    assert (
        character_errors("", "ab") == (2, 1) and word_errors("", "") == (0, 1) and character_errors("ab", "") == (2, 2)
    )


@pytest.mark.parametrize(("said", "expected"), COLA_SCORES.items())
def test_anls_of_its_published_example(said, expected):
    assert anls(COLA, said) == pytest.approx(expected)


def test_anls_of_the_published_file(shared):
    vectors = json.loads(shared("anls/anls_test_vectors.json").read_text())["vectors"]
    for vector in vectors:
        assert anls(vector["gold"], vector["prediction"]) == pytest.approx(vector["exact_anls"], abs=1e-6)
    folder = shared("anls/test_fixtures/evaluation/evaluate_json")
    gold = {row["questionId"]: row["answers"] for row in json.loads((folder / "gold_label.json").read_text())["data"]}
    said = json.loads((folder / "submission.json").read_text())
    mean = sum(anls(gold[row["questionId"]], row["answer"]) for row in said) / len(gold)
    assert len(vectors) == 15 and mean == pytest.approx(0.377778, abs=1e-6)


def test_anls_of_empty_texts():
    assert anls([""], "") == 1 and anls(["x"], "") == 0 and anls([], "x") == 0


def test_a_short_answer():
    assert plain("The Heart, of a cell!") == "heart of cell" and plain("1.5") != plain("15")
    assert token_f1("a squamous cell carcinoma", "cell carcinoma") == 0.8  # 2 * 2 / (3 + 2)
    assert token_f1("", "") == 1 and token_f1("x", "") == 0
    assert says_yes_or_no("No.") == "no" and says_yes_or_no("Nodular") is None


def test_vqa_tells_closed_from_open_questions():
    assert shares(example("Yes", "vqa"), "yes, there is")["yes_no"] == 1
    assert shares(example("Yes", "vqa"), "yes, there is")["answer"] == 0
    got = shares(example("the lung", "vqa"), "Lung.")
    assert got["open"] == got["answer"] == got["token_f1"] == 1 and "yes_no" not in got


@pytest.mark.parametrize(
    ("task", "names"),
    {
        "transcribe": "term value combined term_strict value_strict combined_strict cer_text cer wer exact invented",
        "question": "cer_text cer wer exact answer anls token_f1 invented",
        "vqa": "cer_text cer wer exact answer open anls token_f1 invented",
        "caption": "term value combined term_strict value_strict combined_strict cer_text cer wer exact token_f1 "
        "invented",
        "list": "cer_text cer wer exact anls_star invented",
        "json": "term value combined term_strict value_strict combined_strict anls_star invalid_json invented "
        "field_precision field_recall field_f1 critical omitted",
        "extract": "term value combined term_strict value_strict combined_strict cer_text cer wer exact invented "
        "field_precision field_recall field_f1 critical omitted",
    }.items(),
)
def test_which_measures_apply_and_that_the_reference_is_perfect(task, names):
    fields = [Field(path="a", value="81 mg", type="dose", critical=True)]
    response = '{"a": "81 mg"}' if task == "json" else "81 mg"
    made = example(response, task, terms=["mg"], values=["81 mg"], page_text="81 mg", fields=fields)
    got = shares(made, response)
    assert set(got) == set(names.split()) <= set(METRICS)
    assert all(share == (name not in ERRORS) for name, share in got.items())


def test_nothing_expected_nothing_scored():
    assert set(shares(example(""), "")) == {"cer_text", "cer", "wer", "exact"}


def test_a_list_is_matched_in_any_order():
    made = example("aspirin\nheparin 1,200 units", "list")
    assert entries("- a\n2. b; c, d 1,200\n\n") == ["a", "b", "c", "d 1,200"]
    assert shares(made, "1. heparin 1,200 units\n2. aspirin")["anls_star"] == 1
    assert shares(made, "aspirin")["anls_star"] == 0.5 and shares(made, "")["anls_star"] == 0


def test_anls_star_of_a_structure():
    """Of three values one is right, one is similar by 7/8, one is missing: (1 + 7/8) / 3."""
    made = example('{"a": "x", "b": ["12345678", "other"]}', "json")
    assert shares(made, '{"b": ["12345679"], "a": "X"}')["anls_star"] == pytest.approx((1 + 7 / 8) / 3)
    assert shares(made, "none") == {"anls_star": 0, "invalid_json": 1}


def test_a_summary_divides_once():
    rows = [
        {"document": "1", "scores": score(example("a" * 10, terms=["x"]), "")},
        {"document": "1", "scores": score(example("b" * 90), "b" * 90)},
    ]
    got = summarize(rows)
    assert got["cer"] == pytest.approx(0.1) and got["term"] == 0 and got["exact"] == 0.5 and "value" not in got
    assert got["examples"] == 2 and got["documents"] == 1 and summarize([]) == {"examples": 0, "documents": 0}


def test_a_summary_reads_what_json_kept():
    rows = [{"document": "1", "scores": {"cer": [1, 4]}}, {"document": "2", "scores": {"cer": [2, 4]}}]
    assert summarize(rows)["cer"] == 0.375


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="no measure bleu"):
        Scores().update({"bleu": (1, 1)})


LETTERS = st.text(alphabet="abcBP 0123456789.,/-%mg\n", max_size=40)


@given(LETTERS, LETTERS, st.lists(LETTERS.filter(str.strip), max_size=4))
def test_a_strict_share_is_never_the_larger(reference, prediction, expected):
    strict = found_share(expected, prediction, strict=True, reference=reference)
    assert strict is None or strict <= found_share(expected, prediction)


@given(LETTERS, st.sampled_from(["transcribe", "question", "vqa", "caption", "list"]))
@settings(deadline=None)
def test_a_reference_is_perfect_by_its_own_measure(text, task):
    made = example(text, task, values=values_in(text), terms=text.split())
    assert all(share == (name not in ERRORS) for name, share in shares(made, text).items())


FRACTIONS = st.tuples(st.integers(0, 7), st.integers(1, 7)).map(lambda pair: (pair[0] / pair[1], 1.0))
ROWS = st.lists(st.dictionaries(st.sampled_from(list(METRICS)[:5]), FRACTIONS, min_size=1), min_size=1, max_size=8)


@given(ROWS, st.randoms())
@settings(deadline=None, max_examples=50)
def test_the_order_of_rows_changes_no_digit(scores, random):
    rows = [{"document": str(at), "scores": row} for at, row in enumerate(scores)]
    before = summarize(rows)
    random.shuffle(rows)
    assert summarize(rows) == before


SPREAD = [
    {"cer": (at, 7.0), "term": (1 / (at + 3), 1.0), **({"open": (1.0, 1.0)} if at > 6 else {})} for at in range(9)
]


def _half(rank, place):
    """Sum every second row as one of two processes; both must get the total."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2, timeout=timedelta(minutes=3)
    )
    try:
        metric = Scores()
        for row in SPREAD[rank::2]:
            metric.update(row)
        (place / f"{rank}.json").write_text(json.dumps(metric.compute()))
    finally:
        torch.distributed.destroy_process_group()


def _second(_, place):
    _half(1, place)


def test_two_processes_sum_as_one_does(tmp_path):
    metric = Scores()
    metric.update(*SPREAD)
    alone = metric.compute()
    # This process is one of the two, since importing torch in another takes longer than all tests here.
    other = torch.multiprocessing.spawn(_second, args=(tmp_path,), nprocs=1, join=False)
    _half(0, tmp_path)
    assert other.join(timeout=180)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone


def test_a_table_shows_the_change_and_the_interval():
    columns = {"before": {"cer": 0.5, "exact": None}, "after": {"cer": 0.25, "exact": 1.0}}
    lines = summary_table(columns).splitlines()
    assert lines[1].split() == ["character", "error", "rate", "50.00", "%", "25.00", "%", "-25.00"]
    assert lines[2].split() == ["exact", "match", "n/a", "100.00", "%"]
    lines = summary_table({"test": {"cer": 0.835}}, {"test": {"cer": (0.801, 0.862)}}).splitlines()
    assert lines[1].endswith("83.50 % [80.1, 86.2]")


MODULES = [
    f"metrics.{name}"
    for name in ("text", "spelling", "dates", "normalize", "extraction", "scopes", "scoring", "confidence")
]


@pytest.mark.parametrize("name", ["geometry", "benchmarks.training", *MODULES])
def test_examples_in_docstrings(name):
    outcome = doctest.testmod(importlib.import_module(f"medvl.{name}"))
    assert outcome.attempted and not outcome.failed
