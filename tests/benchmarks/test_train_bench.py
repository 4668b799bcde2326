"""benchmark.py bench=train: every arm gets the same samples, and its numbers follow from the times."""

import json
from types import SimpleNamespace

import pytest
from conftest import ROOT, SMALL

from medvl.benchmarks.arms import ARMS
from medvl.benchmarks.training import TrainBench, ratio_interval
from medvl.run.config import SCHEMAS
from medvl.types import Choice

ASKED = (
    *SMALL,
    "bench=train",
    "bench.samples=2",
    "bench.rounds=2",
    "bench.tower_pages=1",
    "optimizer.lr=0",
    "logger=none",
    "trainer.bar=false",
    "bench.profile=true",
    "hydra.run.dir=run",
)


def test_arms_agree_on_the_loss_and_are_measured(script, tmp_path):
    code, output = script("benchmark.py", *ASKED, cwd=tmp_path)
    assert code == 0, output
    folder = tmp_path / "run"
    results = json.loads((folder / "benchmark.json").read_text())
    arms = results["arms"]
    assert list(arms) == list(ARMS)
    # At a learning rate of 0 and without dropout, all arms must have the same loss.
    for name in ("frozen", "padded", "packed", "ours", "cached"):
        assert arms[name]["loss"] == pytest.approx(arms["packed"]["loss"], rel=1e-4), name
        assert arms[name]["real_tokens"] == arms["seed"]["real_tokens"]
    assert arms["seed"]["loss"] == pytest.approx(arms["packed"]["loss"], rel=0.2)
    assert arms["seed"]["padding_percent"] > 0 == arms["ours"]["padding_percent"]
    row = arms["ours"]
    middle = sorted(row["samples_ms"])
    assert len(middle) == 2 and row["tokens_per_s"] == pytest.approx(1e3 * row["real_tokens"] / (sum(middle) / 2))
    assert row["gemm_percent"] == pytest.approx(100 * row["tflops"] / results["gemm_tflops"])
    assert results["tokens_per_s"] == arms["cached"]["tokens_per_s"]
    assert results["tower_ratio"] > 0 and results["estimated_mib"] > 0
    assert "ours, features kept" in output and "vision tower" in output
    assert (folder / "train_speed.png").stat().st_size > 10_000
    assert "addmm" in (folder / "profile.txt").read_text() and "addmm" in (folder / "profile_tower.txt").read_text()
    assert json.loads((folder / "status.json").read_text())["objective"]["higher_is_better"] is True


def test_full_fine_tuning_is_refused_before_anything_is_loaded(script, tmp_path):
    code, output = script("benchmark.py", *ASKED, "lora=none", "precision=fp32", cwd=tmp_path)
    assert code == 2 and "Set lora=llm" in output and "device:" not in output, output


def test_what_cannot_be_is_refused():
    bench = SCHEMAS["train_bench"]
    with pytest.raises(ValueError, match=r"bench\.arms knows seed, frozen"):
        bench(arms=["fast"])
    with pytest.raises(ValueError, match=r"Set bench\.arms=\[seed,ours\]"):
        bench(arms=[])
    with pytest.raises(ValueError, match=r"Set bench\.rounds=2"):
        bench(rounds=1)


def test_the_ratio_is_paired():
    low, middle, high = ratio_interval([2.0, 4.0, 8.0], [1.0, 2.0, 2.0])
    assert (low, middle, high) == (2.0, 2.0, 4.0)
    assert (ROOT / "conf/bench/train.yaml").exists()


def test_an_example_longer_than_a_row_is_refused_with_its_mend(examples):
    longest = max(example.tokens for example in examples)
    composed = SimpleNamespace(engine=None, plan=SimpleNamespace(attention=Choice("sdpa", "")), train=examples)
    with pytest.raises(ValueError, match=rf"Set bench\.row_tokens={longest}\."):
        TrainBench(row_tokens=longest - 1, samples=len(examples)).run(composed)
