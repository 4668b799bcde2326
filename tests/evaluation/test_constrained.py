"""JSON answers that follow their schema: which schema that is, and what evaluate.py says with and without."""

import json
from dataclasses import replace

import pytest

from medvl.evaluation.constrained import schema_of, schemas_of
from medvl.evaluation.evaluation import Evaluation
from medvl.metrics.extraction import LISTED
from medvl.record.files import read_json, read_jsonl
from medvl.types import Example, Field

TEXT = {"type": ["string", "null"]}


def asked(prompt="", response="{}", **more):
    one = Example(id="1", document="d", split="val", images=["1.png"], prompt=prompt, response=response, task="json")
    return replace(one, **more)


def test_the_schema_is_that_of_the_shape_that_the_prompt_shows():
    shape = {"patient": {"name": ""}, "drugs": [{"name": "", "dose": ""}], "allergies": [""]}
    drug = {"type": "object", "properties": {"name": TEXT, "dose": TEXT}, "additionalProperties": False}
    patient = {"type": "object", "properties": {"name": TEXT}, "required": ["name"], "additionalProperties": False}
    assert schema_of(asked(f"Fill in this JSON from the page: {json.dumps(shape)}")) == {
        "type": "object",
        "properties": {
            "patient": patient,
            "drugs": {"type": "array", "items": drug},
            "allergies": {"type": "array", "items": TEXT},
        },
        "required": ["patient", "drugs", "allergies"],
        "additionalProperties": False,
    }


def test_a_schema_of_ones_own_wins_and_what_shows_no_shape_is_any_json():
    own = {"type": "object", "properties": {"ward": {"enum": ["ICU", None]}}}
    assert schema_of(asked('After this schema: {"ward": ""}', schema=own)) == own
    assert schema_of(asked('As JSON, for example {"total": "9.00"}')) == {"type": "object"}
    listed = [Field(path=f"{LISTED}.0.name", value="Aspirin", type="name")]
    assert schema_of(asked("All drugs as JSON.", fields=listed)) == {"type": "array"}
    assert schema_of(asked(task="transcribe")) is None


def test_nothing_to_constrain_is_said(caplog):
    assert schemas_of([asked(task="vqa")]) is None
    assert caplog.messages == ["eval.constrained=true changes nothing: none of 1 examples asks for JSON"]
    assert schemas_of([asked(task="vqa"), asked()]) == [None, {"type": "object"}]


@pytest.mark.parametrize("constrained", [False, True])
def test_an_evaluation_tells_its_engine(constrained):
    class Engine:
        def answers(self, examples, *, schemas, **more):
            assert (schemas is not None) == constrained
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Evaluation(constrained=constrained).run(Engine(), [asked()], bar=False)


def test_evaluate_py_compares_answers_with_and_without_a_grammar(script, tmp_path):
    words = ["eval=clinical_forms", "eval.data.tasks=[json]", "eval.data.count=12", "eval.limit=3", "ablation=[]"]
    words += ["eval.constrained=true", "eval.max_new_tokens=60", "logger=none", "hydra.run.dir=run"]
    code, said = script("evaluate.py", *words, cwd=tmp_path)
    assert code == 0, said
    with_grammar, free = (read_jsonl(tmp_path / "run" / f"predictions{name}.jsonl") for name in ("", "_free"))
    assert [row["id"] for row in with_grammar] == [row["id"] for row in free]
    for row in with_grammar:
        shown = json.loads(row["prompt"][row["prompt"].index("{") :])
        assert list(json.loads(row["prediction"])) == list(shown) and row["scores"]["invalid_json"] == [0.0, 1.0]
        assert row["forced"] > 10
    assert all("forced" not in row for row in free)
    assert "no grammar" in said and "computed" in said
    scores = read_json(tmp_path / "run/metrics.json")["scores"]
    assert scores["test"]["invalid_json"] == 0 < scores["no grammar"]["invalid_json"]
