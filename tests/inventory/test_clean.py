"""`medvl clean`: what goes, and above all what stays."""

import os
import time

import pytest
from reports import change, make_run, make_small_sweep
from test_runs_list import locked_elsewhere

from medvl.inventory.cleaning import clean
from medvl.record.files import write_json


def checkpoint(run, step, name=None):
    folder = run / "checkpoints" / (name or f"step-{step:06d}")
    folder.mkdir(parents=True)
    (folder / "trainer.pt").write_bytes(b"x" * 1000)


def age(top):
    """Let everything have been written an hour ago."""
    for path in [top, *top.rglob("*")]:
        os.utime(path, (time.time() - 3600,) * 2, follow_symlinks=False)


def listing(top):
    return {str(path.relative_to(top)) for path in top.rglob("*")}


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medvl.inventory.cleaning.damage", lambda folder: None)
    top = tmp_path / "outputs"
    done = make_run(top / "train/done")
    for step in (1, 2, 3):
        checkpoint(done, step)
    checkpoint(done, 0, "best")
    checkpoint(done, 0, ".step-000004.draft")
    checkpoint(done, 0, "step-000002.damaged")
    (done / ".draft-0123456789ab").write_text("half")
    for name in ("killed", "resumable", "wanted", "linked", "best"):
        change(make_run(top / f"train/{name}") / "status.json", state="running")
    checkpoint(top / "train/resumable", 1)
    (top / "train/wanted/notes.txt").write_text("mine")
    (top / "train/linked/audit.json").unlink()
    (top / "train/linked/audit.json").symlink_to(top / "train/done/audit.json")
    checkpoint(top / "train/best", 0, "best")
    change(make_run(top / "train/failed") / "status.json", state="failed", error="no")
    (make_run(top / "train/damaged") / "status.json").write_text("{")
    begun = top / "train/2026-11-23_10-00-00"
    begun.mkdir()
    (begun / "train.log").write_text("")
    sweep = make_small_sweep(top / "train/sweep-x-123456")
    change(sweep / "0000000000/status.json", state="running")
    foreign = top / "foreign/run"
    make_run(foreign)
    write_json(foreign / "status.json", {"state": "running"})  # no format, and an environment without versions
    (foreign / ".draft-0123456789ab").write_text("of another program")
    (tmp_path / "elsewhere").mkdir()
    change(make_run(tmp_path / "elsewhere/killed") / "status.json", state="running")
    (top / "far").symlink_to(tmp_path / "elsewhere")
    age(tmp_path)
    return top


GONE = {
    "train/done/checkpoints/step-000001",
    "train/done/checkpoints/step-000002",
    "train/done/checkpoints/.step-000004.draft",
    "train/done/checkpoints/step-000002.damaged",
    "train/done/.draft-0123456789ab",
    "train/killed",
    "train/2026-11-23_10-00-00",
}


def test_nothing_goes_unless_it_is_said(outputs, tmp_path):
    before = listing(tmp_path)
    text = clean([])
    assert listing(tmp_path) == before
    named = {line.split("outputs/")[1].split("  ")[0] for line in text.splitlines() if "MiB  outputs/" in line}
    assert named == GONE and "7 items, 0.0 MiB. Nothing is deleted yet" in text
    assert "left: outputs/train/wanted holds notes.txt" in text and "linked holds audit.json" in text
    assert "best holds checkpoints/best" in text


def test_what_goes_and_what_stays(outputs, tmp_path):
    before = listing(outputs)
    text = clean(["--yes"])
    after = listing(outputs)
    assert {name for name in before - after if name in GONE} == GONE
    assert all(any(name == gone or name.startswith(f"{gone}/") for gone in GONE) for name in before - after)
    assert after <= before and "deleted: 7 items" in text
    assert "nothing to clean" in clean(["--yes"]) and (tmp_path / "elsewhere/killed/config.yaml").exists()


def test_a_run_at_work_and_what_is_young_stay(outputs):
    with locked_elsewhere(outputs / "train/killed"), locked_elsewhere(outputs / "train/done"):
        text = clean(["outputs/train", "--yes"])
    assert "deleted: 1 item" in text
    (outputs / "train/done/.draft-0123456789ab").touch()
    (outputs / "train/killed/train.log").touch()
    text = clean([])
    assert "train/killed" not in text and ".draft-0123456789ab" not in text and "step-000001" in text


def test_an_older_checkpoint_stays_if_the_newest_is_damaged(outputs, monkeypatch):
    monkeypatch.setattr("medvl.inventory.cleaning.damage", lambda folder: "trainer.pt: cut off")
    text = clean(["outputs/train/done", "--yes"])
    assert "left: outputs/train/done/checkpoints/step-000001, as step-000003 is damaged (trainer.pt: cut off)" in text
    assert (outputs / "train/done/checkpoints/step-000001").is_dir() and "deleted: 3 items" in text


def test_wrong_words_are_refused(outputs):
    for word, said in (
        ("gone", "gone"),
        ("--all", "--all"),
        ("", "no name"),
        ("outputs/train/done/config.yaml", "no fo"),
    ):
        with pytest.raises(ValueError, match=said):
            clean([word])


def test_an_error_of_one_folder_does_not_end_it(outputs, monkeypatch):
    def refuse(path, *args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    text = clean(["--yes"])
    assert "left: outputs/train/killed (Permission denied)" in text and "deleted: 1 item" in text
