"""Answers from before training are read back by a resumed run; their scores are those of today's rules."""

import json
from dataclasses import replace

import pytest
from reports import answers, make_run

from medvl.evaluation.comparison import compare
from medvl.evaluation.evaluation import Evaluation, Objective
from medvl.metrics.scoring import SCORING
from medvl.run.datasets import judged
from medvl.run.scoring import answered
from medvl.types import Example, Field


def examples(count=4):
    return [
        Example(
            id=row["id"],
            document=row["document"],
            split="val",
            images=[f"here/{number}.png"],
            prompt=row["prompt"],
            response=row["reference"],
        )
        for number, row in enumerate(answers(count=count))
    ]


def recorded(**changes):
    rows = [row | {"images": [f"there/{number}.png"]} for number, row in enumerate(answers())]
    return [*rows[:-1], rows[-1] | changes]


def test_answers_are_scored_anew():
    rows = answered(recorded(scores={"cer": [5.0, 5.0]}), examples())
    assert rows is not None and all(row["scoring"] == SCORING for row in rows)
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in answers()]
    assert rows[-1]["scores"]["cer"][0] == 0.0 and rows[0]["scores"]["cer"][0] > 0


@pytest.mark.parametrize("changes", [{"id": "d9/0"}, {"images": ["there/9.png"]}, {"reference": "aspirin 9 mg"}])
def test_answers_to_other_examples_are_not(changes):
    assert answered(recorded(**changes), examples()) is None
    assert answered(recorded()[:-1], examples()) is None


def test_runs_that_were_scored_by_different_rules_are_not_compared(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert compare(a, b).examples == 4
    path = b / "predictions.jsonl"
    rows = [json.loads(line) | {"scoring": SCORING} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=rf"{a} was scored by an earlier version"):
        compare(a, b)


def test_an_objective_that_no_example_has_is_said_before_anything_is_answered(caplog):
    asked = [replace(one, task="vqa", prompt="Rate?", response="70 bpm") for one in examples()]
    for objective in (Objective.field_f1, Objective.cer_text, Objective.answer):
        assert judged(Evaluation(objective=objective), asked, "eval") is objective
    (said,) = caplog.messages
    assert (
        said == "of 4 examples to score none has the objective: field_f1 does not apply. Set eval.objective=cer_text."
    )
    assert judged(Evaluation(), [replace(one, response="") for one in asked], "eval") is Objective.cer_text
    assert len(caplog.messages) == 1  # nothing is scored at all


@pytest.mark.parametrize(
    ("task", "objective"),
    [("transcribe", "cer_text"), ("vqa", "answer"), ("json", "field_f1"), ("caption", "token_f1")],
)
def test_without_a_wish_the_tasks_of_the_examples_choose_the_objective(task, objective, caplog):
    facts = [Field(path="rate", value="70 bpm", type="quantity")] if task == "json" else []
    asked = [replace(one, task=task, response='{"rate": "70 bpm"}', fields=facts) for one in examples()]
    assert judged(Evaluation(), asked, "eval") is Objective(objective) and not caplog.messages
