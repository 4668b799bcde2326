"""Answers that follow a JSON Schema: always valid, the same with and without skipping what is forced."""

import json
import math

import numpy as np
import pytest
import torch

from medvl.generation.front import Front
from medvl.generation.grammar import MOST_KNOWN, Constraint
from medvl.generation.stream import Spelling
from medvl.generation.ticket import Ticket
from medvl.generation.values import said_values

WORDS = {"type": ["string", "null"]}
DRUG = {"type": "object", "properties": {"name": WORDS, "dose": WORDS}, "additionalProperties": False}
SCHEMA = {
    "type": "object",
    "properties": {
        "patient": {"type": "object", "properties": {"name": WORDS, "sex": {"enum": ["male", "female", None]}}},
        "drugs": {"type": "array", "items": DRUG, "maxItems": 3},
    },
    "required": ["patient", "drugs"],
    "additionalProperties": False,
}
SCHEMA["properties"]["patient"] |= {"required": ["name", "sex"], "additionalProperties": False}


def follows(text):
    said = json.loads(text)
    assert list(said) == ["patient", "drugs"] and list(said["patient"]) == ["name", "sex"]
    assert said["patient"]["sex"] in ("male", "female", None) and len(said["drugs"]) <= 3
    assert all(set(drug) <= {"name", "dose"} for drug in said["drugs"])
    assert text == json.dumps(said, ensure_ascii=False)  # written as answers are trained
    return said


def test_answers_follow_their_schema_and_others_are_as_without(reader, mixed):
    asked, schemas = mixed[:9], [SCHEMA, None, SCHEMA] * 3
    free = reader.answers(asked, max_new_tokens=60, batch=4)
    answers = reader.answers(asked, max_new_tokens=60, batch=4, schemas=schemas)
    for answer, without, schema in zip(answers, free, schemas, strict=True):
        assert len(answer.ids) == len(answer.log_probabilities) == len(answer.masses) == len(answer.forced)
        if schema is None:
            assert answer.ids == without.ids and not any(answer.forced) and set(answer.masses) == {1.0}
            continue
        follows(answer.text)
        assert answer.forced[0] and not all(answer.forced)
        for log_probability, mass in zip(answer.log_probabilities, answer.masses, strict=True):
            assert (0 <= mass <= 1 + 1e-5 and math.exp(log_probability) <= mass + 1e-5) or log_probability == 0
    assert any(mass < 0.5 for answer in answers for mass in answer.masses)  # the model would not have said it


@pytest.mark.parametrize(("late", "spared"), [(False, 0), (True, 0), (True, 6), (False, 1000)])
def test_skipping_forced_tokens_changes_no_answer(reader, mixed, monkeypatch, late, spared):
    """Alone and chosen token by token, in a batch with refills and forced tokens written in passes or step by step."""

    def answered(rows):
        with reader.session(rows=rows, width=2048) as session:
            session.reads_late, session.spared = late and rows > 1, spared
            tickets = [Ticket(one, 60, constraint=reader.constraint(SCHEMA)) for one in mixed[:4]]
            for ticket in tickets:
                session.submit(ticket)
            while session.busy:
                session.step()
        return tickets

    skipped = answered(3)
    with monkeypatch.context() as patch:
        patch.setattr(Constraint, "forced", lambda self: [])
        computed = answered(1)
    for one, other in zip(skipped, computed, strict=True):
        kept = min(len(one.ids), len(other.ids))  # the end of the turn follows if nothing is skipped
        assert one.ids[:kept] == other.ids[:kept] and kept > 30
        places = [at for at in range(kept) if not one.forced[at]]
        mine, theirs = (torch.tensor([ticket.log_probabilities[at] for at in places]) for ticket in (one, other))
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    forced, stepped = (sum(map(of, skipped)) for of in (lambda one: sum(one.forced), lambda one: one.stepped))
    assert forced > sum(len(ticket.ids) for ticket in skipped) / 4
    assert {0: stepped == 0, 6: 0 < stepped < forced / 2, 1000: stepped > forced / 2}[spared], (stepped, forced)


@pytest.mark.parametrize("most", [1, 25, 33, 45])
def test_an_answer_that_is_cut_off_is_whole(reader, mixed, most):
    (answer,) = reader.answers(mixed[:1], max_new_tokens=most, schemas=[SCHEMA])
    assert answer.finish_reason == "length"
    follows(answer.text)


