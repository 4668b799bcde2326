"""What the machine offers and how a run uses it: the `hardware` config group.

Every automatic choice includes its reason; the run prints and records both.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.hardware.integer_products import guard_integer_products
from medvl.types import Choice

if TYPE_CHECKING:
    import torch

MIB, GIB = 2**20, 2**30
MEMINFO = Path("/proc/meminfo")


class Device(Enum):
    """Device that the run computes on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Attention(Enum):
    """Kernel for attention within packed examples and vision windows."""

    auto = "auto"
    sdpa = "sdpa"
    varlen = "varlen"


@dataclass(kw_only=True, slots=True)
class HardwarePlan:
    """The choices made for one run."""

    device: Choice
    compute: Choice
    attention: Choice
    workers: Choice
    max_memory: Choice

    def choices(self) -> dict[str, Choice]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def torch_device(self) -> torch.device:
        import torch

        return torch.device(self.device.value)


@dataclass(kw_only=True, slots=True)
class Hardware:
    """How a run uses the machine; `plan` replaces None and auto by a choice with its reason."""

    device: Device = Device.auto
    """Where the model runs."""
    workers: int | None = None
    """Data-loading processes per device."""
    attention: Attention = Attention.auto
    """The attention kernel."""
    checkpointing: int | None = None
    """Recompute the activations of every n-th language layer in the backward pass: 1 all, 2 every other, 0 none;
    None: as few as fit the memory."""
    fused: bool = True
    """Compute language layers and their adapters by fused operations with a hand-written backward pass."""
    compile: bool | None = None
    """Compile the elementwise operations between the matrix products; None: on GPUs where it works."""
    cache_features: bool | None = None
    """Cache the features of a frozen vision tower on disk; None: where that is valid and the disk has space."""
    memory_fraction: float = 1.0
    """Share of the device's memory that the run may take."""
    cpu_memory_gib: float | None = None
    """Host memory that weights may be offloaded to, with a device map made by size; None: one device only."""
    unified_memory: bool = False
    """CPU and GPU share one memory, which NVML cannot report (DGX Spark): read /proc/meminfo instead."""

    memory_floor_gib: float | None = None
    """End the run, after saving it, when less memory is available on this host; None: do not watch it."""

    def __post_init__(self) -> None:
        if self.memory_floor_gib is not None and not 0 < self.memory_floor_gib < math.inf:
            raise ValueError(
                f"hardware.memory_floor_gib must be above 0, got {self.memory_floor_gib}. "
                "Set hardware.memory_floor_gib=8, or null."
            )
        if not 0 < self.memory_fraction <= 1:
            raise ValueError(
                f"hardware.memory_fraction must lie in (0, 1], got {self.memory_fraction}. "
                "Set hardware.memory_fraction=0.9."
            )
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"hardware.workers must not be negative, got {self.workers}. Set hardware.workers=0.")
        if self.cpu_memory_gib is not None and not 0 <= self.cpu_memory_gib < math.inf:
            raise ValueError(
                f"hardware.cpu_memory_gib must not be negative, got {self.cpu_memory_gib}. "
                "Set hardware.cpu_memory_gib=null."
            )
        if self.compile and not self.fused:
            raise ValueError("hardware.compile=true compiles what is fused. Set hardware.fused=true.")
        if self.checkpointing is not None and self.checkpointing < 0:
            raise ValueError(
                f"hardware.checkpointing is every n-th layer, got {self.checkpointing}. Set hardware.checkpointing=1."
            )

    def check_memory(self, meminfo: Path = MEMINFO) -> None:
        """Refuse to start with less memory than the floor.

        Raises:
            ValueError: The message names both.
        """
        if self.memory_floor_gib is None:
            return
        available = read_meminfo(meminfo)["MemAvailable"] / GIB
        if available < self.memory_floor_gib:
            raise ValueError(
                f"{available:.1f} GiB of memory are available, less than hardware.memory_floor_gib="
                f"{self.memory_floor_gib:g}. End other processes, or set hardware.memory_floor_gib=null."
            )

    def plan(
        self,
        *,
        compute: str,
        storage: str,
        attention: Callable[[str, torch.device, torch.dtype], Choice],
        devices: int = 1,
    ) -> HardwarePlan:
        """Make every automatic choice.

        Args:
            compute: Requested compute type: auto, bf16, fp16 or fp32.
            storage: Storage of the weights; unquantised weights compute in their own type by default.
            attention: Chooses the attention kernel (`medvl.model.attention.choose`).
            devices: Processes that share this host.

        Raises:
            ValueError: The requested device or kernel is not available.
        """
        import torch

        device = self.device_choice()
        arithmetic = _compute(compute, storage, torch.device(device.value))
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(arithmetic.value, torch.float32)
        return HardwarePlan(
            device=device,
            compute=arithmetic,
            attention=attention(self.attention.value, torch.device(device.value), dtype),
            workers=self._workers(device.value, devices),
            max_memory=self._max_memory(device.value),
        )

    def count_devices(self) -> tuple[int, str]:
        """Return how many processes may train on this machine at once, and on what: GPUs or CPU cores."""
        import torch

        if self.device_choice().value == "cuda":
            return torch.cuda.device_count(), "GPU(s)"
        return len(os.sched_getaffinity(0)), "CPU core(s)"

    def prepare_device(self, plan: HardwarePlan) -> None:
        """Set up this process as planned: the workaround for old builds, and the limit on device memory."""
        import torch

        if plan.device.value == "cuda":
            guard_integer_products(plan.torch_device)
            if self.memory_fraction < 1:
                torch.cuda.set_per_process_memory_fraction(self.memory_fraction)

    def device_choice(self) -> Choice:
        """Return the device that the run computes on.

        Raises:
            ValueError: The requested one is not there.
        """
        import torch

        if self.device is Device.cpu:
            return Choice("cpu", "as configured")
        if torch.cuda.is_available():
            return Choice("cuda", torch.cuda.get_device_name())
        if self.device is Device.cuda:
            raise ValueError("hardware.device=cuda, but torch sees no CUDA device. Set hardware=cpu.")
        return Choice("cpu", "torch sees no CUDA device")

    def _workers(self, device: str, devices: int) -> Choice:
        if self.workers is not None:
            return Choice(self.workers, "as configured")
        cores = len(os.sched_getaffinity(0))
        if device == "cpu":
            return Choice(1, f"the model itself wants the {cores} cores")
        most = 4 if self.unified_memory else 8
        return Choice(max(1, min(most, cores // devices - 1)), f"{cores} cores for {devices} device(s)")

    def _max_memory(self, device: str) -> Choice:
        """Limit memory explicitly, as the baseline project did: accelerate underestimates unified memory."""
        if device == "cpu" or self.cpu_memory_gib is None:
            return Choice(None, "the model goes to one device")
        total = total_bytes(device, unified=self.unified_memory)
        limit = {0: int(total * self.memory_fraction), "cpu": f"{self.cpu_memory_gib:g}GB"}
        return Choice(limit, f"{self.memory_fraction:g} of {total / GIB:.1f} GiB, as hardware.memory_fraction says")

    def require(self, need_bytes: float, device: str) -> None:
        """Refuse a model that does not fit, before it is loaded.

        Raises:
            ValueError: The message names what is needed, what is free and which processes use the rest.
        """
        kept = (self.memory_floor_gib or 0) * GIB if self.unified_memory or device == "cpu" else 0
        free = free_bytes(device, unified=self.unified_memory) - kept
        if need_bytes <= free:
            return
        holders = "; ".join(memory_holders()) if device != "cpu" else ""
        raise ValueError(
            f"the weights need {need_bytes / GIB:.1f} GiB, {free / GIB:.1f} GiB are free on {device}"
            + (f" above hardware.memory_floor_gib={self.memory_floor_gib:g}. " if kept else ". ")
            + (f"Others hold memory: {holders}. Stop them" if holders else "Set precision=nf4")
            + ", or take a smaller model."
        )


def _compute(requested: str, storage: str, device: torch.device) -> Choice:
    import torch

    if requested != "auto":
        return Choice(requested, "as configured")
    if device.type == "cpu":
        # Measured without AMX or AVX512-BF16: a bf16 product's backward pass takes 60 times as long as in fp32.
        held = "; the weights keep their 16-bit values, held in fp32" if storage in ("bf16", "fp16") else ""
        return Choice("fp32", f"CPUs emulate 16-bit products{held}")
    if storage in ("bf16", "fp16", "fp32"):
        return Choice(storage, "the type of the weights")
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Choice("bf16", "the device computes in bf16")
    return Choice("fp32", "this device has no bf16")


def read_meminfo(path: Path = MEMINFO) -> dict[str, int]:
    """Return the fields of /proc/meminfo in bytes."""
    fields_kb = (line.split(":", 1) for line in path.read_text().splitlines() if line.endswith("kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in fields_kb}


def total_bytes(device: str, *, unified: bool, meminfo: Path = MEMINFO) -> int:
    """Return the device's total memory; the system's where CPU and GPU share it."""
    import torch

    if unified or device == "cpu":
        return read_meminfo(meminfo)["MemTotal"]
    return torch.cuda.get_device_properties(0).total_memory


def free_bytes(device: str, *, unified: bool, meminfo: Path = MEMINFO) -> int:
    """Return the memory that a run can still allocate.

    On unified memory cudaMemGetInfo reports MemFree, which counts the page cache as used; MemAvailable is what a
    process can really allocate (vllm threads 48140, 56824).
    """
    import torch

    if unified or device == "cpu":
        return read_meminfo(meminfo)["MemAvailable"]
    return torch.cuda.mem_get_info()[0]


def memory_holders(run: Callable[..., Any] = subprocess.run) -> list[str]:
    """Return the other processes that use GPU memory; works on unified memory too, where NVML reports no totals."""
    query = ["nvidia-smi", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader"]
    try:
        lines = run(query, capture_output=True, text=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in lines if line.count(",") >= 2]
    return [f"{row[1]} (pid {row[0]}, {row[2]})" for row in rows if row[0] != str(os.getpid())]
