"""The environment of a run: command, commit, versions, device."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "lightning",
    "accelerate",
    "datasets",
    "hydra-core",
    "pillow",
    "torchvision",
    "wandb",
    "medvl",
)


def environment() -> dict[str, Any]:
    """Return what a reader needs to repeat the run: command, commit, versions, device."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in PACKAGES},
        "device": _device(),
    }


def commit() -> str | None:
    """Return the commit of this package's checkout; None if it is not known."""
    # MEDVL_COMMIT is for copies without .git, as in a container or on a rented machine.
    return _git("rev-parse", "HEAD") or os.environ.get("MEDVL_COMMIT")


def version(name: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """Ask git about the checkout that contains this package; None outside of one."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _device() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"type": "cpu", "name": platform.processor() or platform.machine()}
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        driver = ""
    return {
        "type": "cuda",
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_mib": properties.total_memory // 2**20,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "driver": driver or None,
    }
