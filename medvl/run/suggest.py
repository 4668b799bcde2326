"""Suggests corrections when an override names an unknown key or option."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from medvl.record.console import console
from medvl.record.environment import commit, version
from medvl.record.masking import masked
from medvl.record.saved_config import CONF
from medvl.run.config import GROUPS, SCHEMAS, RunConfig
from medvl.run.meant import OVERRIDES
from medvl.run.own_sources import ENTRY_POINTS, admitted

# Options of Hydra's command line
HYDRA_VALUES = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
HYDRA_VALUES |= {"--experimental-rerun", "--info", "-i"}
HYDRA_FLAGS = HYDRA_VALUES | {"--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun"}
HYDRA_FLAGS |= {"-m", "--shell-completion", "-sc"}
OWN_CONF = ("--config-dir", "-cd", "--config-path", "-cp", "hydra.searchpath=")
TOP = {*(entry.name for entry in dataclasses.fields(RunConfig)), *GROUPS, "experiment", "sweep", "launcher", "hydra"}
# Of groups with an option that is null: the option by default, the one that is null, and one that is meant
BARE = {
    "engine": ("local", "local", "openai"),
    "reader": ("model", "model", "tesseract"),
    "replay": ("narrative", "none", "narrative"),
}


def start(main: Callable[[], Any], words: list[str] | None = None, config: str = "run") -> None:
    """Run a script's main; if an override is wrong, suggest what was probably meant. A user's mistake exits with 2.

    Args:
        words: The command line that Hydra reads; None: the one that was typed.
        config: The file in conf/ that main composes, without its suffix.
    """
    words = sys.argv if words is None else words
    if not {"-m", "--multirun"} & set(words):
        # Without -m a comma means a list, not a sweep: ablation=blank,shuffled.
        words = [re.sub(r"^(ablation)=(\w+(?:,\w+)*)$", r"\1=[\2]", word) for word in words]
    words = [_named(word) for word in words]
    with console():
        try:
            if {"-V", "--version"} & set(words):
                print(version_line())
                return
            check_words(words[1:])
            check_owners(words, config)
            words = admitted(words)
            if {"-h", "--help"} & set(words):
                from medvl.run.help import help_text

                print(help_text(config, words[1:]))
                return
            sys.argv = words  # Hydra reads it nowhere else
        except (ValueError, HydraException, OmegaConfBaseException) as error:
            print(f"error: {masked(str(error).strip().splitlines()[0])}", file=sys.stderr)
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


def version_line() -> str:
    """Return name, version and commit."""
    at = commit()
    return f"medvl {version('medvl')}" + (f" (commit {at[:12]})" if at else "")


def check_words(words: Sequence[str]) -> None:
    """Refuse in one line what Hydra would refuse in twenty: dashed options, unknown keys and unknown options.

    Raises:
        ValueError: Names what was probably meant.
    """
    if {"-sc", "--shell-completion"} & set(words):
        return
    own = any(word.startswith(OWN_CONF) for word in words)  # Hydra finds options there that are not known here
    values = False
    for word in words:
        if word.startswith("-"):
            values = _check_dashed(word)
            continue
        if not values and "=" not in word and re.fullmatch(r"[\w.-]+", word) and not {"-h", "--help"} & set(words):
            raise ValueError(f"{word} is no override. Write {_typed(OVERRIDES.get(word) or word, '<value>')}")
        if not values and not own and "=" in word and not word.startswith(("+", "~")):
            _check_override(word)
        values = False  # of an option of Hydra's that takes one


def _check_dashed(word: str) -> bool:
    """Refuse an option that Hydra does not have; return whether a value may follow it."""
    name, equals, value = word.partition("=")
    if name in HYDRA_FLAGS or (name.startswith("--") and any(one.startswith(name) for one in HYDRA_FLAGS)):
        return name in HYDRA_VALUES and not equals
    key = name.lstrip("-").replace("-", "_")
    if not equals and key in ("json", "yes", "verbose", "v", "debug", "force"):
        raise ValueError(f"there is no option {name} here. --help lists what there is.")
    meant = _typed(OVERRIDES.get(key) or key, value if equals else "<value>")
    raise ValueError(f"there is no option {name}. Overrides have no dashes: {meant}")


def _check_override(word: str) -> None:
    key, _, value = word.partition("=")
    if _is_unknown(key):
        said = OVERRIDES.get(key.lower().replace("-", "_").rpartition(".")[2]) or " or ".join(_close(key))
        meant = f"Meant: {_typed(said, value)}? " if said else ""
        raise ValueError(f"there is no {key}. {meant}See python train.py --help")
    options = options_of(key)
    chosen = value.split(",") if options and re.fullmatch(r"[\w,.-]+", value) else []
    for one in chosen:
        if one not in options and one != "null" and not (key == "data" and is_own_word(one)):
            meant = " or ".join(_close_options(key, one))
            said = f"Meant: {meant}? " if meant else ""
            raise ValueError(f"there is no {key}={one}. {said}Options: {', '.join(options)}.")


def _is_unknown(key: str) -> bool:
    """Whether no composition has a key; False where it cannot be told, as of options of a class of the user's."""
    top, *rest = re.split(r"[.@/:]", key)
    if not re.fullmatch(r"[\w-]+(\.\w+)*", key):
        return False
    if top not in TOP:
        return True
    if not rest or top in ("optimizer", "logger", "hydra") or "data" in (top, rest[0]):
        return False
    known = known_keys()
    return key not in known and key.rpartition(".")[0] in {name.rpartition(".")[0] for name in known}


