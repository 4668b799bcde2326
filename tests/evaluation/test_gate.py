"""When a trained model counts as worse than its base, and the consequences for its adapter."""

import json

import pytest
from conftest import QUIET

from medvl.evaluation.gate import BeforeAfter, Gate
from medvl.metrics import summarize
from medvl.record.directory import Record
from medvl.record.files import read_json, read_jsonl
from medvl.run.context import RunContext
from medvl.run.datasets import prepare_replay, prepare_training


def scored(shares, measure="cer"):
    """Rows with one document per share."""
    rows = [
        {"id": str(at), "document": str(at), "reference": "r", "scores": {measure: [share, 1.0]}}
        for at, share in enumerate(shares)
    ]
    return rows, summarize(rows)


def contrast(before, after, measure="cer"):
    base = None if before is None else scored(before, measure)
    return BeforeAfter(title="examples", objective=measure, before=base, after=scored(after, measure))


TEN, ELEVEN, TWELVE = [0.10] * 8, [0.11] * 8, [0.12] * 8
SAME = contrast(TEN, TEN)


def test_worse_on_the_target_set_is_worse():
    got = Gate().judge(contrast(TEN, ELEVEN), SAME)
    assert got.worse and len(got.why) == 1
    assert got.why[0].startswith("target set: the trained model is worse than the base: character error rate 11.00 %")
    assert str(got).startswith("gate: worse; target set: ")
    assert not Gate().judge(contrast(ELEVEN, TEN), SAME).worse


def test_forgetting_counts_beyond_the_tolerance_only():
    assert Gate(tolerance=0.015).judge(SAME, contrast(TEN, TWELVE)).worse
    assert not Gate(tolerance=0.025).judge(SAME, contrast(TEN, TWELVE)).worse
    got = Gate(tolerance=0.015).judge(contrast(TEN, ELEVEN), contrast(TEN, TWELVE))
    assert [why.split(":")[0] for why in got.why] == ["target set", "replay set, tolerance 1.5 points"]


def test_the_whole_interval_must_lie_beyond_the_tolerance():
    """Worse by 3 points on average and certainly worse, but possibly by only half a point."""
    lost = contrast([0.1] * 8, [0.105, 0.105, 0.105, 0.105, 0.105, 0.105, 0.205, 0.205])
    assert lost.difference.verdict == "worse" and lost.difference.low < 0.01 < lost.difference.difference
    assert not Gate().judge(SAME, lost).worse and Gate(tolerance=0.0).judge(SAME, lost).worse


def test_of_a_measure_that_should_be_high_a_loss_is_a_fall():
    high, low = [0.9] * 8, [0.87] * 8
    assert Gate().judge(SAME, contrast(high, low, "combined")).worse
    assert not Gate(tolerance=0.04).judge(SAME, contrast(high, low, "combined")).worse
    assert not Gate().judge(SAME, contrast(low, high, "combined")).worse


def test_too_few_documents_decide_nothing():
    few = contrast(TEN[:5], TWELVE[:5])
    for target, replay, said in ((few, SAME, "target"), (SAME, few, "replay"), (few, None, "target")):
        got = Gate().judge(target, replay)
        assert got.verdict == "unknown" and len(got.why) == 1
        assert got.why[0].startswith(f"{said} set: Cannot tell") and "5 documents are too few" in str(got)
    assert Gate().judge(contrast(TEN[:1], TEN[:1]), SAME).verdict == "unknown"
    assert Gate().judge(few, contrast(TEN, TWELVE)).worse  # the other set suffices for that
    assert Gate().judge(contrast(TEN[:6], TEN[:6]), contrast(TEN[:6], TEN[:6])).verdict == "not worse"


def test_an_unknown_verdict_says_why_and_does_not_hold_the_export_back():
    got = Gate().judge(contrast(TEN[:2], TEN[:2]), SAME)
    assert not got.worse and str(got).startswith("gate: unknown; target set: Cannot tell")


def test_a_replay_set_without_the_measure_is_unknown():
    other = contrast(TEN, TEN)
    other.difference = None
    assert Gate().judge(SAME, other).why == ["replay set: cer does not apply."]


def test_an_objective_that_does_not_apply_names_one_that_does():
    facts = BeforeAfter(title="x", objective="cer_text", before=scored(TEN, "field_f1"), after=scored(TEN, "field_f1"))
    got = str(Gate().judge(facts, SAME))
    assert got == "gate: unknown; target set: cer_text does not apply. Set eval.objective=field_f1."
    assert Gate().judge(SAME, facts).why == ["replay set: cer_text does not apply. Set replay.objective=field_f1."]


