"""`medvl doctor`: can this machine run medvl, and what is missing?"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from medvl.hardware import toolchain
from medvl.hardware.clocks import Clocks
from medvl.hardware.plan import GIB, Hardware, HardwarePlan, free_bytes, memory_holders, read_meminfo, total_bytes
from medvl.model.lora import Adapter
from medvl.model.names import shapes
from medvl.model.parts import synchronize
from medvl.model.precision import Compute, Precision
from medvl.record.environment import version
from medvl.record.errors import first_line
from medvl.training.memory_estimate import longest_row

if TYPE_CHECKING:
    from medvl.run.context import RunContext

# What goes wrong with versions outside the ranges of setup.cfg.
HARM = {
    "lightning": "2.6.2 and 2.6.3 were malware; older ones run code from a checkpoint",
    "bitsandbytes": "no fused 4-bit product, no sm_121",
    "transformers": "other names of modules: adapters would not fit",
}
SETUP = Path(__file__).parents[1] / "setup.cfg"
TIMED_S = 1.0  # how long a product is repeated
MARGIN = 0.9  # share of the memory that an estimate may use, as in training
FREE_GIB = 2.0  # enough for a run of nano with its checkpoints and pages


def tell(context: RunContext, *, as_json: bool) -> None:
    """Print every finding as it comes, or all of them as JSON, and record them.

    Raises:
        ValueError: Something is amiss.
    """
    config, findings = context.config, {}
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for what, well, found in examine(Path(config.cache).expanduser(), config.hardware, config.precision, config.lora):
        findings[what] = {"ok": well, "found": found}
        if not as_json:
            print(line(what, well, found, coloured=coloured), flush=True)
    context.record.result(findings, "doctor")
    amiss = [what for what, one in findings.items() if not one["ok"]]
    if as_json:
        print(json.dumps({"ok": not amiss, "findings": findings}, indent=1, ensure_ascii=False))
    if amiss:
        raise ValueError(f"amiss: {', '.join(amiss)}")


def examine(cache: Path, hardware: Hardware, precision: Precision, lora: Adapter) -> Iterator[tuple[str, bool, str]]:
    """Yield (what, whether it is fine, what was found) for everything a run needs; a fault names its mend."""
    yield from _attempt("packages", _packages)
    yield from _attempt("versions", _versions)
    yield from _attempt("device", lambda: _device(hardware))
    yield from _attempt("products", lambda: _products(hardware))
    yield from _attempt("4-bit product", lambda: _four_bit(hardware))
    yield from _attempt("attention", lambda: _attention(hardware))
    if _capability() is not None:
        yield from _attempt("ptxas", lambda: toolchain.ptxas(_capability() or (0, 0)))
        yield from _attempt("NVRTC", lambda: toolchain.nvrtc("cuda"))
        yield from _attempt("clock", _clock)
    yield from _attempt("memory", lambda: _memory(hardware))
    yield from _attempt("fonts", _fonts)
    yield from _attempt("nano", _nano)
    yield from _attempt("cache", lambda: _room(cache))
    yield from _attempt("fits", lambda: _fits(hardware, precision, lora))


def line(what: str, well: bool, found: str, *, coloured: bool) -> str:
    """Return a finding as a line of a terminal."""
    verdict = f"{'ok' if well else 'AMISS':<6}"
    if coloured:
        verdict = f"\033[{'32' if well else '1;31'}m{verdict}\033[0m"
    return f"{verdict}{what:<15}{found}"


def _attempt(what: str, check: Callable[[], str]) -> Iterator[tuple[str, bool, str]]:
    try:
        yield what, True, check()
    except Exception as error:  # any error is reported as the finding
        yield what, False, first_line(error)


def _packages() -> str:
    """Check every package that setup.cfg requires."""
    setup = configparser.ConfigParser()
    setup.read(SETUP)
    wanted = [Requirement(line) for line in setup["options"]["install_requires"].split("\n") if line]
    found = {package.name: version(package.name) for package in wanted}
    amiss = []
    for package in wanted:
        there = found[package.name]
        # Vendor builds, as in NVIDIA's containers, have pre-release versions such as 2.12.0a0.
        if there is None or not package.specifier.contains(there, prereleases=True):
            why = f": {HARM[package.name]}" if there and package.name in HARM else ""
            amiss.append(f"{package} is wanted, {there or 'nothing'} is here{why}")
    if amiss:
        raise RuntimeError(f"{'; '.join(amiss)}. Run pip install -e .")
    return f"{len(wanted)}, with " + ", ".join(f"{name} {found[name]}" for name in ("torch", *HARM))


def _versions() -> str:
    import torch

    from medvl.record.environment import PACKAGES

    versions = {name: version(name) for name in PACKAGES} | {"cuda": torch.version.cuda}
    found = toolchain.blocked(versions, _capability())
    if found:
        raise RuntimeError("; ".join(found))
    return "none of those that are known to fail"


def _capability() -> tuple[int, int] | None:
    """Return the compute capability of the GPU; None without one."""
    import torch

    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


def _plan(hardware: Hardware) -> HardwarePlan:
    from medvl.model.attention import choose

    return hardware.plan(compute="auto", storage="nf4", attention=choose)


def _device(hardware: Hardware) -> str:
    plan = _plan(hardware)
    holders = memory_holders()
    others = f"; in use by {', '.join(holders)}" if holders else ""
    free = free_bytes(plan.device.value, unified=hardware.unified_memory) / GIB
    return f"{plan.device}, {plan.compute.value}, {free:.0f} GiB free{others}"


def _products(hardware: Hardware) -> str:
    """Multiply matrices for a second."""
    import torch

    plan = _plan(hardware)
    on_gpu, dtype = plan.device.value == "cuda", Compute[plan.compute.value].torch
    size = 8192 if on_gpu else 1024
    a = torch.randn(size, size, device=plan.torch_device).to(dtype)
    each = _seconds(lambda: a @ a, plan.torch_device)
    return f"{2 * size**3 / each / 1e12:.3g} TFLOP/s in {plan.compute.value}, of {size} x {size}"


def _seconds(work: Callable[[], Any], device: Any) -> float:
    """Return the seconds that a piece of work takes, over TIMED_S."""
    work()
    synchronize(device)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < TIMED_S or not count:
        work()
        synchronize(device)
        count += 1
    return (time.perf_counter() - began) / count


def _four_bit(hardware: Hardware) -> str:
    """Compare an NF4 product with the product of its dequantised weights on this device, and time it for a second."""
    import bitsandbytes as bnb
    import torch

    plan = _plan(hardware)
    device, dtype = plan.torch_device, Compute[plan.compute.value].torch
    weight = torch.randn(2048, 1024, device=device, dtype=dtype)
    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4")
    inputs = torch.randn(1, 1024, device=device, dtype=dtype)
    exact = inputs @ bnb.functional.dequantize_4bit(packed, state).T
    error = float((bnb.matmul_4bit(inputs, packed.t(), state) - exact).norm() / exact.norm())
    if error > 1e-2:
        raise RuntimeError(
            f"bitsandbytes' NF4 product is off by {error:.1%} on {plan.device.value}. Set precision=bf16, "
            'or run: pip install -U "bitsandbytes>=0.50.2"'
        )
    each = _seconds(lambda: bnb.matmul_4bit(inputs, packed.t(), state), device)
    return f"NF4 on {plan.device.value}, off by {error:.0e}; {1e6 * each:.0f} us for one row of 1024 by 2048"


def _attention(hardware: Hardware) -> str:
    """Run the attention kernel that a run would take."""
    from medvl.model.attention import off

    plan = _plan(hardware)
    kernel, dtype = plan.attention.value, Compute[plan.compute.value].torch
    error = off(kernel, plan.torch_device, dtype)
    if not error < 2e-2:
        raise RuntimeError(f"the {kernel} kernel is off by {error:.1%}. Set hardware.attention=sdpa")
    return f"{kernel}, off by {error:.0e} ({plan.attention.reason})"


def _clock() -> str:
    import torch

    found = Clocks(
        [str(torch.cuda.get_device_properties(at).uuid) for at in range(torch.cuda.device_count())]
    ).metrics()
    if not found:
        return 'not reported here; pip install -e ".[energy]" reads power and clock by NVML'
    if found.get("sys/gpu_low_power"):
        raise RuntimeError(
            f"low-power state: {found['sys/gpu_clock_mhz']:.0f} MHz. Check the power supply, and run: "
            "nvidia-smi -q -d PERFORMANCE"
        )
    return ", ".join(f"{name.removeprefix('sys/gpu_').replace('_', ' ')} {value:.0f}" for name, value in found.items())


def _memory(hardware: Hardware) -> str:
    hardware.check_memory()
    sizes = read_meminfo()
    told = f"{sizes['MemAvailable'] / GIB:.1f} of {sizes['MemTotal'] / GIB:.1f} GiB of the host available"
    floor = hardware.memory_floor_gib
    if floor is None and _capability() == toolchain.SPARK:
        raise RuntimeError(f"{told}, and nothing watches them. Set hardware=dgx_spark, or this host may hang")
    return told + ("" if floor is None else f"; runs end below {floor:g}")


def _fits(hardware: Hardware, precision: Precision, lora: Adapter) -> str:
    """Estimate the longest rows with which each model trains here, with all activations recomputed."""
    plan = _plan(hardware)
    device = plan.device.value
    free = min(
        free_bytes(device, unified=hardware.unified_memory) - (hardware.memory_floor_gib or 0) * GIB,
        total_bytes(device, unified=hardware.unified_memory) * hardware.memory_fraction,
    )
    settled = precision.with_compute(Compute[plan.compute.value])
    rows = {shape: longest_row(shape, settled, lora, MARGIN * free) for shape in shapes()}
    told = [f"{shape} to batch.tokens={tokens}" for shape, tokens in rows.items() if tokens]
    too_large = [shape for shape, tokens in rows.items() if not tokens]
    how = f"training in {precision.storage.name} by estimate, without other programs' needs"
    return f"{how}: {', '.join(told) or 'no model'}" + (f"; not {', '.join(too_large)}" if too_large else "")


def _fonts() -> str:
    from medvl.documents.render import Render
    from medvl.types import Document

    render, text = Render(), "Temp 38.4 °C"
    document = Document(id="doctor", text=text)
    page = render.draw(next(render.sheets(document)), document.id)
    if page.text != text:
        raise RuntimeError(f"{text!r} was drawn as {page.text!r}")
    return f"page of {page.image.width} x {page.image.height} px"


def _nano() -> str:
    from medvl.model.loading import Model, WeightInit

    processor: Any = Model(init=WeightInit.random).processor()
    return f"{len(processor.tokenizer)} symbols"


def _room(cache: Path) -> str:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free / 2**30
    if free < FREE_GIB:
        raise OSError(f"{free:.1f} GiB free in {cache}, {FREE_GIB:g} are wanted. Set cache=<another folder>.")
    return f"{free:.0f} GiB free in {cache}"
