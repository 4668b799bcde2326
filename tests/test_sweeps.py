"""Sweeps: every job in a process and a directory of its own, killed at any moment and complete in the end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import QUIET, ROOT

import medvl.config  # Hydra looks for its plugins before ours extend them
from medvl.claim import claimed, is_claimed
from medvl.record import Record, read_json, read_jsonl
from medvl.sweeping.local import LocalLauncher, note_end
from medvl.sweeping.naming import quoted
from medvl.sweeping.plan import Plan, Planned, Repeat, State, digest, folder_name, is_settled, state_of
from medvl.sweeping.progress import status_text

JOBS = (*(word for word in QUIET if not word.startswith("replay")), "replay=none", "eval.before=false", "audit=off",
        "trainer.max_steps=5", "trainer.epochs=null", "trainer.save_every=1", "trainer.bar=false",
        "lora.dropout=0.1")  # fmt: skip
SWEEP = ("-m", *JOBS, "optimizer.lr=1e-3,-1", "lora.r=4,8")  # torch refuses a negative rate


def only(folder):
    (one,) = (path for path in folder.iterdir() if path.is_dir())
    return one


def told(sweep):
    """Return what a table says of each job, without its times."""
    plan, rows = Plan.read(sweep), []
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
    states = {tuple(job.overrides[-2:]): state_of(sweep / job.run) for job in Plan.read(sweep).jobs}
    assert states == {
        (f"optimizer.lr={rate}", f"lora.r={rank}"): State.failed if rate == "-1" else State.done
        for rate in ("0.001", "-1") for rank in (4, 8)
    }  # fmt: skip
    assert code == 1 and "2 failed; the same command with repeat=failed" in output
    table = (sweep / "sweep.txt").read_text()
    lines = table.splitlines()
    assert lines[0].startswith("all: ") and "seed" not in lines[0] and lines[1].split()[:2] == ["overrides", "val"]
    assert [line.split()[0] for line in lines[2:4]] == ["optimizer.lr=0.001"] * 2 and "failed" in lines[4]
    assert table.strip() in output and "Invalid learning rate: -1" in table
    status = read_json(sweep / Plan.read(sweep).jobs[-1].run / "status.json")
    assert "Traceback" in status["traceback"]


def test_a_sweep_killed_twice_ends_in_the_same_table(undisturbed, script, tmp_path):
    sweep = tmp_path / "outputs/train" / undisturbed[0].name
    for job, step, number in ((0, 2, signal.SIGKILL), (1, 3, signal.SIGTERM)):
        process = script("train.py", *SWEEP, cwd=tmp_path, wait=False)
        wait_for(sweep / Plan.read(undisturbed[0]).jobs[job].run / f"checkpoints/step-{step:06d}", process)
        process.send_signal(number)
        output = process.communicate(timeout=200)[0]
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), output
    code, output = script("train.py", *SWEEP, cwd=tmp_path)
    assert code == 1, output
    assert told(sweep) == told(undisturbed[0])
    first, second, *_ = (sweep / job.run for job in Plan.read(sweep).jobs)
    for run in (first, second):
        assert losses(run) == losses(undisturbed[0] / run.name) and len(losses(run)) == 5
        log = (run / "train.log").read_text()
        assert log.count("going on from step-") == 1 and log.count("run directory: ") == 1  # resumed once, done once


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
    before = {run: (run / "status.json").read_text() for run in Plan.read(sweep).runs()}
    code, output = script("train.py", *SWEEP, cwd=sweep.parents[2])
    assert code == 1 and output.count("already") == 4, output
    assert {run: (run / "status.json").read_text() for run in before} == before
    code, output = script("train.py", *SWEEP, "repeat=failed", cwd=sweep.parents[2])
    changed = [run for run in before if (run / "status.json").read_text() != before[run]]
    assert code == 1 and output.count("already") == 2 and output.count(": failed after") == 2, output
    assert changed == Plan.read(sweep).runs()[2:]


def test_status_tells_from_another_terminal(undisturbed):
    sweep = undisturbed[0]
    text = status_text(Plan.read(sweep))
    assert "4 jobs: 2 done, 2 failed; best cer" in text and "5/5" in text and "Invalid learning rate" in text
    command = [sys.executable, "-m", "medvl.cli", "status"]
    told = subprocess.run(command, cwd=sweep.parents[2], capture_output=True, text=True, check=True).stdout
    assert text in told and sweep.name in told
    wrong = subprocess.run([*command, ".."], cwd=sweep, capture_output=True, text=True)
    assert wrong.returncode == 1 and "is not a sweep: sweep.json is missing" in wrong.stderr


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

    assert medvl.config.GROUPS
    return name


def test_the_folder_of_a_sweep_follows_from_its_command():
    words = ["lora.r=4,8", "seed=1"]
    assert folder_name(None, words, ["lora.r"]) == folder_name(None, words[::-1], ["lora.r"])
    assert folder_name(None, words, ["lora.r"]).startswith("sweep-lora.r-")
    assert folder_name("lora_rank", words, []) != folder_name("lora_rank", words[:1], [])
    assert len(folder_name(None, words, ["a" * 99])) < 70 and digest({"a": 1, "b": 2}, 6) == digest({"b": 2, "a": 1}, 6)


def test_states_follow_from_the_process_that_holds_a_run(tmp_path):
    run = tmp_path / "job"
    assert state_of(run) is State.left
    Record(run).status("running")
    assert state_of(run) is State.interrupted  # nobody is at work there
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from medvl.claim import claimed\n"
         "with claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)", str(run)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    assert state_of(run) is State.running
    with pytest.raises(ValueError, match="another process is at work"), claimed(run, patience_s=0.3):
        pass
    holder.kill()
    holder.communicate()
    with claimed(run):
        pass
    assert not is_claimed(run) and state_of(run) is State.interrupted


def test_what_is_settled():
    assert all(is_settled(state, Repeat.never) for state in (State.done, State.failed, State.pruned))
    assert not any(is_settled(state, Repeat.never) for state in (State.left, State.interrupted, State.running))
    assert not is_settled(State.failed, Repeat.failed) and is_settled(State.done, Repeat.failed)
    assert not any(is_settled(state, Repeat.all) for state in State)


@pytest.mark.parametrize(
    ("gpus", "options", "jobs", "seen"),
    [
        ([], {}, 1, [{}]),
        ([], {"jobs": 2}, 2, [{"OMP_NUM_THREADS": "1"}] * 2),
        (["0", "1"], {}, 2, [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        (["0", "1"], {"each": 2}, 1, [{"CUDA_VISIBLE_DEVICES": "0,1"}]),
        (["3"], {"per_gpu": 2}, 2, [{"CUDA_VISIBLE_DEVICES": "3"}] * 2),
    ],
)
def test_room_on_a_machine(gpus, options, jobs, seen, monkeypatch):
    from medvl.sweeping.room import Room

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    room = Room.on(gpus, 2, **{"jobs": None, "per_gpu": 1, "each": 1, **options})
    assert room.jobs == jobs and [room.environment(slot) for slot in range(jobs)] == seen


@pytest.mark.parametrize(
    ("gpus", "options", "complaint"),
    [
        (["0", "1"], {"jobs": 4}, "would put several jobs on one of 2 GPU.*hydra.launcher.jobs=2, or .*per_gpu"),
        (["0"], {"each": 2}, "a job wants 2 GPUs, 1 are there. Set trainer.devices=1"),
        ([], {"jobs": 3}, "jobs=3 on 2 cores. Set hydra.launcher.jobs=2"),
        ([], {"per_gpu": 0}, "per_gpu must be positive"),
    ],
)
def test_room_that_is_not_there(gpus, options, complaint):
    from medvl.sweeping.room import Room

    with pytest.raises(ValueError, match=complaint):
        Room.on(gpus, 2, **{"jobs": None, "per_gpu": 1, "each": 1, **options})


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
    plan = Plan(folder=tmp_path / "sweep-x", script="train", jobs=[Planned("a", ["lora.r=4"])])
    plan.add([Planned("a", ["lora.r=4"]), Planned("b", ["lora.r=8"])])
    plan.write()
    assert Plan.read(plan.folder) == plan and json.loads((plan.folder / "sweep.json").read_text())["name"] == "x"


def test_jobs_compose_what_their_sweep_composed(script, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/wrong.yaml").write_text("# @package _global_\noptimizer:\n  lr: -7\n")
    odd = tmp_path / "a=b (c), it's"
    words = ("--config-dir", "mine", "-m", *JOBS, "experiment=wrong", "lora.r=4", f"hydra.sweep.dir={quoted(odd)}")
    code, output = script("train.py", *words, cwd=tmp_path)
    (run,) = Plan.read(odd).runs()
    assert code == 1 and "Invalid learning rate: -7" in read_json(run / "status.json")["error"], output


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [
        (-signal.SIGKILL, "failed", "killed by SIGKILL; out of memory?: last words"),
        (-signal.SIGTERM, "interrupted", "SIGTERM before it could save"),
        (3, "failed", "exit status 3: last words"),
        (None, "failed", "ended without a word: last words"),
    ],
)
def test_the_end_of_a_job_that_could_not_tell(tmp_path, code, state, error):
    (tmp_path / "output.log").write_text("first\nlast words\n")
    Record(tmp_path).status("running")
    note_end(tmp_path, code)
    assert (read_json(tmp_path / "status.json")["state"], read_json(tmp_path / "status.json")["error"]) == (
        state,
        error,
    )
    note_end(tmp_path, 99)  # told already
    assert read_json(tmp_path / "status.json")["state"] == state


def test_a_job_of_another_process_is_left_alone(tmp_path):
    Record(tmp_path).status("running")
    words = "import sys, time; from pathlib import Path; from medvl.claim import claimed\n"
    words += "with claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", words, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    note_end(tmp_path, 0)
    assert read_json(tmp_path / "status.json")["state"] == "running"
    holder.kill()
    holder.communicate()


def test_what_is_in_hand_is_not_started_again(tmp_path):
    from omegaconf import OmegaConf

    plan = Plan(folder=tmp_path, script="train", jobs=[Planned("a", ["x=1"]), Planned("b", ["x=2"])])
    plan.write()
    launcher, started, ended = LocalLauncher(jobs=2), [], []
    launcher.config = OmegaConf.create({"trainer": {"devices": 1}, "repeat": Repeat.never})

    def start(plan, job, room):
        started.append(job.run)
        words = "import sys, time; from medvl.record import Record; time.sleep(1); Record(sys.argv[1]).status('done')"
        return subprocess.Popen([sys.executable, "-c", words, str(plan.folder / job.run)], start_new_session=True)

    launcher._start = start
    asked = [plan.jobs[0], plan.jobs[0], plan.jobs[1], plan.jobs[1]]
    launcher.stream(plan, lambda: asked.pop(0) if asked else None, ended=lambda job: ended.append(job.run))
    assert sorted(started) == ["a", "b"] and set(ended) == {"a", "b"}
    assert all(state_of(run) is State.done for run in plan.runs())


def test_two_sweeps_do_not_share_a_gpu(tmp_path, monkeypatch):
    from medvl.sweeping.room import alone_on

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = "import sys, time, tempfile; from medvl.sweeping.room import alone_on; tempfile.tempdir = sys.argv[1]\n"
    words += "with alone_on('0'): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", words, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="GPU 0 is taken by another sweep"), alone_on("0"):
        pass
    with alone_on("1"):
        pass
    holder.kill()
    holder.communicate()


def test_other_ranks_run_the_same_script(monkeypatch):
    from types import SimpleNamespace

    from medvl import composition

    for name, script in (("train", "train"), ("train_ddp_process_3", "train"), ("prepare", "prepare")):
        told = SimpleNamespace(get=lambda name=name: SimpleNamespace(job=SimpleNamespace(name=name)))
        monkeypatch.setattr(composition, "HydraConfig", told)
        assert composition.script() == script
