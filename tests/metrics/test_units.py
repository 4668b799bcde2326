"""Values with their units: what is the same however it is typed, and what is another value."""

import json

import pytest

from medvl.data.sources.clinical_forms import written
from medvl.documents.forms.kinds import KINDS
from medvl.documents.tasks import as_text
from medvl.metrics import METRICS, score, values_in
from medvl.metrics.extraction import invented, nested, stated_values
from medvl.metrics.normalize import normal, same
from medvl.metrics.spelling import spelled, typed
from medvl.metrics.text import found_share, plain, stands_whole
from medvl.types import Example

TWINS = [
    ("120 / 80", "120/80"),
    ("120 / 80 mmHg", "120/80 mm Hg"),
    ("RM42.50", "RM 42.50"),
    ("$ 42.50", "$42.50"),
    ("98.6\u00b0F", "98.6 \u00b0F"),
    ("37 \u00b0 C", "37\u00b0C"),
    ("36.7\u2103", "36.7 \u00b0C"),
    ("36.7 \u00baC", "36.7 \u00b0C"),
    ("\u00bd", "1/2"),
    ("\u00be tab", "3/4 tab"),
    ("\u2153", "1/3"),
    ("1\u00bd", "1 1/2"),
    ("5\u00a0mg", "5 mg"),
    ("5\u2009mg", "5 mg"),
    ("5\u202fmg", "5mg"),
    ("3.5\u20135.1", "3.5-5.1"),
    ("3.5\u20145.1", "3.5-5.1"),
    ("\u22122.7", "-2.7"),
    ("5 \u00d7 3 cm", "5 x 3 cm"),
    ("\uff11\uff12 mg", "12 mg"),
    ("5 \u00b5g", "5 \u03bcg"),
    ("5 \u00b5g", "5 mcg"),
    ("5 ug/kg/min", "5 \u03bcg/kg/min"),
    ("5 \u00b5mol/L", "5 umol/L"),
    ("5 \u00b5U/mL", "5 uU/mL"),
    ("1,200 mL", "1200 mL"),
    ("< 5", "<5"),
    ("\u2264 5", "<=5"),
    ("\u2265 5 ng/mL", ">= 5 ng/mL"),
    ("7.2 x10\u00b3/\u00b5L", "7.2 x10^3/uL"),
    ("7.2 \u00d7 10^3/uL", "7.2 10^3/mcL"),
    ("250 x10\u2079/L", "250 x 10^9/L"),
    ("12 cm H2O", "12 cmH\u2082O"),
    ("90 mL/min/1.73m\u00b2", "90 mL/min/1.73m2"),
    ("5 mg / dL", "5 mg/dL"),
    (".5 mg", "0.5 mg"),
    ("5 mg/day", "5 mg per day"),
    ("5 mg/week", "5 mg per week"),
    ("5 mg/dose", "5 mg per dose"),
    ("5 mg/kg/day", "5 mg per kg per day"),
    ("5 mg/kg/day", "5 mg/kg per day"),
    ("5 mg/m\u00b2", "5 mg per m2"),
    ("12/min", "12 per minute"),
    ("100 mL/h", "100 mL per hour"),
    ("10 U/kg/h", "10 units per kg per hour"),
    ("5 mmol/L", "5 mmol per litre"),
    ("900 mg/250 mL", "900 mg per 250 mL"),
    ("185 MBq", "185MBq"),
    ("5 MHz", "5 MHZ"),
    ("60 mL/min/1.73 m\u00b2", "60 mL/min/1.73m\u00b2"),
    ("60 mL/min/1.73 m\u00b2", "60 mL / min / 1.73 m^2"),
    ("1.9 m\u00b2", "1.9m2"),
    ("5 mg/m\u00b2", "5 mg/m^2"),
    ("7.2 x 10\u00b3/mm\u00b3", "7.2 x10^3/mm^3"),
    ("7.2 x10^9 / L", "7.2 x10^9/L"),
    ("7 /mm\u00b3", "7 /mm^3"),
    ("7 /mm\u00b3", "7/mm3"),
    ("80 / min", "80/min"),
    ("80 / min", "80 /min"),
    ("5 mg / kg / hr", "5 mg/kg/h"),
    ("5 \u338e", "5 mg"),
    ("5 \u338d", "5 \u00b5g"),
    ("5 \u3396", "5 mL"),
    ("5 \u339c", "5 mm"),
    ("5 \u338f", "5 kg"),
    ("5 \u338e/\u3397", "5 mg/dL"),
    ("5 \u33c4", "5 cc"),
    ("5 \u2113", "5 L"),
]
OTHERS = [
    ("5 \u338e", "5 \u338d"),
    ("7 /mm\u00b3", "7 /mm\u00b2"),
    ("60 mL/min/1.73 m\u00b2", "60 mL/min"),
    ("80 / min", "80 / h"),
    ("5 mg/kg/min", "5 \u00b5g/kg/min"),
    ("5 mg/kg/min", "5 mg/kg/h"),
    ("5 mg/kg", "5 mg"),
    ("5 mg", "5 mcg"),
    ("5 mg", "5 g"),
    ("5 ng", "5 pg"),
    ("5 ng/mL", "5 pg/mL"),
    ("5 ng/mL", "5 ng/dL"),
    ("5 mL", "5 dL"),
    ("5 mL", "5 L"),
    ("5 mg/dL", "5 mg/L"),
    ("5 mmol/L", "5 mEq/L"),
    ("5 mmol/L", "5 \u00b5mol/L"),
    ("5 U/L", "5 IU/L"),
    ("5 IU/L", "5 mIU/L"),
    ("5 mIU/L", "5 \u00b5IU/L"),
    ("5 U/L", "5 U/mL"),
    ("5 mU", "5 MU"),
    ("98.6 \u00b0F", "98.6 \u00b0C"),
    ("5 kPa", "5 mmHg"),
    ("5 mmHg", "5 cmH2O"),
    ("72 bpm", "72 /min"),
    ("12/min", "12/h"),
    ("250 x10^9/L", "250 x10^6/L"),
    ("10^3/L", "103/L"),
    ("7 cells/\u00b5L", "7 cells/mL"),
    ("5 days", "5 weeks"),
    ("10 min", "10 h"),
    ("RM 42.50", "USD 42.50"),
    ("0.5", "5"),
    (".5 mg", "5 mg"),
    ("1,5", "15"),
    ("1/2", "12"),
    ("\u00bd", "2"),
    ("1\u00bd", "11/2"),
    ("1 1/2", "1/2"),
    ("1 1/2", "1"),
    ("-5", "5"),
    ("\u22125", "5"),
    ("<5", "5"),
    ("<5", "<=5"),
    ("\u22655", "\u22645"),
    ("1.200", "1200"),
    ("1-2", "12"),
    ("120/80", "12080"),
    ("5 mg", "5 mg per kg"),
    ("5 mg/h", "5 mg per day"),
    ("5 mg/kg", "5 mg per kg per day"),
    ("185 MBq", "185 mBq"),
    ("6 MV", "6 mV"),
    ("5 MHz", "5 mHz"),
    ("2 MGy", "2 mGy"),
    ("2 MSv", "2 mSv"),
    ("5 MPa", "5 mPa"),
    ("5 MIU", "5 mIU"),
]


