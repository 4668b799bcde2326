"""Sweeps: each job has its own process and directory; killed at any moment, a sweep completes in the end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import QUIET, ROOT

import medvl.run.config  # first, so that Hydra loads its plugins before ours subclass them
from medvl.record.files import read_json, read_jsonl
from medvl.sweeping.naming import quoted
from medvl.sweeping.plan import Planned, State, SweepPlan, digest, folder_name, state_of
from medvl.sweeping.progress import status_text

JOBS = (
    *(word for word in QUIET if not word.startswith("replay")),
    "replay=none",
    "eval.before=false",
    "audit=off",
    "trainer.max_steps=5",
    "trainer.epochs=null",
    "trainer.save_every=1",
    "trainer.bar=false",
    "lora.dropout=0.1",
)
SWEEP = ("-m", *JOBS, "optimizer.lr=1e-3,-1", "lora.r=4,8")  # torch refuses a negative learning rate


def only(folder):
    (one,) = (path for path in folder.iterdir() if path.is_dir())
    return one


def told(sweep):
    """Return a table's row for each job, without times."""
    plan, rows = SweepPlan.read(sweep), []
    for job in plan.jobs:
        status = read_json(sweep / job.run / "status.json")
        headline = {name: value for name, value in (status.get("headline") or {}).items() if name != "train s"}
        rows.append((job.run, job.overrides, status["state"], status.get("error"), status.get("objective"), headline))
    return rows


@pytest.fixture(scope="module")
def undisturbed(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    code, output = script("train.py", *SWEEP, cwd=folder)
    return only(folder / "outputs/train"), code, output


def test_a_sweep_goes_on_past_failing_jobs_and_ends_with_a_table(undisturbed):
    sweep, code, output = undisturbed
    states = {tuple(job.overrides[-2:]): state_of(sweep / job.run) for job in SweepPlan.read(sweep).jobs}
    assert states == {
        (f"optimizer.lr={rate}", f"lora.r={rank}"): State.failed if rate == "-1" else State.done
        for rate in ("0.001", "-1")
        for rank in (4, 8)
    }
    assert code == 1 and "2 failed; the same command with repeat=failed" in output
    table = (sweep / "sweep.txt").read_text()
    lines = table.splitlines()
    assert lines[0].startswith("all: ") and "seed" not in lines[0] and lines[1].split()[:2] == ["overrides", "val"]
    assert [line.split()[0] for line in lines[2:4]] == ["optimizer.lr=0.001"] * 2 and "failed" in lines[4]
    assert table.strip() in output and "optimizer.lr must be a number of at least 0, got -1" in table
    status = read_json(sweep / SweepPlan.read(sweep).jobs[-1].run / "status.json")
    assert "Traceback" in status["traceback"]


def test_a_sweep_killed_twice_ends_in_the_same_table(undisturbed, script, tmp_path):
    sweep = tmp_path / "outputs/train" / undisturbed[0].name
    for job, step, number in ((0, 2, signal.SIGKILL), (1, 3, signal.SIGTERM)):
        process = script("train.py", *SWEEP, cwd=tmp_path, wait=False)
        wait_for(sweep / SweepPlan.read(undisturbed[0]).jobs[job].run / f"checkpoints/step-{step:06d}", process)
        process.send_signal(number)
        output = process.communicate(timeout=200)[0]
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), output
    code, output = script("train.py", *SWEEP, cwd=tmp_path)
    assert code == 1, output
    assert told(sweep) == told(undisturbed[0])
    first, second, *_ = (sweep / job.run for job in SweepPlan.read(sweep).jobs)
    for run in (first, second):
        assert losses(run) == losses(undisturbed[0] / run.name) and len(losses(run)) == 5
        log = (run / "train.log").read_text()
        assert log.count("going on from step-") == 1 and log.count("run directory: ") == 1  # resumed once, ended once


def losses(run):
    rows = read_jsonl(run / "metrics.jsonl")
    return [(row["step"], row["train/nats_per_token"]) for row in rows if "train/nats_per_token" in row]


def wait_for(path, process, seconds=200):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.05)


def test_nothing_is_done_twice_unless_it_is_asked_for(undisturbed, script, tmp_path):
    sweep = undisturbed[0]
    before = {run: (run / "status.json").read_text() for run in SweepPlan.read(sweep).runs()}
    code, output = script("train.py", *SWEEP, cwd=sweep.parents[2])
    assert code == 1 and output.count("already") == 4, output
    assert {run: (run / "status.json").read_text() for run in before} == before
    code, output = script("train.py", *SWEEP, "repeat=failed", cwd=sweep.parents[2])
    changed = [run for run in before if (run / "status.json").read_text() != before[run]]
    assert code == 1 and output.count("already") == 2 and output.count(": failed after") == 2, output
    assert changed == SweepPlan.read(sweep).runs()[2:]


