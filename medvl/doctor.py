"""`medvl doctor`: can this machine run medvl, and what is missing?"""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from medvl.record.environment import version
from medvl.record.errors import first_line
from medvl.types import Choice

# What goes wrong with versions outside the ranges of setup.cfg.
HARM = {
    "lightning": "2.6.2 and 2.6.3 were malware; older ones run code from a checkpoint",
    "bitsandbytes": "no fused 4-bit product, no sm_121",
    "transformers": "other names of modules: adapters would not fit",
}
SETUP = Path(__file__).parents[1] / "setup.cfg"
FREE_GIB = 2.0  # enough for a run of nano with its checkpoints and pages


def examine(cache: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield (what, whether it is fine, what was found) for everything a run needs."""
    yield from _attempt("packages", _packages)
    yield from _attempt("device", _device)
    yield from _attempt("4-bit product", _four_bit)
    yield from _attempt("fonts", _fonts)
    yield from _attempt("nano", _nano)
    yield from _attempt("cache", lambda: _room(cache))


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


def _device() -> str:
    import torch

    from medvl.hardware.plan import GIB, Hardware, free_bytes, memory_holders
    from medvl.model.attention import choose

    plan = Hardware().plan(compute="auto", storage="nf4", attention=choose)
    device = plan.torch_device
    (torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)).sum().item()
    kernel: Choice = plan.attention
    others = f"; in use by {', '.join(memory_holders())}" if memory_holders() else ""
    free = free_bytes(plan.device.value, unified=False) / GIB
    return f"{plan.device}, {plan.compute.value}, {kernel.value} attention, {free:.0f} GiB free{others}"


def _four_bit() -> str:
    """Compare an NF4 product with the product of its dequantised weights on this device."""
    import bitsandbytes as bnb
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    weight = torch.randn(128, 256, device=device)
    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4")
    inputs = torch.randn(4, 256, device=device)
    exact = inputs @ bnb.functional.dequantize_4bit(packed, state).T
    error = float((bnb.matmul_4bit(inputs, packed.t(), state) - exact).norm() / exact.norm())
    if error > 1e-2:
        raise RuntimeError(f"bitsandbytes' NF4 product is off by {error:.1%} on {device}")
    return f"NF4 on {device}, off by {error:.0e}"


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
