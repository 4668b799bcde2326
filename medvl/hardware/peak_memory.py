"""Peak memory of a part of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.hardware.plan import MIB

if TYPE_CHECKING:
    import torch

CLEAR_REFS, PROCESS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """Peak memory between construction and `read`: the CUDA allocator's, or the process's on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        else:
            CLEAR_REFS.write_text("5")  # resets this process's high-water mark, see proc(5)

    def read(self, prefix: str) -> dict[str, Any]:
        """Return the peak so far; on a GPU the memory of tensors and that reserved by the allocator."""
        import torch

        if self.device.type == "cuda":
            return {
                f"{prefix}peak_mib": torch.cuda.max_memory_allocated(self.device) / MIB,
                f"{prefix}peak_reserved_mib": torch.cuda.max_memory_reserved(self.device) / MIB,
                f"{prefix}peak_is": "allocated on the GPU",
            }
        (line,) = (line for line in PROCESS.read_text().splitlines() if line.startswith("VmHWM"))
        return {f"{prefix}peak_mib": int(line.split()[1]) / 1024, f"{prefix}peak_is": "resident in this process"}
