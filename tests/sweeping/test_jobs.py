"""Single jobs of a sweep: locks, GPU slots, and how jobs end."""

import contextlib
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

import medvl.run.config  # first, so that Hydra loads its plugins before ours subclass them
from medvl.record.directory import Record
from medvl.record.files import read_json
from medvl.record.lock import is_locked, locked
from medvl.run import composition
from medvl.sweeping.gpu_slots import Slots, alone_on
from medvl.sweeping.local import LocalLauncher, note_end
from medvl.sweeping.plan import Planned, Repeat, State, SweepPlan, is_settled, state_of

assert medvl.run.config.GROUPS


@contextlib.contextmanager
def another_process(claim, folder):
    """Let another process hold the lock `claim`, an expression over the folder `here`, while the block runs."""
    words = "import sys, tempfile, time; from pathlib import Path; from medvl.record.lock import locked\n"
    words += "from medvl.sweeping.gpu_slots import alone_on; here = Path(sys.argv[1]); tempfile.tempdir = sys.argv[1]\n"
    words += f"with {claim}: print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", words, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    yield
    holder.kill()
    holder.communicate()


def test_states_follow_from_the_process_that_holds_a_run(tmp_path):
    run = tmp_path / "job"
    assert state_of(run) is State.pending
    Record(run).status("running")
    assert state_of(run) is State.killed  # no process is at work there
    with another_process("locked(here)", run):
        assert state_of(run) is State.running
        with pytest.raises(ValueError, match="another process is at work"), locked(run, patience_s=0.3):
            pass
    with locked(run):
        pass
    assert not is_locked(run) and state_of(run) is State.killed


def test_what_is_settled():
    assert all(is_settled(state, Repeat.never) for state in (State.done, State.failed, State.pruned))
    assert not any(
        is_settled(state, Repeat.never) for state in (State.pending, State.interrupted, State.killed, State.running)
    )
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
def test_slots_of_a_machine(gpus, options, jobs, seen, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    slots = Slots.on(gpus, 2, **{"jobs": None, "per_gpu": 1, "each": 1, **options})
    assert slots.jobs == jobs and [slots.environment(slot) for slot in range(jobs)] == seen


@pytest.mark.parametrize(
    ("gpus", "options", "complaint"),
    [
        (["0", "1"], {"jobs": 4}, "would put several jobs on one of 2 GPU.*hydra.launcher.jobs=2, or .*per_gpu"),
        (["0"], {"each": 2}, "a job wants 2 GPUs, 1 are there. Set trainer.devices=1"),
        ([], {"jobs": 3}, "jobs=3 on 2 cores. Set hydra.launcher.jobs=2"),
        ([], {"per_gpu": 0}, "per_gpu must be positive"),
    ],
)
def test_slots_that_are_not_there(gpus, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Slots.on(gpus, 2, **{"jobs": None, "per_gpu": 1, "each": 1, **options})


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
    status = read_json(tmp_path / "status.json")
    assert (status["state"], status["error"]) == (state, error)
    note_end(tmp_path, 99)  # already recorded
    assert read_json(tmp_path / "status.json")["state"] == state


def test_a_job_of_another_process_is_left_alone(tmp_path):
    Record(tmp_path).status("running")
    with another_process("locked(here)", tmp_path):
        note_end(tmp_path, 0)
        assert read_json(tmp_path / "status.json")["state"] == "running"


def test_what_is_in_hand_is_not_started_again(tmp_path):
    plan = SweepPlan(folder=tmp_path, script="train", jobs=[Planned("a", ["x=1"]), Planned("b", ["x=2"])])
    plan.write()
    launcher, started, ended = LocalLauncher(jobs=2), [], []
    launcher.config = OmegaConf.create({"trainer": {"devices": 1}, "repeat": Repeat.never})

    def start(plan, job, room):
        started.append(job.run)
        words = (
            "import sys, time; from medvl.record.directory import Record; "
            "time.sleep(1); Record(sys.argv[1]).status('done')"
        )
        return subprocess.Popen([sys.executable, "-c", words, str(plan.folder / job.run)], start_new_session=True)

    launcher._start = start
    asked = [plan.jobs[0], plan.jobs[0], plan.jobs[1], plan.jobs[1]]
    launcher.stream(plan, lambda: asked.pop(0) if asked else None, ended=lambda job: ended.append(job.run))
    assert sorted(started) == ["a", "b"] and set(ended) == {"a", "b"}
    assert all(state_of(run) is State.done for run in plan.runs())


def test_two_sweeps_do_not_share_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with another_process("alone_on('0')", tmp_path):
        with pytest.raises(ValueError, match="GPU 0 is taken by another sweep"), alone_on("0"):
            pass
        with alone_on("1"):
            pass


def test_other_ranks_run_the_same_script(monkeypatch):
    for name, script in (("train", "train"), ("train_ddp_process_3", "train"), ("prepare", "prepare")):
        told = SimpleNamespace(get=lambda name=name: SimpleNamespace(job=SimpleNamespace(name=name)))
        monkeypatch.setattr(composition, "HydraConfig", told)
        assert composition.script() == script
