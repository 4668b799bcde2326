"""The directory of a run before anything is in it, and a finished run that is resumed."""

import shutil
import signal
import sys
import time

import pytest
from conftest import QUIET
from omegaconf import OmegaConf

from medvl.record.directory import Record
from medvl.record.files import read_json, write_json, write_text
from medvl.run.finished import is_done, nothing_left
from medvl.run.folder import RunFolder


def config(folder, *words, job="train", resume=None):
    hydra = {"run": {"dir": str(folder)}, "job": {"name": job}, "overrides": {"hydra": list(words)}}
    made = OmegaConf.create({"hydra": hydra, "resume": resume})
    OmegaConf.set_readonly(made, True)
    return made


def test_two_runs_of_one_second_get_two_directories(tmp_path):
    wanted = tmp_path / "outputs/train/2026-11-27_02-00-00"
    taken = []
    for _ in range(2):
        made = config(wanted)
        RunFolder().on_run_start(made)
        taken.append(made.hydra.run.dir)
    assert taken == [str(wanted), f"{wanted}-2"] and (wanted / "train.log").is_file()


def test_a_directory_that_was_named_is_used_by_its_name(tmp_path):
    for words, resume in ((["hydra.run.dir=run"], None), ([], "run")):
        made = config(tmp_path / "run", *words, resume=resume)
        RunFolder().on_run_start(made)
        assert made.hydra.run.dir == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "File exists"),
        ("file/run", "Not a directory"),
        ("link", "File exists"),
        ("n" * 300, "File name too long"),
        ("blocked", "Is a directory"),
    ],
)
def test_an_unusable_directory_is_refused_in_one_sentence(tmp_path, capsys, name, said):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "blocked/train.log").mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        RunFolder().on_run_start(config(tmp_path / name, "hydra.run.dir=x"))
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and printed.startswith("error: ") and printed.count("\n") == 1 and said in printed
    assert len(printed) < 400 and (tmp_path / "file").read_text() == "mine"


def test_a_run_to_resume_must_be_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        RunFolder().on_run_start(config(tmp_path / "nowhere", resume="nowhere"))
    assert "there is no folder" in capsys.readouterr().err and not (tmp_path / "nowhere").exists()


SAVED = {
    "trainer": {"epochs": 1.0, "max_steps": None},
    "eval": {"limit": 24},
    "replay": None,
    "gate": {"tolerance": 0.01},
    "report": False,
    "force": False,
}


def finished(folder, made=16, steps=16, state="done", exported=True, **trainer):
    saved = OmegaConf.create(SAVED | {"trainer": SAVED["trainer"] | trainer})
    record = Record(folder)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(saved))
    write_json(folder / "environment.json", {})
    record.status(state, step=made, steps=steps)
    if exported:
        (folder / "export").mkdir()
        write_json(folder / "export/export.json", {})
    return saved


@pytest.mark.parametrize(
    ("trainer", "changes", "left"),
    [
        ({}, {}, False),
        ({}, {"trainer.epochs": 0.5}, False),
        ({}, {"trainer.epochs": 3}, True),
        ({}, {"trainer.max_steps": 16, "trainer.epochs": None}, False),
        ({}, {"trainer.max_steps": 17, "trainer.epochs": None}, True),
        ({"max_steps": 16}, {"trainer.epochs": 3}, False),  # 16 steps are still its end
        ({"max_steps": 16}, {"trainer.max_steps": 20}, True),
        ({"max_steps": 20}, {"trainer.max_steps": 30}, False),  # the epochs ended it
        ({"max_steps": 16, "epochs": None}, {"trainer.epochs": 1, "trainer.max_steps": None}, True),
        ({}, {"eval.limit": 48}, True),
        ({}, {"eval.limit": 24}, False),
        ({}, {"gate.tolerance": 0.5}, True),
        ({}, {"report": True}, True),
        ({}, {"force": True}, False),  # it is exported already
    ],
)
def test_whether_a_finished_run_has_something_left_to_do(tmp_path, trainer, changes, left):
    before = finished(tmp_path, **trainer)
    asked = before.copy()
    for key, value in changes.items():
        OmegaConf.update(asked, key, value)
    line = nothing_left(tmp_path, before=before, now=asked)
    assert (line is None) == left
    limit = "max_steps" if trainer.get("max_steps") == 16 else "epochs"
    assert left or line == f"this run is done (16 of 16 steps); set trainer.{limit}=<more> to train on"


def test_force_exports_what_is_not_exported(tmp_path):
    before = finished(tmp_path, exported=False)
    assert nothing_left(tmp_path, before=before, now=before)
    asked = before.copy()
    asked.force = True
    assert nothing_left(tmp_path, before=before, now=asked) is None


def test_only_a_finished_run_is_done(tmp_path):
    for state in ("running", "interrupted", "failed"):
        finished(tmp_path / state, state=state)
        assert not is_done(tmp_path / state)
    finished(tmp_path / "done")
    assert is_done(tmp_path / "done") and not is_done(tmp_path)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_resuming_a_finished_run_touches_nothing(trained, script, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained[0], run, symlinks=True)
    before = times(run)
    code, output = script("train.py", "resume=run", cwd=tmp_path)
    assert code == 0 and output == "this run is done (6 of 6 steps); set trainer.max_steps=<more> to train on\n"
    assert times(run) == before and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_signal_while_evaluating_ends_in_one_line(script, tmp_path):
    words = (*QUIET, "eval=held_out", "eval.limit=1", "eval.max_new_tokens=3000", "hydra.run.dir=run")
    process = script("evaluate.py", *words, cwd=tmp_path, wait=False)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run/prepared.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and output.endswith("interrupted; the same command starts over\n"), output
    assert "Traceback" not in output and read_json(tmp_path / "run/status.json")["state"] == "interrupted"


def test_a_signal_while_preparing_ends_in_one_line(tmp_path):
    import os
    import subprocess

    from conftest import ROOT

    command = [sys.executable, "-m", "medvl.cli", "prepare", "data=forms_and_notes", "data.parts.forms.count=3000"]
    environment = {**os.environ, "MEDVL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    printed = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # A session of its own, so that the signal reaches its workers too, as from a terminal.
    with subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **printed) as process:
        deadline = time.monotonic() + 200
        while len(list((tmp_path / "cache/pages").glob("*.png"))) < 20 and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and output.endswith("interrupted; the same command goes on\n"), output
    assert "Traceback" not in output


@pytest.mark.parametrize("name", ["metrics.jsonl.bad", "train.log", "differences.png", "checkpoints/step-000001"])
def test_a_resumed_run_is_not_written_through_links(tmp_path, capsys, name):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(SystemExit) as stop:
        RunFolder().on_run_start(config(tmp_path / "run", resume="run"))
    assert stop.value.code == 2 and "is a link" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "mine"
