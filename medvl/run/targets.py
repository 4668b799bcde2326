"""The classes that a composition may name by `_target_`; nothing else is ever imported or called."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

from medvl import tracking

KEY, PARTIAL = "_target_", "_partial_"
OPTIMIZERS = ("torch.optim", "bitsandbytes.optim")
TRACKERS = tuple(f"medvl.tracking.{name}" for name in tracking.SERVICES)


def check_targets(settings: dict[str, Any]) -> None:
    """Refuse a composition that names a class anywhere but where an optimizer and a tracker are named.

    Args:
        settings: The composition as plain containers.

    Raises:
        ValueError: A class is not allowed there.
    """
    allowed = {f"optimizer.{KEY}": _is_optimizer, f"logger.{KEY}": TRACKERS.__contains__}
    for path, value in _instructions(settings):
        if path in allowed and isinstance(value, str) and allowed[path](value):
            continue
        if path in (f"optimizer.{PARTIAL}", f"logger.{PARTIAL}") and value is True:
            continue
        group = path.partition(".")[0]
        mend = {
            "optimizer": f"a class of {' or '.join(OPTIMIZERS)}. Set optimizer=adamw",
            "logger": f"one of {', '.join(TRACKERS)}. Set logger=wandb",
        }.get(group, f"no class at all. Leave out {path}")
        raise ValueError(f"{path}={value!r} is not allowed here; it takes {mend}.")


def check_options(optimizer: dict[str, Any]) -> None:
    """Refuse values that no optimizer takes, without importing one.

    Raises:
        ValueError: Names the value and an override that mends it.
    """
    for name, usual in (("lr", "2e-4"), ("eps", "1e-6"), ("weight_decay", "0.01")):
        value = optimizer.get(name, 1.0)
        if name == "eps" and isinstance(value, list):  # Adafactor has two
            continue
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        # Without eps the first step of an adapter divides 0 by 0: B is zero, so A has no gradient.
        if not plain or not math.isfinite(value) or value < 0 or (name == "eps" and value == 0):
            least = "above" if name == "eps" else "of at least"
            raise ValueError(
                f"optimizer.{name} must be a number {least} 0, got {value!r}. Set optimizer.{name}={usual}."
            )
    betas = optimizer.get("betas", [0.9])
    if not isinstance(betas, list) or not all(isinstance(beta, int | float) and 0 <= beta < 1 for beta in betas):
        raise ValueError(f"optimizer.betas must lie in [0, 1), got {betas!r}. Set optimizer.betas=[0.9,0.999].")


def optimizer_of(settings: dict[str, Any]) -> Callable[..., Any]:
    """Return the constructor of the optimizer that checked settings name, with their options.

    Raises:
        ValueError: There is no such optimizer.
    """
    import torch

    module, _, name = str(settings.get(KEY)).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None) if module in OPTIMIZERS else None
    except ImportError as error:
        raise ValueError(f"{module} is not installed here. Set optimizer=adamw.") from error
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise ValueError(f"there is no optimizer {settings.get(KEY)}. Set optimizer=adamw.")
    return functools.partial(found, **_options(settings))


def tracker_of(settings: dict[str, Any]) -> tuple[type[tracking.Tracker], dict[str, Any]]:
    """Return the tracker that checked settings name, and its options.

    Raises:
        ValueError: None is named, or it has no such option.
    """
    if KEY not in settings:
        raise ValueError(f"logger names no {KEY}. Set logger=wandb, or logger=none.")
    kind, options = tracking.SERVICES[settings[KEY].rpartition(".")[2]], _options(settings)
    known = {name: one for name, one in inspect.signature(kind).parameters.items() if name != "subject"}
    unknown = options.keys() - known.keys()
    if unknown:
        raise ValueError(f"there is no logger.{min(unknown)}. Meant: logger.{', logger.'.join(known)}?")
    missing = [name for name, one in known.items() if one.default is one.empty and name not in options]
    if missing:
        raise ValueError(f"logger.{missing[0]} is missing. Set logger.{missing[0]}, or logger=none.")
    for option, value in options.items():
        if option == "tags":
            if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
                raise ValueError(f"logger.tags must be a list of words, got {value!r}. Set logger.tags=[a,b].")
        elif not isinstance(value, str) and (value is not None or known[option].default is not None):
            raise ValueError(f"logger.{option} must be a word, got {value!r}. Set logger.{option}=<a word>.")
    return kind, options


def _is_optimizer(target: str) -> bool:
    module, _, name = target.rpartition(".")
    return module in OPTIMIZERS and name.isidentifier()


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in (KEY, PARTIAL)}


def _instructions(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys that Hydra's `instantiate` would obey, wherever they are, with their path."""
    if isinstance(node, dict):
        for key, value in node.items():
            path = f"{prefix}{key}"
            if str(key).startswith("_"):
                yield path, value
            else:
                yield from _instructions(value, f"{path}.")
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from _instructions(value, f"{prefix}{at}.")
