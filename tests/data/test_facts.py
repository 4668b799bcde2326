"""Labels of one's own become typed facts: flat keys, nested lists, FUNSD's entities, a JSON Schema."""

import doctest
import json

import pytest

import medvl.data.entities
import medvl.data.facts
from medvl.data.entities import text_of_form
from medvl.data.facts import fields_of, unnamed
from medvl.data.schema import LabelFault, Schema
from medvl.metrics.extraction import facts_in_json, nested
from medvl.types import DateOrder

RECEIPT = {"company": "OJC MARKETING SDN BHD", "date": "15/01/2019", "address": "NO 2, JALAN BAYU 4", "total": "193.00"}
ORDER = {
    "patient": {"name": "Ada Ordóñez", "mrn": "E925-0042"},
    "taken": "8:05 PM",
    "drugs": [{"drug": "Aspirin", "dose": "81 mg"}, {"drug": "Heparin", "dose": 5000, "note": None}],
    "allergies": ["penicillin", ""],
    "No. of pages": 2,
    "1": True,
}
SCHEMA = {
    "type": "object",
    "required": ["date"],
    "properties": {
        "taken_on": {"type": "string", "format": "date", "x-dates": "dmy"},
        "drugs": {
            "type": "array",
            "items": {
                "properties": {
                    "drug": {"type": "string"},
                    "dose": {"type": ["number", "null"], "x-unit": "mg", "x-critical": True},
                }
            },
        },
        "ward": {"type": "string", "enum": ["ICU", "ER"]},
        "mrn": {"type": "string", "pattern": "^[A-Z]\\d+"},
    },
}


def entity(identity, label, text, box, *linking):
    words = [
        {"text": word, "box": [box[0] + 9 * at, box[1], box[0] + 9 * at + 8, box[3]]}
        for at, word in enumerate(text.split())
    ]
    return {"id": identity, "label": label, "text": text, "box": box, "linking": list(linking), "words": words}


FORM = {
    "form": [
        entity(5, "header", "SENDER", [10, 40, 30, 50], [5, 6]),
        entity(0, "question", "DATE:", [10, 10, 30, 20], [0, 1]),
        entity(1, "answer", "March 14, 2024", [50, 11, 80, 21], [0, 1]),
        entity(2, "question", "TO:", [10, 25, 30, 35]),
        entity(3, "other", "CONFIDENTIAL", [100, 10, 130, 20]),
        entity(6, "question", "Phone No.", [10, 55, 30, 65], [5, 6], [6, 7], [6, 8]),
        entity(7, "answer", "555-0199", [50, 55, 60, 65], [6, 7]),
        entity(8, "answer", "555-0200", [70, 55, 90, 65], [6, 8]),
    ]
}


def written(tmp_path, content):
    path = tmp_path / "schema.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("module", [medvl.data.facts, medvl.data.entities, medvl.metrics.extraction])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


def test_flat_labels():
    assert [(fact.path, fact.value, fact.type) for fact in fields_of(RECEIPT)] == [
        ("company", RECEIPT["company"], "text"),
        ("date", "15/01/2019", "date"),
        ("address", RECEIPT["address"], "text"),
        ("total", "193.00", "quantity"),
    ]


def test_nested_labels():
    found = fields_of(ORDER)
    assert {fact.path: (fact.value, fact.type) for fact in found} == {
        "patient.name": ("Ada Ordóñez", "name"),
        "patient.mrn": ("E925-0042", "code"),
        "taken": ("8:05 PM", "time"),
        "drugs.0.drug": ("Aspirin", "name"),
        "drugs.0.dose": ("81 mg", "quantity"),
        "drugs.1.drug": ("Heparin", "name"),
        "drugs.1.dose": ("5000", "quantity"),
        "allergies.0": ("penicillin", "text"),
        "No of pages": ("2", "quantity"),
        "_1": ("true", "text"),
    }
    assert [fact.path for fact in found if fact.critical] == ["drugs.0.dose", "drugs.1.dose", "allergies.0"]


def test_the_labels_themselves_are_the_right_answer():
    """Keys with dots, and keys that are numbers, are compared with the answer's own spelling."""
    for labels in (RECEIPT, ORDER):
        facts = facts_in_json(fields_of(labels), labels)
        assert len(facts.right) == len(facts.expected) == facts.stated


def test_swapped_labels_are_wrong():
    swapped = dict(zip(RECEIPT, [*list(RECEIPT.values())[1:], RECEIPT["company"]], strict=True))
    assert not facts_in_json(fields_of(RECEIPT), swapped).right
    other = ORDER | {"drugs": [{"drug": "Aspirin", "dose": 5000}, {"drug": "Heparin", "dose": "81 mg"}]}
    right = {fact.path for fact in facts_in_json(fields_of(ORDER), other).right}
    assert not {path for path in right if path.endswith("dose")}


