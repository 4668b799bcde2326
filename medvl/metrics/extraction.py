"""Facts in the right place: which of the expected facts an answer states, and what else it states.

In a JSON answer, a fact is right if its value is under its key and, for a list, in the item with the same name:
aspirin's dose under metformin is wrong, the order of a list does not matter. In a text, a fact is right if its value
occurs as a whole and not under the label of another fact; the fact of a list item must occur on the line that names
the item.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medvl.metrics.normalize import normal, same, states, value
from medvl.metrics.places import Places, assigned
from medvl.metrics.spelling import UNITS
from medvl.types import DateOrder, Field

# A number with its unit or rate (5 mcg/kg/min, 900 mg/250 ml, 2 1/2 mg), a date or an interval, in a normalised text;
# the 19 of COVID-19 does not match.
_STATED = re.compile(
    r"(?:[<>]=?|(?:(?<![^\s(:=])-(?=\d))?(?<![\w.])(?<!\d[,/:-])(?<![a-z]-))"
    r"(?>\d+ [1-7]/[2-8](?![\w/])|\d+(?:[.,/:-]\d+)*)(?!\w)"
    rf"(?: (?:{UNITS})(?!\w)(?:/(?>\w+(?:[.,:-]\w+)*)(?: ?m[2\u00b2]| (?:{UNITS})(?!\w))?)*)?|\bq\d+(?:-\d+)?h\b"
)
LISTED = "_"  # the key of the facts of an answer that is a JSON list
_NUMBERING = re.compile(r"^\s*(?:[-*\u2022]\s+)?\d{1,2}[.)]\s+(?!\d{1,2}\. \d{4}\b)", re.MULTILINE)


@dataclass(slots=True)
class Facts:
    """The facts of one answer."""

    expected: list[Field]
    right: list[Field]
    """Expected facts that the answer states in the right place."""
    stated: int
    """Facts that the answer states, right or wrong."""
    omitted: int
    """Expected facts whose value occurs nowhere in the answer."""

    def scores(self) -> dict[str, tuple[float, float]]:
        """Return numerator and denominator of each metric of facts."""
        expected, right = len(self.expected), len(self.right)
        critical = sum(field.critical for field in self.expected)
        return {
            "field_precision": (right, self.stated),
            "field_recall": (right, expected),
            "field_f1": (2 * right, self.stated + expected),
            "critical": (sum(field.critical for field in self.right), critical),
            "omitted": (self.omitted, expected),
        }


def nested(fields: Sequence[Field]) -> dict[str, Any]:
    """Return the reference JSON: objects and lists by the fields' paths, values as they are written.

    Keys are in the order of the fields. Gaps in the positions of a list are closed.

    Raises:
        ValueError: A path occurs twice, or its parent is a value, or both a list and an object.

    >>> paths = ["patient", "drugs.2.name", "drugs.2.dose", "drugs.0.name"]
    >>> nested([Field(path=path, value=path[-4:], type="text") for path in paths])
    {'patient': 'ient', 'drugs': [{'name': 'name'}, {'name': 'name', 'dose': 'dose'}]}
    """
    return _mapped(_tree(fields), lambda field: field.value)


def _tree(fields: Sequence[Field]) -> dict[str, Any]:
    root: dict[str | int, Any] = {}
    for field in fields:
        *parents, last = (int(key) if key.isdigit() else key for key in field.path.split("."))
        node = root
        for key in parents:
            node = node.setdefault(key, {})
            if isinstance(node, Field):
                raise ValueError(f"field {field.path} lies below the value {node.path}")
        if last in node:
            raise ValueError(f"field {field.path} stands twice, or holds both a value and fields")
        node[last] = field
    if any(isinstance(key, int) for key in root):
        raise ValueError("a field's path begins with a name, not with a position in a list")
    return _closed(root)


def _closed(node: Any) -> Any:
    """Return a tree in which objects whose keys are positions have become lists."""
    if isinstance(node, Field):
        return node
    positions = [key for key in node if isinstance(key, int)]
    if positions and len(positions) < len(node):
        raise ValueError(f"fields are both positions and names: {', '.join(map(str, node))}")
    return [_closed(node[key]) for key in sorted(node)] if positions else {key: _closed(node[key]) for key in node}


def _mapped(node: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(node, dict):
        return {key: _mapped(child, leaf) for key, child in node.items()}
    return [_mapped(child, leaf) for child in node] if isinstance(node, list) else leaf(node)


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a text: alone, in a code fence or among words; None if there is none.

    It must begin at the first brace or at one that begins a line, so that an inner object is not taken for a truncated
    outer one, and must not be an entry of a list.

    >>> json_object('Here it is:\\n```json\\n{"a": 1}\\n```'), json_object('{"a": {"b": 1}'), json_object('[{"a": 1}]')
    ({'a': 1}, None, None)
    """
    return _json_from("{", text)


def json_answer(text: str, fields: Sequence[Field]) -> dict[str, Any] | None:
    """Return the JSON in an answer like `json_object`; a list, if the facts are one, as an object under LISTED.

    >>> aspirin = Field(path=f"{LISTED}.0.name", value="Aspirin", type="name")
    >>> json_answer('The drugs:\\n[{"name": "Aspirin"}]', [aspirin]), json_answer('[{"name": "Aspirin"}]', [])
    ({'_': [{'name': 'Aspirin'}]}, None)
    """
    if not any(field.path.startswith(f"{LISTED}.0") for field in fields):
        return json_object(text)
    said = _json_from("[", text)
    return None if said is None else {LISTED: said}


def _json_from(opening: str, text: str) -> Any:
    """Return the JSON object or list that begins at the first opening or at one that begins a line."""
    for start in [text.find(opening), *(found.start() for found in re.finditer(rf"^\{opening}", text, re.MULTILINE))]:
        if start < 0 or text[:start].rstrip().endswith("["):
            return None
        try:
            return json.JSONDecoder().raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    return None


