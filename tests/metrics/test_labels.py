"""Facts of a text count under their own labels only."""

import re

import pytest

from medvl.data.sources.clinical_forms import written
from medvl.documents.forms.kinds import KINDS
from medvl.documents.tasks import as_text
from medvl.metrics import score
from medvl.metrics.extraction import facts_in_text
from medvl.types import Example, Field

PRESSURE = {"vitals.systolic": "120", "vitals.diastolic": "80"}
SALTS = {"sodium": "138", "potassium": "4.1"}
VITALS = {"hr": "80", "spo2": "98"}
BOTH = {"bp.systolic": "120", "bp.diastolic": "80"}
SEEN = {"patient": "Ada Byron", "provider": "Joan Clarke"}
PEOPLE = {"patient.name": "Ada Byron", "provider.name": "Joan Clarke", "patient.age": "46", "patient.sex": "Female"}
STAY = {"date": "7/14/2025", "admission.date": "7/13/2025", "discharge.date": "7/15/2025"}
SIZE = {"age": "67", "weight": "82"}
DRUG = {"drugs.0.name": "Aspirin", "drugs.0.quantity": "30", "drugs.0.refills": "5"}


def right(facts, said, *references):
    fields = [Field(path=path, value=value, type="value") for path, value in facts.items()]
    return {field.path for field in facts_in_text(fields, said, references).right}


@pytest.mark.parametrize(
    ("facts", "pattern"),
    [
        (PRESSURE, "Systolic {}, diastolic {}"),
        (PRESSURE, "Systolic: {}\nDiastolic: {}"),
        (PRESSURE, "{} systolic, {} diastolic"),
        (PRESSURE, "Systolic {} diastolic {}"),
        (PRESSURE, "a systolic pressure of {} and a diastolic pressure of {} mmHg"),
        (PRESSURE, "Systolic\n{}\nDiastolic\n{}"),
        (PRESSURE, "SBP | {}\nDBP | {}"),
        (PRESSURE, "- **Systolic:** {} mmHg\n- **Diastolic:** {} mmHg"),
        (PRESSURE, '{{"systolic": {}, "diastolic": {}}}'),
        (SALTS, "Na {}, K {}"),
        (SALTS, "Sodium {} mmol/L; potassium {} mmol/L."),
        (SALTS, "The sodium is {} and the potassium is {}."),
        (SALTS, "Sodium was low, at {}. Potassium was {}."),
        (SALTS, "sodium ({}), potassium ({})"),
        (VITALS, "HR, SpO2: {}, {}"),
        (VITALS, "HR/SpO2: {}, {}"),
        (VITALS, "HR and SpO2 were {} bpm and {} %, respectively."),
        (VITALS, "{} and {} for HR and SpO2"),
        (VITALS, "{} for HR and {} for SpO2"),
        (VITALS, "{}, {} (HR, SpO2)"),
        (VITALS, "Vitals: {}, {}, 37.2 (HR, SpO2, Temp)"),
        (VITALS, "HR, SpO2, Temp: {}, {}, 37.2"),
        (VITALS, "{} and {} for HR and SpO2, 37 and 70 for temp and weight"),
        (VITALS, "HR | SpO2\n{} | {}"),
        (VITALS, "| HR | SpO2 |\n|---|---|\n| {} | {} |"),
        (VITALS, "HR | SpO2\n70 | 60\n{} | {}"),
        (VITALS, "HR\nSpO2\n{}\n{}"),
        (PRESSURE, "Systolic | Diastolic\n{} | {}"),
        (PRESSURE, "{} (systolic) and {} (diastolic)"),
        (PRESSURE, "{} mmHg (systolic) / {} mmHg (diastolic)"),
        (PRESSURE, "{} systolic over {} diastolic"),
        (PRESSURE, "{} systolic {} diastolic"),
        (PRESSURE, "{} mmHg systolic and {} mmHg diastolic"),
        (BOTH, "BP: {} systolic over {} diastolic mmHg"),
        (BOTH, "BP systolic and diastolic: {} and {}"),
        (SEEN, "Patient / Provider: {} / {}"),
        (SIZE, "{}-year-old weighing {} kg"),
        (SIZE, "Aged {}, weighs {} kg"),
        (SIZE, "{} yo, weight {} kg"),
        (SIZE, "Age {} y/o weight {}"),
        (SIZE, "She is {} years old and weighs {} kg."),
        ({"age": "67", "height": "170"}, "A {} year old {} cm tall man"),
        ({"weight": "82", "height": "170"}, "Weighing {} kg and {} cm tall"),
        (DRUG, "{0}; quantity {1}; refills {2}"),
        (DRUG, "{0}\n  Quantity: {1}\n  Refills: {2}"),
    ],
)
def test_two_swapped_values_are_two_wrong_facts(facts, pattern):
    values = list(facts.values())
    assert right(facts, pattern.format(*values)) == set(facts)
    *names, one, other = values
    assert right(facts, pattern.format(*names, other, one)) == set(list(facts)[: len(names)])


