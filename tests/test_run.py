"""The scripts as a user runs them: train, kill, resume, evaluate, benchmark, sweep."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from medvl.record import read_json, read_jsonl

SMALL = ("data.limit=9", "batch.tokens=1500", "eval.limit=2", "eval.max_new_tokens=8", "trainer.validation_rows=1")
QUIET = (*SMALL, "logger=none")
RECORD = {"config.yaml", "environment.json", "status.json", "metrics.jsonl", "metrics.json", "predictions.jsonl",
          "predictions_before.jsonl", "prepared.json", "audit.json", "audit.png", "trainable.json", "checkpoints",
          "train.log"}  # fmt: skip


def environment(cache=None):
    return {**os.environ, "PYTHONPATH": str(ROOT)} | ({"MEDVL_CACHE": str(cache)} if cache else {})


def only(folder):
    (run,) = folder.iterdir()
    return run


def curve(run):
    return {row["step"]: row["train/nats_per_token"] for row in read_jsonl(run / "metrics.jsonl") if "train/lr" in row}


def scores(run):
    return read_json(run / "metrics.json")["scores"]["test"]


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


def offline_records(data):
    """Yield the records of a .wandb file: LevelDB's log format behind a head of 7 bytes, in blocks of 32 KiB."""
    at, parts = 7, []
    while at + 7 <= len(data):
        left = -at % 32768
        if 0 < left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


LONG = (*QUIET, "trainer.max_steps=6", "trainer.save_every=1", "lora.r=8", "lora.dropout=0.1", "hydra.run.dir=run")


@pytest.fixture(scope="module")
def trained(script, tmp_path_factory):
    """A whole run, with W&B offline."""
    folder = tmp_path_factory.mktemp("trained")
    overrides = [word for word in LONG if word != "logger=none"]
    code, output = script("train.py", *overrides, cwd=folder)
    assert code == 0, output
    return folder / "run", output


def test_a_run_explains_itself(trained):
    run, output = trained
    assert {path.name for path in run.iterdir()} >= RECORD
    status = read_json(run / "status.json")
    assert status["state"] == "done" and status["step"] == 6 and status["objective"]["name"] == "cer"
    environment = read_json(run / "environment.json")
    assert environment["versions"]["torch"] and environment["choices"]["compute"]["reason"]
    assert environment["choices"]["groups"]["precision"] == "nf4" and "lora.r=8" in environment["overrides"]
    assert "storage: nf4" in (run / "config.yaml").read_text()
    results = read_json(run / "metrics.json")
    assert results["before"]["examples"] == results["after"]["examples"] == 2
    assert results["train"]["steps"] == 6 and results["train"]["trainable"] == 233_472
    for row in read_jsonl(run / "predictions.jsonl"):
        assert {"id", "images", "prompt", "reference", "prediction", "task", "scores"} <= row.keys() and row["scores"]
    assert "before" in output and "after" in output and "run directory: run" in output and "RANDOM WEIGHTS" in output


def test_the_checkpoint_is_small(trained):
    run, _ = trained
    checkpoint = run / read_json(run / "status.json")["checkpoint"]
    assert checkpoint.name == "step-000006"
    assert sum(file.stat().st_size for file in checkpoint.iterdir()) < 4_000_000


def test_wandb_holds_the_run_offline(trained):
    """Read back from the offline file: composition, metrics, pages and the adapter."""
    from wandb.proto import wandb_internal_pb2

    run, output = trained
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    assert "to upload: wandb sync" in output
    history, config, artifacts, exit_code = set(), set(), [], None
    for data in offline_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        history |= {item.key or "/".join(item.nested_key) for item in record.history.item}
        config |= {item.key for item in record.run.config.update}
        if record.HasField("artifact") or record.request.HasField("log_artifact"):
            artifacts.append(record.artifact.type or record.request.log_artifact.artifact.type)
        if record.HasField("exit"):
            exit_code = record.exit.exit_code
    assert {"train/nats_per_token", "val/nats_per_token", "after/cer"} <= history
    assert any(key.startswith("pages") for key in history)
    assert {"lora", "precision", "data", "seed"} <= config
    assert "adapter" in artifacts and exit_code == 0


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
    slow = [word for word in LONG if "save_every" not in word and "max_steps" not in word]
    process = script("train.py", *slow, "trainer.max_steps=6", "trainer.epochs=null", cwd=tmp_path, wait=False)
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
        ("train.py", "resume=mine"), ("train.py", "hydra.run.dir=mine", "lora=none"),
        ("evaluate.py", f"resume={trained[0]}"), ("train.py", f"run={trained[0]}"), ("train.py", "-m", "resume=mine"),
    ):  # fmt: skip
        code, output = script(*call, "logger=none", cwd=tmp_path)
        assert "error: " in output and (code == 2 or "-m" in call), output
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert {path.name: path.stat().st_mtime_ns for path in trained[0].iterdir()} == before


