"""Labels and values in lists: of HR, SpO2: 80, 98 the i-th value belongs to the i-th label."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from medvl.metrics.normalize import mentions
from medvl.metrics.spelling import UNITS

Span = tuple[int, int]

NUMBER = re.compile(rf"(?<![\w.])(?:[<>]=?)?-?\d+(?:[.,/:-]\d+)*(?!\w)(?: ?(?:{UNITS})(?!\w))?")
_BETWEEN_VALUES = re.compile(r"(?:/\w+)*[^\w.;]*+(?:[hl]\b[^\w.;]*+)?(?:(?:and|over)\b[^\w.;]*)?")
_BETWEEN_LABELS = re.compile(r"[,/;&+\n]|\band\b")  # of which each has a value: heart rate and pulse; not date of birth
TO_VALUES = re.compile(r"[^\w;]*|(?:[^\w,;.\n]*+[^\W\d]++){1,4}[^\w,;.\n]*")
_FROM_VALUES = re.compile(r"[^\S\n]*(?:[(\[]|(?:for|as|in)\b)[^\w\n]*+(?:the\b)?[^\w\n]*")


def items_in(text: str, labels: Sequence[Span], values: Iterable[str]) -> list[Span]:
    """Return the places of the numbers, and of known values in words, that overlap no label, in order."""
    found = [one for value in values for one in mentions(text, value)]
    found += [one.span() for one in NUMBER.finditer(text)]
    items: list[Span] = []
    for start, end in sorted(set(found), key=lambda one: (one[0], -one[1])):
        if not (items and start < items[-1][1]) and all(end <= begin or start >= stop for begin, stop in labels):
            items.append((start, end))
    return items


def split_labels(text: str, group: Sequence[Span]) -> list[list[Span]]:
    """Return labels that stand side by side, parted where a comma, a slash, a line's end or `and` is between them."""
    parts = [[group[0]]]
    for last, one in pairwise(group):
        if _BETWEEN_LABELS.search(text[last[1] : one[0]]):
            parts.append([])
        parts[-1].append(one)
    return parts


@dataclass(frozen=True, slots=True)
class Column:
    """What a label of a list names."""

    fact: str | None
    """None for what no fact states."""
    is_number: bool


@dataclass
class Pairs:
    """The values of a text that stand in lists beside lists of labels."""

    owners: dict[Span, Column | None] = field(default_factory=dict)
    """Place of each such value to its column; None if there are more values than labels, or fewer."""
    unsure: set[Span] = field(default_factory=set)
    """Places of labels whose values cannot be told apart."""

    def column(self, span: Span) -> tuple[Column | None] | None:
        """Return the column of the value at a place, in a tuple; None if that value is in no list."""
        return next(((column,) for one, column in self.owners.items() if one[0] < span[1] and span[0] < one[1]), None)

    def add(self, text: str, group: Sequence[Span], columns: Sequence[Column], items: Sequence[Span]) -> None:
        """Pair some labels with the values beside them: those that point to them, those after, those before.

        Args:
            group: Places of the labels.
            columns: What they name, in their order; several.
            items: Places of all values of the text.
        """
        runs = [run for run in _runs(text, group, items) if run]
        for run in runs:
            paired, unsure = _paired(text, run, columns)
            if paired and not unsure:
                self.owners.update(paired)
                return
        for run in runs:
            paired, unsure = _paired(text, run, columns)
            if unsure:
                self.owners.update({**dict.fromkeys(unsure), **paired})
                self.unsure.update(group)
                return


def _runs(text: str, group: Sequence[Span], items: Sequence[Span]) -> list[list[Span]]:
    """Return the runs of values that may belong to a group of labels, the likeliest first."""
    begin, stop = group[0][0], group[-1][1]
    after = [one for one in items if one[0] >= stop]
    before = [one for one in items if one[1] <= begin]
    following = preceding = []
    pointed = False
    if after and TO_VALUES.fullmatch(text[stop : after[0][0]]):
        same_line = "\n" not in text[stop : after[0][0]]
        following = chain(text, after, same_line=same_line)
    if before:
        gap = text[before[-1][1] : begin]
        pointed = _FROM_VALUES.fullmatch(gap) is not None
        if pointed or not gap.strip(" -:="):
            preceding = chain(text, before[::-1], same_line=True)[::-1]
    return [preceding, following] if pointed else [following, preceding]


def chain(text: str, items: Sequence[Span], *, same_line: bool) -> list[Span]:
    """Return the first values, of those in or against the order of the text, with only punctuation between them."""
    chain = [items[0]]
    for one in items[1:]:
        between = text[min(chain[-1][1], one[1]) : max(chain[-1][0], one[0])]
        if not _BETWEEN_VALUES.fullmatch(between) or (same_line and "\n" in between):
            break
        chain.append(one)
    return chain


def _paired(text: str, run: Sequence[Span], columns: Sequence[Column]) -> tuple[dict[Span, Column | None], list[Span]]:
    """Return the columns of the values of a run, and the values whose columns are unknown.

    Numbers go with what is a number, words with what is none: Age/Sex: F 67.
    """
    paired: dict[Span, Column | None] = {}
    unsure: list[Span] = []
    for is_number in (True, False):
        named = [column for column in columns if column.is_number is is_number]
        said = [one for one in run if has_digit(text[slice(*one)]) is is_number]
        lines: dict[int, list[Span]] = {}
        for one in said:
            lines.setdefault(text.count("\n", 0, one[0]), []).append(one)
        for row in [said] if len(said) == len(named) else lines.values():
            if len(row) == len(named):
                paired.update(zip(row, named, strict=True))
            elif len(named) > 1 and len(said) > 1:
                unsure += row
    return paired, unsure


def has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)
