"""Questions about a page whose facts are known."""

import json

import pytest

from medvl.documents.tasks import Task, as_text, ask
from medvl.metrics.extraction import nested
from medvl.types import Field, TaskSpec

FIELDS = [
    Field(path="patient.dob", value="1950-02-03", type="date"),
    Field(path="drugs.0.name", value="Aspirin", type="name"),
    Field(path="drugs.0.dose", value="81 mg", type="dose", critical=True),
    Field(path="drugs.1.name", value="Heparin", type="name"),
    Field(path="drugs.1.dose", value="5000 units", type="dose", critical=True),
]


def test_tasks_state_what_the_page_states():
    asking = TaskSpec(prompt="Read.", tasks=tuple(task.name for task in Task))
    asked = {one.task: one for one in ask(asking, "the page", FIELDS, "key")}
    assert list(asked) == list(asking.tasks)
    assert asked["transcribe"].response == "the page" and asked["transcribe"].prompt == "Read."
    assert json.loads(asked["json"].response) == nested(FIELDS)
    schema = json.loads(asked["json"].prompt[asked["json"].prompt.index("{") :])
    assert schema == {"patient": {"dob": ""}, "drugs": [{"name": "", "dose": ""}]}
    assert asked["list"].response == "Aspirin\nHeparin" and "drugs" in asked["list"].prompt
    (field,) = asked["question"].fields
    assert asked["question"].response == field.value and field.path != "drugs.0.name"
    assert asked["extract"].response == as_text(FIELDS) and "Aspirin; dose 81 mg" in as_text(FIELDS)


def test_a_question_has_one_answer_on_its_page():
    twice = [
        *FIELDS,
        Field(path="drugs.2.name", value="aspirin", type="name"),
        Field(path="drugs.2.dose", value="325 mg", type="dose"),
    ]
    asking = TaskSpec(prompt="Read.", tasks=("question",))
    asked = {ask(asking, "", twice, str(key))[0].fields[0].path for key in range(60)}
    assert asked == {"patient.dob", "drugs.1.dose"}


def test_pages_without_facts_are_only_read():
    asking = TaskSpec(prompt="Read.", tasks=("json", "question", "list", "extract"))
    assert ask(asking, "the page", [], "key") == []


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("drugs.0.dose", "drugs.0"),
        ("reactions.2", "reactions.2"),
        ("cath.lesions.1.stenosis", "cath.lesions.1"),
        ("drugs.0.sig.dose", "drugs.0"),
        ("visits.0.drugs.3.name", "visits.0.drugs.3"),
        ("patient.name", ""),
    ],
)
def test_a_path_leads_into_an_entry_of_a_list(path, entry):
    assert Field(path=path, value="", type="text").entry == entry