def test_without_a_base_nothing_is_known():
    got = Gate().judge(contrast(None, TEN), contrast(None, TEN))
    assert got.verdict == "unknown" and "eval.before=false" in str(got)
    other = contrast(TEN, TEN)
    other.difference = None  # the objective does not apply
    assert Gate().judge(other, SAME).verdict == "unknown"
    assert Gate().judge(other, contrast(TEN, TWELVE)).worse  # the replay set counts nevertheless
    assert Gate().judge(SAME, None).verdict == "not worse"


def test_a_negative_tolerance_is_refused(compose):
    with pytest.raises(ValueError, match=r"Set gate\.tolerance=0\.01"):
        compose("gate.tolerance=-0.1")


def context_of(compose, cache, tmp_path, *overrides):
    run = compose(f"cache={cache}", "trainer.bar=false", *overrides)
    return RunContext(config=run, record=Record(tmp_path), settings={}, groups={}, main=False)


def test_the_replay_set_holds_eight_documents_and_none_that_is_trained_on(compose, cache, encoder, tmp_path):
    forms = context_of(compose, cache, tmp_path, "data.limit=9")
    replay = forms.config.replay
    chosen = replay.chosen(prepare_replay(forms, replay, encoder, prepare_training(forms, encoder)))
    assert len(chosen) == len({example.document for example in chosen}) == 8
    notes = context_of(compose, cache, tmp_path, "data=mtsamples")
    prepared = prepare_training(notes, encoder)
    kept = {example.document for example in prepare_replay(notes, replay, encoder, prepared)}
    trained = {example.document for example in prepared.examples["train"]}
    assert len(kept) >= 6 and len(trained) > 40 and not kept & trained


def test_a_replay_set_that_is_trained_on_is_refused(compose, cache, encoder, tmp_path):
    context = context_of(compose, cache, tmp_path, "data=mtsamples", "data.limit=9", "replay.split=minitrain")
    context.config.replay.data = None
    with pytest.raises(ValueError, match="replay=none"):
        prepare_replay(context, context.config.replay, encoder, prepare_training(context, encoder))


def test_all_splits_of_the_training_data_are_refused(compose):
    with pytest.raises(ValueError, match=r"Set eval\.split=test"):
        compose("eval.split=all")
    assert compose("eval=clinical_forms", "eval.split=all").eval.split.name == "all"


def better_before(path):
    """Rewrite the base's predictions as if all were right."""
    rows = [row | {"prediction": row["reference"]} for row in read_jsonl(path)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_worse_run_is_not_exported_unless_forced(script, tmp_path):
    code, output = script(
        "train.py",
        *QUIET,
        "eval=clinical_forms",
        "eval.split=all",
        "eval.data.count=7",
        "eval.limit=null",
        "eval.max_new_tokens=2",
        "replay.limit=7",
        "replay.max_new_tokens=2",
        "trainer.max_steps=1",
        "lora.r=4",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    run = tmp_path / "run"
    assert code == 0 and "gate: not worse\nexported to run/export" in output, output
    exported = {path.name for path in (run / "export").iterdir()}
    assert exported == {"adapter_model.safetensors", "adapter_config.json", "medvl.json", "export.json"}
    weights = "adapter_model.safetensors"
    assert (run / "export" / weights).read_bytes() == (run / "checkpoints/step-000001" / weights).read_bytes()
    facts = read_json(run / "export/export.json")
    assert facts["checkpoint"] == "step-000001" and facts["gate"]["verdict"] == "not worse"
    assert facts["target"]["after"]["documents"] == 7 and facts["replay"]["before"]["examples"] == 7

    better_before(run / "predictions_before.jsonl")  # a resumed run reads it back
    code, output = script("train.py", "resume=run", "gate.tolerance=0.02", cwd=tmp_path)
    assert code == 0 and "gate: worse; target set: the trained model is worse than the base" in output, output
    assert "set before training" not in output
    assert "Not exported; python train.py resume=run force=true exports it" in output and not (run / "export").exists()
    status = read_json(run / "status.json")
    assert status["state"] == "done" and status["gate"]["verdict"] == status["headline"]["gate"] == "worse"
    assert "7 documents" in status["gate"]["why"][0] and read_json(run / "metrics.json")["gate"] == status["gate"]

    code, output = script("train.py", "resume=run", "force=true", cwd=tmp_path)
    assert code == 0 and "exported to run/export" in output, output
    assert read_json(run / "export/export.json")["gate"]["verdict"] == "worse"
