"""The other scripts as a user runs them: evaluate, benchmark, sweep, compare, prepare, audit."""

import json
import os
import subprocess
import sys

from conftest import QUIET, ROOT, scores

from medvl.record.files import read_json, read_jsonl
from medvl.sweeping.plan import SweepPlan


def environment(cache=None):
    return {**os.environ, "PYTHONPATH": str(ROOT)} | ({"MEDVL_CACHE": str(cache)} if cache else {})


def only(folder):
    (run,) = folder.iterdir()
    return run


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
    held_out = (*QUIET, "eval=held_out", "ablation=[]")
    code, output = script("evaluate.py", *held_out, f"adapter={adapter}", "hydra.run.dir=b", cwd=tmp_path)
    assert code == 0, output
    assert scores(tmp_path / "b") == scores(tmp_path / "a")
    code, output = script("evaluate.py", *held_out, "hydra.run.dir=c", cwd=tmp_path)
    assert code == 0, output
    assert scores(tmp_path / "c") == read_json(run / "metrics.json")["before"]


def test_a_run_of_another_version_is_refused(trained, script, tmp_path):
    import shutil

    shutil.copytree(trained[0], tmp_path / "old", ignore=shutil.ignore_patterns("wandb", "checkpoints"))
    status = json.loads((tmp_path / "old/status.json").read_text())
    (tmp_path / "old/status.json").write_text(json.dumps({**status, "format": 0}))
    code, output = script("evaluate.py", "run=old", cwd=tmp_path)
    assert code == 2 and "was written in format 0, this medvl reads format 2" in output
    (tmp_path / "old/status.json").write_text('{"format": 2, "sta')
    code, output = script("evaluate.py", "run=old", cwd=tmp_path)
    assert code == 2 and "status.json is missing or not JSON" in output


def test_an_adapter_for_another_base_is_refused_before_loading(trained, script, tmp_path):
    adapter = trained[0] / read_json(trained[0] / "status.json")["checkpoint"]
    overrides = [f"adapter={adapter}", "model=qwen2_5_vl_3b", "model.init=random", "logger=none"]
    code, output = script("evaluate.py", *overrides, cwd=tmp_path)
    assert code == 2 and "was trained on nano, the run loads Qwen/Qwen2.5-VL-3B" in output


def test_benchmark_compares(script, tmp_path):
    small = ("bench.repeats=2", "bench.warmup=1", "bench.new_tokens=6", "bench.train_steps=1", "bench.accuracy=true")
    code, output = script(
        "benchmark.py", "-m", "hydra/launcher=basic", *QUIET, *small, "precision=bf16,nf4", cwd=tmp_path
    )
    assert code == 0, output
    sweep = only(tmp_path / "outputs/benchmark")
    runs = SweepPlan.read(sweep).runs()
    for run in runs:
        results = read_json(run / "benchmark.json")
        assert results["output_tokens"] == 12 and len(results["samples"]["each_token_ms"]) == 2
        assert 0 < results["first_token_ms"] < results["latency_p50_ms"] <= results["latency_p99_ms"]
        assert results["train_tokens_per_s"] > 0 and results["weights_mib"] > 10 and results["load_s"] > 0
        assert results["scores"]["examples"] == 2 == len(read_jsonl(run / "predictions.jsonl"))
        assert results["cer_percent"] == 100 * results["scores"]["cer"] and "cer" in results["intervals"]
    bf16, nf4 = (read_json(run / "benchmark.json")["weights_mib"] for run in runs)
    assert nf4 < bf16  # the CPU stores bf16 weights in fp32
    assert "precision=bf16" in output and "precision=nf4" in output and "each_token_ms" in output


