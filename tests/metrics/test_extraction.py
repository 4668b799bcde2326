"""Field extraction: which facts count as equal, as right, as invented."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medvl.metrics import score
from medvl.metrics.extraction import facts_in_json, facts_in_text, invented, json_object, nested, stated_values
from medvl.metrics.normalize import normal, same
from medvl.types import Example, Field

FACTS = {
    "patient.name": "Ada Byron",
    "medications.0.name": "Aspirin",
    "medications.0.dose": "81 mg",
    "medications.1.name": "Metformin",
    "medications.1.dose": "500 mg",
    "medications.1.frequency": "BID",
}
PAGE = "Ada Byron\nAspirin | 81 mg\nMetformin | 500 mg | BID"


def fields(facts=None):
    return [
        Field(path=path, value=value, type="text", critical=path.endswith("dose"))
        for path, value in (facts or FACTS).items()
    ]


def scored(prediction, task="json", facts=None):
    made = Example(
        id="1",
        document="d",
        split="test",
        images=[],
        prompt="",
        response=json.dumps(nested(fields(facts))),
        task=task,
        page_text=PAGE,
        fields=fields(facts),
    )
    return score(made, prediction)


def item(name, **facts):
    return {"name": name, **facts}


def test_a_json_answer_by_hand():
    """Right: the patient, both names, metformin's 0.5 g and twice daily. Wrong: aspirin's dose. Extra: a route."""
    drugs = [item("metformin", dose="0.5 g", frequency="twice daily"), item("ASPIRIN", dose="500 mg", route="PO")]
    got = scored(json.dumps({"patient": {"name": "Ada  Byron"}, "medications": drugs}))
    assert got["field_precision"] == (5, 7) and got["field_recall"] == (5, 6) and got["field_f1"] == (10, 13)
    assert got["critical"] == (1, 2)
    assert got["omitted"] == (1, 6)  # 81 mg
    assert got["invented"] == (1, 7)  # PO; twice daily is the page's BID, and 500 mg is elsewhere on it
    assert got["invalid_json"] == (0, 1)


def test_the_dose_of_another_drug_is_wrong():
    drugs = [item("Aspirin", dose="500 mg"), item("Metformin", dose="81 mg", frequency="BID")]
    got = scored(json.dumps({"patient": {"name": "Ada Byron"}, "medications": drugs}))
    assert got["field_recall"] == (4, 6) and got["critical"] == (0, 2)
    assert got["omitted"] == (0, 6) and got["invented"] == (0, 6)  # both doses are on the page, and in the answer
    got = scored("Ada Byron\nAspirin 500 mg\nMetformin 81 mg BID", "extract")
    assert got["field_recall"] == (4, 6) and got["field_precision"] == (4, 6) and got["critical"] == (0, 2)


def test_a_text_answer_by_hand():
    """Right: the patient, aspirin with its dose, metformin. Its dose and frequency are wrong; 250 mg is invented."""
    got = scored("Ada Byron takes:\n1. Aspirin 81 mg\n2. Metformin 250 mg daily", "extract")
    assert got["field_recall"] == (4, 6) and got["field_precision"] == (4, 5) and got["field_f1"] == (8, 11)
    assert got["omitted"] == (2, 6) and got["invented"] == (1, 2) and "invalid_json" not in got


@pytest.mark.parametrize(
    "answer",
    [
        "Ada Byron\nAspirin: 81 mg\nMetformin: 500 mg, twice daily",
        "Ada Byron. Aspirin 81 mg. Metformin 0.5 g b.i.d.",
        "Ada Byron takes aspirin 81 mg, metformin 500 mg bid",
        "**Patient**: Ada Byron\n- **Aspirin**\n  - Dose: 81 mg\n- **Metformin**\n  - Dose: 500mg\n  - Frequency: BID",
        json.dumps(nested(fields()), indent=2),
    ],
)
def test_ways_to_write_the_same_facts(answer):
    got = scored(answer, "extract")
    assert got["field_recall"] == (6, 6) and got["field_precision"] == (6, 6) and got["invented"][0] == 0


def test_an_item_named_twice_takes_one_line_each():
    facts = {
        "m.0.name": "Insulin",
        "m.0.dose": "10 units",
        "m.0.time": "noon",
        "m.1.name": "Insulin",
        "m.1.dose": "20 units",
        "m.1.time": "qhs",
    }
    right = "Insulin 20 units at bedtime\nInsulin 10 units noon"
    wrong = "Insulin 20 units noon\nInsulin 10 units at bedtime"
    assert len(facts_in_text(fields(facts), right).right) == 6 and len(facts_in_text(fields(facts), wrong).right) == 4
    drugs = [item("insulin", dose="20 U", time="qhs"), item("insulin", dose="10 U", time="noon")]
    assert len(facts_in_json(fields(facts), {"m": drugs}).right) == 6
    drugs = [item("insulin", dose="20 U", time="noon"), item("insulin", dose="10 U", time="qhs")]
    assert len(facts_in_json(fields(facts), {"m": drugs}).right) == 4


def test_the_longer_name_is_meant():
    facts = {"m.0.name": "insulin", "m.0.dose": "5 U", "m.1.name": "insulin glargine", "m.1.dose": "20 U"}
    said = "insulin glargine 5 units\ninsulin 20 units"
    assert [field.path for field in facts_in_text(fields(facts), said).right] == ["m.0.name", "m.1.name"]


def test_no_json_is_read_as_text():
    got = scored("Ada Byron: Aspirin 81 mg")
    assert got["invalid_json"] == (1, 1) and got["field_recall"] == (3, 6) and got["anls_star"] == (0, 1)
    assert scored("")["field_f1"] == (0, 6) and "field_precision" not in scored("")


@pytest.mark.parametrize("text", ['{"a": 1}', '```json\n{"a": 1}\n```', 'Sure {so}:\n{"a": 1} as asked', '{"a":\n1}'])
def test_json_among_words(text):
    assert json_object(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", "null", "[1]", '[{"a": 1}]', '{"a": {"b": 1}', '{"a": 1', "{a: 1}", "{" * 9999])
def test_what_is_no_json_object(text):
    assert json_object(text) is None


def test_a_tree_of_paths():
    assert nested(fields()) == {
        "patient": {"name": "Ada Byron"},
        "medications": [
            {"name": "Aspirin", "dose": "81 mg"},
            {"name": "Metformin", "dose": "500 mg", "frequency": "BID"},
        ],
    }
    assert nested(fields({"a.7": "x", "a.3": "y", "b.2.c.1.d": "z"})) == {"a": ["y", "x"], "b": [{"c": [{"d": "z"}]}]}


@pytest.mark.parametrize("paths", [("a", "a.b"), ("a.b", "a"), ("a.0", "a.b"), ("0.a",), ("a", "a")])
def test_paths_that_contradict_each_other(paths):
    with pytest.raises(ValueError, match="field"):
        nested([Field(path=path, value="x", type="text") for path in paths])


SAME = [
    ("1.0", "1"),
    ("1,200", "1200"),
    ("0.50", ".5"),
    ("5 mcg", "5 \u00b5g"),
    ("5 ug", "5 \u03bcg"),
    ("10 mL", "10ml"),
    ("80 mL/hr", "80 ml/h"),
    ("10 U", "10 units"),
    ("40%", "40 percent"),
    ("0.5 g", "500 mg"),
    ("250 mcg", "0.25 mg"),
    ("5 mcg/kg/min", "0.005 mg/kg/min"),
    ("03/14/2024", "2024-03-14"),
    ("14-Mar-2024", "March 14, 2024"),
    ("3/14/24", "14 March 2024"),
    ("3/14/56", "1956-03-14"),
    ("BID", "b.i.d."),
    ("twice daily", "bid"),
    ("q6h", "every 6 hours"),
    ("Q 4-6 hrs", "every 4-6 hours"),
    ("QD", "once daily"),
    ("every day", "daily"),
    ("q.o.d.", "every other day"),
    ("at bedtime", "QHS"),
    ("PRN", "as needed"),
    ("once a week", "weekly"),
    ("3.5 - 5.1", "3.5-5.1"),
    ("3.5\u20135.1", "3.5-5.1"),
    ("120/80 mm Hg", "120/80 mmHg"),
    ("< 5", "<5"),
    ("\u2264 5", "<=5"),
    ("Cafe\u0301", "caf\u00e9"),
    ("Aspirin.", "aspirin"),
    ("7 hours", "7 h"),
]
DIFFERENT = [
    ("5 mg", "5 mcg"),
    ("1.0", "10"),
    ("0.5 mg", "5 mg"),
    ("BID", "q12h"),
    ("TID", "q8h"),
    ("daily", "q24h"),
    ("daily", "every other day"),
    ("QD", "QID"),
    ("once", "once daily"),
    ("weekly", "daily"),
    ("twice weekly", "BID"),
    ("10 IU", "10 units"),
    ("<5", "5"),
    (">5", "<5"),
    ("03/04/2024", "2024-04-03"),
    ("13/45/2024", "2024-03-14"),
    ("1-2 g", "1-2000 mg"),
    ("5 mg/kg", "5 mg"),
    ("1,5", "15"),
    ("1.0.2", "1.2"),
    ("18 -7", "18-7"),
    ("80 HR", "80 h"),
    ("biweekly", "weekly"),
    ("nightly", "qhs"),
    ("001", "1"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_means_the_same(one, other):
    assert same(one, other) and same(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_clinically(one, other):
    assert not same(one, other) and not same(other, one)


def test_what_is_not_on_the_page():
    page = (
        "Na | 138 | H | mmol/L | 135-145\nAspirin 0.5 g since 3/14/24; CRP < 5, BMI 21.5 kg/m2, 900 mg/250 mL, E3V5\n"
        "GFR 90 mL/min/1.73m2, ICD-10"
    )
    there = ["138 mmol/L", "500 mg", "March 14, 2024", "<5", "Aspirin", "138.0", 138, "135-145", "E3"]
    assert invented(there, page) == 0
    assert invented(["5", "138 mg", "13", "14 mmol/L", "2024-03-15", "heparin", "50 mg"], page) == 7
    assert stated_values(page) and invented(stated_values(page), page) == 0


CLINICAL = st.lists(
    st.sampled_from(
        [
            "81 mg",
            "0.5 g",
            "BID",
            "q6h",
            "3/14/24",
            "<",
            "5",
            "|",
            "\n",
            "-",
            "120/80",
            "%",
            "mg/kg",
            "/",
            ".",
            "1,200",
            "FiO2",
            "2",
            "mL",
            "hr",
            " ",
            ",",
            "x",
        ]
    ),
    max_size=14,
).map(lambda parts: " ".join(parts).replace(" . ", "."))


@given(CLINICAL)
@example("-.81 mg")  # a sign at the very beginning
@example("3/14/24 2 / 3/14/24")  # no mixed fraction follows
@example("take 2 1/2 tablets, 1 1/2 mg")
@example("3/14/24 2 / 5 %")
@example("3/14/24 / hr")
@example("FiO2 2 / 2 % , 2 5 / 3/14/24 <")
def test_a_text_invents_nothing_of_itself(text):
    assert invented(stated_values(text), text) == 0


@given(CLINICAL.map(lambda text: text.replace("|", "")))  # as joining cells turns 7 | hr into 7 hr
def test_a_normal_text_is_its_own_normal_form(text):
    assert normal(normal(text)) == normal(text)


WORDS = st.sampled_from(["Aspirin", "Insulin", "81 mg", "0.5 g", "BID", "Na", "138", "5 - 7", "March 14, 2024", "10 U"])
FORMS = st.builds(
    lambda flat, lists: {
        **{f"patient.{at}x": value for at, value in enumerate(flat)},
        **{f"drugs.{at}.k{key}": value for at, item in enumerate(lists) for key, value in enumerate(item)},
    },
    st.lists(WORDS, max_size=3),
    st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=4),
).filter(bool)


@given(FORMS)
@settings(deadline=None)
def test_the_reference_is_perfect(facts):
    expected = len(facts)
    got = scored(json.dumps(nested(fields(facts))), facts=facts)
    assert got["field_recall"] == got["field_precision"] == (expected, expected) and got["omitted"][0] == 0


@given(FORMS, FORMS, st.booleans())
@settings(deadline=None)
def test_shares_lie_between_none_and_all(facts, said, as_json):
    answer = json.dumps(nested(fields(said))) if as_json else "\n".join(said.values())
    got = scored(answer, facts=facts)
    assert all(0 <= above <= below for above, below in got.values())
    assert got["omitted"][0] <= got["field_recall"][1] - got["field_recall"][0]
