"""Metrics of the machine while a run trains."""

from __future__ import annotations

import time
from pathlib import Path

from medvl.hardware.plan import GIB, MEMINFO, read_meminfo


class Throttle:
    """Limits how often something slow is done.

    Args:
        seconds: The least time between two calls that are due.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, float("-inf")

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


def unified_memory(meminfo: Path = MEMINFO) -> dict[str, float]:
    """Return used and available GiB where CPU and GPU share one memory, for which NVML reports N/A.

    The page cache counts as available, since the kernel frees it on demand.
    """
    sizes = read_meminfo(meminfo)
    available = sizes["MemAvailable"]
    return {
        "sys/uma_used_gib": (sizes["MemTotal"] - available) / GIB,
        "sys/uma_available_gib": available / GIB,
    }
