"""Which piece of a text is about which item of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medvl.metrics.label_lists import NUMBER, TO_VALUES, Span, chain, has_digit
from medvl.metrics.normalize import mentions, normal
from medvl.types import DateOrder

_BULLET = re.compile(r"\s*(?:[-*\u2022]\s)?")  # a bullet counts as indentation
_TO_NAME = re.compile(r"(?:\s+(?!(?:and|or|with|plus|then)\b)[a-z-]+){0,3}\s*[(*]*\s*")  # 81 mg of oral aspirin
_PARTS = re.compile(r"[,;|]|\b(?:and|or|plus|then)\b")
_JOINS = re.compile(r"[\s,;/&*+-]*(?:\b(?:and|or|plus)\b)?[\s*]*")  # between the names of a list


def scopes_of(names: list[str], written: list[str], dates: DateOrder = DateOrder.mdy) -> dict[str, list[str]]:
    """Return, for each name, the pieces of text that are about it.

    A piece is the line that names the item, with the more deeply indented lines below it; below a line that is only a
    name, those of the same indentation count, too, up to an empty line. If a line names several items, a piece ends
    before the sentence that names another; if a sentence does, before the other name, or before its value if the
    values stand before their names. Of two lists, one of names and one of values, the i-th belong together.

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
            (name,) = here
            least = indent if _is_only(line, name) and not _follows_name(lines[:at], found) else indent + 1
            below = at + 1
            while below < len(lines) and lines[below][0] >= least and lines[below][1] and not found[below]:
                below += 1
            scopes[name].append("\n".join(text for _, text in lines[at:below]))
        elif here:
            for name, piece in _pieces(names, line):
                scopes[name].append(piece)
    return scopes


def _is_only(line: str, name: str) -> bool:
    return re.fullmatch(rf"(?:\d{{1,2}}[.)])?\W*{re.escape(name)}\W*", line) is not None


def _follows_name(above: Sequence[tuple[int, str]], found: Sequence[Sequence[tuple[Span, str]]]) -> bool:
    """Return whether the line before is only a name, too: in a column of names no value is the last one's."""
    return bool(above) and any(_is_only(above[-1][1], name) for _, name in found[len(above) - 1])


def _named(names: list[str], line: str) -> list[tuple[Span, str]]:
    """Return where a line names which item; of two names that overlap, the longer counts."""
    spans = sorted((start - end, start, end, name) for name in names for start, end in mentions(line, name))
    taken: list[tuple[int, int, str]] = []
    for _, start, end, name in spans:
        if all(end <= other or start >= stop for other, stop, _ in taken):
            taken.append((start, end, name))
    return sorted(((start, end), name) for start, end, name in taken)


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
        found = [one for at, one in enumerate(found) if not at or one[1] != found[at - 1][1]]
        if not found:
            continue
        cuts = _cuts_before_values(sentence, [span for span, _ in found]) or [start for (start, _), _ in found[1:]]
        bounds = [0, *cuts, len(sentence)]
        at = 0
        while at < len(found):
            stop = at + 1
            while stop < len(found) and _JOINS.fullmatch(sentence[found[stop - 1][0][1] : found[stop][0][0]]):
                stop += 1
            paired = _paired(sentence, found[at:stop], bounds[at], bounds[stop]) if stop - at > 1 else []
            yield from paired or ((found[one][1], sentence[bounds[one] : bounds[one + 1]]) for one in range(at, stop))
            at = stop


def _paired(sentence: str, group: Sequence[tuple[Span, str]], begin: int, stop: int) -> list[tuple[str, str]]:
    """Return the pieces about the names of a list that has a list of values beside it; nothing if it has none.

    If there are more values than names, or fewer, a piece is only its name.
    """
    values = _values_of(sentence, group, begin, stop)
    if not values:
        return []
    names = [name for _, name in group]
    pieces = list(names)
    if len(values) == len(names):
        pieces = [f"{name} {sentence[start:end]}" for name, (start, end) in zip(names, values, strict=True)]
    pieces[-1] += sentence[max(values[-1][1], group[-1][0][1]) : stop]
    return list(zip(names, pieces, strict=True))


def _cuts_before_values(sentence: str, names: Sequence[Span]) -> list[int]:
    """Return where to cut a sentence in which a value stands directly before each name; nothing if it is another."""
    cuts, is_parted = [], True
    for since, (start, _) in zip([0, *(end for _, end in names)], names, strict=False):
        numbers = list(NUMBER.finditer(sentence, since, start))
        if not numbers or not _TO_NAME.fullmatch(sentence[numbers[-1].end() : start]):
            return []
        parts = [one.end() for one in _PARTS.finditer(sentence, since, numbers[-1].start())]
        is_parted = is_parted and bool(parts or not since)
        cuts.append(parts[-1] if parts else numbers[-1].start())
    return cuts[1:] if is_parted or not has_digit(sentence[names[-1][1] :]) else []


def _values_of(sentence: str, group: Sequence[tuple[Span, str]], begin: int, stop: int) -> list[Span]:
    """Return the list of values, of one kind, after a list of names or else before it; nothing if there is none."""
    first, last = group[0][0][0], group[-1][0][1]
    after = [one.span() for one in NUMBER.finditer(sentence, last, stop)]
    before = [one.span() for one in NUMBER.finditer(sentence, begin, first)]
    values: list[Span] = []
    if after and TO_VALUES.fullmatch(sentence[last : after[0][0]]):
        values = chain(sentence, after, same_line=True)
    elif before and _TO_NAME.fullmatch(sentence[before[-1][1] : first]):
        values = chain(sentence, before[::-1], same_line=True)[::-1]
    # In 500 mg, 2 tablets the 2 is no second dose.
    units = {sentence[slice(*one)].rpartition(" ")[1] for one in values}
    return values if len(values) > 1 and len(units) == 1 else []