def strict(expected, said):
    """Return value accuracy of whole values, where a page states one value and the answer another."""
    page = f"It is {expected} today."
    assert values_in(page), expected
    return found_share(values_in(page), f"It was {said} then.", strict=True, reference=page)


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_twins_are_the_same_value(one, other):
    assert same(one, other) and same(other, one)
    assert strict(one, other) == strict(other, one) == 1
    assert strict(one, one) == strict(other, other) == 1


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_other_units_signs_and_digits_are_other_values(one, other):
    assert not same(one, other) and not same(other, one)
    assert strict(one, other) < 1 and strict(other, one) < 1
    assert strict(one, one) == strict(other, other) == 1


def test_a_value_includes_its_unit():
    text = (
        "Dopamine 5 \u00b5g/kg/min, TSH 2.1 mIU/L, ALT 40 U/L, ferritin 88 ng/mL, T 98.6\u00b0F, K 4.1 mEq/L, "
        "RR 12/min, PEEP 5 cmH2O, WBC 7.2 x10^3/\u00b5L, PLT 250 x10\u2079/L, SpO2 98 %, HR 72 bpm, PaO2 10.5 kPa, "
        "B12 300 pg/mL, BP 120 / 80 mmHg, 1\u00bd tab, RM42.50"
    )
    expected = (
        "5 \u00b5g/kg/min, 2.1 mIU/L, 40 U/L, 88 ng/mL, 98.6\u00b0F, 4.1 mEq/L, 12/min, 5 cmH2O, 7.2 x10^3/\u00b5L, "
        "250 x10\u2079/L, 2, 98 %, 72 bpm, 10.5 kPa, 12, 300 pg/mL, 120 / 80 mmHg, 1\u00bd, RM42.50"
    )
    assert set(values_in(text)) == set(expected.split(", "))


