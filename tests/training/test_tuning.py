"""The memory estimate of a step against steps measured on a GPU, and the checkpointing chosen from it."""

import json

import pytest
from conftest import QUIET, ROOT

from medvl.hardware.plan import GIB, Hardware
from medvl.model.loading import Model, WeightInit
from medvl.record.files import read_json, read_jsonl
from medvl.training import tuning
from medvl.training.memory_estimate import step_memory

RECORD = ROOT / "experiments/results/2026-11-24_h200_train_speed_3.json"
SEVEN_B = Model(shape="qwen2_5_vl_7b", init=WeightInit.random).config().text_config
SIZE = {"weights": 5.95e9, "trainable": 161_480_704, "optimizer_bytes": 8, "bytes_each": 2, "rank": 64}


def test_the_estimate_is_within_a_tenth_of_every_measured_peak():
    runs = json.loads(RECORD.read_text())
    for name in ("same16", "cached32", "resident32", "memory16", "lengths"):
        results = runs[name]["benchmark"]
        assert results["estimated_mib"] == pytest.approx(results["peak_mib"], rel=0.1)  # those of the last arm


def test_memory_grows_as_it_should():
    small, large = (step_memory(SEVEN_B, tokens=tokens, recomputed=0, **SIZE) for tokens in (4096, 8192))
    assert large.kept == pytest.approx(2 * small.kept)
    assert 3.0e6 < large.kept / 8192 < 3.4e6  # bytes per token, design target 3.3 MB
    halved = step_memory(SEVEN_B, tokens=8192, recomputed=14, **SIZE)
    assert small.kept < halved.kept < 0.6 * large.kept
    unfused = step_memory(SEVEN_B, tokens=8192, recomputed=0, fused=False, **SIZE)
    assert unfused.kept > 1.5 * large.kept


@pytest.mark.parametrize(("gib", "every"), [(80, 0), (34, 3), (25, 2), (14, 1)])
def test_checkpointing_is_as_little_as_fits(monkeypatch, gib, every):
    monkeypatch.setattr(tuning, "total_bytes", lambda device, unified: gib * GIB)
    monkeypatch.setattr(tuning, "free_bytes", lambda device, unified: 200 * GIB)

    def memory(layers):
        return step_memory(SEVEN_B, tokens=8192, recomputed=layers, **SIZE)

    choice = tuning._checkpointing(Hardware(), memory, "cuda", 28)
    assert choice.value == every and f"of {gib}.0" in choice.reason
    assert tuning._checkpointing(Hardware(checkpointing=0), memory, "cuda", 28).value == 0
    monkeypatch.setattr(tuning, "total_bytes", lambda device, unified: 140 * GIB)
    # Other processes use the rest of the memory.
    monkeypatch.setattr(tuning, "free_bytes", lambda device, unified: gib * GIB - SIZE["weights"])
    assert tuning._checkpointing(Hardware(), memory, "cuda", 28).value == every
    with pytest.raises(ValueError, match=r"Set hardware\.checkpointing=1"):
        Hardware(checkpointing=-1)


def test_all_levers_on_and_all_off_give_one_curve(script, tmp_path):
    """Includes second passes, which read features from disk."""
    run = (
        *QUIET,
        "trainer.max_steps=5",
        "trainer.epochs=null",
        "lora.r=8",
        "eval.before=false",
        "audit=off",
        "trainer.bar=false",
        "data.limit=4",
    )
    off = ("hardware.fused=false", "hardware.cache_features=false", "precision.resident=false")
    curves = {}
    for name, levers in (("on", ()), ("off", off)):
        code, output = script("train.py", *run, *levers, f"hydra.run.dir={name}", cwd=tmp_path)
        assert code == 0, output
        curves[name] = [row for row in read_jsonl(tmp_path / name / "metrics.jsonl") if "train/lr" in row]
    for on, without in zip(curves["on"], curves["off"], strict=True):
        assert on["train/nats_per_token"] == pytest.approx(without["train/nats_per_token"], rel=1e-3)
        assert on["train/grad_norm"] == pytest.approx(without["train/grad_norm"], rel=1e-2)
    assert curves["on"][-1]["train/epoch"] > 1.5
    choices = {name: read_json(tmp_path / name / "environment.json")["choices"] for name in curves}
    assert [choices["on"][key]["value"] for key in ("fused", "cache_features", "resident")] == [
        "6 of 6 layers",
        "True",
        "True",
    ]
    assert [choices["off"][key]["value"] for key in ("fused", "cache_features", "resident")] == [
        "no layers",
        "False",
        "False",
    ]