def test_status_tells_from_another_terminal(undisturbed):
    sweep = undisturbed[0]
    text = status_text(SweepPlan.read(sweep))
    assert "4 jobs: 2 done, 2 failed; tie of 2 at cer" in text and "5/5" in text and "optimizer.lr must be" in text
    command = [sys.executable, "-m", "medvl.cli", "status"]
    told = subprocess.run(command, cwd=sweep.parents[2], capture_output=True, text=True, check=True).stdout
    assert text in told and sweep.name in told
    wrong = subprocess.run([*command, ".."], cwd=sweep, capture_output=True, text=True)
    assert wrong.returncode == 2 and "is not a sweep: sweep.json is missing" in wrong.stderr


def test_the_name_of_a_job_is_what_it_computes(compose_name):
    assert compose_name("lora.r=8") == compose_name("lora.r=8", "logger=none", "cache=elsewhere", "trainer.bar=false")
    names = [compose_name(word) for word in ("lora.r=8", "lora.r=9", "seed=1", "precision=bf16", "data.count=7")]
    assert len(set(names)) == 5


@pytest.fixture
def compose_name():
    import hydra

    def name(*overrides):
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = hydra.compose("run", overrides=list(overrides), return_hydra_config=True)
            cfg.hydra.job.num, cfg.hydra.job.id = 0, "0"
            return cfg.hydra.sweep.subdir

    assert medvl.run.config.GROUPS
    return name


def test_the_folder_of_a_sweep_follows_from_its_command():
    words = ["lora.r=4,8", "seed=1"]
    assert folder_name(None, words, ["lora.r"]) == folder_name(None, words[::-1], ["lora.r"])
    assert folder_name(None, words, ["lora.r"]).startswith("sweep-lora.r-")
    assert folder_name("lora_rank", words, []) != folder_name("lora_rank", words[:1], [])
    assert len(folder_name(None, words, ["a" * 99])) < 70 and digest({"a": 1, "b": 2}, 6) == digest({"b": 2, "a": 1}, 6)


def test_a_job_that_is_killed_alone_has_failed_with_the_reason(script, tmp_path):
    words = (*JOBS, "lora.r=4")
    process = script("train.py", "-m", *words, cwd=tmp_path, wait=False)
    deadline = time.monotonic() + 100
    while not (found := list(tmp_path.glob("outputs/train/*/*/status.json"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(read_json(found[0])["pid"], signal.SIGKILL)
    output = process.communicate(timeout=100)[0]
    assert process.returncode == 1 and "killed by SIGKILL; out of memory?" in output
    assert read_json(found[0])["state"] == "failed"


def test_wrong_sweeps_end_with_one_line(script, tmp_path):
    for words, complaint in (
        (("resume=somewhere", "lora.r=4,8"), "a multirun starts new runs"),
        (("hydra.launcher.jobs=99", "lora.r=4,8"), "hydra.launcher.jobs=99 on"),
        (("hydra/sweeper=optuna", "lora.r=4"), "nothing to search"),
    ):
        code, output = script("train.py", "-m", *JOBS, *words, cwd=tmp_path)
        assert code == 2 and complaint in output and "Traceback" not in output, output


def test_a_plan_is_read_back(tmp_path):
    plan = SweepPlan(folder=tmp_path / "sweep-x", script="train", jobs=[Planned("a", ["lora.r=4"])])
    plan.add([Planned("a", ["lora.r=4"]), Planned("b", ["lora.r=8"])])
    plan.write()
    assert SweepPlan.read(plan.folder) == plan and json.loads((plan.folder / "sweep.json").read_text())["name"] == "x"


def test_jobs_compose_what_their_sweep_composed(script, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/wrong.yaml").write_text("# @package _global_\noptimizer:\n  lr: -7\n")
    odd = tmp_path / "a=b (c), it's"
    words = ("--config-dir", "mine", "-m", *JOBS, "experiment=wrong", "lora.r=4", f"hydra.sweep.dir={quoted(odd)}")
    code, output = script("train.py", *words, cwd=tmp_path)
    (run,) = SweepPlan.read(odd).runs()
    assert (
        code == 1 and "optimizer.lr must be a number of at least 0, got -7" in read_json(run / "status.json")["error"]
    ), output