def _close_options(group: str, option: str) -> list[str]:
    """Return the options that are most like one: of its group, and of others if they are very like it."""
    scored = []
    for other in dict.fromkeys((group, *GROUPS, "experiment", "sweep")):
        for name in options_of(other):
            ratio = difflib.SequenceMatcher(None, option, name).ratio()
            if ratio >= (0.5 if other == group else 0.85):
                scored.append((ratio, f"{other}={name}"))
    return [word for _, word in sorted(scored, key=lambda pair: -pair[0])[:2]]


def is_own_word(option: str) -> bool:
    """Whether an option of `data` may be a class of the user's or an entry point, which Hydra knows by now."""
    return "." in option or bool(entry_points(group=ENTRY_POINTS, name=option))


def options_of(group: str) -> list[str]:
    """Return the committed options of a group; empty if there is no such group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml")) if re.fullmatch(r"\w+", group) else []


def _typed(meant: str, value: str) -> str:
    """Return what to type: the value behind every key that is meant.

    >>> _typed("model or model.path", "x"), _typed("batch.tokens (the tokens of a row)", "4")
    ('model=x or model.path=x', 'batch.tokens=4 (the tokens of a row)')
    """
    shown = masked(value) if len(value) <= 60 else "..."
    return re.sub(r"(?<![\w(])([a-z]\w*(?:\.\w+)*)(?= or | \(|,|$)", rf"\1={shown}", meant) if value else meant


def _close(key: str) -> list[str]:
    known = list(dict.fromkeys([*known_keys(), *GROUPS, "experiment"]))
    last = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    return same[:3] or difflib.get_close_matches(key, known, n=3, cutoff=0.6)


def check_owners(words: Sequence[str], config: str = "run") -> None:
    """Refuse options of a group whose chosen option has none, which end in Hydra's traceback.

    Args:
        config: As for `start`.

    Raises:
        ValueError: Names the override that fixes it.
    """
    evaluated = next((word.partition("=")[2] for word in words if word.startswith("eval=")), None)
    own = next((word.partition("=")[0] for word in words if word.startswith("eval.data.")), None)
    given = any(word.startswith(("data@eval.data=", "eval.data=", "experiment=")) for word in words)
    if own is not None and not given and (evaluated or ("held_out" if config == "run" else "")) == "held_out":
        raise ValueError(f"eval=held_out has no data of its own, and so no {own}. Set eval=folder, or data.* instead.")
    for group, (usual, bare, meant) in BARE.items():
        chosen = next((word.partition("=")[2] for word in words if word.startswith(f"{group}=")), usual)
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
