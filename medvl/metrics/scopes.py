"""Which piece of a text is about which item of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medvl.metrics.normalize import mentions, normal
from medvl.types import DateOrder

_BULLET = re.compile(r"\s*(?:[-*\u2022]\s)?")  # a bullet counts as indentation


def scopes_of(names: list[str], written: list[str], dates: DateOrder = DateOrder.mdy) -> dict[str, list[str]]:
    """Return, for each name, the pieces of text that are about it.

    A piece is the line that names the item, with the more deeply indented lines below it. If a line names several
    items, a piece ends before the sentence that names another; if a sentence does, before the other name.

    Args:
        names: Normalised.
        written: The lines, not normalised.

    >>> scopes_of(["aspirin", "heparin"], ["Aspirin 81 mg", "  daily", "Take aspirin, not heparin."])
    {'aspirin': ['aspirin 81 mg\\ndaily', 'take aspirin, not '], 'heparin': ['heparin.']}
    """
    lines = [(bullet.end() if (bullet := _BULLET.match(line)) else 0, normal(line, dates)) for line in written]
    scopes: dict[str, list[str]] = {name: [] for name in names}
    found = [_named(names, line) for _, line in lines]
    for at, (indent, line) in enumerate(lines):
        here = {name for _, name in found[at]}
        if len(here) == 1:
            below = at + 1
            while below < len(lines) and lines[below][0] > indent and not found[below]:
                below += 1
            scopes[here.pop()].append("\n".join(text for _, text in lines[at:below]))
        elif here:
            for name, piece in _pieces(names, line):
                scopes[name].append(piece)
    return scopes


def _named(names: list[str], line: str) -> list[tuple[int, str]]:
    """Return where a line names which item; of two names that overlap, the longer counts."""
    spans = sorted((start - end, start, end, name) for name in names for start, end in mentions(line, name))
    taken: list[tuple[int, int, str]] = []
    for _, start, end, name in spans:
        if all(end <= other or start >= stop for other, stop, _ in taken):
            taken.append((start, end, name))
    return sorted((start, name) for start, _, name in taken)


def _pieces(names: list[str], line: str) -> Iterator[tuple[str, str]]:
    """Cut a line that names several items into the pieces about each."""
    sentences: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", line):
        if sentences and not _named(names, sentence):
            sentences[-1] += " " + sentence
        else:
            sentences.append(sentence)
    for sentence in sentences:
        found = _named(names, sentence)
        changes = [at for at in range(1, len(found)) if found[at][1] != found[at - 1][1]]
        cuts = [0, *(found[at][0] for at in changes), len(sentence)]
        for number, at in enumerate([0, *changes] if found else []):
            yield found[at][1], sentence[cuts[number] : cuts[number + 1]]
