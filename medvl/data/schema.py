"""A JSON Schema of one's own: the facts that pages are asked for, their order and their types.

Of JSON Schema (2020-12) the part that describes a record is read; a keyword that would say more is refused, as its
effect would be missed silently. `x-critical: true` marks facts whose mistakes can harm, `x-unit` is the unit of a
quantity whose labels are bare numbers, and `x-dates` (mdy, dmy, iso) says how dates are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from medvl.metrics.extraction import plain_key
from medvl.types import DateOrder

_IGNORED = {"$schema", "$id", "$comment", "title", "description", "examples", "default", "readOnly", "deprecated"}
_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items"},
    "string": {"format", "enum", "pattern", "x-critical", "x-dates", "x-unit"},
    "number": {"x-critical", "x-unit"},
    "integer": {"x-critical", "x-unit"},
    "boolean": {"x-critical"},
}
_TEXT = {"type": ["string", "null"]}
_FORMATS = {"date": "date", "date-time": "date", "time": "time", "code": "code"}
LONGEST_PATTERN = 1000  # characters
DEEPEST = 20  # levels of objects and lists


class LabelFault(ValueError):
    """Labels that cannot become facts; the text becomes the reason in prepared.json, and quotes no value."""


@dataclass(slots=True)
class Part:
    """What is expected at one place: an object, a list or a value."""

    type: str
    """object, array, or the type of a `Field`."""
    parts: dict[str, Part] = field(default_factory=dict)
    """Of an object, by key."""
    entry: Part | None = None
    """Of a list."""
    critical: bool = False
    unit: str = ""
    choices: tuple[str, ...] = ()
    pattern: str = ""

    def shape(self) -> Any:
        """Return the JSON of this part with empty values, as prompts show it."""
        if self.type == "object":
            return {key: part.shape() for key, part in self.parts.items()}
        return [self.entry.shape()] if self.entry is not None else ""

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of an answer: all keys in this order, and null for what a page does not have."""
        if self.type == "object":
            return _object({key: part.json_schema() for key, part in self.parts.items()}, required=True)
        if self.entry is not None:
            return {"type": "array", "items": self.entry.json_schema()}
        if self.choices:
            return {"enum": [*self.choices, None]}
        if self.pattern:
            return {"anyOf": [{"type": "string", "pattern": self.pattern}, {"type": "null"}]}
        return dict(_TEXT)

    def empty(self) -> Any:
        """Return what stands for this part where a page does not have it."""
        return [] if self.type == "array" else self.filled({}) if self.type == "object" else None

    def filled(self, content: Any) -> Any:
        """Return the JSON of a page with all keys in this order, null or an empty list where it has nothing."""
        if self.type == "object" and isinstance(content, dict):
            known = {plain_key(key): value for key, value in content.items()}
            return {
                key: part.filled(known[plain_key(key)]) if plain_key(key) in known else part.empty()
                for key, part in self.parts.items()
            }
        if self.entry is not None and isinstance(content, list):
            return [self.entry.filled(item) for item in content]
        return content

    def check(self, value: str, place: str) -> None:
        """Check one label.

        Raises:
            LabelFault: It is not what the schema says.
        """
        allowed = not self.choices or value.casefold() in {choice.casefold() for choice in self.choices}
        numeric = self.type != "quantity" or any(map(str.isdigit, value))
        if not (allowed and numeric and (not self.pattern or re.search(self.pattern, value))):
            raise LabelFault(f"a label that does not follow data.schema: {place}")


