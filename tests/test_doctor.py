"""`medvl doctor`, on this machine and on one where everything is wrong."""

import json
from types import SimpleNamespace

import pytest
from conftest import ROOT

from medvl import doctor
from medvl.hardware import plan
from medvl.hardware.plan import GIB, Hardware
from medvl.hardware.toolchain import SPARK
from medvl.model.lora import FullFineTuning, Lora
from medvl.model.precision import Precision
from medvl.record.directory import Record
from medvl.record.files import read_json


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(doctor, "TIMED_S", 0.02)


def examined(folder, hardware=None, lora=None):
    return list(doctor.examine(folder, hardware or Hardware(), Precision(), lora or Lora()))


def test_doctor_finds_nothing_amiss_here(tmp_path, capsys, monkeypatch):
    config = SimpleNamespace(cache=str(tmp_path / "new"), hardware=Hardware(), precision=Precision(), lora=Lora())
    context = SimpleNamespace(config=config, record=Record(tmp_path / "run"))
    doctor.tell(context, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and read_json(tmp_path / "run/doctor.json") == told["findings"]
    found = {what: one["found"] for what, one in told["findings"].items()}
    assert "TFLOP/s in" in found["products"] and "us for one row" in found["4-bit product"]
    assert "sdpa, off by" in found["attention"] or "varlen, off by" in found["attention"]
    assert "nano to batch.tokens=32768" in found["fits"] and "of the host available" in found["memory"]
    monkeypatch.setattr(doctor, "examine", lambda *_: iter([("a", True, "fine"), ("b", False, "bad")]))
    with pytest.raises(ValueError, match="amiss: b"):
        doctor.tell(context, as_json=False)
    assert capsys.readouterr().out == "ok    a              fine\nAMISS b              bad\n"
    with monkeypatch.context() as terminal:
        terminal.setattr("sys.stdout.isatty", lambda: True, raising=False)
        terminal.delenv("NO_COLOR", raising=False)
        with pytest.raises(ValueError):
            doctor.tell(context, as_json=False)
        coloured = capsys.readouterr().out
        terminal.setenv("NO_COLOR", "1")
        with pytest.raises(ValueError):
            doctor.tell(context, as_json=False)
    assert "\033[32mok    \033[0ma" in coloured and "\033[1;31mAMISS \033[0mb" in coloured
    assert "\033" not in capsys.readouterr().out


def test_doctor_names_what_is_amiss(tmp_path, monkeypatch):
    setup = (ROOT / "setup.cfg").read_text().replace("torch>=2.11", "torch>=99").replace("scipy>=1.15", "scipie")
    setup = setup.replace("lightning>=2.6.6", "lightning>=99")
    (tmp_path / "setup.cfg").write_text(setup)
    monkeypatch.setattr(doctor, "SETUP", tmp_path / "setup.cfg")
    monkeypatch.setattr("bitsandbytes.matmul_4bit", lambda inputs, packed, state: inputs.repeat(1, 2))
    monkeypatch.setattr("medvl.model.attention.off", lambda *_: float("nan"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30))
    monkeypatch.setattr("medvl.documents.render.Sheet.text", "Temp 36.4")
    monkeypatch.setattr(doctor, "version", lambda name: "2.6.3" if name == "lightning" else "2.0")
    amiss = {what: found for what, well, found in examined(tmp_path, Hardware(memory_floor_gib=1e6)) if not well}
    assert amiss.keys() == {"packages", "versions", "4-bit product", "attention", "memory", "fonts", "cache"}
    assert "1.0 GiB free" in amiss["cache"] and "malware" in amiss["versions"]
    assert "torch>=99 is wanted, 2.0 is here" in amiss["packages"] and "were malware" in amiss["packages"]
    assert "was drawn as 'Temp 36.4'" in amiss["fonts"] and "NF4 product is off by" in amiss["4-bit product"]
    assert "Set hardware.attention=sdpa" in amiss["attention"] and "memory_floor_gib=1e+06" in amiss["memory"]


def test_a_spark_that_nothing_watches_is_amiss(monkeypatch):
    monkeypatch.setattr(doctor, "_capability", lambda: SPARK)
    with pytest.raises(RuntimeError, match="Set hardware=dgx_spark"):
        doctor._memory(Hardware())
    assert "runs end below 0.001" in doctor._memory(Hardware(memory_floor_gib=1e-3))


def test_what_fits_follows_the_memory(monkeypatch):
    free = {"bytes": 0.0}
    for where in (doctor, plan):
        monkeypatch.setattr(where, "free_bytes", lambda device, unified: free["bytes"])
        monkeypatch.setattr(where, "total_bytes", lambda device, unified: 10**12)
    told = []
    for gib in (0.001, 20, 300):
        free["bytes"] = gib * GIB
        told.append(doctor._fits(Hardware(), Precision(), Lora()))
    assert "no model; not nano" in told[0]
    assert "qwen2_5_vl_7b to batch.tokens=" in told[1] and "qwen2_5_vl_72b" in told[1].partition("; not ")[2]
    assert "; not" not in told[2] and "qwen2_5_vl_72b to batch.tokens=32768" in told[2]
    free["bytes"] = 20 * GIB
    assert "qwen2_5_vl_7b" in doctor._fits(Hardware(), Precision(), FullFineTuning()).partition("; not ")[2]