def test_entities_of_a_form():
    assert nested(fields_of(FORM)) == {
        "SENDER": {"Phone No": ["555-0199", "555-0200"]},
        "DATE": "March 14, 2024",
    }
    assert text_of_form(FORM).split("\n") == [
        "DATE: March 14, 2024 CONFIDENTIAL",
        "TO:",
        "SENDER",
        "Phone No. 555-0199 555-0200",
    ]


def test_a_question_asked_twice_is_a_list():
    twice = [entity(at, "question", "Drug:", [0, at, 9, at + 1], [at, at + 10]) for at in range(2)]
    twice += [entity(at + 10, "answer", f"drug {at}", [20, at, 29, at + 1], [at, at + 10]) for at in range(2)]
    assert nested(fields_of({"form": twice})) == {"Drug": ["drug 0", "drug 1"]}


def test_a_schema_gives_order_types_and_units(tmp_path):
    schema = Schema.read(written(tmp_path, SCHEMA))
    assert schema.dates is DateOrder.dmy
    labels = {
        "MRN": "E92",
        "drugs": [{"dose": 81, "drug": "Aspirin"}, {"drug": "Heparin"}],
        "Taken on": "03/04/2024",
        "x": 1,
    }
    assert [(fact.path, fact.value, fact.type, fact.critical) for fact in fields_of(labels, schema)] == [
        ("taken_on", "03/04/2024", "date", False),
        ("drugs.0.drug", "Aspirin", "text", False),
        ("drugs.0.dose", "81 mg", "quantity", True),
        ("drugs.1.drug", "Heparin", "text", False),
        ("mrn", "E92", "code", False),
    ]
    assert unnamed(labels, schema) == ["x"]
    assert schema.root.shape() == {"taken_on": "", "drugs": [{"drug": "", "dose": ""}], "ward": "", "mrn": ""}
    text = {"type": ["string", "null"]}
    drug = {
        "type": "object", "properties": {"drug": text, "dose": text}, "required": ["drug", "dose"],
        "additionalProperties": False,
    }  # fmt: skip
    assert schema.root.json_schema()["properties"] == {
        "taken_on": text,
        "drugs": {"type": "array", "items": drug},
        "ward": {"enum": ["ICU", "ER", None]},
        "mrn": {"anyOf": [{"type": "string", "pattern": "^[A-Z]\\d+"}, {"type": "null"}]},
    }
    assert schema.root.filled({"drugs": [{"drug": "Heparin"}], "mrn": "E92"}) == {
        "taken_on": None, "drugs": [{"drug": "Heparin", "dose": None}], "ward": None, "mrn": "E92",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "place"),
    [({"ward": "attic"}, "ward"), ({"mrn": "92"}, "mrn"), ({"drugs": "Aspirin"}, "drugs"), ({"ward": ["ICU"]}, "ward"),
     ({"drugs": [{"dose": "many"}]}, "drugs.dose")],
)  # fmt: skip
def test_labels_that_do_not_follow_the_schema(tmp_path, labels, place):
    with pytest.raises(LabelFault, match=f"does not follow data.schema: {place}$"):
        fields_of(labels, Schema.read(written(tmp_path, SCHEMA)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ([], "describes no object"),
        ({"type": "object"}, "describes no object"),
        ({"properties": {"a": {"anyOf": []}}}, "keyword 'anyOf' at a"),
        ({"properties": {"a": {"type": "array", "items": {"$ref": "#/b"}}}}, r"keyword '\$ref' at a\[\]"),
        ({"properties": {"a": {"type": "string", "maxLength": 3}}}, "keyword 'maxLength' at a"),
        ({"properties": {"a": {"type": ["string", "number"]}}}, "no single type at a"),
        ({"properties": {"a": {"type": "string", "format": "email"}}}, "format 'email' at a"),
        ({"properties": {"a": {"type": "array"}}}, "list without items at a"),
        ({"properties": {"a": {"pattern": "("}}}, "pattern at a"),
        ({"properties": {"a": {"format": "date", "x-dates": "ymd"}}}, "x-dates=ymd at a"),
        (
            {"properties": {name: {"format": "date", "x-dates": name} for name in ("mdy", "dmy")}},
            "several orders .mdy mdy, dmy dmy",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_by_name(tmp_path, content, said):
    with pytest.raises(ValueError, match=f"data.schema=.*{said}"):
        Schema.read(written(tmp_path, content))


def test_a_schema_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read.* Set data.schema="):
        Schema.read(tmp_path / "none.json")


def test_too_many_labels():
    deep = {}
    for _ in range(30):
        deep = {"a": deep or "x"}
    with pytest.raises(LabelFault, match="levels"):
        fields_of(deep)
    with pytest.raises(LabelFault, match="more than 5,000"):
        fields_of({"a": list(range(6000))})
