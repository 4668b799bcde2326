"""Training that a signal interrupts, and checkpoints that were damaged afterwards."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from fitting import adapter, losses

from medvl.hardware.watchdog import Watchdog
from medvl.record import signals
from medvl.record.checkpoints import checkpoints_in, damage, latest_checkpoint
from medvl.record.directory import Record
from medvl.record.files import read_json, read_jsonl
from medvl.training.callbacks import Checkpoints
from medvl.training.module import Learner

SETTINGS = {"storage": "fp32", "max_steps": 4, "budget": 900, "validation_rows": 2, "validate_every": 2}


@pytest.fixture(scope="module")
def whole(load_nano, prepared, encoder, tmp_path_factory):
    """An uninterrupted run."""
    from fitting import train

    return train(load_nano, prepared, encoder, tmp_path_factory.mktemp("whole"), save_every=1, keep=9, **SETTINGS)


def validated(record):
    return [row["step"] for row in read_jsonl(record.path / "metrics.jsonl") if "val/nats_per_token" in row]


def at_step(step, number, monkeypatch):
    """Send this process a signal in the middle of a training step."""
    original = Learner.training_step

    def noted(self, batch, batch_idx):
        if self.trainer.global_step == step - 1:
            os.kill(os.getpid(), number)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", noted)


def test_a_run_that_takes_the_last_memory_is_saved_and_says_why(fit, tmp_path, monkeypatch):
    meminfo, original = tmp_path / "meminfo", Learner.training_step
    meminfo.write_text("MemTotal: 125829120 kB\nMemFree: 1 kB\nMemAvailable: 6291456 kB\n")
    monkeypatch.setattr(signals, "_reasons", [])
    dog = Watchdog(8, pytest.fail, meminfo)

    def noted(self, batch, batch_idx):
        if self.trainer.global_step == 1:
            dog.look(), dog.look()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", noted)
    with pytest.raises(SystemExit) as stop:
        fit(**SETTINGS)
    status = read_json(tmp_path / "run/status.json")
    assert stop.value.code == 143 and (status["state"], status["step"]) == ("interrupted", 2)
    told = "6.0 GiB of memory were left on this host, less than hardware.memory_floor_gib=8 at step 2; saved"
    assert status["error"] == told and damage(tmp_path / "run/checkpoints/step-000002") is None


def in_validation(step, number, monkeypatch):
    """Send this process a signal during the first row of a validation; return the rows that were validated."""
    original, rows = Learner.validation_step, []

    def noted(self, batch, batch_idx):
        if self.trainer.global_step == step:
            rows.append(batch_idx)
            if len(rows) == 1:
                os.kill(os.getpid(), number)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "validation_step", noted)
    return rows


def go_on(fit, record, whole, **settings):
    resumed, again = fit(record.path.name, resume=latest_checkpoint(record.checkpoints), seed=99, **settings)
    assert losses(again) == losses(whole[1])
    for name, parameter in adapter(whole[0]).items():
        assert torch.equal(parameter, adapter(resumed)[name]), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_after_the_step_and_does_not_validate(fit, whole, tmp_path, monkeypatch, number):
    record, handler = Record(tmp_path / "run"), signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        at_step(2, number, patch)
        fit(**SETTINGS)
    assert stop.value.code == 128 + number and signal.getsignal(number) is handler
    status = read_json(record.path / "status.json")
    assert (status["state"], status["step"], status["steps"]) == ("interrupted", 2, 4)
    assert status["error"] == f"{signal.Signals(number).name} at step 2; saved" and validated(record) == []
    assert [path.name for path in checkpoints_in(record.checkpoints)] == ["step-000002"]
    if number == signal.SIGINT:
        go_on(fit, record, whole, **SETTINGS)


@pytest.mark.parametrize("step", [2, 4])
def test_a_signal_cuts_a_validation_short(fit, whole, tmp_path, monkeypatch, step):
    record = Record(tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        rows = in_validation(step, signal.SIGTERM, patch)
        fit(**SETTINGS)
    assert rows == [0] and step not in validated(record)
    expected = [row for row in read_jsonl(whole[1].path / "metrics.jsonl") if "val/nats_per_token" in row][-1]
    assert latest_checkpoint(record.checkpoints).name == f"step-00000{step}"
    assert read_json(record.path / "status.json")["state"] == "interrupted"
    go_on(fit, record, whole, **SETTINGS)
    last = read_jsonl(record.path / "metrics.jsonl")[-1]
    assert (last["step"], last["val/nats_per_token"]) == (4, expected["val/nats_per_token"])


def test_a_second_ctrl_c_does_not_wait_for_the_step(fit, monkeypatch, tmp_path):
    original = Learner.training_step

    def twice(self, batch, batch_idx):
        if self.trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", twice)
    with pytest.raises(SystemExit) as stop:
        fit(**SETTINGS)
    assert stop.value.code == 130 and latest_checkpoint(Record(tmp_path / "run").checkpoints) is None


def test_resuming_goes_back_to_the_newest_whole_checkpoint(fit, whole, tmp_path, caplog):
    shutil.copytree(whole[1].path, tmp_path / "run")
    record = Record(tmp_path / "run")
    for step, name in ((3, "adapter_model.safetensors"), (4, "trainer.pt")):
        path = record.checkpoints / f"step-00000{step}" / name
        path.write_bytes(path.read_bytes()[:-100])
    go_on(fit, record, whole, save_every=1, keep=9, **SETTINGS)
    assert "step-000004 is damaged (trainer.pt: " in caplog.text
    assert "step-000003 is damaged (adapter_model.safetensors: " in caplog.text
    assert "step-000002 before it is whole and is taken" in caplog.text
    assert [damage(path) for path in checkpoints_in(record.checkpoints)] == [None] * 4
    aside = {path.name for path in record.checkpoints.glob("*.damaged")}
    assert aside == {"step-000003.damaged", "step-000004.damaged"}


def test_weights_that_changed_on_the_disk_are_noticed(whole, tmp_path):
    shutil.copytree(whole[1].checkpoints / "step-000004", tmp_path / "step-000004")
    path = tmp_path / "step-000004/adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4096:] = b"\0" * 4096
    path.write_bytes(data)
    assert damage(tmp_path / "step-000004").startswith("adapter_model.safetensors: ")


@pytest.mark.parametrize("keep", [1, 2])
def test_old_checkpoints_are_deleted_by_number_and_never_the_last_one(tmp_path, keep):
    record = Record(tmp_path)
    for step in (999_998, 999_999, 2_000_000):
        (record.checkpoints / f"step-{step:06d}").mkdir(parents=True)
    trainer = SimpleNamespace(
        save_checkpoint=lambda path: path.mkdir(),
        is_global_zero=True,
        strategy=SimpleNamespace(remove_checkpoint=shutil.rmtree),
    )
    Checkpoints(record, 1, keep, dict)._save(trainer, 1_000_000)
    kept = [path.name for path in checkpoints_in(record.checkpoints)]
    assert kept == [*(["step-999999"] if keep == 2 else []), "step-1000000", "step-2000000"]


def test_a_damaged_best_adapter_is_replaced(fit, whole, tmp_path, caplog):
    shutil.copytree(whole[1].path, tmp_path / "run")
    record = Record(tmp_path / "run")
    best = record.checkpoints / "best"
    (best / "best.json").write_text(json.dumps({"step": 1, "val/nats_per_token": -9.0}))  # nothing could beat it
    (best / "adapter_model.safetensors").write_bytes(b"")
    fit(resume=record.checkpoints / "step-000002", **SETTINGS)
    assert "checkpoints/best is damaged (adapter_model.safetensors: " in caplog.text
    assert damage(best) is None and read_json(best / "best.json")["val/nats_per_token"] > 0