def test_a_value_without_any_label_counts():
    assert right(SALTS, "138 and 4.1") == set(SALTS)
    assert right(PEOPLE, "Ada Byron, Female, 46, seen by Joan Clarke") == set(PEOPLE)
    assert right(PEOPLE, "Patient: Ada Byron, 46, Female\nProvider: Joan Clarke") == set(PEOPLE)


def test_a_list_of_more_labels_than_values_refutes_none_of_them():
    facts = {**VITALS, "temp": "37.2"}
    assert right(facts, "HR, SpO2, Temp: 80, 98") == right(facts, "HR, SpO2, Temp: 98, 80") == {"hr", "spo2"}
    assert right(VITALS, "Time | HR | SpO2\n08:00 | 80 | 98") == set(VITALS)


def test_a_list_pairs_numbers_with_what_is_a_number():
    facts = {"age": "67", "sex": "F", "weight": "70 kg"}
    for said in ("Age/sex/weight: 67 F 70 kg", "Age, sex, weight: F, 67, 70 kg", "Age/sex: 67 F, weight 70 kg"):
        assert right(facts, said) == set(facts)
    assert right({"age": "67", "weight": "70", "sex": "F"}, "Age/sex/weight: 70 F 67") == {"sex"}


def test_one_value_behind_two_labels_is_the_nearer_ones():
    assert right(VITALS, "Normal HR, SpO2: 98\n2. Pulse 80") == set(VITALS)
    assert right({"hr": "98", "spo2": "80"}, "Normal HR, SpO2: 98") == set()


def test_a_number_before_the_first_label_does_not_put_values_first():
    assert right(VITALS, "At 8 heart rate is 80 SpO2 98") == set(VITALS)
    assert right(SALTS, "3 labs: sodium was 138 and potassium normal") == {"sodium"}


def test_labels_that_share_a_word_are_told_apart():
    assert right(PEOPLE, "Patient: name Ada Byron; age 46; sex Female\nProvider: name Joan Clarke") == set(PEOPLE)
    swapped = "Patient: name Joan Clarke; age 46; sex Female\nProvider: name Ada Byron"
    assert right(PEOPLE, swapped) == {"patient.age", "patient.sex"}
    assert right(PEOPLE, "Age/Sex: 46 / Female") == {"patient.age", "patient.sex"}
    assert right(STAY, "Date: 7/14/2025\nAdmission: date 7/13/2025\nDischarge: date 7/15/2025") == set(STAY)
    assert right(STAY, "Date: 7/14/2025\nAdmission: date 7/15/2025\nDischarge: date 7/13/2025") == {"date"}
    assert right(STAY, "Date: 7/13/2025\nAdmission: date 7/14/2025\nDischarge: date 7/15/2025") == {"discharge.date"}


def test_the_labels_of_the_page_are_known():
    page = "Pt: Ada Byron\nSerum natrium: 138\nSerum kalium: 4.1"
    assert right(SALTS, "Serum natrium: 138\nSerum kalium: 4.1", page) == set(SALTS)
    assert right(SALTS, "Serum natrium: 4.1\nSerum kalium: 138", page) == set()


def test_what_the_reference_states_without_its_label_needs_none():
    page = "Sodium and potassium | drawn at 8\n138 | 4.1"
    assert right(SALTS, page, page) == set(SALTS)


def test_swapped_facts_are_stated_but_not_right():
    fields = [Field(path=path, value=value, type="value", critical=True) for path, value in SALTS.items()]
    text = "Sodium 138, potassium 4.1"
    made = Example(
        id="1", document="d", split="test", images=[], prompt="", response=text, task="extract", page_text=text,
        fields=fields,
    )  # fmt: skip
    got = score(made, "Sodium 4.1, potassium 138")
    assert got["field_recall"] == (0, 2) and got["field_precision"] == (0, 2) and got["critical"] == (0, 2)
    assert got["omitted"] == (0, 2) and got["invented"] == (0, 2)  # both stand in the answer and on the page
    assert score(made, text)["field_f1"] == (4, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_to_write_a_form_state_all_its_facts(kind):
    """The facts as text and the page itself: what one reference states, the other states, too."""
    document = written(kind, 0)
    page, text = document.text, as_text(document.fields)
    for response in (page, text):
        made = Example(
            id="1", document="d", split="test", images=[], prompt="", response=response, task="extract",
            page_text=page, fields=document.fields,
        )  # fmt: skip
        above, below = score(made, text)["field_recall"]
        assert above == below, kind


def test_swapped_vital_signs_of_a_form_are_wrong():
    document = written("discharge summary", 0)
    text = as_text(document.fields)
    made = Example(
        id="1", document="d", split="test", images=[], prompt="", response=text, task="extract",
        page_text=document.text, fields=document.fields,
    )  # fmt: skip
    all_right, total = score(made, text)["field_recall"]
    swapped = re.sub(r"heart rate (\S+); respiratory rate (\S+);", r"heart rate \2; respiratory rate \1;", text)
    assert swapped != text and all_right == total
    assert score(made, swapped)["field_recall"] == (total - 2, total)
