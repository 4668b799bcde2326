"""The energy of a run, if a counter can be read."""

import sys
from types import ModuleType

import pytest

from medvl.hardware.energy import Counter, Meter, meter
from medvl.record.files import read_json


def test_rapl_is_read_over_its_end(tmp_path):
    def write(package, microjoules):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "energy_uj").write_text(f"{microjoules}\n")
        (tmp_path / package / "max_energy_range_uj").write_text("100000000\n")

    for package in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):  # the last is part of the first
        write(package, 95_000_000)
    energy = meter([], powercap=tmp_path)
    write("intel-rapl:0", 97_500_000)
    write("intel-rapl:0:0", 99_000_000)
    assert energy.metrics() == {"sys/energy_j": pytest.approx(2.5)}
    write("intel-rapl:0", 1_000_000)
    write("intel-rapl:1", 96_000_000)
    facts = energy.facts()
    assert facts["energy_j"] == pytest.approx(2.5 + 3.5 + 1) and "2 processor package(s)" in facts["energy_is"]


def test_energy_that_cannot_be_read_has_a_reason(tmp_path, monkeypatch):
    energy = meter([], powercap=tmp_path / "none")
    assert energy.facts() == energy.metrics() == {} and "has no RAPL counters" in energy.why
    package = tmp_path / "intel-rapl:0"
    (package / "energy_uj").mkdir(parents=True)  # a folder, since root may read any file
    (package / "max_energy_range_uj").write_text("1000\n")
    assert meter([], powercap=tmp_path).why.startswith("RAPL: Is a directory")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert meter(["a"]).facts() == {} and "pip install nvidia-ml-py" in meter(["a"]).why


def test_the_energy_of_gpus_is_that_of_those_used(monkeypatch):
    class NVMLError(Exception):
        pass

    counts_mj = {"GPU-a": 5_000, "GPU-b": 70_000}
    nvml = ModuleType("pynvml")
    nvml.NVMLError, nvml.nvmlInit, nvml.nvmlDeviceGetHandleByUUID = NVMLError, lambda: None, str
    nvml.nvmlDeviceGetTotalEnergyConsumption = counts_mj.__getitem__
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    energy = meter(["a", "b"])
    counts_mj["GPU-a"] += 1_500
    counts_mj["GPU-b"] += 500
    assert energy.facts() == {"energy_j": 2.0, "energy_is": "2 GPU(s) of this host, by NVML"}

    def refuse(handle):
        raise NVMLError("Not Supported")

    nvml.nvmlDeviceGetTotalEnergyConsumption = refuse  # as possibly on a GB10
    assert meter(["a"]).why == "NVML: Not Supported"


def test_a_run_says_why_energy_is_missing(trained):
    choice, facts = (
        read_json(trained[0] / "environment.json")["choices"]["energy"],
        read_json(trained[0] / "metrics.json")["train"],
    )
    assert choice["reason"] and ("energy_j" in facts) == (choice["value"] != "not measured")


def test_a_counter_that_is_set_back_does_not_take_energy_back():
    """As by a restarted driver; a counter with an end wraps around instead."""
    values = iter([100.0, 150.0, 20.0, 30.0])
    meter = Meter([Counter(lambda: next(values))], "a GPU", "")
    assert [meter.read() for _ in range(3)] == [50.0, 50.0, 60.0]
    values = iter([100.0, 150.0, 20.0])
    assert [Meter([Counter(lambda: next(values), 200.0)], "a CPU", "").read()] == [50.0]