CODED = {
    "type": "object",
    "properties": {
        "name": WORDS,
        "result": {"enum": ["negative", "positive", None]},
        "code": {"anyOf": [{"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}, {"type": "null"}]},
        "drugs": {"type": "array", "items": DRUG},
    },
    "required": ["name", "result", "code", "drugs"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("said", "closed"),
    [
        ("", {"name": None, "result": None, "code": None, "drugs": []}),
        ('{"name": "Ada', {"name": "Ada", "result": None, "code": None, "drugs": []}),
        ('{"name": "A \\" b', {"name": 'A " b', "result": None, "code": None, "drugs": []}),
        ('{"name": null, "result": "pos', {"name": None, "result": "positive", "code": None, "drugs": []}),
        (
            '{"name": "x", "result": null, "code": null, "drugs": [{"name": ',
            {"name": "x", "result": None, "code": None, "drugs": [{"name": None}]},
        ),
    ],
)
def test_what_closes_an_answer_states_nothing(reader, mixed, said, closed):
    ticket = Ticket(mixed[0], 500, constraint=reader.constraint(CODED))
    ticket.begin()
    ids = reader.encoder.processor.tokenizer(said, add_special_tokens=False)["input_ids"]
    while len(ticket.ids) < len(ids):
        ticket.take(ids[len(ticket.ids)], -1.0, ends=reader.encoder.ends)
    ticket.finish_reason = "deadline"
    answer = reader.answer(ticket)
    assert json.loads(answer.text) == closed and answer.closed > 0
    values = said_values(answer, Spelling(reader.encoder.processor))
    assert not any(value.tells for value in values if value.path == "name" and said.endswith("Ada"))  # cut off
    assert not any(value.tells for value in values if value.value is None)


def test_a_grammar_that_becomes_too_complex_is_no_whole_answer(reader, mixed):
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^((a{1,300}b?){1,300}c?){1,300}$"}}}
    schema |= {"required": ["a"], "additionalProperties": False}
    ticket = Ticket(mixed[0], 500, constraint=reader.constraint(schema))
    ticket.begin()
    (token,) = reader.encoder.processor.tokenizer("a", add_special_tokens=False)["input_ids"]
    words = np.zeros(9, np.int32)
    while not ticket.finish_reason:
        ticket.constraint.allow(words)
        ticket.take(token, -1.0, ends=reader.encoder.ends)
    assert ticket.finish_reason == "failed" and reader.answer(ticket).finish_reason == "failed"


def test_repetition_is_seen_though_forced_tokens_skip_the_places_where_it_is_looked_for(reader, mixed):
    ticket = Ticket(mixed[0], 5000)
    for _ in range(200):
        ticket.ids += [7, 8]  # as a grammar forces them
        ticket.take(9, -1.0, ends=reader.encoder.ends)
    assert ticket.finish_reason == "repetition" and len(ticket.ids) < 620


def test_the_grammars_that_are_kept_are_bounded(reader):
    for number in range(MOST_KNOWN + 2):
        reader.constraint({"type": "object", "properties": {f"key {number}": WORDS}, "additionalProperties": False})
    assert len(reader.grammars.known) == MOST_KNOWN


def test_a_front_answers_as_the_engine(reader, mixed):
    (answer,) = reader.answers(mixed[:1], max_new_tokens=40, schemas=[SCHEMA])
    with Front(reader, rows=2, width=2048) as front:
        stream = front.submit(mixed[0], 40, schema=SCHEMA)
        other = front.submit(mixed[1], 5)
        pieces = list(stream)
        assert stream.result().text == answer.text == "".join(piece.text for piece in pieces)
        assert other.result().finish_reason in ("stop", "length")
        with pytest.raises(ValueError, match="patternProperties"):
            front.submit(mixed[0], 5, schema={"type": "object", "patternProperties": {"a": {}}})


@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("patternProperties", {"type": "object", "properties": {"a": {"type": "object", "patternProperties": {}}}}),
        ("contentEncoding", {"type": "object", "properties": {"a": {"type": "string", "contentEncoding": "base64"}}}),
        ("if", {"type": "array", "items": {"if": {}}}),
        ("uniqueItems", {"anyOf": [{"type": "array", "uniqueItems": True}]}),
        ("x-guidance", {"type": "string", "x-guidance": {"lenient": True}, "format": "phone"}),
        ("hexagram", {"type": "string", "format": "hexagram"}),
        ("nothing", {"$ref": "#/$defs/nothing"}),
    ],
)
def test_what_could_not_be_kept_is_refused_by_name(reader, keyword, schema):
    with pytest.raises(ValueError, match=keyword):
        reader.constraint(schema)


def test_a_name_may_be_that_of_a_keyword(reader):
    names = {"if": WORDS, "patternProperties": WORDS}
    assert reader.constraint({"type": "object", "properties": names, "additionalProperties": False}) is not None
