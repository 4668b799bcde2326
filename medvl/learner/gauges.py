"""What the machine does while a run trains."""

from __future__ import annotations

import time
from pathlib import Path

from medvl.hardware import GIB, MEMINFO, read_meminfo


class Rhythm:
    """Says when something that costs a moment is due again.

    Args:
        seconds: Between two times at least.
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
    """Return GiB taken and to be had where CPU and GPU share one memory, which NVML reports as N/A there.

    The page cache counts as to be had, as the kernel gives it up when asked.
    """
    sizes = read_meminfo(meminfo)
    available = sizes["MemAvailable"]
    return {
        "sys/unified_used_gib": (sizes["MemTotal"] - available) / GIB,
        "sys/unified_available_gib": available / GIB,
    }