def test_a_note_of_thirty_thousand_characters(script, tmp_path):
    text = "\n".join(f"{n}. Aspirin 81 mg PO daily for coronary artery disease." for n in range(540))
    lines = [{"transcription": text}, *({"transcription": f"Short note number {n}. BP 12{n}/80."} for n in range(5))]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, output = script(
        "train.py",
        "data=mtsamples",
        "data.path=long.jsonl",
        "logger=none",
        "trainer.max_steps=1",
        "eval.limit=1",
        "eval.max_new_tokens=8",
        "trainer.validation_rows=1",
        "replay=none",
        cwd=tmp_path,
    )
    assert code == 0, output
    account = read_json(only(tmp_path / "outputs/train") / "prepared.json")
    assert account["records"] == 6 and sum(account["examples"].values()) > 40 and not account["dropped"]


def test_every_source_trains(script, tmp_path):
    code, output = script(
        "train.py",
        "-m",
        *QUIET,
        "data=mtsamples,synthea,forms_and_notes",
        "trainer.max_steps=1",
        "eval.before=false",
        "trainer.validation_rows=0",
        cwd=tmp_path,
    )
    assert code == 0, output
    runs = [run for run in only(tmp_path / "outputs/train").iterdir() if run.is_dir()]
    assert len(runs) == 3 and all(read_json(run / "status.json")["state"] == "done" for run in runs), output


def test_scanned_letter_pages_train_and_ablations_are_said(script, tmp_path):
    code, output = script(
        "train.py",
        "data.count=24",
        "data.kinds=[prescription]",
        "render=scanned",
        "render.dpi=72",
        "logger=none",
        "batch.tokens=3000",
        "eval.limit=2",
        "eval.max_new_tokens=8",
        "trainer.max_steps=1",
        "replay=none",
        "trainer.validation_rows=1",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    assert code == 0, output
    code, output = script("evaluate.py", "run=run", "ablation=blank,shuffled", "hydra.run.dir=ablated", cwd=tmp_path)
    assert code == 0 and "evaluating with shuffled pages" in output, output
    results = read_json(tmp_path / "ablated/metrics.json")
    assert set(results["scores"]) == {"test", "blank", "shuffled"} and len(results["verdicts"]) == 2
    images = [
        [row["images"] for row in read_jsonl(tmp_path / "ablated" / f"{name}.jsonl")]
        for name in ("predictions", "predictions_blank", "predictions_shuffled")
    ]
    assert images[0] != images[1] != images[2] != images[0] and "blank-612x792.png" in images[1][0][0]


def test_a_refused_ablation_costs_no_evaluation(script, tmp_path):
    overrides = (*QUIET, "eval=held_out", "eval.limit=1", "ablation=blank,shuffled", "hydra.run.dir=run")
    code, output = script("evaluate.py", *overrides, cwd=tmp_path)
    assert code == 2 and "ablation=shuffled needs pages of two documents" in output, output
    assert not list((tmp_path / "run").glob("predictions*"))


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
    assert said.returncode == 2 and "error: " in said.stderr and "Traceback" not in said.stderr


def test_a_strict_audit_refuses_the_seeds_recipe(script, tmp_path):
    recipe = ("experiment=seed_recipe", "data.limit=20", "logger=none", "audit=strict")
    code, output = script("train.py", *recipe, cwd=tmp_path)
    assert code == 2 and "the audit found: UNREADABLE, MISMATCHED, TRUNCATED" in output, output
    assert "device:" not in output  # nothing was loaded
    run = only(tmp_path / "outputs/train")
    assert read_json(run / "audit.json")["verdict"] == "UNREADABLE, MISMATCHED, TRUNCATED"
    assert (run / "audit.png").stat().st_size > 10_000


def test_the_words_beside_the_scripts(cache, tmp_path):
    for words, said in (
        (("doctor",), "ok    fonts          page of 336 x 224 px"),
        (("prepare", "data.limit=12", "export=out"), "exported to out: train.json"),
        (("audit",), "verdict: matched"),
    ):
        command = [sys.executable, "-m", "medvl.cli", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment(cache), capture_output=True, text=True)
        assert done.returncode == 0 and said in done.stdout, done
        assert done.stderr == "", done.stderr
    rows = json.loads((tmp_path / "out/train.json").read_text())
    assert rows and (tmp_path / "out" / rows[0]["image_path"]).is_file()