def leaves(node: Any) -> list[Any]:
    """Return the values of a JSON tree that state something: no nulls, no empty strings."""
    if isinstance(node, dict | list):
        return [leaf for child in (node.values() if isinstance(node, dict) else node) for leaf in leaves(child)]
    return [] if node is None or not str(node).strip() else [node]


def facts_in_json(fields: Sequence[Field], answer: dict[str, Any], dates: DateOrder = DateOrder.mdy) -> Facts:
    """Compare an answer's object with the expected facts."""
    said = leaves(answer)
    right = _matched(_tree(fields), answer, dates)
    text = "\n".join(value(leaf, dates) for leaf in said)
    return Facts(list(fields), right, len(said), _omitted(fields, right, text, dates))


def _omitted(fields: Sequence[Field], right: Sequence[Field], text: str, dates: DateOrder) -> int:
    """Count the facts that are neither right nor anywhere in the normalised text."""
    known = {field.path for field in right}
    return sum(field.path not in known and not states(text, value(field.value, dates)) for field in fields)


def _matched(reference: Any, said: Any, dates: DateOrder) -> list[Field]:
    """Return the facts of a reference tree that are at the same place in another tree."""
    if isinstance(reference, Field):
        is_leaf = said is not None and not isinstance(said, dict | list)
        return [reference] if is_leaf and same(reference.value, said, dates) else []
    if isinstance(reference, dict):
        children = {plain_key(key): child for key, child in said.items()} if isinstance(said, dict) else {}
        found = ((child, children.get(plain_key(key))) for key, child in reference.items())
        return [field for child, other in found for field in _matched(child, other, dates)]
    if not isinstance(said, list):
        return []
    # Only items of the same name are compared; if a name occurs twice, the best pairing counts.
    return assigned(
        [
            [_matched(item, other, dates) if _same_name(item, other, dates) else [] for other in said]
            for item in reference
        ]
    )


def plain_key(name: str) -> str:
    """Return a key in the spelling by which keys are compared.

    >>> plain_key("No. of pages:"), plain_key("no_of-pages"), plain_key("_1")
    ('no_of_pages', 'no_of_pages', '1')
    """
    return re.sub(r"[\s_.:-]+", "_", name.strip().casefold()).strip("_")


def _same_name(item: Any, other: Any, dates: DateOrder) -> bool:
    """Return whether two items of a list have the same value under the reference's first key."""
    if not isinstance(item, dict):
        return True  # a plain value is its own name, which `_matched` compares
    name = next((key for key, child in item.items() if isinstance(child, Field)), None)
    if name is None or not isinstance(other, dict):
        return isinstance(other, dict)
    said = {plain_key(key): child for key, child in other.items()}.get(plain_key(name))
    return bool(_matched(item[name], said, dates))


def facts_in_text(
    fields: Sequence[Field], answer: str, references: Sequence[str] = (), dates: DateOrder = DateOrder.mdy
) -> Facts:
    """Compare a text with the expected facts.

    Its values (numbers, dates, intervals) that belong to no right fact count as stated besides.

    Args:
        references: Texts that state the facts, and so show their labels. Where a reference has a value under
            another's label, or its label elsewhere, that fact needs no label.
    """
    parsed = json_object(answer)
    answer = "\n".join(_as_lines(parsed)) if parsed is not None else answer
    right = Places(fields, [one for one in references if one.strip()], dates).right(answer)
    known = [value(field.value, dates) for field in right]
    others = [
        said
        for said in stated_values(answer, dates)
        if not any(states(said, one) or states(one, said) for one in known)
    ]
    omitted = _omitted(fields, right, normal(answer, dates), dates)
    return Facts(list(fields), right, len(right) + len(others), omitted)


def _as_lines(node: Any, key: str = "") -> Iterator[str]:
    """Write a JSON tree as text, the values of one object on one line."""
    if isinstance(node, dict):
        flat = {name: child for name, child in node.items() if not isinstance(child, dict | list)}
        yield ", ".join(f"{name}: {child}" for name, child in flat.items() if child is not None)
        for name, child in node.items():
            if name not in flat:
                yield from _as_lines(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from _as_lines(child, key)
    elif node is not None:
        yield f"{key}: {node}"


def stated_values(text: str, dates: DateOrder = DateOrder.mdy) -> list[str]:
    """Return the distinct values that a text states, normalised: numbers with units, dates, intervals.

    The numbers of an enumeration are left out.

    >>> stated_values("1. Aspirin 0.50 g q6h\\n2. Since 3/14/24, FiO2 40%, CRP < 5, BE -2.7, 3-5 days")
    ['0.5 g', 'q6h', '2024-03-14', '40 %', '<5', '-2.7', '3-5']
    """
    return list(dict.fromkeys(_STATED.findall(normal(_NUMBERING.sub("", text), dates))))


def invented(said: Sequence[object], page_text: str, dates: DateOrder = DateOrder.mdy) -> int:
    """Count the values that a page states neither as a whole nor word by word on one of its lines.

    A value that begins with a letter may be part of a longer word, as E3 is of E3V5M6.

    >>> invented(["81 mg", "138 mmol/L", "82 mg", "5"], "Aspirin 81 mg\\nSodium | 138 | H | mmol/L | 3.5-5")
    2
    """
    lines = normal(page_text, dates).split("\n")
    page = " ".join(lines)
    return sum(
        not (states(page, one) or states(page, str(entry)) or (one in page and not one[0].isdigit()))
        and not any(all(states(line, word) for word in one.split()) for line in lines)
        for entry, one in ((entry, value(entry, dates)) for entry in said)
        if one
    )
