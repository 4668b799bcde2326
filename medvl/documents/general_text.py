"""General text that a small model learns to read on: words, numbers, random strings, sentences, statements.

Random strings force reading, where words alone could be guessed. No clinical form is among it.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from random import Random

ACCENTED = "áéíóúàèçñöüäøåëïÁÉÖÜ°µ±²≥≤"
LABELS = ("laboratory", "anatomy", "procedures")  # groups of words that statements are about
FINDINGS = ("normal", "absent", "stable", "increased", "mild", "severe", "negative", "positive", "unchanged", "present")
VERBS = ("was", "is", "measured")


@functools.cache
def words() -> dict[str, list[str]]:
    """Return the vocabulary by group."""
    lines = resources.files("medvl.data").joinpath("embedded/words.txt").read_text(encoding="utf-8").splitlines()
    return {name: group.split() for name, _, group in (line.partition(":") for line in lines if line.strip())}


@functools.cache
def _medical() -> list[str]:
    return [word for name, group in words().items() if name not in ("general", "units") for word in group]


@dataclass(slots=True)
class Writer:
    """Makes up words and sentences."""

    rng: Random
    strings: float
    statements: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Sentence and value by what they are about."""

    def stream(self, kind: str) -> Iterator[str]:
        """Yield words without end; an empty one ends a line."""
        while True:
            if kind == "prose":
                yield from self._sentence()
            elif kind == "statements":
                yield from self._statement()
            else:
                yield self._any()
            if kind != "prose" and self.rng.random() < 0.08:
                yield ""

    def _any(self) -> str:
        rng = self.rng
        if rng.random() < self.strings:
            return self.letters()
        drawn = rng.random()
        if drawn < 0.45:
            return self.number()
        word = rng.choice(words()["general"] if drawn < 0.65 else _medical())
        cased = rng.random()
        return word.upper() if cased < 0.12 else word.capitalize() if cased < 0.3 else word

    def letters(self) -> str:
        """Draw a random string."""
        rng = self.rng
        letters = string.ascii_letters + string.digits
        alphabet = rng.choices((letters, string.digits, letters + 2 * string.punctuation, letters + ACCENTED),
                               (6, 2, 2, 0.3))[0]  # fmt: skip
        return "".join(rng.choices(alphabet, k=rng.randint(1, 9)))

    def number(self) -> str:
        """Draw a number as documents write them: with a unit, a date, a time, a code."""
        rng, kind = self.rng, self.rng.random()
        value = f"{rng.uniform(0, 10 ** rng.randint(1, 4)):.{rng.choice((0, 0, 1, 1, 2))}f}"
        if kind < 0.4:
            return value
        if kind < 0.62:
            return value + rng.choice((" ", "")) + rng.choice(words()["units"])
        if kind < 0.7:
            return f"{rng.randint(60, 220)}/{rng.randint(30, 120)}"
        if kind < 0.78:
            return f"{rng.randint(1, 12):02d}/{rng.randint(1, 28):02d}/{rng.randint(1930, 2026)}"
        if kind < 0.84:
            return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
        if kind < 0.9:
            return f"({rng.randint(0, 99)}-{rng.randint(100, 999)})"
        return f"{rng.choice(string.ascii_uppercase)}{rng.randint(0, 99):02d}.{rng.randint(0, 99)}"

    def _sentence(self) -> Iterator[str]:
        rng = self.rng
        if rng.random() < 0.12:
            yield ""
            yield " ".join(rng.choices(_medical(), k=rng.randint(1, 3))).upper() + ":"
        count = rng.randint(4, 16)
        for at in range(count):
            drawn = rng.random()
            word = rng.choice(words()["general"]) if drawn < 0.6 else self._any() if drawn < 0.75 else rng.choice(
                _medical()
            )  # fmt: skip
            word = word.capitalize() if at == 0 else word
            yield word + ("." if at == count - 1 else "," if rng.random() < 0.08 else "")

    def _statement(self) -> Iterator[str]:
        rng = self.rng
        what = rng.choice(words()[rng.choice(LABELS)]).lower()
        if rng.random() < 0.5:
            what = f"{rng.choice(words()['general']).lower()} {what}"
        value = rng.choice(FINDINGS) if rng.random() < 0.3 else self.number()
        if what in self.statements:
            return
        sentence = f"The {what} {rng.choice(VERBS)} {value}."
        self.statements[what] = (sentence, value)
        yield from sentence.split(" ")
