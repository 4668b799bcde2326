"""/extract says of every value how far it can be trusted, by the calibration of the run."""

import json

import pytest
from served import encoded, serving

from medvl.evaluation.calibration import Calibration
from medvl.run.serving_run import calibration_of
from medvl.serving.options import Serve

WORDS = {"type": "string", "pattern": "^[A-Za-z ]+$"}
SCHEMA = {"type": "object", "properties": {"page": WORDS, "line": WORDS}}


def made(**more):
    """A calibration that says the same of all values, and accepts them at 5 %."""
    thresholds = {"0.05": {"confidence": 0.5, "bound": 0.04, "coverage": 0.9}, "0.01": None}
    ends = {"lows": [-9.0] * 4, "highs": [9.0] * 4, "means": [0.0] * 4, "scales": [1.0] * 4, "weights": [0.0] * 4}
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


def test_a_calibration_belongs_to_a_checkpoint(tmp_path, caplog):
    assert calibration_of(tmp_path, tmp_path / "step-000005") is None
    made(checkpoint="step-000005").write(tmp_path)
    assert calibration_of(tmp_path, tmp_path / "checkpoints/step-000005").fitted_on == "forms, val split"
    assert calibration_of(tmp_path, tmp_path / "checkpoints/step-000009") is None
    assert "it has been trained since" in caplog.text


def test_only_errors_that_were_calibrated_for_can_be_wanted():
    with pytest.raises(ValueError, match=r"serve.error must be one of 0.01, 0.02, 0.05, 0.1, got 0.03"):
        Serve(error=0.03)
