"""The baseline project's findings on a DGX Spark, tested without one."""

import subprocess

import pytest
import torch

from medvl.hardware import plan as hardware
from medvl.hardware.integer_products import guard_integer_products
from medvl.hardware.plan import GIB, Hardware, memory_holders, read_meminfo
from medvl.model.attention import choose

SPARK = "MemTotal:       125513728 kB\nMemFree:         2097152 kB\nMemAvailable:   104857600 kB\nHugePages_Total:  0\n"


@pytest.fixture
def meminfo(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text(SPARK)
    return path


def test_meminfo(meminfo):
    facts = read_meminfo(meminfo)
    assert facts["MemTotal"] == 125513728 * 1024 and "HugePages_Total" not in facts


def test_unified_memory_comes_from_the_system(meminfo):
    """119.7 GiB in total; MemAvailable counts, not MemFree, which treats the page cache as used."""
    assert hardware.total_bytes("cuda", unified=True, meminfo=meminfo) / GIB == pytest.approx(119.7, abs=0.1)
    assert hardware.free_bytes("cuda", unified=True, meminfo=meminfo) == 100 * GIB


def test_the_spark_takes_85_percent_and_32_gb_of_host_memory(compose, monkeypatch, meminfo):
    spark = compose("hardware=dgx_spark").hardware
    assert spark.unified_memory and spark.memory_fraction == 0.85
    monkeypatch.setattr(hardware, "total_bytes", lambda device, unified: 125513728 * 1024)
    limit = spark._max_memory("cuda").value
    assert limit["cpu"] == "32GB" and limit[0] == int(125513728 * 1024 * 0.85)
    assert Hardware()._max_memory("cuda").value is None


def test_a_model_that_does_not_fit_is_refused_with_the_holders_named(monkeypatch):
    monkeypatch.setattr(hardware, "free_bytes", lambda device, unified: 20 * GIB)
    monkeypatch.setattr(hardware, "memory_holders", lambda: ["vllm (pid 77, 97500 MiB)"])
    spark = Hardware(unified_memory=True)
    spark.require(19 * GIB, "cuda")
    with pytest.raises(ValueError, match=r"need 30\.0 GiB, 20\.0 GiB are free.*vllm \(pid 77, 97500 MiB\)\. Stop them"):
        spark.require(30 * GIB, "cuda")
    with pytest.raises(ValueError, match="Set precision=nf4"):
        spark.require(30 * GIB, "cpu")


def test_holders_without_totals():
    """On unified memory nvidia-smi reports no totals, but it lists the processes."""

    def answer(*args, **kwargs):
        return subprocess.CompletedProcess(args, 0, stdout="4242, /usr/bin/vllm, 97500 MiB\nbroken line\n")

    def missing(*args, **kwargs):
        raise FileNotFoundError

    assert memory_holders(answer) == ["/usr/bin/vllm (pid 4242, 97500 MiB)"]
    assert memory_holders(missing) == []


def test_the_integer_guard_is_put_in_only_where_the_probe_fails(monkeypatch):
    prod, cumprod = torch.prod, torch.Tensor.cumprod
    assert not guard_integer_products(torch.device("cpu"))
    assert torch.prod is prod

    def fails(device):
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)")

    for owner in (torch, torch.Tensor):
        for name in ("prod", "cumprod"):
            monkeypatch.setattr(owner, name, getattr(owner, name))
    assert guard_integer_products(torch.device("cpu"), probe=fails)
    assert torch.prod is not prod and torch.Tensor.cumprod is not cumprod
    assert int(torch.tensor([2, 3]).prod()) == 6 and torch.tensor([2, 3]).cumprod(0).tolist() == [2, 6]
    assert float(torch.prod(torch.tensor([2.0, 0.5]))) == 1.0

    def breaks(device):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        guard_integer_products(torch.device("cpu"), probe=breaks)


def test_choices_come_with_reasons():
    plan = Hardware().plan(compute="auto", storage="nf4", attention=choose)
    for choice in plan.choices().values():
        assert choice.reason
    assert len(plan.choices()) == 5
    if not torch.cuda.is_available():
        assert plan.device.value == "cpu" and plan.compute.value == "fp32"
        with pytest.raises(ValueError, match=r"sees no CUDA device\. Set hardware=cpu"):
            Hardware(device=hardware.Device.cuda).plan(compute="auto", storage="nf4", attention=choose)
