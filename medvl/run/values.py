"""Values that mean nothing in any option: numbers that are none, empty words, and lists that repeat an entry."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

_MAY_BE_EMPTY = "prompt"
_WEIGHTED = ("fonts", "kinds")  # drawn from at random or in turn: an entry that stands there twice counts twice


def check_values(node: Any, path: str = "") -> None:
    """Refuse such values, wherever they are in a composition; what one option does not take is refused by its class.

    Args:
        node: The composition as plain containers.

    Raises:
        ValueError: Names the override that fixes it.
    """
    name = path.rpartition(".")[2]
    if isinstance(node, dict):
        for key, value in node.items():
            check_values(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        words = [value.name if isinstance(value, Enum) else value for value in node]
        words = [word for word in words if isinstance(word, str)]
        if name not in _WEIGHTED and len(set(words)) < len(words):
            mended = ",".join(dict.fromkeys(words))
            raise ValueError(f"{path} names an entry twice. Set {path}=[{mended}].")
        for value in node:
            check_values(value, path)
    elif isinstance(node, float) and not math.isfinite(node):
        raise ValueError(f"{path} must be a finite number, got {node}. Set {path}=<a number>, or leave it out.")
    elif isinstance(node, str) and not node.strip() and name != _MAY_BE_EMPTY:  # an unset variable in a shell script
        raise ValueError(f"{path} is empty. Set {path}=<a value>, or leave it out.")


def check_layers(checkpointing: int | None, shape: dict[str, Any]) -> None:
    """Refuse checkpointing that would recompute no layer of a base with this config.json, as far as it says.

    Raises:
        ValueError: Names the override that fixes it.
    """
    text = shape.get("text_config", shape)
    layers = text.get("num_hidden_layers") if isinstance(text, dict) else None
    if isinstance(layers, int) and (checkpointing or 0) > layers:
        raise ValueError(
            f"hardware.checkpointing={checkpointing} is every n-th layer, and the model has {layers}. "
            "Set hardware.checkpointing=0 for none."
        )


def unless(other: Any, value: Any) -> Any:
    """Return a default that yields to another option: the resolver `medvl.unless` of conf/length.yaml."""
    return value if other is None else None
