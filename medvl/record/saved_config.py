"""Reading compositions: those that ship in conf/, and config.yaml of a run, which anyone may have made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from medvl.record.errors import first_line

CONF = Path(__file__).parents[2] / "conf"  # of the checkout that medvl works from
LONGEST = 2**20  # bytes; a composition has some ten thousand
DEEPEST = 30  # nested nodes; a composition has five


def read_config(path: Path) -> dict[str, Any]:
    """Return a saved composition as plain containers, its texts as they are written: `${x}` refers to nothing.

    Raises:
        ValueError: The file is missing or not the YAML of a composition: tags, aliases and deep nesting are refused,
            as they run code or grow without bound when they are loaded.
    """
    try:
        if not path.is_file() or path.stat().st_size > LONGEST:
            raise yaml.YAMLError(f"it is no regular file of at most {LONGEST:,} bytes")
        text = path.read_bytes().decode("utf-8")
        _check_events(text)
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        why = getattr(error, "problem", None) or first_line(error)
        raise ValueError(f"{path} cannot be read: {why}. Name another run directory.") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{path} is not a composition. Name another run directory.")
    return values


def literal(node: Any) -> Any:
    r"""Return containers with every `${` escaped, so that OmegaConf takes it as text.

    >>> literal({"prompt": "costs ${price}", "also": ["\\${x}", 1]})
    {'prompt': 'costs \\${price}', 'also': ['\\\\\\${x}', 1]}
    """
    if isinstance(node, dict):
        return {key: literal(value) for key, value in node.items()}
    if isinstance(node, list):
        return [literal(value) for value in node]
    if isinstance(node, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", node)
    return node


def _check_events(text: str) -> None:
    """Refuse aliases, tags and deep nesting before anything is built."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, which medvl never writes")
        if getattr(event, "tag", None) not in (None, "!"):
            raise yaml.YAMLError("it has tags, which medvl never writes")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {DEEPEST} deep")
