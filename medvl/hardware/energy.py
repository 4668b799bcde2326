"""What a part of a run costs: time, memory, and energy as read from hardware counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


@dataclass(slots=True)
class Counter:
    """A counter of joules that only grows, except that it wraps around at its end."""

    read: Callable[[], float]
    end: float | None = None
    """Joules at which it wraps around; None: never in practice."""


class Meter:
    """Joules since construction, summed over all counters.

    Args:
        measures: What the counters cover, in words.
        why: Why these counters were chosen, or why there are none.
    """

    def __init__(self, counters: Sequence[Counter], measures: str, why: str) -> None:
        self.counters, self.measures, self.why = counters, measures, why
        self.joules = 0.0
        self.last = [counter.read() for counter in counters]

    def read(self) -> float | None:
        """Return joules so far; None without a counter. Call it at least once per wrap-around period of a counter."""
        if not self.counters:
            return None
        for at, counter in enumerate(self.counters):
            now = counter.read()
            grown = now - self.last[at]
            # One that does not wrap around and is lower than before was set back, as by a restarted driver.
            self.joules += max(0.0, grown) if counter.end is None else grown % counter.end
            self.last[at] = now
        return self.joules

    def facts(self) -> dict[str, float | str]:
        """Return the energy and what it covers; empty if nothing can be read."""
        joules = self.read()
        return {} if joules is None else {"energy_j": joules, "energy_is": self.measures}

    def metrics(self) -> dict[str, float]:
        """Return the energy so far as a column of metrics.jsonl."""
        joules = self.read()
        return {} if joules is None else {"sys/energy_j": joules}


@dataclass(kw_only=True, slots=True)
class Cost:
    """What training costs over all sessions of a run, including the steps that a killed session lost."""

    before: dict[str, Any]
    """What `read` returned at the end of the previous session; empty in the first."""
    energy: Meter
    peak: Callable[[str], dict[str, Any]]
    """Takes a prefix for the names; returns memory peaks in MiB, and what they measure."""
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.energy.joules = self.before.get("energy_j", 0.0)

    def read(self) -> dict[str, Any]:
        """Return total seconds and joules, and the highest memory peak."""
        seconds = self.before.get("train_s", 0.0) + time.perf_counter() - self.started
        # Without an earlier session's energy the total would be wrong.
        energy = self.energy.facts() if not self.before or "energy_j" in self.before else {}
        peak = self.peak("train_")
        highest = {name: max(peak[name], self.before.get(name, 0)) for name in peak if name.endswith("_mib")}
        return {"train_s": seconds, **energy, **peak, **highest}


def meter(gpus: Sequence[str], powercap: Path = POWERCAP) -> Meter:
    """Start a meter for a run.

    Args:
        gpus: UUIDs of the GPUs that the run uses; empty: it runs on the CPU.
    """
    return _gpus(gpus) if gpus else _packages(powercap)


def _gpus(uuids: Sequence[str]) -> Meter:
    """Read NVML's counter of millijoules since the driver was loaded; available since Volta."""
    try:
        import pynvml
    except ImportError:
        return Meter([], "", "nvidia-ml-py is not installed: pip install nvidia-ml-py")

    def counter(uuid: str) -> Counter:
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)

    try:
        pynvml.nvmlInit()
        return Meter([counter(uuid) for uuid in uuids], f"{len(uuids)} GPU(s) of this host, by NVML", "NVML counts it")
    except pynvml.NVMLError as error:
        return Meter([], "", f"NVML: {error}")


def _packages(powercap: Path) -> Meter:
    """Read RAPL's counters of microjoules, one per processor package; they include other processes.

    Since CVE-2020-8694 only root may read them on most machines.
    """

    def counter(folder: Path) -> Counter:
        file = folder / "energy_uj"
        return Counter(lambda: int(file.read_text()) / 1e6, int((folder / "max_energy_range_uj").read_text()) / 1e6)

    folders = sorted(powercap.glob("intel-rapl:[0-9]*"))  # AMD's too; a second colon marks a part of a package
    folders = [folder for folder in folders if folder.name.count(":") == 1]
    if not folders:
        return Meter([], "", f"{powercap} has no RAPL counters")
    try:
        measures = f"{len(folders)} processor package(s) with all that ran on them, by RAPL"
        return Meter([counter(folder) for folder in folders], measures, "RAPL counts it")
    except OSError as error:
        return Meter([], "", f"RAPL: {error.strerror}: {folders[0]}")
