"""Dates: which are the same day, by the order of day and month of their data set."""

import json

import pytest

from medvl.data.sources.mixture import Mixture
from medvl.data.sources.source import Source
from medvl.metrics import score, values_in
from medvl.metrics.dates import iso_dates
from medvl.metrics.extraction import facts_in_json, facts_in_text, invented, stated_values
from medvl.metrics.normalize import same
from medvl.metrics.text import VALUE
from medvl.types import DateOrder, Document, Example, Field

# Two dates, and whether they are the same under mdy, dmy, iso.
PAIRS = [
    ("12/03/2018", "3 DEC 2018", "yes no no"),
    ("12/03/2018", "12 Mar 2018", "no yes no"),
    ("12/03/2018", "2018-12-03", "yes no no"),
    ("12/03/2018", "2018-03-12", "no yes no"),
    ("12/03/2018", "03/12/2018", "no no no"),
    ("12/03/2018", "12-03-2018", "yes yes yes"),
    ("12/03/2018", "12.03.2018", "yes yes yes"),
    ("12/03/2018", "12 03 2018", "yes yes yes"),
    ("12/03/2018", "12 / 3 / 2018", "yes yes yes"),
    ("12/03/2018", "12/03/18", "yes yes no"),
    ("25/12/2018", "25 DEC 2018", "yes yes yes"),
    ("1.2.18", "01/02/2018", "yes yes no"),
    ("1.2.18", "1/2/18", "yes yes yes"),
    ("1.2.18", "2018-02-01", "no yes no"),
    ("25. 12. 2018", "2018-12-25", "yes yes yes"),
    ("5. 3. 2018", "2018-03-05", "no yes no"),
    ("2018. 12. 25", "25/12/2018", "yes yes yes"),
    ("12/25/2018", "25 DEC 2018", "yes yes yes"),
    ("25-12-2018", "12/25/2018", "yes yes yes"),
    ("5/5/2018", "May 5, 2018", "yes yes yes"),
    ("3/14/24", "14 March 2024", "yes yes no"),
    ("3/14/56", "1956-03-14", "yes yes no"),
    ("3rd December, 2018", "Dec. 3, 2018", "yes yes yes"),
    ("3rd of Dec 2018", "December 3rd 2018", "yes yes yes"),
    ("3-DEC-18", "03 Dec 2018", "yes yes yes"),
    ("3DEC2018", "2018 Dec 3", "yes yes yes"),
    ("Sept 5, 2018", "5. September 2018", "yes yes yes"),
    ("2018/12/03", "2018.12.3", "yes yes yes"),
    ("2018-12-03", "2018-03-12", "no no no"),
    ("31/02/2018", "31/02/2018", "yes yes yes"),
    ("31/02/2018", "03/03/2018", "no no no"),
    ("31/02/2018", "28/02/2018", "no no no"),
    ("29/02/2019", "01/03/2019", "no no no"),
    ("13/13/2018", "13-13-2018", "no no no"),
    ("10:30", "10.30", "no no no"),
    ("12/03", "03/12", "no no no"),
]


@pytest.mark.parametrize(("one", "other", "expected"), PAIRS)
def test_pairs_of_dates_by_order(one, other, expected):
    found = " ".join("yes" if same(one, other, order) else "no" for order in DateOrder)
    assert found == expected
    assert [same(other, one, order) for order in DateOrder] == [same(one, other, order) for order in DateOrder]
    assert same(one, other) == same(one, other, DateOrder.mdy)


def test_times_ratios_and_other_numbers_are_no_dates():
    for text in ("at 10:30", "120/80", "1-2-3 mg", "5 10 12", "577.555.0119", "97671-562", "1.0.2", "12/14/16 mg"):
        assert all(iso_dates(text, order) == text for order in DateOrder)
    assert iso_dates("On 6/27/2020: TSH, 03.04.2020.", DateOrder.dmy) == "On 2020-06-27: TSH, 2020-04-03."
    assert iso_dates("2018-12-03T10:30") == "2018-12-03T10:30"


def test_a_dotted_date_at_the_start_of_a_line_is_one_value():
    assert stated_values("25. 12. 2018\n1. Aspirin 81 mg") == ["2018-12-25", "81 mg"]


def made(order, text="Seen 12/03/2018", task="extract", value="12/03/2018"):
    fields = [Field(path="date", value=value, type="date")]
    response = json.dumps({"date": value}) if task == "json" else text
    return Example(
        id="1", document="d", split="test", images=[], prompt="", response=response, task=task, page_text=text,
        fields=fields, values=values_in(text), dates=order,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("order", "december", "march"), [("mdy", True, False), ("dmy", False, True), ("iso", False, False)]
)
def test_the_order_of_a_data_set_decides_every_score_of_a_date(order, december, march):
    for said, right in (("3 Dec 2018", december), ("12 March 2018", march), ("12.03.2018", True)):
        got = score(made(order), f"Seen {said}")
        assert got["field_recall"][0] == got["value_strict"][0] == right
        assert got["invented"][0] == got["omitted"][0] == (not right)
        got = score(made(order, task="json"), json.dumps({"date": said}))
        assert got["field_recall"][0] == right and got["invented"][0] == (not right)


def test_dates_in_lists_and_statements_follow_the_order():
    fields = [
        Field(path="visits.0.day", value="12/03/2018", type="date"),
        Field(path="visits.0.bp", value="1", type="x"),
    ]
    assert len(facts_in_text(fields, "12 Mar 2018: 1", dates=DateOrder.dmy).right) == 2
    assert not facts_in_text(fields, "3 Dec 2018: 1", dates=DateOrder.dmy).right
    answer = {"visits": [{"day": "12 Mar 2018", "bp": "1"}]}
    assert len(facts_in_json(fields, answer, DateOrder.dmy).right) == 2 and not facts_in_json(fields, answer).right
    assert stated_values("on 12/03/2018", DateOrder.dmy) == ["2018-03-12"]
    assert invented(["2018-03-12"], "12/03/2018", DateOrder.dmy) == 0 and invented(["2018-03-12"], "12/03/2018") == 1


def test_a_date_with_a_month_is_one_value():
    assert values_in("Since 3 DEC 2018 and Dec. 3, 2018, 5 mg") == ["3 DEC 2018", "Dec. 3, 2018", "5 mg"]
    assert VALUE.groups == 0


class Dated(Source):
    def documents(self):
        yield Document(id="1")


def test_the_order_is_an_option_of_a_data_set():
    (document,) = Dated(dates=DateOrder.dmy).read()
    assert document.asking.dates == "dmy"
    assert next(Dated().read()).asking.dates == "mdy"
    assert Dated(dates=DateOrder.dmy).fingerprint() != Dated().fingerprint()
    mixed = Mixture(parts={"a": Dated(dates=DateOrder.dmy), "b": Dated()})
    assert mixed.parts["a"].dates is DateOrder.dmy
    with pytest.raises(ValueError, match=r"data\.parts\.a\.dates=dmy"):
        Mixture(parts={"a": Dated(), "b": Dated()}, dates=DateOrder.dmy)


def test_examples_that_were_prepared_before_are_month_first():
    row = made("mdy").to_json()
    assert row.pop("dates") == "mdy"
    assert Example.from_json(row).dates == "mdy"
    assert Example.from_json(made("iso").to_json()).dates == "iso"


def test_the_order_is_typed_as_an_override(compose):
    assert compose("data.dates=dmy").data.dates is DateOrder.dmy
    assert compose().data.dates is DateOrder.mdy
