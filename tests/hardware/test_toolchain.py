"""Compilers, versions, clocks and the page cache of a DGX Spark, tested without one."""

import os
import subprocess
import sys
from types import ModuleType

import pytest

from medvl.hardware import page_cache, toolchain
from medvl.hardware.clocks import Clocks
from medvl.hardware.plan import Device, Hardware
from medvl.hardware.toolchain import SPARK, blocked, nvrtc, ptxas
from medvl.model.attention import choose
from medvl.model.loading import Model
from medvl.model.precision import Precision, Storage

OLD, NEW = "'sm_90','sm_100','sm_120'", "'sm_90','sm_120','sm_121','sm_121a'"


def test_an_assembler_that_does_not_know_the_gpu_is_named_with_its_mend(tmp_path, monkeypatch):
    own, system = tmp_path / "own", tmp_path / "system"
    for path in (own, system):
        path.touch()
    known = {own: OLD, system: NEW}
    monkeypatch.setattr(toolchain, "SYSTEM_PTXAS", system)
    monkeypatch.setattr(toolchain, "_bundled", {"ptxas": own}.get)
    with pytest.raises(RuntimeError, match=rf"own does not know sm_121, .*system does\. Run: export .*_PATH={system}"):
        ptxas(SPARK, {}, known.get)
    assert ptxas(SPARK, {"TRITON_PTXAS_PATH": str(system)}, known.get) == str(system)
    assert ptxas((9, 0), {}, known.get) == str(own)
    system.unlink()
    with pytest.raises(
        RuntimeError, match=r"Install CUDA 13 and run: export TRITON_PTXAS_PATH=.*hardware\.compile=false"
    ):
        ptxas(SPARK, {"PATH": ""}, known.get)
    monkeypatch.setattr(toolchain, "_bundled", {"ptxas": own, "ptxas-blackwell": system}.get)
    assert ptxas(SPARK, {}, known.get) == str(system)
    monkeypatch.setattr(toolchain, "_bundled", lambda name: None)
    with pytest.raises(RuntimeError, match="Triton is not installed"):
        ptxas(SPARK, {}, known.get)
    with pytest.raises(RuntimeError, match="cannot be run"):
        ptxas(SPARK, {"TRITON_PTXAS_PATH": str(tmp_path)})


def test_an_nvrtc_that_does_not_know_the_gpu_is_named_with_its_mend():
    def fails(device):
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)\nmore")

    with pytest.raises(
        RuntimeError, match=r"gpu-architecture \(-arch\)\. Run: unset TORCH_CUDA_ARCH_LIST; pip install"
    ):
        nvrtc("cuda", fails)
    assert nvrtc("cpu") == "compiles for this GPU"


def test_versions_that_must_not_be_used():
    good = {"lightning": "2.6.6", "bitsandbytes": "0.50.2", "cuda": "13.0"}
    assert blocked(good, SPARK) == [] and blocked({"lightning": None, "cuda": None}, None) == []
    (malware,) = blocked(good | {"lightning": "2.6.3"}, None)
    assert "malware" in malware and 'Run: pip install "lightning>=2.6.6"' in malware
    old = good | {"bitsandbytes": "0.48.2", "cuda": "12.8"}
    assert [line.partition(":")[0] for line in blocked(old, SPARK)] == ["bitsandbytes 0.48.2", "cuda 12.8"]
    assert blocked(old, (9, 0)) == []


class Refused(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """A GPU at full clock; its state may be changed. What has no value is not supported, as on a GB10."""
    fake, state = ModuleType("pynvml"), {"power": 61_500, "clock": 2_400, "most": 3_000, "reasons": 0}

    def told(name):
        def ask(*_):
            if state[name] is None:
                raise Refused("Not Supported")
            return state[name]

        return ask

    fake.NVML_CLOCK_SM, fake.nvmlInit, fake.nvmlDeviceGetHandleByUUID = 1, lambda: None, str
    fake.nvmlDeviceGetPowerUsage, fake.nvmlDeviceGetClockInfo = told("power"), told("clock")
    fake.nvmlDeviceGetMaxClockInfo, fake.nvmlDeviceGetCurrentClocksThrottleReasons = told("most"), told("reasons")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return state


def test_power_and_clock_and_a_low_power_state_by_name(nvml, caplog):
    clocks = Clocks(["a"])
    assert clocks.metrics() == {"sys/gpu_power_w": 61.5, "sys/gpu_clock_mhz": 2400, "sys/gpu_low_power": 0}
    nvml |= {"clock": 700, "reasons": 0x1}  # idle: nothing to complain of
    assert [clocks.metrics()["sys/gpu_low_power"] for _ in range(4)] == [0] * 4 and not caplog.records
    nvml |= {"reasons": 0x80 | 0x4}
    assert [clocks.metrics()["sys/gpu_low_power"] for _ in range(5)] == [1] * 5
    (line,) = [entry.getMessage() for entry in caplog.records]
    assert "700 of 3000 MHz (its power cap and the power brake of the host" in line


def test_what_nvml_does_not_report_is_left_out(nvml, monkeypatch):
    nvml |= {"power": None, "reasons": None}
    assert Clocks(["a"]).metrics() == {"sys/gpu_clock_mhz": 2400, "sys/gpu_low_power": 0}
    nvml |= {"clock": None}
    assert Clocks(["a"]).metrics() == {} and Clocks([]).metrics() == {}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Clocks(["a"]).metrics() == {}


def cached(path):
    """Return the bytes of a file in the page cache."""
    words = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_the_page_cache_of_a_file_is_dropped(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(b"\1" * 2**22)
        file.flush()
        os.fsync(file.fileno())
    try:
        assert path.read_bytes() and cached(path) == 2**22
    except (FileNotFoundError, subprocess.CalledProcessError, AssertionError):
        pytest.skip("fincore is not here, or this file system has no page cache of its own")
    page_cache.drop([tmp_path / "gone", path])
    assert cached(path) == 0


@pytest.mark.parametrize("unified", [True, False])
def test_a_loaded_checkpoint_leaves_the_page_cache_of_unified_memory(monkeypatch, unified):
    dropped = []
    monkeypatch.setattr(page_cache, "drop", lambda files: dropped.extend(file.name for file in files))
    hardware = Hardware(device=Device.cpu, unified_memory=unified)
    plan = hardware.plan(compute="fp32", storage="bf16", attention=choose)
    Model().load(Precision(storage=Storage.bf16), hardware, plan)
    assert dropped == (["model.safetensors"] if unified else [])
