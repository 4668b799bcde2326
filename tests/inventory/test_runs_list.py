"""`medvl runs` and `medvl status`: what a folder holds, whatever state it is in."""

import contextlib
import doctest
import json
import os
import re
import subprocess
import sys
import time

import pytest
from reports import change, make_bench, make_evaluation, make_run, make_small_sweep

from medvl.inventory.entry import Entry, seconds_left
from medvl.inventory.find import find
from medvl.inventory.listing import runs, status
from medvl.record.files import write_json
from medvl.reporting import differences
from medvl.reporting.differences import differing


@contextlib.contextmanager
def locked_elsewhere(folder):
    words = "import sys, time; from pathlib import Path; from medvl.record.lock import locked\n"
    words += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", words, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    try:
        yield
    finally:
        holder.kill()
        holder.communicate()


def checkpoint(run, step=1):
    folder = run / f"checkpoints/step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "trainer.pt").write_bytes(b"x" * 2**20)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Runs in all states, a sweep, and folders that are none or broken."""
    monkeypatch.chdir(tmp_path)
    top = tmp_path / "outputs"
    make_run(top / "train/done")
    make_evaluation(top / "evaluate/scored")
    write_json(top / "evaluate/scored/environment.json", {"command": ["evaluate.py"], "overrides": []})
    make_bench(top / "benchmark/measured")
    write_json(top / "benchmark/measured/environment.json", {"command": ["benchmark.py"], "overrides": ["bench=train"]})
    for name in ("killed", "lost", "stopped"):
        run = make_run(top / f"train/{name}")
        change(run / "status.json", state="interrupted" if name == "stopped" else "running", step=1, steps=4)
    checkpoint(top / "train/killed")
    failed = make_run(top / "train/failed")
    change(failed / "status.json", state="failed", error="ValueError: no")
    checkpoint(failed)
    make_small_sweep(top / "train/sweep-lora.r-123456")
    for name, text in (("half", '{"state": "do'), ("nul", "\0\0"), ("odd", '{"state": 3}'), ("deep", "[" * 10_000)):
        (make_run(top / f"train/{name}") / "status.json").write_text(text)
    for file in ("metrics.json", "environment.json", "config.yaml"):
        (make_run(top / f"train/no-{file[:6]}") / file).write_text('{"half')
    begun = top / "train/2026-11-23_10-00-00"
    begun.mkdir()
    (begun / "train.log").write_text("")
    (top / "foreign/deep/er").mkdir(parents=True)
    write_json(top / "foreign/status.json", {"state": "done"})
    (top / "foreign/deep/train.log").write_text("of another program")
    (top / "foreign/again").symlink_to(top)
    (top / "broken/sweep.json").parent.mkdir()
    (top / "broken/sweep.json").write_text("{")
    (top / "train/gone").symlink_to("nowhere")
    return top


def told(*words):
    return json.loads(runs([*words, "--json"]))


def test_every_run_is_listed_with_the_state_that_its_lock_tells(outputs):
    found = {run["run"].removeprefix("outputs/"): run for run in told()["runs"]}
    states = {name: (run["state"], run["resumable"]) for name, run in found.items()}
    assert states == {
        "train/done": ("done", False),
        "evaluate/scored": ("done", False),
        "benchmark/measured": ("done", False),
        "train/killed": ("killed", True),
        "train/lost": ("killed", False),
        "train/stopped": ("interrupted", False),
        "train/failed": ("failed", True),
        **dict.fromkeys((f"train/{name}" for name in ("half", "nul", "odd", "deep")), ("damaged", False)),
        **dict.fromkeys((f"train/no-{name}" for name in ("metric", "enviro", "config")), ("done", False)),
        "train/2026-11-23_10-00-00": ("killed", False),
        **{f"train/sweep-lora.r-123456/{at:010x}": ("done", False) for at in range(2)},
        f"train/sweep-lora.r-123456/{'a' * 10}": ("left", False),
    }
    done = found["train/done"]
    assert (done["step"], done["steps"], done["objective"], done["differs"]) == (2, 2, "cer", ["lora.r=8"])
    assert done["interval"][0] < done["value"] < done["interval"][1] and done["bytes"] > 1000
    assert found["train/killed"]["bytes"] > 2**20 and found["train/no-enviro"]["differs"] is None
    assert found["train/no-metric"]["value"] == done["value"] and found["train/no-metric"]["interval"] is None
    assert found["train/failed"]["error"] == "ValueError: no" and "not JSON" in found["train/half"]["error"]
    assert {run["program"] for run in found.values()} == {"train", "evaluate", "benchmark"}


