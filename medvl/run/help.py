"""`--help` of the scripts: every group with its options, every value with its default and the sentence in the code."""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import itertools
import re
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from medvl.record.saved_config import CONF
from medvl.run.config import GROUPS

ACTIONS = ("experiment", "launcher", "sweep")  # groups without values of their own
NAME = 34  # columns of a value's name and default
WIDEST = 120
LONGEST = 44  # characters of a default
UNITS = {"_px": "px", "_pt": "points", "_gib": "GiB", "_deg": "degrees"}
# Values of classes that are not ours, and of trackers, whose options are no dataclass.
SENTENCES = {
    "optimizer._target_": "The class of the optimizer: any of torch.optim, or of another package.",
    "optimizer.lr": "Highest learning rate, which the warm-up reaches.",
    "optimizer.betas": "Decay of the running means of the gradient and of its square.",
    "optimizer.eps": "Added to the root of the second mean, against a division by zero.",
    "optimizer.weight_decay": "Share of a weight that is subtracted at every step, times the learning rate.",
    "optimizer.fused": "Update all weights in one kernel.",
    "optimizer.min_8bit_size": "Weights with fewer elements keep 32-bit states.",
    "logger.project": "The project in the tracking service.",
    "logger.entity": "The user or team in W&B; null: the account's own.",
    "logger.mode": "auto: online with an API key, else offline; online; offline.",
    "logger.name": "The run's name; null: what differs from the default composition, and its directory.",
    "logger.notes": "A description of the run.",
    "logger.group": "Runs that belong together; null: the sweep.",
    "logger.tags": "Labels of the run.",
    "logger.tracking_uri": "A server, or a database file.",
}
FOOTER = """\
--help <group>... shows only these; group=option before it shows that option's values.
-m runs a sweep: one run for each combination of the values a,b,c. --cfg job prints the composition; --version.
Complete as you type: eval "$(python train.py -sc install=bash)". Hydra's own options: --hydra-help"""


def help_text(config: str, words: Sequence[str]) -> str:
    """Return the help of a script for a composition.

    Args:
        config: Its file in conf/, without the suffix.
        words: The command line: overrides, and groups or values to which the help is limited.
    """
    named = [word for word in words if "=" not in word and not word.startswith("-")]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(config, overrides=[word for word in words if "=" in word and word[0] != "-"])
    about = _comments(config)
    parts = []
    for group in (*GROUPS, *ACTIONS):
        if named and group not in named:
            continue
        options = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        said = f": {about[group].split(';')[0]}" if about.get(group) else ""
        head = textwrap.fill(f"{group}={{{options}}}{said}", _width(), subsequent_indent="  ", break_on_hyphens=False)
        values = [] if group in ACTIONS else list(_values(cfg, group))
        parts.append("\n".join([head, *values]))
    for key in cfg:
        if str(key) not in GROUPS and (not named or key in named):
            parts.append("\n".join(_values(cfg, str(key))))
    if not parts:
        raise ValueError(f"there is no {named[0]}. python train.py --help lists all groups and values.")
    main = getattr(sys.modules.get("__main__"), "__doc__", None) if not named else None
    usage = [main.strip()] if main else []
    legend = [] if named else ["Groups, with their options, and the values that they set: name=default"]
    return "\n\n".join([*usage, *legend, *parts, FOOTER])


def _comments(config: str) -> dict[str, str]:
    """Return what the defaults list of a file in conf/ says about each group."""
    text = (CONF / f"{config}.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"^  - (\w+): \w+ # (.*)$", text, re.MULTILINE))


def _values(cfg: DictConfig, key: str) -> Iterator[str]:
    node = cfg._get_node(key)
    if isinstance(node, DictConfig) and not node._is_none():
        yield from _leaves(node, key)
    elif key not in GROUPS:
        yield _line(key, OmegaConf.select(cfg, key), *_about(OmegaConf.get_type(cfg), key))


def _leaves(node: DictConfig, prefix: str) -> Iterator[str]:
    owner = OmegaConf.get_type(node)
    for key in map(str, node):
        child, path = node._get_node(key), f"{prefix}.{key}"
        if isinstance(child, DictConfig) and not child._is_none() and len(child):
            yield from _leaves(child, path)
        elif not (key.startswith("_") and key != "_target_") and not (key == "_target_" and prefix != "optimizer"):
            yield _line(path, OmegaConf.select(node, key), *_about(owner, key, path))


def _line(path: str, value: Any, sentence: str, options: str) -> str:
    """Return a value's name and default, and beside or below it what is said about it."""
    unit = next((unit for end, unit in UNITS.items() if path.endswith(end)), "")
    unit = f"({unit})" if unit and unit not in sentence else ""
    said = re.sub(r"\bNone\b", "null", " ".join(part for part in (sentence, unit, options) if part))
    head = f"  {path}={written(value)}"
    lines = textwrap.wrap(said, max(30, _width() - NAME - 2), break_on_hyphens=False) or [""]
    indent = " " * (NAME + 2)
    if len(head) > NAME:
        return "\n".join([head, *(indent + line for line in lines if line)])
    return "\n".join([f"{head:<{NAME}}  {lines[0]}".rstrip(), *(indent + line for line in lines[1:])])


def written(value: Any) -> str:
    """Return a value as it would be typed, long ones cut.

    >>> written(None), written(True), written(["a", 1]), written(0.0005)
    ('null', 'true', '[a,1]', '0.0005')
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, list | tuple | ListConfig):
        text = f"[{','.join(map(written, value))}]"
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _about(owner: Any, name: str, path: str = "") -> tuple[str, str]:
    """Return the sentence about a value, and the options of an enumeration."""
    if not (isinstance(owner, type) and dataclasses.is_dataclass(owner)):
        return SENTENCES.get(path, ""), ""
    sentence = next((said for base in owner.__mro__ if (said := sentences(base).get(name))), "")
    hint = typing.get_type_hints(owner).get(name)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is list else (hint,)
    kind = next((one for one in kinds if isinstance(one, type) and issubclass(one, enum.Enum)), None)
    options = [] if kind is None else list(kind.__members__)
    told = f"One of {', '.join(options)}." if 0 < len(options) <= 12 else "The key of a metric." if options else ""
    return sentence, told


@functools.cache
def sentences(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a class, in one line."""
    tree = _module(kind.__module__)
    body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__), [])
    found = dict[str, str]()
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            said = text.value.value if isinstance(text.value, ast.Constant) else None
            found |= {field.target.id: " ".join(said.split())} if isinstance(said, str) else {}
    return found


@functools.cache
def _module(name: str) -> ast.Module:
    try:
        return ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, TypeError, SyntaxError):  # such as builtins
        return ast.Module(body=[], type_ignores=[])


def _width() -> int:
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
