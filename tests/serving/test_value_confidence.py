"""/extract says of every value how far it can be trusted, by the calibration of the run."""

import json
import math
from dataclasses import replace

import pytest
from served import encoded, serving

from medvl.evaluation.calibration import Calibration
from medvl.evaluation.evidence import Evidence
from medvl.evaluation.judged import agreement
from medvl.run.serving_run import of_checkpoint
from medvl.serving.options import Serve
from medvl.serving.service import Service

WORDS = {"type": "string", "pattern": "^[A-Za-z ]+$"}
SCHEMA = {"type": "object", "properties": {"page": WORDS, "line": WORDS}}


def made(features=4, **more):
    """A calibration that says the same of all values, or looks at transcripts only, and accepts them at 5 %."""
    thresholds = {"0.05": {"confidence": 0.5, "bound": 0.04, "coverage": 0.9}, "0.01": None}
    ends = {"lows": [-9.0], "highs": [9.0], "means": [0.0], "scales": [1.0], "weights": [0.0]}
    ends = {name: value * features for name, value in ends.items()}
    if features > 4:
        ends["weights"][-1] = 2.0
    known = {"fitted_on": "forms, val split", "documents": 40, "values": 400, "thresholds": thresholds}
    return Calibration(**ends, bias=2.0, **known, **more)


@pytest.mark.parametrize("error", [None, 0.05, 0.01])
def test_values_come_with_their_confidence(reader, pages, error):
    limits = {} if error is None else {"error": error}
    with serving(reader, calibration=None if error is None else made(), **limits) as (_, client):
        sent = {
            "files": {"files": ("a.png", encoded(pages[1]))},
            "data": {"schema": json.dumps(SCHEMA), "max_tokens": "60"},
        }
        answer = client.post("/extract", **sent).json()
    values = {one["path"]: one for one in answer["values"] if one["value"] and one["value"].strip()}
    assert {path: one["value"] for path, one in values.items()} == {
        key: value for key, value in answer["fields"].items() if value is not None and value.strip()
    }
    assert values, answer["fields"]
    assert not all(one["cut"] for one in values.values())
    for one in values.values():
        if error is None or one["cut"]:
            assert one["confidence"] is one["accepted"] is None and one["log_probability"] < 0
        else:
            assert one["confidence"] == pytest.approx(0.8807970779778823)
            assert one["accepted"] is (True if error == 0.05 else None)
    assert answer["calibration"] == ("uncalibrated" if error is None else "forms, val split")


def test_a_value_that_the_pages_text_has_is_surer(reader, pages):
    """A calibration of transcripts: every page is read as a text, too."""
    sent = {
        "files": {"files": ("a.png", encoded(pages[1]))},
        "data": {"schema": json.dumps(SCHEMA), "max_tokens": "60"},
    }
    with serving(reader, calibration=made()) as (_, client):
        without = client.post("/extract", **sent).json()
    with serving(reader, calibration=made(5)) as (_, client):
        texts = client.post("/extract", files=sent["files"], data={"max_tokens": "60"}).json()
        answer = client.post("/extract", **sent).json()
    assert [page["text"] for page in answer["pages"]] == [page["text"] for page in texts["pages"]]
    assert all(page["text"] is None for page in without["pages"]) and answer["fields"] == without["fields"]
    told = [one for one in answer["values"] if one["confidence"] is not None]
    assert told
    for one in told:
        sure = 2 * agreement(one["value"], texts["pages"][0]["text"]) + 2
        assert one["confidence"] == pytest.approx(1 / (1 + math.exp(-sure)))
    spent = [answer["usage"]["completion_tokens"] for answer in (without, texts, answer)]
    assert spent[2] == spent[0] + spent[1]


def test_a_text_that_is_cut_does_not_make_whole_fields_look_cut(reader, pages):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
    sent = {"data": {"schema": json.dumps(schema), "max_tokens": "12"}}
    with serving(reader, calibration=made(5)) as (_, client):
        answer = client.post("/extract", files={"files": ("a.png", encoded(pages[1]))}, **sent).json()
    (page,) = answer["pages"]
    assert page["finish_reason"] == "length" and page["text"]
    assert answer["finish_reason"] == "stop" and set(answer["fields"]) == {"a"}


def test_fields_and_texts_of_a_request_must_fit_into_the_queue():
    options = Serve(pages=8, queue=8)
    Service(options, prompt="", calibration=made())
    with pytest.raises(ValueError, match=r"serve\.pages=8 never fit into a queue of 8\. Set serve\.queue=9"):
        Service(options, prompt="", calibration=made(5))


def test_a_calibration_belongs_to_a_checkpoint(tmp_path, caplog):
    def calibration_of(run, trained):
        return of_checkpoint(Calibration.read(run), "values are uncalibrated", run, trained)

    assert calibration_of(tmp_path, tmp_path / "step-000005") is None
    made(checkpoint="step-000005").write(tmp_path)
    assert calibration_of(tmp_path, tmp_path / "checkpoints/step-000005").fitted_on == "forms, val split"
    assert calibration_of(tmp_path, tmp_path / "checkpoints/step-000009") is None
    assert "it has been trained since" in caplog.text


def test_values_come_with_the_place_where_the_model_looked(reader, pages):
    places = Evidence([[5, 1], [4, 0]], 0.0, "forms, val split", 40, measured={"pointing": 0.875})
    sent = {
        "files": {"files": ("a.png", encoded(pages[1]))},
        "data": {"schema": json.dumps(SCHEMA), "max_tokens": "60"},
    }
    with serving(replace(reader, heads=places.pairs), evidence=places) as (_, client):
        answer = client.post("/extract", **sent).json()
    told = [one for one in answer["values"] if (one["value"] or "").strip() and not one["cut"]]
    assert told and answer["pointing"] == 0.875
    for one in told:
        left, top, right, bottom = one["evidence"]["box"]
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        assert one["evidence"]["file"] == one["evidence"]["page"] == 1 and "inside" not in one
    with serving(reader) as (_, client):
        without = client.post("/extract", **sent).json()
    assert without["fields"] == answer["fields"] and without["pointing"] is None
    assert all(one["evidence"] is None for one in without["values"])


def test_only_errors_that_were_calibrated_for_can_be_wanted():
    with pytest.raises(ValueError, match=r"serve.error must be one of 0.01, 0.02, 0.05, 0.1, got 0.03"):
        Serve(error=0.03)
