"""What compiles kernels while a run works, and versions that are known to fail: the findings of `medvl doctor`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from medvl.hardware.integer_products import compile_both
from medvl.record.errors import first_line

SYSTEM_PTXAS = Path("/usr/local/cuda/bin/ptxas")
SPARK = (12, 1)  # compute capability of GB10


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocked:
    """Versions of a package that must not be used."""

    package: str
    versions: str
    why: str
    mend: str
    capability: tuple[int, int] | None = None
    """Only on GPUs of this compute capability; None: everywhere."""


BLOCKED = (
    Blocked(
        package="lightning",
        versions="==2.6.2",
        why="it was malware (GHSA-w37p-236h-pfx3); change every key that this machine could read",
        mend='pip install "lightning>=2.6.6"',
    ),
    Blocked(
        package="lightning",
        versions="==2.6.3",
        why="it was malware (GHSA-w37p-236h-pfx3); change every key that this machine could read",
        mend='pip install "lightning>=2.6.6"',
    ),
    Blocked(
        package="bitsandbytes",
        versions="<0.49",
        why="it has no kernels for sm_121",
        mend='pip install "bitsandbytes>=0.50.2"',
        capability=SPARK,
    ),
    Blocked(
        package="cuda",
        versions="<13",
        why="torch was built for a CUDA that does not know sm_121",
        mend="pip install --upgrade torch, which brings CUDA 13",
        capability=SPARK,
    ),
)


def blocked(versions: Mapping[str, str | None], capability: tuple[int, int] | None) -> list[str]:
    """Return a sentence with its mend for every version that must not be used.

    Args:
        versions: Of packages, and as `cuda` of the CUDA that torch was built for; None: not installed.
        capability: Compute capability of the GPU; None: there is none.
    """
    found = []
    for one in BLOCKED:
        there = versions.get(one.package)
        here = one.capability is None or one.capability == capability
        if here and there and SpecifierSet(one.versions).contains(there, prereleases=True):
            found.append(f"{one.package} {there}: {one.why}. Run: {one.mend}")
    return found


def ptxas(
    capability: tuple[int, int], environ: Mapping[str, str] = os.environ, ask: Callable[[Path], str] | None = None
) -> str:
    """Check that the assembler that Triton uses knows the GPU.

    Args:
        ask: Returns the help of a ptxas, which lists the architectures that it knows.

    Returns:
        Its path.

    Raises:
        RuntimeError: It does not; the message says what to run.
    """
    ask = ask or _help
    new = capability[0] >= 10
    wanted, used = f"sm_{capability[0]}{capability[1]}", _chosen_ptxas(new, environ)
    variable = "TRITON_PTXAS_BLACKWELL_PATH" if new and _bundled("ptxas-blackwell") is not None else "TRITON_PTXAS_PATH"
    if used is None:
        raise RuntimeError("Triton is not installed, so nothing is compiled. Run: pip install triton")
    if wanted in ask(used):
        return str(used)
    found = shutil.which("ptxas", path=environ.get("PATH"))
    for other in (SYSTEM_PTXAS, *([Path(found)] if found else [])):
        if other.is_file() and other != used and wanted in ask(other):
            raise RuntimeError(f"{used} does not know {wanted}, {other} does. Run: export {variable}={other}")
    raise RuntimeError(
        f"{used} does not know {wanted}. Install CUDA 13 and run: export {variable}={SYSTEM_PTXAS}; "
        "or set hardware.compile=false"
    )


def nvrtc(device: Any, probe: Callable[[Any], Any] = compile_both) -> str:
    """Check that torch can compile for the GPU at run time.

    Raises:
        RuntimeError: It cannot; the message says what to run. Runs go on all the same, as medvl goes around it.
    """
    try:
        probe(device)
    except RuntimeError as error:
        if "nvrtc" not in str(error).lower():
            raise
        raise RuntimeError(
            f"{first_line(error)}. Run: unset TORCH_CUDA_ARCH_LIST; pip install --upgrade torch, which brings CUDA 13; "
            "and keep older libnvrtc out of LD_LIBRARY_PATH"
        ) from error
    return "compiles for this GPU"


def _chosen_ptxas(new: bool, environ: Mapping[str, str]) -> Path | None:
    """Return the ptxas that Triton takes: of its environment, or its own."""
    names = ["TRITON_PTXAS_BLACKWELL_PATH", "TRITON_PTXAS_PATH"] if new else ["TRITON_PTXAS_PATH"]
    set_by_user = [Path(environ[name]) for name in names if environ.get(name)]
    own = [_bundled(name) for name in (["ptxas-blackwell", "ptxas"] if new else ["ptxas"])]
    return next((path for path in (*set_by_user, *own) if path is not None), None)


def _bundled(name: str) -> Path | None:
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "backends/nvidia/bin" / name
    return path if path.is_file() else None


def _help(path: Path) -> str:
    try:
        return subprocess.run([path, "--help"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"{path} cannot be run: {error}") from error