@dataclass(slots=True)
class Schema:
    """A schema that was read."""

    root: Part
    dates: DateOrder | None = None
    """How all its dates are written; None: it does not say."""

    @classmethod
    def read(cls, path: str | Path) -> Schema:
        """Read a file.

        Raises:
            ValueError: It is missing, no JSON Schema of an object, or has a keyword that is not supported.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ValueError(
                f"data.schema={path} cannot be read: {error.strerror}. Set data.schema=<a file>."
            ) from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"data.schema={path} is not JSON: {error}. Set data.schema=<a JSON Schema>.") from error
        return cls.of(content, f"data.schema={path}")

    @classmethod
    def of(cls, content: Any, name: str) -> Schema:
        """Read a schema that is parsed.

        Args:
            name: Stands for it in errors.

        Raises:
            ValueError: As for `read`.
        """
        if not (isinstance(content, dict) and "object" in _types(content) and content.get("properties")):
            raise ValueError(
                f"{name} describes no object with properties. "
                'Begin it with {"type": "object", "properties": {...}}.'
            )
        orders: dict[str, str] = {}
        root = _Reader(name, orders).part(content, "")
        if len(set(orders.values())) > 1:
            places = ", ".join(f"{place} {order}" for place, order in orders.items())
            raise ValueError(f"{name} has dates in several orders ({places}). Give all the same x-dates.")
        return cls(root, next((DateOrder[order] for order in orders.values()), None))


@dataclass(slots=True)
class _Reader:
    name: str
    orders: dict[str, str]
    """Places of dates, with their orders."""

    def part(self, node: Any, place: str, depth: int = 0) -> Part:
        named = place or "its top"
        if not isinstance(node, dict) or depth > DEEPEST:
            self._refuse(f"has no schema at {named}, or too many levels", "Describe every key by an object.")
        types = _types(node)
        kind = next(iter(types), "")
        if len(types) != 1 or kind not in _OF_TYPE:
            self._refuse(f"has no single type at {named}", f"Give it one of {', '.join(_OF_TYPE)}; null may be added.")
        unknown = sorted(node.keys() - _IGNORED - _OF_TYPE[kind] - {"type"})
        if unknown:
            supported = ", ".join(("type", *sorted(_OF_TYPE[kind])))
            self._refuse(f"has the keyword {unknown[0]!r} at {named}", f"For {kind}, use {supported}.")
        if kind == "object":
            return Part("object", dict(self._properties(node, place, depth)))
        if kind == "array":
            if "items" not in node:
                self._refuse(f"has a list without items at {named}", "Describe its entries under items.")
            return Part("array", entry=self.part(node["items"], f"{place}[]", depth + 1))
        return self._value(node, kind, named)

    def _properties(self, node: dict[str, Any], place: str, depth: int) -> Iterator[tuple[str, Part]]:
        properties = node.get("properties")
        if not (isinstance(properties, dict) and properties):
            self._refuse(f"has an object without properties at {place or 'its top'}", "Name its keys under properties.")
        for key, child in properties.items():
            yield key, self.part(child, f"{place}.{key}" if place else key, depth + 1)

    def _value(self, node: dict[str, Any], kind: str, place: str) -> Part:
        shown, choices, pattern = node.get("format"), node.get("enum", []), node.get("pattern", "")
        if shown is not None and shown not in _FORMATS:
            self._refuse(f"has the format {shown!r} at {place}", f"Use one of {', '.join(_FORMATS)}, or none.")
        if not isinstance(choices, list):
            self._refuse(f"has an enum that is no list at {place}", "Give it a list of texts.")
        if isinstance(pattern, str) and len(pattern) > LONGEST_PATTERN:
            self._refuse(f"has a pattern of more than {LONGEST_PATTERN} characters at {place}", "Use a shorter one.")
        try:
            re.compile(pattern)
        except (re.error, TypeError, OverflowError, RecursionError):
            self._refuse(f"has a pattern at {place} that cannot be compiled", "Use a regular expression.")
        unit = str(node.get("x-unit", ""))
        coded = bool(choices or pattern)
        type = _FORMATS.get(str(shown)) or ("quantity" if unit or kind in ("number", "integer") else "")
        if type == "date" and "x-dates" in node:
            self.orders[place] = str(node["x-dates"])
            if node["x-dates"] not in DateOrder.__members__:
                self._refuse(f"has x-dates={node['x-dates']} at {place}", f"Use {', '.join(DateOrder.__members__)}.")
        type = type or ("yes or no" if kind == "boolean" else "code" if coded else "text")
        named = tuple(map(str, filter(None, choices)))
        return Part(type, critical=bool(node.get("x-critical")), unit=unit, choices=named, pattern=pattern)

    def _refuse(self, what: str, mend: str) -> NoReturn:
        raise ValueError(f"{self.name} {what}, which is not supported. {mend}")


def schema_of_shape(shape: Any, *, required: bool = True) -> dict[str, Any]:
    """Return the JSON Schema of answers of a shape, which has empty values, as prompts show it.

    The entries of a list need not have all keys.

    >>> schema_of_shape([""])
    {'type': 'array', 'items': {'type': ['string', 'null']}}
    """
    if isinstance(shape, dict):
        parts = {key: schema_of_shape(child, required=required) for key, child in shape.items()}
        return _object(parts, required=required)
    if isinstance(shape, list):
        entry = schema_of_shape(shape[0], required=False) if shape else dict(_TEXT)
        return {"type": "array", "items": entry}
    return dict(_TEXT)


def _object(parts: dict[str, Any], *, required: bool) -> dict[str, Any]:
    needed = {"required": list(parts)} if required else {}
    return {"type": "object", "properties": parts, **needed, "additionalProperties": False}


def _types(node: dict[str, Any]) -> list[str]:
    """Return the types that a node allows, without null."""
    found = node.get("type", "object" if "properties" in node else "array" if "items" in node else "string")
    return [str(one) for one in (found if isinstance(found, list) else [found]) if one != "null"]
