"""Training that stops and resumes: killed, finished, on a full disk, with live pages."""

import multiprocessing
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from fitting import adapter, losses

from medvl.data.datamodule import DocumentData
from medvl.data.sources.reading_pages import ReadingPages
from medvl.documents.reading import Stage
from medvl.model.lora import FullFineTuning
from medvl.record.checkpoints import latest_checkpoint
from medvl.record.directory import Record
from medvl.record.files import read_jsonl
from medvl.training.checkpoint import FolderCheckpoints, SaveError


@pytest.mark.parametrize("kill", [1, 2, 3])
def test_resuming_at_any_step_gives_the_same_curve(fit, kill, tmp_path):
    """Dropout, shuffling, schedule and optimizer continue as without a stop, even with prefetched rows."""
    settings = {
        "max_steps": 5,
        "accumulate": 2,
        "budget": 900,
        "workers": 1,
        "save_every": 1,
        "keep": 9,
        "validate_every": 2,
    }
    whole, record = fit("whole", **settings)
    shutil.copytree(record.path, tmp_path / "killed")
    killed = Record(tmp_path / "killed")
    for later in range(kill + 1, 6):
        shutil.rmtree(killed.checkpoints / f"step-{later:06d}")
    resumed, again = fit("killed", resume=latest_checkpoint(killed.checkpoints), seed=99, **settings)
    assert losses(again) == losses(record)
    for name, parameter in adapter(whole).items():
        assert torch.equal(parameter, adapter(resumed)[name]), name


@pytest.mark.parametrize("rhythm", [{"save_every": 3}, {"save_every": 2}, {"save_every": 2, "validate_every": 2}])
def test_a_finished_run_can_be_given_more_steps(fit, rhythm, tmp_path):
    """It continues as if it had been that long from the start, except for its schedule, here a plateau."""
    settings = {"accumulate": 2, "budget": 900, "learning": {"cooldown": 0.01}, **rhythm}
    whole, record = fit("whole", max_steps=4, **settings)
    _, short = fit("short", max_steps=2, **settings)
    longer, _ = fit("short", max_steps=4, resume=latest_checkpoint(short.checkpoints), seed=99, **settings)
    assert list(losses(record)) == [1, 2, 3, 4] and losses(short) == losses(record)
    for name, parameter in adapter(whole).items():
        assert torch.equal(parameter, adapter(longer)[name]), name
    assert [row["step"] for row in read_jsonl(short.path / "metrics.jsonl") if "val/nats_per_token" in row][-1] == 4


def test_a_finished_run_says_that_no_step_is_left(fit, caplog):
    _, record = fit(max_steps=2)
    _, record = fit(max_steps=2, resume=latest_checkpoint(record.checkpoints))
    assert "this run has made 2 steps; 2 were asked for" in caplog.text and list(losses(record)) == [1, 2]


def test_a_full_disk_loses_nothing(fit, monkeypatch, tmp_path):
    """Saving step 3 fails with ENOSPC; step 2 stays complete and the run reports it."""
    written = torch.save

    def save(value, path):
        if "step-000003" in str(path):
            raise OSError(28, "No space left on device")
        written(value, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(SaveError, match=r"cannot save step-000003: .*No space left.*MiB free"):
        fit(max_steps=5, save_every=1)
    monkeypatch.setattr(torch, "save", written)
    folder = Record(tmp_path / "run").checkpoints
    assert latest_checkpoint(folder).name == "step-000002" and not list(folder.glob(".*"))
    _, record = fit(max_steps=5, save_every=1, resume=latest_checkpoint(folder))
    assert list(losses(record)) == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_really_is_full(tmp_path):
    io = FolderCheckpoints(lambda folder, states: (folder / "trainer.pt").symlink_to("/dev/full"), lambda folder: {})
    with pytest.raises(SaveError, match="cannot save step-000001"):
        io.save_checkpoint({"state_dict": {}, "x": torch.zeros(1_000_000)}, tmp_path / "step-000001")
    assert not list(tmp_path.iterdir())


def test_pretraining_resumes_to_the_last_digit(fit):
    """Covers live pages, the curriculum, the auxiliary head with its optimizer state, and the learning rate plateau."""
    stages = [Stage(height_px=28, width_px=112), Stage(height_px=56, width_px=112)]
    options = {
        "storage": "fp32",
        "lora": FullFineTuning(),
        "budget": 700,
        "max_steps": 6,
        "save_every": 3,
        "workers": 1,
        "validation_rows": 0,
        "learning": {"glyphs": 1.0, "cooldown": 0.5},
        "reading": ReadingPages(stages=stages, least_rows=2, pass_mark=0.0, count=4),
    }
    _, whole = fit("whole", **options)
    _, again = fit("again", resume=whole.checkpoints / "step-000003", **options)
    rows = [read_jsonl(record.path / "metrics.jsonl")[-3:] for record in (whole, again)]
    for name in ("step", "train/nats_per_token", "train/stage", "train/accuracy", "train/glyph_accuracy", "train/lr"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]], name
    rates = [row["train/lr"] for row in read_jsonl(whole.path / "metrics.jsonl")]
    assert rates[1] == rates[2] == rates[3] > rates[4] > rates[5] > 0


def test_workers_leave_signals_to_the_run(encoder):
    """`timeout` and Slurm send signals to every process of a run; it must save first."""
    source = ReadingPages(stages=[Stage(height_px=28, width_px=112)], count=4)
    data = DocumentData(
        None,
        encoder,
        budget=700,
        seed=3,
        accumulate=1,
        steps=20,
        epochs=None,
        workers=1,
        pin=False,
        val_rows=0,
        reading=source,
    )
    data.trainer = SimpleNamespace(world_size=1, global_rank=0)
    rows = iter(data.train_dataloader())
    next(rows)
    workers = multiprocessing.active_children()
    assert workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(rows)) == 19
