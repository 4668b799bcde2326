"""Power and clock of the GPUs of a run: a GPU that is held below its clock makes every timing a surprise."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

log = logging.getLogger(__name__)

LOW = 0.5  # share of the highest clock below which a GPU that works is in a low-power state
CONFIRMED = 3  # readings in a row: the clock falls for a moment between two kernels
IDLE = 0x1
# NVML's nvmlClocksEventReasons
REASONS = {
    0x4: "its power cap",
    0x8: "a hardware slowdown: heat or power supply",
    0x20: "its temperature, by the driver",
    0x40: "its temperature, by the hardware",
    0x80: "the power brake of the host, as of a weak power supply",
    0x2: "clocks that someone has set",
}


class Clocks:
    """Reads power and clocks by NVML; what a GPU does not report is left out, as much is on a DGX Spark.

    Args:
        gpus: UUIDs of the GPUs that the run uses; empty: it runs on the CPU.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        self.handles: list[Any] = []
        self.slow = 0
        self.warned = False
        if not gpus:
            return
        with _reported():
            import pynvml

            pynvml.nvmlInit()
            self.handles = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}") for uuid in gpus]

    def metrics(self) -> dict[str, float]:
        """Return the sum of their power, the lowest clock, and whether one is in a low-power state.

        The first time that one is for a while, a warning names the clock and NVML's reason.
        """
        if not self.handles:
            return {}
        import pynvml as nvml

        watts: list[float] = []
        clocks: list[tuple[float, float | None, int]] = []
        for handle in self.handles:
            with _reported():
                watts.append(nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
            seen: dict[str, float] = {}
            with _reported():
                seen["clock"] = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
                seen["most"] = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
                seen["reasons"] = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
            if "clock" in seen:
                clocks.append((float(seen["clock"]), seen.get("most"), int(seen.get("reasons", 0))))
        row = {"sys/gpu_power_w": sum(watts)} if len(watts) == len(self.handles) else {}
        if not clocks:
            return row
        clock, most, reasons = min(clocks, key=lambda one: one[0] / one[1] if one[1] else 1.0)
        low = most is not None and clock < LOW * most and not reasons & IDLE
        self._tell(low, clock, most, reasons)
        return row | {"sys/gpu_clock_mhz": clock} | ({"sys/gpu_low_power": float(low)} if most is not None else {})

    def _tell(self, low: bool, clock: float, most: float | None, reasons: int) -> None:
        self.slow = self.slow + 1 if low else 0
        if self.slow < CONFIRMED or self.warned:
            return
        self.warned = True
        named = " and ".join(name for bit, name in REASONS.items() if reasons & bit) or "for no reason that NVML gives"
        log.warning(
            "LOW POWER: a GPU runs at %.0f of %.0f MHz (%s), so timings are of this state. Check its power supply, and "
            "nvidia-smi -q -d PERFORMANCE.",
            clock,
            most or 0.0,
            named,
        )


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Leave out what NVML does not report here; NVML's own error classes exist only where it is installed."""
    try:
        yield
    except Exception as error:
        log.debug("NVML: %s", error)
