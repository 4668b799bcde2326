"""Answers in JSON that follow their schema while they are generated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from medvl.data.schema import schema_of_shape
from medvl.metrics.extraction import LISTED, json_object
from medvl.record.text_table import grid
from medvl.types import Example

log = logging.getLogger(__name__)


def schema_of(example: Example) -> dict[str, Any] | None:
    """Return the JSON Schema that an answer must follow; None if no JSON is asked for.

    It is the source's, else that of the shape that the prompt shows, else any object or list.
    """
    if example.task != "json":
        return None
    shape = json_object(example.prompt)
    if example.schema is not None:
        return example.schema
    if shape and _is_empty(shape):
        return schema_of_shape(shape)
    listed = any(field.path.startswith(f"{LISTED}.0") for field in example.fields)
    return {"type": "array" if listed else "object"}


def schemas_of(examples: Sequence[Example]) -> list[dict[str, Any] | None] | None:
    """Return the schemas of all answers; None, with a warning, if no JSON is asked for."""
    schemas = [schema_of(example) for example in examples]
    if any(schema is not None for schema in schemas):
        return schemas
    log.warning("eval.constrained=true changes nothing: none of %d examples asks for JSON", len(examples))
    return None


def _is_empty(shape: Any) -> bool:
    """Return whether a structure holds no values, so that it shows keys only."""
    if isinstance(shape, dict):
        return all(map(_is_empty, shape.values()))
    return all(map(_is_empty, shape)) if isinstance(shape, list) else shape == ""


def cost_table(rows: dict[str, Sequence[dict[str, Any]]], seconds: dict[str, float]) -> str:
    """Lay out what answers cost, with and without a grammar.

    Args:
        rows: Scored answers, by the way in which they were generated.
        seconds: An answer took, in the mean.

    >>> print(cost_table({"free": [{"tokens": 90}], "constrained": [{"tokens": 80, "forced": 60}]},
    ...                  {"free": 0.5, "constrained": 0.125}))
                 tokens  computed  s an answer
    free             90        90        0.500
    constrained      80        20        0.125
    """
    lines: list[list[Any]] = [["", "tokens", "computed", "s an answer"]]
    for name, scored in rows.items():
        tokens, forced = (sum(row.get(key, 0) for row in scored) for key in ("tokens", "forced"))
        lines.append([name, f"{tokens:,}", f"{tokens - forced:,}", f"{seconds[name]:.3f}"])
    return grid(lines)