def test_a_rate_of_another_unit_scores_nothing():
    page = "Norepinephrine 5 \u00b5g/kg/min"
    example = Example(
        id="1", document="d", split="test", images=[], prompt="", response=page, page_text=page, values=values_in(page)
    )
    right, wrong = score(example, "Norepinephrine 5 mcg/kg/min"), score(example, "Norepinephrine 5 mg/kg/min")
    assert right["value_strict"] == right["value"] == (1, 1) and right["invented"][0] == 0
    assert wrong["value_strict"] == wrong["value"] == (0, 1) and wrong["invented"] == (1, 1)


def test_words_of_units_and_quotes_are_typed_differently():
    assert strict("5 minutes", "5 min") == strict("3 hrs", "3 hours") == strict("10 U", "10 units") == 1
    assert strict("2 grams", "2 g") == 1
    assert found_share(["Crohn\u2019s"], "crohn's disease", strict=True) == 1
    assert found_share(["Crohn's"], "Crohn\u2019s", strict=False) == 1
    assert same("\u201cmild\u201d", '"mild"') and plain("1\u00bd") == plain("1 1/2")


def test_a_rate_in_words_is_a_rate():
    assert found_share(["5 mg"], "5 mg per kg", strict=True) == 0
    assert found_share(["5 mg/day"], "5 mg per day", strict=True) == 1
    assert strict("5 micrograms per kilogram per minute", "5 \u00b5g/kg/min") == 1
    assert values_in("Amoxicillin 5 mg per kg per dose") == ["5 mg per kg per dose"]
    assert normal("2 times per day, 1 tablet per day") == "bid, 1 tablet per day"


def test_a_capital_prefix_is_kept_where_the_unit_has_a_cell_of_its_own():
    assert invented(["185 MBq"], "Activity | 185 | MBq") == 0 and invented(["185 mBq"], "Activity | 185 | MBq") == 1
    assert values_in("RR 12 MV 7.2") == ["12", "7.2"]


def test_a_heart_rate_is_no_unit():
    assert values_in("BP 120/80 HR 55") == ["120/80", "55"]
    assert normal("120/80 HR 55") == "120/80 hr 55"


def test_values_at_their_signs():
    assert not stands_whole("5", "-5") and not stands_whole("5", "<5") and not stands_whole("5", ">=5")
    assert stands_whole("-5", "be -5") and stands_whole("<5", "crp <5")
    assert stands_whole("5", "0 - 5, 5")


def test_what_stands_on_the_page_is_not_invented():
    page = "Glucose | 5.5 | mmol/L\nCRP < 5 mg/L, T 98.6\u00b0F, 5 \u00b5g/kg/min, BP 120 / 80"
    assert stated_values(page) == ["5.5 mmol/l", "<5 mg/l", "98.6 \u00b0f", "5 mcg/kg/min", "120/80"]
    assert invented(["5.5 mmol/L", "<5 mg/L", "98.6 \u00b0F", "5 mcg/kg/min", "120/80"], page) == 0
    assert invented(["5.5 mg/dL", "98.6 \u00b0C", "5 mg/kg/min"], page) == 3


@pytest.mark.parametrize("text", [one for pair in (*TWINS, *OTHERS) for one in pair])
def test_one_spelling_is_its_own(text):
    for spelling in (typed, spelled, normal):
        assert spelling(spelling(text)) == spelling(text)


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_of_a_form_is_perfect(kind):
    for number in range(1, 5):
        document = written(kind, number)
        for task, response in {
            "transcribe": document.text,
            "extract": as_text(document.fields),
            "json": json.dumps(nested(document.fields)),
        }.items():
            made = Example(
                id="1", document="d", split="test", images=[], prompt="", response=response, task=task,
                page_text=document.text, fields=document.fields, values=values_in(response),
            )  # fmt: skip
            for name, (above, below) in score(made, response).items():
                assert above == (below if METRICS[name].higher_is_better else 0), (number, task, name)
