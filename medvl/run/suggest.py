"""Suggests corrections when an override names an unknown key or option."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from medvl.record.console import console
from medvl.record.masking import masked
from medvl.run.config import GROUPS, SCHEMAS, RunConfig
from medvl.run.own_sources import admitted

BARE = {
    "engine": ("local", "openai"),
    "reader": ("model", "tesseract"),
}  # options that are null, and those that are meant


def start(main: Callable[[], Any], words: list[str] | None = None) -> None:
    """Run a script's main; if Hydra refuses an override, suggest what was probably meant.

    Args:
        words: The command line that Hydra reads; None: the one that was typed.
    """
    words = sys.argv if words is None else words
    if not {"-m", "--multirun"} & set(words):
        # Without -m a comma means a list, not a sweep: ablation=blank,shuffled.
        words = [re.sub(r"^(ablation)=(\w+(?:,\w+)*)$", r"\1=[\2]", word) for word in words]
    words = [_named(word) for word in words]
    with console():
        try:
            check_owners(words)
            sys.argv = admitted(words)  # Hydra reads it nowhere else
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        try:
            main()
        except SystemExit as stop:
            if not isinstance(stop.__context__, HydraException | OmegaConfBaseException):
                raise
            if isinstance(stop.__context__, OverrideParseException):
                typed = stop.__context__.override
                print(
                    f"{masked(str(typed))} is no override. Write key=value, with quotes: 'key=\"a, b\"'",
                    file=sys.stderr,
                )
            print("\n".join(suggestions(sys.argv[1:])), file=sys.stderr)
            raise SystemExit(2) from None  # as for any other wrong input; Hydra has printed why


def check_owners(words: Sequence[str]) -> None:
    """Refuse options of a group whose chosen option has none, which end in Hydra's traceback.

    Raises:
        ValueError: Names the override that fixes it.
    """
    for group, (bare, meant) in BARE.items():
        chosen = next((word.partition("=")[2] for word in words if word.startswith(f"{group}=")), bare)
        owned = next((word.partition("=")[0] for word in words if word.startswith(f"{group}.")), None)
        if owned is not None and bare in chosen.split(","):
            alone = f", and {group}={bare} in a run of its own" if chosen != bare else ""
            raise ValueError(f"{group}={bare} has no {owned}. Set {group}={meant}{alone}.")


def _named(word: str) -> str:
    """Quote an option that Hydra would take for a number or null, which end in its traceback."""
    return re.sub(rf"^({'|'.join(GROUPS)})=(null|true|false|-?[\d.]+)$", r"\1='\2'", word)


def suggestions(words: Iterable[str]) -> list[str]:
    """Return a line for every override with an unknown key."""
    known, lines = list(dict.fromkeys([*known_keys(), *GROUPS, "experiment"])), []
    for word in words:
        key = word.lstrip("+~").split("=", 1)[0]
        owner = key.rpartition(".")[0]
        if "=" not in word or key in known or key.startswith(("hydra", "optimizer.", "logger.")):
            continue
        close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
        first, dot, rest = key.partition(".")
        if dot and first not in known:  # the group is misspelt; the rest may be right
            close = [f"{name}.{rest}" for name in difflib.get_close_matches(first, known, n=1)] or close
        siblings = [name for name in known if owner and name.rpartition(".")[0] == owner]
        meant = " or ".join(close or siblings)
        lines.append(f"There is no {key}.{f' Meant: {meant}?' if meant else ''} See python train.py --help")
    return lines


def known_keys(schema: Any = RunConfig, prefix: str = "") -> list[str]:
    """Return every key that can be overridden."""
    keys: list[str] = []
    hints = typing.get_type_hints(schema)
    options: list[Any] = [entry for entry in SCHEMAS.values() if dataclasses.is_dataclass(entry)]
    for entry in dataclasses.fields(schema):
        keys.append(prefix + entry.name)
        hint = hints[entry.name]
        if isinstance(hint, types.UnionType):  # an option that may be null
            hint = next((one for one in typing.get_args(hint) if dataclasses.is_dataclass(one)), hint)
        base = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        for kind in [hint, *(option for option in options if base and issubclass(option, hint))]:
            if dataclasses.is_dataclass(kind):
                keys += known_keys(kind, f"{prefix}{entry.name}.")
    return list(dict.fromkeys(keys))
