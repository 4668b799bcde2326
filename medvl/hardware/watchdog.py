"""Ends a run before it takes the host's last memory.

Where CPU and GPU share one memory, as on a DGX Spark, no process is killed when it is exhausted: the host hangs until
its power is cut (pytorch#174358, NVIDIA/dgx-spark-playbooks#97), and cgroups do not count what CUDA allocates.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from medvl.hardware.plan import GIB, MEMINFO, read_meminfo
from medvl.record.signals import end_process

log = logging.getLogger(__name__)

EVERY_S = 0.5
CONFIRMED = 2  # readings below the floor in a row: one may be a short peak
LAST = 0.5  # share of the floor below which there is no time left to save
KILLED = 137  # exit status of a run that could not be saved


class Watchdog:
    """Looks at the host's available memory, of which the page cache is a part.

    Args:
        floor_gib: Below it the run is asked to save and end, as by SIGTERM; below half of it the process ends at once.
        ending: Is called with the reason before the process ends at once, to record it.
    """

    def __init__(self, floor_gib: float, ending: Callable[[str], None], meminfo: Path = MEMINFO) -> None:
        self.floor, self.ending, self.meminfo = floor_gib * GIB, ending, meminfo
        self.below = 0
        self.asked = False
        self.over = threading.Event()

    def look(self) -> None:
        """Read the memory once, and end the run if too little is left."""
        available = read_meminfo(self.meminfo)["MemAvailable"]
        self.below = self.below + 1 if available < self.floor else 0
        if self.below < CONFIRMED:
            return
        reason = (
            f"{available / GIB:.1f} GiB of memory were left on this host, less than "
            f"hardware.memory_floor_gib={self.floor / GIB:g}"
        )
        if available < LAST * self.floor:
            log.error("%s: ended at once, as the host would hang. %s", reason, _mend())
            self.ending(f"{reason}: ended at once")
            os._exit(KILLED)
        if not self.asked:
            self.asked = True
            log.warning("%s: ending the run. %s", reason, _mend())
            end_process(reason)

    def watch(self) -> None:
        while not self.over.wait(EVERY_S):
            self.look()


def _mend() -> str:
    return "Set batch.tokens lower, hardware.checkpointing=1 or precision=nf4; or end other processes."


@contextlib.contextmanager
def watched(floor_gib: float | None, ending: Callable[[str], None], meminfo: Path = MEMINFO) -> Iterator[None]:
    """Watch the host's memory while the block runs; without a floor, do nothing."""
    if floor_gib is None:
        yield
        return
    dog = Watchdog(floor_gib, ending, meminfo)
    thread = threading.Thread(target=dog.watch, daemon=True, name="memory watchdog")
    thread.start()
    try:
        yield
    finally:
        dog.over.set()
        thread.join()
