"""Which checkpoint is taken: the newest by its number that is whole."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from medvl.record.checkpoints import CHECKSUMS, checkpoints_in, checksum, damage, latest_checkpoint

WEIGHTS, STATE, CONFIG = "adapter_model.safetensors", "trainer.pt", "adapter_config.json"
KEYS = (
    *("epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks", "optimizer_states", "lr_schedulers"),
    "rng",
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def save(folder, step, known=True):
    path = folder / f"step-{step:06d}"
    path.mkdir(parents=True)
    save_file({"lora_A": torch.randn(64, 64), "lora_B": torch.zeros(64, 64)}, path / WEIGHTS)
    (path / CONFIG).write_text('{"r": 8}')
    sums = {CHECKSUMS: {WEIGHTS: checksum(path / WEIGHTS)}} if known else {}
    (path / "medvl.json").write_text(json.dumps({"base": "nano", **sums}))
    torch.save({**dict.fromkeys(KEYS), "global_step": step, "moments": torch.randn(4096)}, path / STATE)
    return path


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def nul(path):
    path.write_bytes(b"\0" * path.stat().st_size)


def nul_within(path):
    """As a power cut does: the length is right, and blocks of the file were never written."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 512] = b"\0" * 512
    path.write_bytes(data)


def garbage(path):
    path.write_bytes(b"these are no tensors" * 99)


def remove(path):
    path.unlink()


DAMAGE = [halve, empty, nul, nul_within, garbage, remove]


def test_the_newest_is_the_one_with_the_highest_number(folder):
    for step in (999_999, 1_000_000, 20):
        save(folder, step)
    (folder / "step-9999999.damaged").mkdir()
    (folder / "step-last").mkdir()
    assert [path.name for path in checkpoints_in(folder)] == ["step-000020", "step-999999", "step-1000000"]
    assert latest_checkpoint(folder).name == "step-1000000"


@pytest.mark.parametrize("name", [WEIGHTS, STATE])
@pytest.mark.parametrize("harm", DAMAGE)
def test_a_damaged_checkpoint_is_skipped_and_named(folder, caplog, harm, name):
    save(folder, 4)
    harm(save(folder, 6) / name)
    assert latest_checkpoint(folder).name == "step-000004"
    assert "step-000006 is damaged (" in caplog.text and "step-000004 before it is whole and is taken" in caplog.text


@pytest.mark.parametrize("harm", [halve, empty, nul, garbage, remove])
def test_a_damaged_adapter_config_counts_too(folder, harm):
    harm(save(folder, 6) / CONFIG)
    assert damage(folder / "step-000006")


def test_a_state_that_is_not_one_of_a_trainer_is_damage(folder):
    torch.save([1, 2], save(folder, 6) / STATE)
    assert "not the state of a trainer" in damage(folder / "step-000006")
    (folder / "step-000006" / STATE).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    assert damage(folder / "step-000006")


@pytest.mark.parametrize("key", KEYS)
def test_a_state_that_lacks_a_key_is_damage(folder, caplog, key):
    save(folder, 4)
    state = dict.fromkeys(KEYS)
    del state[key]
    torch.save(state, save(folder, 6) / STATE)
    assert latest_checkpoint(folder).name == "step-000004"
    assert f"trainer.pt: it is not the state of a trainer: it has no {key})" in caplog.text


def test_if_none_is_whole_nothing_is_taken_and_nothing_is_lost(folder):
    for step in (4, 6):
        empty(save(folder, step) / STATE)
    with pytest.raises(ValueError, match=r"(?s)step-000006 is damaged .*step-000004 is damaged .*start a new run"):
        latest_checkpoint(folder)
    assert len(checkpoints_in(folder)) == 2
    shutil.rmtree(folder)
    assert latest_checkpoint(folder) is None


def test_checkpoints_without_checksums_are_whole(folder):
    """Those of earlier versions, and adapters of other programs."""
    assert damage(save(folder, 6, known=False)) is None
    (folder / "step-000006/medvl.json").unlink()
    (folder / "step-000006" / STATE).unlink()
    assert damage(folder / "step-000006") is None
