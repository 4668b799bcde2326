"""The host's last memory, with a simulated /proc/meminfo."""

import os
import threading
import time
from types import SimpleNamespace

import pytest

from medvl.hardware import watchdog
from medvl.hardware.plan import GIB, Hardware
from medvl.hardware.watchdog import KILLED, Watchdog, watched
from medvl.record.directory import Record, outcome
from medvl.record.files import read_json
from medvl.run import launch


@pytest.fixture
def memory(tmp_path):
    """Return a function that sets what is available, in GiB; nearly nothing is free, as the page cache has the rest."""
    path = tmp_path / "meminfo"

    def available(gib):
        aside = path.with_suffix(".new")
        aside.write_text(f"MemTotal: 125829120 kB\nMemFree: 524288 kB\nMemAvailable: {int(gib * 2**20)} kB\n")
        aside.replace(path)

    available.path = path
    available(100)
    return available


@pytest.fixture
def ends(monkeypatch):
    """The reasons for which the process was asked to end, and the statuses with which it ended."""
    found = []
    monkeypatch.setattr(watchdog, "end_process", found.append)
    monkeypatch.setattr(os, "_exit", found.append)
    return found


def test_a_short_peak_ends_nothing_and_a_run_is_asked_once(memory, ends, caplog):
    dog = Watchdog(8, pytest.fail, memory.path)
    for gib in (9, 7, 9, 7, 8):
        memory(gib)
        dog.look()
    assert ends == []
    memory(7)
    for _ in range(4):
        dog.look()
    assert ends == ["7.0 GiB of memory were left on this host, less than hardware.memory_floor_gib=8"]
    assert "batch.tokens lower" in caplog.text


def test_without_time_to_save_the_process_ends_at_once_and_its_record_says_why(memory, ends):
    told = []
    dog = Watchdog(8, told.append, memory.path)
    memory(3)
    dog.look(), dog.look()
    assert ends[0] == KILLED and told[0].startswith("3.0 GiB of memory were left") and told[0].endswith("ended at once")


def test_what_runs_is_interrupted_with_the_reason_in_its_record(memory, monkeypatch, tmp_path):
    monkeypatch.setattr(watchdog, "EVERY_S", 0.01)
    record = Record(tmp_path / "run")
    with pytest.raises(SystemExit) as stop, outcome(record), watched(8, pytest.fail, memory.path):
        record.status("running")
        memory(6)
        time.sleep(20)
    status = read_json(tmp_path / "run/status.json")
    assert stop.value.code == 143 and status["state"] == "interrupted" and "memory_floor_gib=8" in status["error"]


def test_too_little_at_the_start_is_refused(memory, monkeypatch):
    memory(5)
    with pytest.raises(ValueError, match=r"5\.0 GiB of memory are available, less than hardware\.memory_floor_gib=8"):
        Hardware(memory_floor_gib=8).check_memory(memory.path)
    Hardware().check_memory(memory.path)
    monkeypatch.setattr("medvl.hardware.plan.free_bytes", lambda device, unified: 20 * GIB)
    with pytest.raises(ValueError, match=r"12\.0 GiB are free on cpu above hardware\.memory_floor_gib=8"):
        Hardware(memory_floor_gib=8).require(13 * GIB, "cpu")


def test_a_run_is_watched_as_its_composition_says(tmp_path):
    def threads(floor, script="train"):
        config = SimpleNamespace(hardware=Hardware(memory_floor_gib=floor))
        context = SimpleNamespace(config=config, record=Record(tmp_path), script=script)
        return launch._watched(context, lambda context: [thread.name for thread in threading.enumerate()])

    assert "memory watchdog" in threads(1e-6) and "memory watchdog" not in threads(None)
    assert "memory watchdog" not in threads(1e-6, "doctor")


def test_the_spark_is_watched(compose):
    assert compose("hardware=dgx_spark").hardware.memory_floor_gib == 8 and compose().hardware.memory_floor_gib is None
