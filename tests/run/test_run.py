"""Training runs as a user starts them: their output, and kills, resumes and refusals."""

import signal
import time

import pytest
from conftest import LONG, QUIET, scores

from medvl.record.files import read_json, read_jsonl

RECORD = {
    "config.yaml",
    "environment.json",
    "status.json",
    "metrics.jsonl",
    "metrics.json",
    "predictions.jsonl",
    "predictions_before.jsonl",
    "predictions_replay.jsonl",
    "predictions_replay_before.jsonl",
    "prepared.json",
    "prepared_replay.json",
    "audit.json",
    "audit.png",
    "differences.png",
    "trainable.json",
    "checkpoints",
    "export",
    "train.log",
}


def curve(run):
    return {row["step"]: row["train/nats_per_token"] for row in read_jsonl(run / "metrics.jsonl") if "train/lr" in row}


def wait_for_step(run, step, process):
    deadline = time.time() + 120
    while time.time() < deadline:
        if process.poll() is not None:
            pytest.fail(process.communicate()[0])
        status = [read_json(path / "status.json") or {} for path in run.iterdir()] if run.exists() else []
        if any(entry.get("step", 0) >= step for entry in status):
            return
        time.sleep(0.05)
    pytest.fail("the run did not get there")


def test_a_run_explains_itself(trained):
    run, output = trained
    assert {path.name for path in run.iterdir()} >= RECORD
    status = read_json(run / "status.json")
    assert status["state"] == "done" and status["step"] == 6 and status["objective"]["name"] == "cer_text"
    environment = read_json(run / "environment.json")
    assert environment["versions"]["torch"] and environment["choices"]["compute"]["reason"]
    assert environment["choices"]["groups"]["precision"] == "nf4" and "lora.r=8" in environment["overrides"]
    assert "storage: nf4" in (run / "config.yaml").read_text()
    results = read_json(run / "metrics.json")
    assert results["before"]["examples"] == results["after"]["examples"] == 2
    assert results["train"]["steps"] == 6 and results["train"]["trainable"] == 233_472
    for row in read_jsonl(run / "predictions.jsonl"):
        assert {"id", "images", "prompt", "reference", "prediction", "task", "scores"} <= row.keys() and row["scores"]
    assert "before" in output and "after" in output and "run directory: run" in output and "gate: " in output
    assert "RANDOM WEIGHTS" not in output


def test_the_checkpoint_is_small(trained):
    run, _ = trained
    checkpoint = run / read_json(run / "status.json")["checkpoint"]
    assert checkpoint.name == "step-000006"
    assert sum(file.stat().st_size for file in checkpoint.iterdir()) < 4_000_000


def test_sigkill_and_resume_give_the_uninterrupted_curve(trained, script, tmp_path):
    process = script("train.py", *LONG, cwd=tmp_path, wait=False)
    wait_for_step(tmp_path, 3, process)
    process.kill()
    process.communicate()
    assert read_json(tmp_path / "run/status.json")["state"] == "running"
    code, output = script("train.py", "resume=run", cwd=tmp_path)
    assert code == 0 and "going on from step-" in output, output
    assert curve(tmp_path / "run") == curve(trained[0])
    assert read_json(tmp_path / "run/status.json")["state"] == "done"
    after = [
        [row["prediction"] for row in read_jsonl(run / "predictions.jsonl")] for run in (tmp_path / "run", trained[0])
    ]
    assert after[0] == after[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_so(trained, script, tmp_path, number):
    slow = [word for word in LONG if "save_every" not in word]
    process = script("train.py", *slow, cwd=tmp_path, wait=False)
    deadline = time.time() + 120
    while not (tmp_path / "run/metrics.jsonl").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    status = read_json(tmp_path / "run/status.json")
    assert process.returncode == 128 + number, output
    assert status["state"] == "interrupted" and signal.Signals(number).name in status["error"]
    assert f"step {status['step']}" in output and "python train.py resume=run" in output
    if number == signal.SIGTERM:
        code, output = script("train.py", "resume=run", cwd=tmp_path)
        assert code == 0 and curve(tmp_path / "run") == curve(trained[0]), output


def test_a_refused_call_touches_nothing(trained, script, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    before = {path.name: path.stat().st_mtime_ns for path in trained[0].iterdir()}
    for call in (
        ("train.py", "resume=mine"),
        ("train.py", "hydra.run.dir=mine", "lora=none"),
        ("evaluate.py", f"resume={trained[0]}"),
        ("train.py", f"run={trained[0]}"),
        ("train.py", "-m", "resume=mine"),
    ):
        code, output = script(*call, "logger=none", cwd=tmp_path)
        assert "error: " in output and (code == 2 or "-m" in call), output
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert {path.name: path.stat().st_mtime_ns for path in trained[0].iterdir()} == before


def test_a_run_remembers_what_it_is_over_resumes(trained, script, tmp_path):
    own = ("precision=fp32", "lora=none", "trainer.max_steps=1", "eval.before=false", "hydra.run.dir=run")
    code, output = script("train.py", *QUIET, *own, cwd=tmp_path)
    assert code == 0, output
    first = read_json(tmp_path / "run/environment.json")
    code, output = script("train.py", "resume=run", "trainer.max_steps=2", cwd=tmp_path)
    assert code == 0 and not (tmp_path / "run/wandb").exists(), output
    second = read_json(tmp_path / "run/environment.json")
    assert second["choices"]["groups"] == first["choices"]["groups"]
    assert second["choices"]["groups"]["lora"] == "none" and "precision=fp32" in second["overrides"]
    assert read_json(tmp_path / "run/metrics.json")["train"]["val_nats_per_token"] > 0
    code, output = script("evaluate.py", "run=run", "hydra.run.dir=again", cwd=tmp_path)
    assert code == 0, output
    assert scores(tmp_path / "again") == read_json(tmp_path / "run/metrics.json")["after"]
    assert read_json(tmp_path / "again/environment.json")["choices"]["groups"]["lora"] == "none"


def test_a_signal_before_training_leaves_a_status(script, tmp_path):
    process = script("train.py", *LONG, "eval.max_new_tokens=3000", "eval.limit=1", cwd=tmp_path, wait=False)
    deadline = time.time() + 120
    while not (tmp_path / "run/prepared.json").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.terminate()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143 and read_json(tmp_path / "run/status.json")["state"] == "interrupted", output


def test_a_resumed_run_keeps_its_composition(trained, script, tmp_path):
    code, output = script("train.py", f"resume={trained[0]}", "lora.r=4", cwd=tmp_path)
    assert code == 2 and "a resumed run keeps its composition; lora.r=4 would change it" in output
