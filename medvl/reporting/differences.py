"""By what a run differs from the default composition."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence

import yaml

from medvl.record.saved_config import CONF
from medvl.reporting.runs import BOOKKEEPING, natural


def differing(typed: Sequence[str], script: str) -> list[str]:
    """Return the overrides that are not of the defaults: the last one of a key, options of groups first.

    >>> differing(["lora.r=8", "logger=none", "lora.r=16", "precision=nf4", "data=synthea"], "train")
    ['data=synthea', 'lora.r=16']
    """
    last: dict[str, str] = {}
    for word in typed:
        key = word.lstrip("+~").partition("=")[0]
        last.pop(key, None)
        last[key] = word
    usual = default_options("evaluate" if script == "evaluate" else "run")
    aside = (*BOOKKEEPING, "hydra", "launcher", "sweep")
    kept = {
        key: word
        for key, word in last.items()
        if not any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in aside)
        and usual.get(key) != word.partition("=")[2]
    }
    return sorted(kept.values(), key=lambda word: (word.partition("=")[0] not in usual, natural(word)))


@functools.cache
def default_options(name: str) -> dict[str, str]:
    """Return the option of each group in the defaults list of a file in conf/; empty if there is no such file."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        listed = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))["defaults"]
        for one in listed:
            if isinstance(one, dict):
                found |= {key: "null" if option is None else str(option) for key, option in one.items()}
    return found
