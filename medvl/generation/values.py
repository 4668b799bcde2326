"""The values of a JSON answer, with what the model's probabilities say about each of them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # left out of the stubs, but documented in the source
from typing import TYPE_CHECKING

from medvl.data.facts import path_key

if TYPE_CHECKING:
    from medvl.generation.answer import Answer
    from medvl.generation.stream import Spelling

_BARE = re.compile(r"[^\s,\]}]+")  # a number, true, false or null
_GAP = re.compile(r"[\s,:]*")


@dataclass(frozen=True, slots=True)
class SaidValue:
    """One value, and the tokens that were computed for it; those that its grammar forced are left out.

    The opening quote of a text belongs to it, as it decides that the page has the value, and so does the closing one.
    """

    path: str
    """Keys, as `path_key` writes them, and positions: drugs.0.dose."""
    value: str | None
    """None: the answer says that the page does not have it."""
    log_probability: float
    """Sum over its tokens, in nats, among all tokens."""
    least: float
    """The lowest of them."""
    mass: float
    """The lowest probability of all tokens that the grammar allowed."""
    tokens: int
    cut: bool = False
    """Whether the answer was cut off within it, so that it says nothing."""
    inside: tuple[int, ...] = ()
    """The places of its tokens in the answer, forced ones included."""

    @property
    def tells(self) -> bool:
        """Whether the model chose it: it says something, it is whole, and the grammar left a choice."""
        return bool((self.value or "").strip()) and not self.cut and self.tokens > 0


@dataclass(frozen=True, slots=True)
class _Place:
    path: tuple[str, ...]
    value: str | None
    start: int
    end: int


def said_values(answer: Answer, spelling: Spelling) -> list[SaidValue]:
    """Return the values of an answer that follows a grammar, in its order; a cut answer's closing says nothing.

    >>> from medvl.generation.answer import Answer
    >>> spelled = dict(enumerate([b'{"dose": ', b'"81', b' mg', b'"', b'}']))
    >>> said = said_values(Answer("", [0, 1, 2, 3, 4], "stop", [0, -0.5, -0.25, -0.1, 0], [1, 0.9, 1, 1, 1],
    ...                    [True, False, False, False, True]), spelled)
    >>> [(one.path, one.value, one.log_probability, one.least, one.mass, one.tokens, one.inside) for one in said]
    [('dose', '81 mg', -0.85, -0.5, 0.9, 3, (1, 2, 3))]
    """
    spelled = [spelling[token] for token in answer.ids]
    ends = list(itertools.accumulate(map(len, spelled)))
    # Bytes that are no text stay one character each, so that places can be counted in bytes again.
    text = b"".join(spelled).decode("utf-8", errors="surrogateescape")
    found = []
    for place in _Scanner(text).value(0, ()):
        start, end = (len(text[:at].encode("utf-8", errors="surrogateescape")) for at in (place.start, place.end))
        inside = [at for at, stop in enumerate(ends) if stop > start and stop - len(spelled[at]) < end]
        computed = [at for at in inside if not answer.forced[at]]
        each = [answer.log_probabilities[at] for at in computed]
        mass = min((answer.masses[at] for at in computed), default=1.0)
        path = ".".join(place.path)
        cut = any(at >= len(answer.ids) - answer.closed for at in inside)
        found.append(
            SaidValue(path, place.value, sum(each), min(each, default=0.0), mass, len(computed), cut, tuple(inside))
        )
    return found


class _Scanner:
    """Finds the values of a JSON text with their places; raises ValueError if it is none."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def value(self, at: int, path: tuple[str, ...]) -> Iterator[_Place]:
        self.at = self._gap(at)
        opening = self.text[self.at : self.at + 1]
        if opening == "{":
            yield from self._object(path)
        elif opening == "[":
            yield from self._list(path)
        elif opening == '"':
            start = self.at
            said, self.at = scanstring(self.text, start + 1)
            yield _Place(path, said, start, self.at)
        else:
            bare = _BARE.match(self.text, self.at)
            if bare is None:
                raise ValueError("the answer is no JSON")
            self.at = bare.end()
            value = json.loads(bare.group(), parse_float=str, parse_int=str)
            yield _Place(path, None if value is None else str(value), bare.start(), bare.end())

    def _object(self, path: tuple[str, ...]) -> Iterator[_Place]:
        self.at = self._gap(self.at + 1)
        while not self.text.startswith("}", self.at):
            key, self.at = scanstring(self.text, self.at + 1)
            yield from self.value(self.at, (*path, path_key(key)))
            self.at = self._gap(self.at)
        self.at += 1

    def _list(self, path: tuple[str, ...]) -> Iterator[_Place]:
        self.at = self._gap(self.at + 1)
        for position in itertools.count():
            if self.text.startswith("]", self.at):
                break
            yield from self.value(self.at, (*path, str(position)))
            self.at = self._gap(self.at)
        self.at += 1

    def _gap(self, at: int) -> int:
        found = _GAP.match(self.text, at)
        return found.end() if found else at
