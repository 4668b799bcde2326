"""Which folders are reported on and where to: names, links, the same twice, and places that cannot be written to."""

import os
import time
from pathlib import Path

import pytest
from reports import change, make_run, make_small_sweep

from medvl.reporting.collection import collect
from medvl.reporting.report import write

NAMES = ["BENCHMARK_REPORT.md", "FINAL_REPORT.json", "report.html"]


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("file", "out=.*file is a file"),
        ("file/below", "cannot be written to .*file/below: Not a directory"),
        ("dangling", "out=.*dangling is a file"),
        ("a" * 300, "cannot be written to .*: File name too long"),
        ("/".join(["deep" * 50] * 30), "cannot be written to .*: File name too long"),
        ("/proc/nowhere", "cannot be written to /proc/nowhere"),
        ("taken", "taken/report.html is a folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, out, said):
    run = make_run(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "taken/report.html").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=said) as refused:
        write([run], tmp_path / out)
    assert str(refused.value).endswith(">.") and len(str(refused.value)) < 500
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


def test_a_report_within_its_run_changes_no_file_of_the_run(tmp_path):
    run = make_run(tmp_path / "run")
    before = {path: path.read_bytes() for path in run.iterdir()}
    write([run], run)
    assert sorted(path.name for path in run.iterdir() if path not in before) == NAMES
    assert all(path.read_bytes() == data for path, data in before.items())
    write([run], run)  # again, beside its own files


def test_reports_of_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    runs = [make_run(tmp_path / name) for name in "ab"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "2026-11-27_02-00-00")
    assert [write(runs).parent.name for _ in range(2)] == ["2026-11-27_02-00-00", "2026-11-27_02-00-00-2"]
    assert write(runs[:1]) == write(runs[:1]) == runs[0] / "report/report.html"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/outputs").write_text("")
    with pytest.raises(ValueError, match=r"Set out=<a folder>\.$"):
        write(runs)


@pytest.mark.parametrize("name", ["gone", "a" * 300, "/".join(["deep" * 50] * 30), "nul\0", "run/config.yaml", "loop"])
def test_a_folder_that_there_is_not_is_a_sentence(tmp_path, name):
    run = make_run(tmp_path / "run")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError) as refused:
        write([run, tmp_path / name], tmp_path / "out")
    assert len(str(refused.value)) < 300 and not (tmp_path / "out").exists()


def test_the_same_run_twice_is_one(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    found = collect([run, Path("run"), tmp_path / "link", tmp_path / "x/../run"])
    assert [one.name for one in found.runs] == ["run"] and not found.sweeps


def test_runs_with_the_same_name_are_told_apart(tmp_path):
    paths = [make_run(tmp_path / place / "run") for place in ("a/x", "b/x", "b/y")]
    sweeps = [make_small_sweep(tmp_path / place / "s") for place in ("a", "b")]
    names = [run.name for run in collect([*paths, *sweeps]).every]
    assert names[:3] == ["a/x/run", "b/x/run", "y/run"] and len(set(names)) == len(names) == 7
    assert names[3:5] == ["a/s/0000000000", "a/s/0000000001"]


def test_a_run_in_progress_is_left_out_beside_others_and_refused_alone(tmp_path):
    done, running = make_run(tmp_path / "done"), make_run(tmp_path / "running")
    (running / "metrics.json").unlink()
    change(running / "status.json", state="running")
    with pytest.raises(ValueError, match="running holds no results; its state is running"):
        write([running], tmp_path / "out")
    page = write([done, running], tmp_path / "out").read_text()
    assert "Left out</h2>" in page and "running holds no results; its state is running" in page


def test_a_folder_whose_name_is_no_text_is_reported_on(tmp_path):
    run = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff\x1bn"))
    make_run(run)
    assert "r\ufffd\ufffdn" in write([run], tmp_path / "out").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(tmp_path):
    good, bad = make_run(tmp_path / "good"), make_run(tmp_path / "bad")
    (bad / "metrics.json").chmod(0)
    assert "Permission denied" in write([good, bad], tmp_path / "out").read_text()