def test_a_run_remembers_what_it_is_over_resumes(trained, script, tmp_path):
    own = ("precision=fp32", "lora=none", "trainer.max_steps=1", "eval.before=false", "hydra.run.dir=run")
    code, output = script("train.py", *QUIET, *own, cwd=tmp_path)
    assert code == 0, output
    first = read_json(tmp_path / "run/environment.json")
    code, output = script("train.py", "resume=run", cwd=tmp_path)
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


def test_evaluate_takes_a_run_an_adapter_or_a_bare_model(trained, script, tmp_path):
    run, _ = trained
    code, output = script("evaluate.py", f"run={run}", "logger=none", "hydra.run.dir=a", cwd=tmp_path)
    assert code == 0, output
    taught = read_jsonl(run / "predictions.jsonl")
    assert [row["prediction"] for row in read_jsonl(tmp_path / "a/predictions.jsonl")] == [
        r["prediction"] for r in taught
    ]
    assert scores(tmp_path / "a") == read_json(run / "metrics.json")["after"]
    adapter = run / read_json(run / "status.json")["checkpoint"]
    code, output = script("evaluate.py", *QUIET, f"adapter={adapter}", "hydra.run.dir=b", cwd=tmp_path)
    assert code == 0, output
    assert scores(tmp_path / "b") == scores(tmp_path / "a")
    code, output = script("evaluate.py", *QUIET, "hydra.run.dir=c", cwd=tmp_path)
    assert code == 0, output
    assert scores(tmp_path / "c") == read_json(run / "metrics.json")["before"]


def test_a_run_of_another_version_is_refused(trained, script, tmp_path):
    import shutil

    shutil.copytree(trained[0], tmp_path / "old", ignore=shutil.ignore_patterns("wandb", "checkpoints"))
    status = json.loads((tmp_path / "old/status.json").read_text())
    (tmp_path / "old/status.json").write_text(json.dumps({**status, "format": 0}))
    code, output = script("evaluate.py", "run=old", cwd=tmp_path)
    assert code == 2 and "was written in format 0, this medvl reads format 1" in output
    (tmp_path / "old/status.json").write_text('{"format": 1, "sta')
    code, output = script("evaluate.py", "run=old", cwd=tmp_path)
    assert code == 2 and "status.json is missing or not JSON" in output


def test_an_adapter_for_another_base_is_refused_before_loading(trained, script, tmp_path):
    adapter = trained[0] / read_json(trained[0] / "status.json")["checkpoint"]
    overrides = [f"adapter={adapter}", "model=qwen2_5_vl_3b", "model.init=random", "logger=none"]
    code, output = script("evaluate.py", *overrides, cwd=tmp_path)
    assert code == 2 and "was trained on nano (random weights), the run loads Qwen/Qwen2.5-VL-3B" in output


def test_a_sweep_goes_on_past_a_failing_job_and_ends_with_a_table(script, tmp_path):
    steps = ("trainer.max_steps=1", "lora.r=8", "optimizer.lr=1e-3,1e-9,-1")
    code, output = script("train.py", "-m", *QUIET, *steps, cwd=tmp_path)
    assert code == 0, output
    sweep = only(tmp_path / "outputs/train")
    states = {int(run.name): read_json(run / "status.json") for run in sweep.iterdir() if run.is_dir()}
    assert states[0]["state"] == "done" and states[1]["state"] == "done" and states[2]["state"] == "failed"
    assert "Invalid learning rate" in states[2]["error"] and "Traceback" in states[2]["traceback"]
    table = (sweep / "sweep.txt").read_text().splitlines()
    assert table[0].startswith("all:") and "cer" in table[1]
    assert table[2].startswith("optimizer.lr=0.001") or "1e-3" in table[2]
    assert any(line.startswith("optimizer.lr=-1") and "failed" in line for line in table)
    assert (sweep / "sweep.txt").read_text().strip() in output


