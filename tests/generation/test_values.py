"""Which tokens belong to which value of a JSON answer."""

import json
import math

import pytest

from medvl.generation.answer import Answer
from medvl.generation.stream import Spelling
from medvl.generation.values import said_values

SAID = {"patient": {"name": "Ada Ωμέγα", "No. 1": None}, "drugs": [{"dose": "81 mg"}, {"dose": 'a "b" \\'}], "ok": True}


def answered(reader, text, forced=lambda at: False):
    ids = reader.encoder.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    chosen = [forced(at) for at in range(len(ids))]
    each = [0.0 if chosen[at] else -1 / (at + 1) for at in range(len(ids))]
    return Answer(text, ids, "stop", each, [0.5] * len(ids), chosen), Spelling(reader.encoder.processor)


@pytest.mark.parametrize("indent", [None, 2])
def test_values_have_their_places_and_tokens(reader, indent):
    answer, spelling = answered(reader, json.dumps(SAID, ensure_ascii=False, indent=indent))
    found = {one.path: one for one in said_values(answer, spelling)}
    assert {path: one.value for path, one in found.items()} == {
        "patient.name": "Ada Ωμέγα",
        "patient.No 1": None,
        "drugs.0.dose": "81 mg",
        "drugs.1.dose": 'a "b" \\',
        "ok": "True",
    }
    written = {"patient.name": '"Ada Ωμέγα"', "patient.No 1": "null", "drugs.0.dose": '"81 mg"', "ok": "true"}
    for path, text in written.items():  # nano's tokens are bytes, and both quotes belong to a text
        assert found[path].tokens == len(text.encode())
    first = answer.text.encode().index(b'"81 mg')
    assert found["drugs.0.dose"].log_probability == pytest.approx(sum(answer.log_probabilities[first : first + 7]))
    assert found["drugs.0.dose"].least == answer.log_probabilities[first] and found["ok"].mass == 0.5


def test_what_was_forced_says_nothing(reader):
    answer, spelling = answered(reader, '{"sex": "male"}', forced=lambda at: at != 9)
    (value,) = said_values(answer, spelling)
    assert value.tokens == 1 and value.log_probability == value.least == -1 / 10
    answer, spelling = answered(reader, '{"sex": "male"}', forced=lambda at: True)
    (value,) = said_values(answer, spelling)
    assert value.tokens == 0 and value.log_probability == 0 and value.mass == 1


def test_tokens_of_several_characters_belong_to_all_that_they_touch():
    spelled = dict(enumerate([b'{"a": "1', b'", "b": "', b'2"}']))
    first, second = said_values(Answer("", [0, 1, 2], "stop", [-1.0, -2.0, -4.0], [1, 1, 1], [False] * 3), spelled)
    assert (first.log_probability, second.log_probability) == (
        -3.0,
        -6.0,
    )  # the second one ends a text and begins another
    assert math.isclose(first.least, -2.0)