def test_the_table_names_sweeps_jobs_and_what_was_left_out(outputs):
    text = runs([])
    lines = text.split("\n")
    at = next(at for at, line in enumerate(lines) if line.startswith("outputs/train/sweep-lora.r-123456 "))
    assert "2/3 jobs" in lines[at] and all(line.startswith("  outputs/train/sweep-") for line in lines[at + 1 : at + 4])
    assert re.search(r"cer \d+\.\d % \[\d", text) and "killed, resumable" in text and "evaluate: -" in text
    assert "left out: outputs/broken/sweep.json (" in text and "foreign" not in text
    assert lines[-2].startswith("18 runs, 2 sweeps: ")


def test_filters_and_sorting(outputs):
    assert {run["run"] for run in told("state=killed,failed", "program=train")["runs"]} == {
        f"outputs/train/{name}" for name in ("killed", "lost", "failed", "2026-11-23_10-00-00")
    }
    assert [run["run"] for run in told("state=finished", "program=evaluate")["runs"]] == ["outputs/evaluate/scored"]
    scores = [run["value"] for run in told("sort=score", "state=done")["runs"] if run["objective"] == "cer"]
    assert scores == sorted(scores)  # an error rate: the lowest is the best
    sizes = [run["bytes"] for run in told("sort=size")["runs"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(told("outputs/train/done", "outputs/train/done")["runs"]) == 1
    assert runs(["state=pruned"]).startswith("no run below outputs fits")


def test_wrong_words_are_refused_by_name(outputs):
    for word in ("gone", "state=bad", "sort=cer", "program=x", "--all"):
        with pytest.raises(ValueError, match=word):
            runs([word])
    with pytest.raises(ValueError, match="has no name"):
        runs([""])


def test_nothing_to_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs([]) == "no run below outputs" and told() == {"runs": [], "sweeps": [], "left_out": []}


def test_a_folder_that_may_not_be_read_is_named(outputs, monkeypatch):
    scan = os.scandir

    def refusing(path):
        if str(path).endswith("train/done"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert {"path": "outputs/train/done", "why": "Permission denied"} in told()["left_out"]
    assert len(told()["runs"]) == 17


def test_a_run_at_work_tells_the_time_that_is_left(outputs):
    run = outputs / "train/lost"
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    change(run / "status.json", step=1, steps=4, training={"train_s": 10.0}, updated=now)
    with locked_elsewhere(run):
        (one,) = find([run]).runs
        assert one.state == "running" and 25 < one.left_s <= 30
        assert "about 30 s left" in status([str(run)]) or "about 29 s left" in status([str(run)])
    assert Entry(path=run).state == "killed"
    assert seconds_left({"left_s": 50.0, "updated": now}) == pytest.approx(50, abs=3)
    assert seconds_left({"left_s": 5.0, "updated": "2026-01-01T00:00:00+0000"}) == 0
    assert seconds_left({"step": 0, "steps": 4}) is None


def test_the_status_of_one_run_says_how_to_go_on(outputs):
    text = status(["outputs/train/killed"])
    assert "train: killed, resumable, step 1 of 4" in text
    assert "python train.py resume=outputs/train/killed goes on from step-000001" in text
    assert "no checkpoint to resume" in status(["outputs/train/lost"])
    assert "error: ValueError: no" in status(["outputs/train/failed"])
    assert json.loads(status(["outputs/train/done", "--json"]))["state"] == "done"
    sweep = json.loads(status(["outputs/train/sweep-lora.r-123456", "--json"]))
    assert (sweep["jobs"], sweep["settled"], sweep["state"], len(sweep["runs"])) == (3, 2, "interrupted", 3)


def test_what_differs_is_the_last_word_of_a_key():
    typed = ["lora.r=8", "data=synthea", "trainer.max_steps=7", "resume=x", "trainer.max_steps=9", "hydra.run.dir=y"]
    assert differing(typed, "train") == ["data=synthea", "lora.r=8", "trainer.max_steps=9"]
    assert differing(["eval=reading", "replay=none"], "evaluate") == ["replay=none"]
    assert differing(["eval=reading"], "train") == ["eval=reading"]
    found = doctest.testmod(differences)
    assert found.attempted and not found.failed
