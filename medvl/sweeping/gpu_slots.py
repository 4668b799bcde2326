"""How many jobs run on this machine at a time, and which GPUs each gets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medvl.record.lock import locked


@dataclass(frozen=True, kw_only=True)
class Slots:
    """How many jobs run at a time, and on which GPUs."""

    gpus: list[str]
    jobs: int
    each: int
    """GPUs per job."""

    @classmethod
    def on(cls, gpus: list[str], cores: int, *, jobs: int | None, per_gpu: int, each: int) -> Slots:
        """Plan the slots for jobs of `each` devices.

        Raises:
            ValueError: More was requested than fits.
        """
        if per_gpu < 1:
            raise ValueError(f"hydra.launcher.per_gpu must be positive, got {per_gpu}. Set hydra.launcher.per_gpu=1.")
        if not gpus:
            if jobs is not None and not 1 <= jobs <= cores:
                raise ValueError(f"hydra.launcher.jobs={jobs} on {cores} cores. Set hydra.launcher.jobs={cores}.")
            return cls(gpus=[], jobs=jobs or 1, each=each)
        if each > len(gpus):
            raise ValueError(f"a job wants {each} GPUs, {len(gpus)} are there. Set trainer.devices={len(gpus)}.")
        fits = len(gpus) // each * per_gpu
        if jobs is not None and not 1 <= jobs <= fits:
            raise ValueError(
                f"hydra.launcher.jobs={jobs} would put several jobs on one of {len(gpus)} GPU(s). "
                f"Set hydra.launcher.jobs={fits}, or hydra.launcher.per_gpu higher if they fit its memory together."
            )
        return cls(gpus=gpus, jobs=jobs or fits, each=each)

    def environment(self, slot: int) -> dict[str, str]:
        """Return the environment variables that limit the devices or threads of a job in a slot."""
        if self.gpus:
            groups = len(self.gpus) // self.each
            first = slot % groups * self.each
            return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus[first : first + self.each])}
        threads = max(1, len(os.sched_getaffinity(0)) // self.jobs)
        return {"OMP_NUM_THREADS": str(threads)} if self.jobs > 1 else {}


@contextlib.contextmanager
def alone_on(gpu: str) -> Iterator[None]:
    """Lock a GPU so that no other sweep on this machine uses it.

    Raises:
        ValueError: Another sweep has locked it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(Path(tempfile.gettempdir()), name=f"medvl-gpu-{gpu}.lock"))
        except ValueError:
            raise ValueError(
                f"GPU {gpu} is taken by another sweep. Set CUDA_VISIBLE_DEVICES to others, or hydra.launcher.per_gpu=2 "
                "if both fit its memory."
            ) from None
        yield


def gpus() -> list[str]:
    """Return this process's GPUs, by index or UUID, without torch, which would create a CUDA context in the sweep."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    count = sum(line.startswith("GPU") for line in listed.stdout.splitlines())
    return [str(number) for number in range(count)]
