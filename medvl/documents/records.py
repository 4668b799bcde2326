"""Generic records to learn extraction on: labelled values, tables and lists with made-up labels, none of them clinical.

What a model learns on them is to follow a prompt; what the facts of a clinical form are called is left to fine-tuning.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from random import Random
from typing import Any

from medvl.documents.general_text import Writer, words
from medvl.documents.rows import Advance, Placed
from medvl.documents.tasks import TRANSCRIBE, ask
from medvl.types import Field, TaskSpec

GAPS = (": ", ": ", ": ", " ", " - ", " = ", ":")  # between a label and its value on one line
GROUPS = ("general", "names", "anatomy", "procedures", "laboratory")  # groups of words that labels are made of
TASKS = ("transcribe", "json", "question", "list")


class Records:
    """Writes the lines of one page and keeps the facts that they state.

    Args:
        left_px: Left edge of the lines.
        room_px: Their width.
        advance: Width of a letter in pixels.
    """

    def __init__(self, rng: Random, writer: Writer, left_px: int, room_px: float, advance: Advance) -> None:
        self.rng, self.writer, self.left_px, self.room_px, self.advance = rng, writer, left_px, room_px, advance
        self.fields: list[tuple[int, Field]] = []
        """With the number of the row on which each stands."""
        self.row, self.taken = 0, set[str]()

    def rows(self) -> Iterator[tuple[Placed, str]]:
        """Yield lines without end, as they are placed and as they are read."""
        for placed, text in self._lines():
            yield placed, text
            self.row += 1

    def asked(self, drawn: int, text: str, key: str) -> tuple[str, str]:
        """Return a prompt and its response about the first `drawn` rows, which say `text`."""
        facts = [field for row, field in self.fields if row < drawn]
        task = self.rng.choices(TASKS, (7, 7, 4, 2))[0]
        spec = TaskSpec(prompt=TRANSCRIBE, tasks=(task,))
        asked = ask(spec, text, facts, key) or ask(TaskSpec(prompt=TRANSCRIBE), text, facts, key)
        return asked[0].prompt, asked[0].response

    def _lines(self) -> Iterator[tuple[Placed, str]]:
        rng = self.rng
        if rng.random() < 0.5:
            yield self._line([(self.left_px, self._label().upper())])
        while True:
            block = rng.choices((self._values, self._table, self._list), (5, 2, 2))[0]
            yield from block()
            if rng.random() < 0.15:
                yield [], ""

    def _line(self, parts: list[tuple[float, str]]) -> tuple[Placed, str]:
        kept = [(round(x_px), text) for x_px, text in parts if text]
        return [(x_px, 0, text) for x_px, text in kept], " ".join(text for _, text in kept)

    def _values(self) -> Iterator[tuple[Placed, str]]:
        """Yield labels with their values, one or two a line, under a heading or none."""
        rng, group = self.rng, ""
        if rng.random() < 0.4:
            heading = self._label()
            group = f"{self._key(heading)}."
            yield self._line([(self.left_px, self._cased(heading) + rng.choice(("", ":")))])
        gap, cased = rng.choice(GAPS), rng.choice((str.title, str.capitalize, str.upper, str.lower))
        columns = 2 if self.room_px > 40 * self.advance("n") and rng.random() < 0.3 else 1
        wide_px = self.room_px / columns
        stop_px = wide_px * rng.uniform(0.35, 0.5) if rng.random() < 0.35 else None
        for _ in range(rng.randint(2, 7)):
            parts: list[tuple[float, str]] = []
            for column in range(columns):
                at_px = self.left_px + column * wide_px
                label = self._label()
                shown = cased(label)
                room_px = wide_px - (stop_px or self._wide(shown + gap)) - self.advance("n")
                value = self._fitting(room_px)
                if not value or (stop_px and self._wide(shown + ":") > stop_px):
                    continue
                if stop_px:
                    parts += [(at_px, shown + gap.rstrip(" -=")), (at_px + stop_px, value)]
                else:
                    parts.append((at_px, f"{shown}{gap}{value}"))
                self._state(f"{group}{self._key(label)}", value)
            if parts:
                yield self._line(parts)

    def _table(self) -> Iterator[tuple[Placed, str]]:
        """Yield a table without upright rules."""
        rng = self.rng
        count = rng.randint(2, 4 if self.room_px > 40 * self.advance("n") else 2)
        step_px = self.room_px / count
        name, labels = self._key(self._label(1)), [self._label(1) for _ in range(count)]
        stops_px = [self.left_px + column * step_px for column in range(count)]
        labels = [label if self._wide(label) < step_px - 4 else label[:3] for label in labels]
        if len(set(map(self._key, labels))) < count:
            return
        if rng.random() < 0.5:
            yield self._line([(self.left_px, self._cased(name.replace("_", " ")))])
        cased = rng.choice((str.title, str.upper, str.lower))
        yield self._line([(x_px, cased(label)) for x_px, label in zip(stops_px, labels, strict=True)])
        for entry in range(rng.randint(2, 6)):
            cells = [self._fitting(step_px - self.advance("n"), words_only=not column) for column in range(count)]
            if not cells[0]:
                return
            for label, cell in zip(labels, cells, strict=True):
                if cell:
                    self._state(f"{name}.{entry}.{self._key(label)}", cell)
            yield self._line(list(zip(stops_px, cells, strict=True)))

    def _list(self) -> Iterator[tuple[Placed, str]]:
        """Yield a heading and its entries, one a line."""
        rng, label = self.rng, self._label()
        name = self._key(label)
        yield self._line([(self.left_px, self._cased(label) + ":")])
        mark = rng.choice(("- ", "", "* ", "{}. ", "{}) "))
        for entry in range(rng.randint(2, 5)):
            lead = mark.format(entry + 1)
            value = self._fitting(self.room_px - self._wide(lead), words_only=rng.random() < 0.7)
            if not value:
                return
            self._state(f"{name}.{entry}", value)
            yield self._line([(self.left_px, lead + value)])

    def _state(self, path: str, value: str) -> None:
        self.fields.append((self.row, Field(path=path, value=value, type="text")))

    def _label(self, most: int = 3) -> str:
        """Draw one to three words that no other label of the page is made of."""
        while True:
            count = self.rng.randint(1, most)
            drawn = [self.rng.choice(words()[self.rng.choice(GROUPS)]).lower() for _ in range(count)]
            label = " ".join(drawn)
            if self._key(label) and self._key(label) not in self.taken:
                self.taken.add(self._key(label))
                return label

    @staticmethod
    def _key(label: str) -> str:
        kept = "".join(letter if letter in string.ascii_lowercase + string.digits else "_" for letter in label.lower())
        key = kept.strip("_")
        return f"x{key}" if key.isdigit() else key

    def _cased(self, label: str) -> str:
        return self.rng.choice((str.title, str.capitalize, str.upper))(label)

    def _fitting(self, room_px: float, words_only: bool = False) -> str:
        """Draw a value and leave out the words that do not fit."""
        kept: list[str] = []
        for word in self._value(words_only).split():
            if self._wide(" ".join([*kept, word])) > room_px:
                break
            kept.append(word)
        return " ".join(kept)

    def _value(self, words_only: bool) -> str:
        rng: Any = self.rng
        drawn = 1.0 if words_only else rng.random()
        if drawn < 0.4:
            return self.writer.number()
        if drawn < 0.55:
            return self.writer.letters()
        if drawn < 0.65:
            return f"{rng.choice(words()['names'])} {rng.choice(words()['names'])}"
        if drawn < 0.72:
            month = rng.choice(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"))
            return f"{rng.randint(1, 28)} {month} {rng.randint(1940, 2026)}"
        picked = [rng.choice(words()[rng.choice((*GROUPS, "drugs", "findings"))]) for _ in range(rng.randint(1, 4))]
        return rng.choice((str.lower, str.capitalize, str.title))(" ".join(picked))

    def _wide(self, text: str) -> float:
        return sum(map(self.advance, text))
