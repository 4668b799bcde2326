"""Shapes of values that were parsed from a file that anyone may have made: what a type says is checked at run time.

A shape is a type made of those of JSON. Of a TypedDict, the keys that it names have their types, and others may be
there. What a file holds is never part of a message, since it may be text of a document.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

DEEPEST = 40  # nested containers; a run's files have six
EXACT = 10**18  # whole numbers beyond are read as floats, whose arithmetic does not fail
# Half of a character, and the control characters with which a text could command a terminal
UNPRINTABLE = re.compile("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be besides its type."""

    holds: Callable[[Any], bool]
    words: str


def checked(value: Any, shape: Any) -> Any:
    """Return a parsed value with printable texts, if it has a shape.

    Raises:
        ValueError: It has not, or is nested too deeply; the message is a part of a sentence.
    """
    value = _plain(value, DEEPEST)
    _conform(value, shape, "")
    return value


def tidy(text: str) -> str:
    """Replace every character that cannot be encoded or that commands a terminal by a mark."""
    return UNPRINTABLE.sub("\ufffd", text)


def _plain(node: Any, deepest: int) -> Any:
    if isinstance(node, str):
        return tidy(node)
    if isinstance(node, int) and abs(node) > EXACT:
        return float(node) if abs(node) < sys.float_info.max else (math.inf if node > 0 else -math.inf)
    if not isinstance(node, dict | list):
        return node
    if not deepest:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(node, list):
        return [_plain(one, deepest - 1) for one in node]
    return {tidy(str(key)): _plain(one, deepest - 1) for key, one in node.items()}


def _conform(value: Any, hint: Any, place: str) -> None:
    """Raise ValueError unless a value has a type: one of JSON, or made of those by what this function knows."""
    origin, args = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        _is(value, dict, place)
        for key, (required, inner) in _fields(hint).items():
            if key in value:
                _conform(value[key], inner, _join(place, key))
            elif required:
                raise ValueError(f"{place or 'it'} has no {key}")
    elif origin is Annotated:
        _conform(value, args[0], place)
        if not args[1].holds(value):
            raise ValueError(f"{place or 'it'} is not {args[1].words}")
    elif origin in (Union, UnionType):
        _conform_to_one(value, args, place)
    elif origin is Literal:
        if not isinstance(value, str) or value not in args:
            raise ValueError(f"{place or 'it'} is none of {', '.join(args)}")
    elif origin in (list, tuple):
        _is(value, list, place)
        if origin is tuple and len(value) != len(args):
            raise ValueError(f"{place or 'it'} has {len(value)} entries, not {len(args)}")
        for at, one in enumerate(value):
            _conform(one, args[at if origin is tuple else 0], _join(place, at))
    elif origin is dict:
        _is(value, dict, place)
        for key, one in value.items():
            _conform(one, args[1], _join(place, key))
    elif hint is not Any:
        _is(value, hint, place)


def _conform_to_one(value: Any, hints: tuple[Any, ...], place: str) -> None:
    """Raise ValueError unless a value has one of some types; the error is that of the first."""
    errors = []
    for hint in hints:
        try:
            return _conform(value, hint, place)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _is(value: Any, kind: type, place: str) -> None:
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        raise ValueError(f"{place or 'it'} is {_NAMES[type(value)]}, not {_NAMES[kind]}")


_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "null",
}


def _join(place: str, key: object) -> str:
    word = str(key) if re.fullmatch(r"[\w/.-]{1,40}", str(key)) else "..."  # others may be text of a document
    return f"{place}.{word}" if place else word


@functools.cache
def _fields(shape: Any) -> dict[str, tuple[bool, Any]]:
    """Return the type of each key of a TypedDict, and whether the key must be there."""
    fields = {}
    for key, hint in get_type_hints(shape, include_extras=True).items():
        marked = get_origin(hint) in (Required, NotRequired)
        required = get_origin(hint) is Required if marked else shape.__total__
        fields[key] = (required, get_args(hint)[0] if marked else hint)
    return fields
