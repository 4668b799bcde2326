"""What a stretch of a run costs: energy, read from the counters of the hardware, with time and memory beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


@dataclass(slots=True)
class Counter:
    """A counter of joules that only grows, but for starting over at its end."""

    read: Callable[[], float]
    end: float | None = None
    """Joules at which it starts over; None: never in practice."""


class Meter:
    """Joules since construction, over all counters.

    Args:
        measures: What the counters cover, in words.
        why: Why there are these counters, or none.
    """

    def __init__(self, counters: Sequence[Counter], measures: str, why: str) -> None:
        self.counters, self.measures, self.why = counters, measures, why
        self.joules = 0.0
        self.last = [counter.read() for counter in counters]

    def read(self) -> float | None:
        """Return joules so far; None without a counter. Call it at least once in the time that a counter runs over."""
        if not self.counters:
            return None
        for at, counter in enumerate(self.counters):
            now = counter.read()
            grown = now - self.last[at]
            self.joules += grown + counter.end if grown < 0 and counter.end is not None else grown
            self.last[at] = now
        return self.joules

    def facts(self) -> dict[str, float | str]:
        """Return the energy and what it covers; nothing where nothing can be read."""
        joules = self.read()
        return {} if joules is None else {"energy_j": joules, "energy_is": self.measures}

    def gauge(self) -> dict[str, float]:
        """Return a column of metrics.jsonl."""
        joules = self.read()
        return {} if joules is None else {"sys/energy_j": joules}


@dataclass(kw_only=True, slots=True)
class Cost:
    """What training costs over all sessions of a run, steps included that a killed one lost."""

    before: dict[str, Any]
    """What `read` gave at the end of the session before; empty in the first."""
    energy: Meter
    peak: Callable[[str], dict[str, Any]]
    """Given a prefix of their names, returns peaks of memory in MiB, and what they are of."""
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.energy.joules = self.before.get("energy_j", 0.0)

    def read(self) -> dict[str, Any]:
        """Return seconds and joules in all, and the highest peak of memory."""
        seconds = self.before.get("train_s", 0.0) + time.perf_counter() - self.started
        # A sum of which a session is missing would be no sum.
        energy = self.energy.facts() if not self.before or "energy_j" in self.before else {}
        peak = self.peak("train_")
        highest = {name: max(peak[name], self.before.get(name, 0)) for name in peak if name.endswith("_mib")}
        return {"train_s": seconds, **energy, **peak, **highest}


def meter(gpus: Sequence[str], powercap: Path = POWERCAP) -> Meter:
    """Start a meter for a run.

    Args:
        gpus: UUIDs of the GPUs that it uses; none: it runs on the CPU.
    """
    return _gpus(gpus) if gpus else _packages(powercap)


def _gpus(uuids: Sequence[str]) -> Meter:
    """Read NVML's counter of millijoules since the driver was loaded; Volta and newer have one."""
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
    """Read RAPL's counters of microjoules, one a processor package, whatever runs on it.

    Root alone may read them on most machines since CVE-2020-8694.
    """

    def counter(folder: Path) -> Counter:
        file = folder / "energy_uj"
        return Counter(lambda: int(file.read_text()) / 1e6, int((folder / "max_energy_range_uj").read_text()) / 1e6)

    folders = sorted(powercap.glob("intel-rapl:[0-9]*"))  # AMD's too; a second colon names a part of a package
    folders = [folder for folder in folders if folder.name.count(":") == 1]
    if not folders:
        return Meter([], "", f"{powercap} has no RAPL counters")
    try:
        measures = f"{len(folders)} processor package(s) with all that ran on them, by RAPL"
        return Meter([counter(folder) for folder in folders], measures, "RAPL counts it")
    except OSError as error:
        return Meter([], "", f"RAPL: {error.strerror}: {folders[0]}")