def test_a_sweep_over_groups_and_values(script, tmp_path):
    code, output = script(
        "train.py", "-m", *QUIET, "precision=nf4,int8", "lora.r=4,8", "trainer.max_steps=1", "eval.before=false",
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, output
    runs = [run for run in only(tmp_path / "outputs/train").iterdir() if run.is_dir()]
    assert len(runs) == 4 and all(read_json(run / "status.json")["state"] == "done" for run in runs)
    compositions = {(run / "config.yaml").read_text() for run in runs}
    assert len(compositions) == 4


def test_benchmark_compares(script, tmp_path):
    small = ("bench.repeats=2", "bench.warmup=1", "bench.new_tokens=6", "bench.train_steps=1")
    code, output = script("benchmark.py", "-m", *QUIET, *small, "precision=bf16,nf4", cwd=tmp_path)
    assert code == 0, output
    sweep = only(tmp_path / "outputs/benchmark")
    for run in (sweep / "0", sweep / "1"):
        results = read_json(run / "benchmark.json")
        assert results["output_tokens"] == 12 and len(results["samples"]["each_token_ms"]) == 2
        assert 0 < results["first_token_ms"] < results["latency_p50_ms"] <= results["latency_p99_ms"]
        assert results["train_tokens_per_s"] > 0 and results["weights_mib"] > 10 and results["load_s"] > 0
    bf16, nf4 = (read_json(sweep / name / "benchmark.json")["weights_mib"] for name in "01")
    assert nf4 < bf16  # held in fp32 on the CPU
    assert "precision=bf16" in output and "precision=nf4" in output and "each_token_ms" in output


def test_a_note_of_thirty_thousand_characters(script, tmp_path):
    text = "\n".join(f"{n}. Aspirin 81 mg PO daily for coronary artery disease." for n in range(540))
    lines = [{"transcription": text}, *({"transcription": f"Short note number {n}. BP 12{n}/80."} for n in range(5))]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, output = script(
        "train.py", "data=mtsamples", "data.path=long.jsonl", "logger=none", "trainer.max_steps=1", "eval.limit=1",
        "eval.max_new_tokens=8", "trainer.validation_rows=1", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, output
    account = read_json(only(tmp_path / "outputs/train") / "prepared.json")
    assert account["records"] == 6 and sum(account["examples"].values()) > 40 and not account["dropped"]


def test_every_source_trains(script, tmp_path):
    code, output = script(
        "train.py", "-m", *QUIET, "data=mtsamples,synthea,forms_and_notes", "trainer.max_steps=1", "eval.before=false",
        "trainer.validation_rows=0", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, output
    runs = [run for run in only(tmp_path / "outputs/train").iterdir() if run.is_dir()]
    assert len(runs) == 3 and all(read_json(run / "status.json")["state"] == "done" for run in runs), output


def test_scanned_letter_pages_train_and_ablations_are_said(script, tmp_path):
    code, output = script(
        "train.py", "data.count=24", "data.kinds=[prescription]", "render=scanned", "logger=none", "eval.limit=2",
        "eval.max_new_tokens=8", "trainer.max_steps=1", "trainer.validation_rows=1", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, output
    code, output = script(
        "evaluate.py", "run=run", "ablation=blank,shuffled", "hydra.run.dir=ablated", cwd=tmp_path
    )  # fmt: skip
    assert code == 0 and "evaluating with shuffled pages" in output, output
    results = read_json(tmp_path / "ablated/metrics.json")
    assert set(results["scores"]) == {"test", "blank", "shuffled"} and len(results["verdicts"]) == 2
    images = [
        [row["images"] for row in read_jsonl(tmp_path / "ablated" / f"{name}.jsonl")]
        for name in ("predictions", "predictions_blank", "predictions_shuffled")
    ]
    assert images[0] != images[1] != images[2] != images[0] and "blank-1275x1650.png" in images[1][0][0]


def test_two_runs_are_compared(trained, script, tmp_path):
    code, output = script(
        "evaluate.py", f"run={trained[0]}", "logger=none", "eval.max_new_tokens=16", "hydra.run.dir=b", cwd=tmp_path
    )
    assert code == 0, output
    command = [sys.executable, "-m", "medvl.cli", "compare", str(trained[0]), "b"]
    said = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert said.returncode == 0 and "character error rate" in said.stdout and "annot tell" in said.stdout, said
    command[-1] = "nowhere"
    said = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert said.returncode == 1 and "error: " in said.stderr and "Traceback" not in said.stderr


def test_a_strict_audit_refuses_the_seeds_recipe(script, tmp_path):
    recipe = ("experiment=seed_recipe", "data.limit=20", "logger=none", "audit=strict")
    code, output = script("train.py", *recipe, cwd=tmp_path)
    assert code == 2 and "the audit found: UNREADABLE, MISMATCHED, TRUNCATED" in output, output
    assert "device:" not in output  # nothing was loaded
    run = only(tmp_path / "outputs/train")
    assert read_json(run / "audit.json")["verdict"] == "UNREADABLE, MISMATCHED, TRUNCATED"
    assert (run / "audit.png").stat().st_size > 10_000


def test_prepare_exports_and_audit_says_matched(cache, tmp_path):
    for words, said in (
        (("prepare", "data.limit=12", "export=out"), "exported to out: train.json"),
        (("audit", "data.count=240", "data.per_page=1"), "verdict: matched"),
    ):
        command = [sys.executable, "-m", "medvl.cli", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment(cache), capture_output=True, text=True)
        assert done.returncode == 0 and said in done.stdout, done
    rows = json.loads((tmp_path / "out/train.json").read_text())
    assert rows and (tmp_path / "out" / rows[0]["image_path"]).is_file()
