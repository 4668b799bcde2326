"""What was probably meant, when an override names what is not there."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any

from medvl.config import GROUPS, SCHEMAS, Run


def start(main: Callable[[], Any]) -> None:
    """Run a script's main; where Hydra refuses an override, say what was probably meant."""
    if not {"-m", "--multirun"} & set(sys.argv):
        # Without -m a comma cannot mean a sweep: ablation=blank,shuffled is a list.
        sys.argv = [re.sub(r"^(ablation)=(\w+(?:,\w+)*)$", r"\1=[\2]", word) for word in sys.argv]
    try:
        main()
    except SystemExit as stop:
        if stop.code == 1:
            print("\n".join(suggestions(sys.argv[1:])), file=sys.stderr)
        raise


def suggestions(words: Iterable[str]) -> list[str]:
    """Return a line for every override whose key no field or group has."""
    known, lines = list(dict.fromkeys([*known_keys(), *GROUPS, "experiment"])), []
    for word in words:
        key = word.lstrip("+~").split("=", 1)[0]
        owner = key.rpartition(".")[0]
        if "=" not in word or key in known or key.startswith(("hydra", "optimizer.", "logger.")):
            continue
        close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
        first, dot, rest = key.partition(".")
        if dot and first not in known:  # the group is misspelt; what it holds may be right
            close = [f"{name}.{rest}" for name in difflib.get_close_matches(first, known, n=1)] or close
        siblings = [name for name in known if owner and name.rpartition(".")[0] == owner]
        meant = " or ".join(close or siblings)
        lines.append(f"There is no {key}.{f' Meant: {meant}?' if meant else ''} See python train.py --help")
    return lines


def known_keys(schema: Any = Run, prefix: str = "") -> list[str]:
    """Return every key that can be overridden, for suggestions."""
    keys: list[str] = []
    hints = typing.get_type_hints(schema)
    options = [entry for entry in SCHEMAS.values() if dataclasses.is_dataclass(entry)]
    for entry in dataclasses.fields(schema):
        keys.append(prefix + entry.name)
        hint = hints[entry.name]
        base = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        for kind in [hint, *(option for option in options if base and issubclass(option, hint))]:
            if dataclasses.is_dataclass(kind):
                keys += known_keys(kind, f"{prefix}{entry.name}.")
    return list(dict.fromkeys(keys))
