"""What hospital forms share: how one writer puts down times and volumes, and tables that survive as prose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.patient import provider
from medvl.types import Pairs

Item = TypeVar("Item")
_DAY_MIN = 24 * 60


@dataclass(kw_only=True, slots=True)
class Habits:
    """How the writer of one document writes; drawn once, so that a document agrees with itself."""

    clock: str
    """24, military or 12."""
    capitals: bool
    commas: bool
    hour: str

    @classmethod
    def drawn(cls, rng: Random) -> Habits:
        return cls(
            clock=rng.choice(("24", "24", "24", "military", "12")), capitals=rng.random() < 0.4,
            commas=rng.random() < 0.5, hour=rng.choice(("h", "h", "hr")),
        )  # fmt: skip

    def time(self, minutes: int) -> str:
        """Write a time of day, counted in minutes from midnight; the next day starts again at 00:00."""
        hours, minutes = divmod(minutes % _DAY_MIN, 60)
        if self.clock == "military":
            return f"{hours:02d}{minutes:02d}"
        if self.clock == "12":
            return f"{(hours - 1) % 12 + 1}:{minutes:02d} {'AM' if hours < 12 else 'PM'}"
        return f"{hours:02d}:{minutes:02d}"

    def head(self, text: str) -> str:
        """Write the head of a section."""
        return text.upper() if self.capitals else text

    def amount(self, number: int) -> str:
        """Write a whole number, with a comma at the thousands if that is the habit."""
        return f"{number:,}" if self.commas else str(number)

    def volume(self, number_ml: int) -> str:
        return f"{self.amount(number_ml)} mL"

    def duration(self, minutes: int, rng: Random) -> str:
        """Write a length of time."""
        hours, rest = divmod(minutes, 60)
        if not hours or rng.random() < 0.4:
            return f"{minutes} min"
        return f"{hours} {self.hour} {rest:02d} min" if rng.random() < 0.5 else f"{hours}{self.hour} {rest}min"


def stepped(rng: Random, low: float, high: float, step: float = 1) -> float:
    """Draw a number from low, low + step ... high."""
    return round(low + step * rng.randint(0, round((high - low) / step)), 4)


def whole(rng: Random, low: float, high: float, step: int = 1) -> int:
    """Draw a whole number from low, low + step ... high."""
    return round(stepped(rng, low, high, step))


def clamped(number: int, low: int, high: int) -> int:
    return max(low, min(high, number))


def some(rng: Random, items: Sequence[Item], low: int, high: int) -> list[Item]:
    """Draw low to high of the items, without repeats, in their own order."""
    count = min(rng.randint(low, high), len(items))
    return [items[place] for place in sorted(rng.sample(range(len(items)), count))]


def fahrenheit(celsius: float) -> float:
    """Convert to one decimal; a tenth of a degree Celsius survives the way back."""
    return round(celsius * 9 / 5 + 32, 1)


def joined(parts: Sequence[str], word: str = "and") -> str:
    """Join parts as a sentence does: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def capitalised(text: str) -> str:
    """Start a sentence; abbreviations inside it keep their letters."""
    return text[:1].upper() + text[1:]


def article(number: int) -> str:
    """Return the article that goes before a number: an 83-year-old, a 71-year-old."""
    return "an" if str(number).startswith("8") or number in (11, 18) else "a"


def physician(rng: Random) -> str:
    """Draw a provider who is a doctor: surgeons, consultants and who reads an image."""
    while True:
        name = provider(rng)
        if not name.endswith((", NP", ", PA-C")):
            return name


def tabular(form: Form) -> bool:
    """Whether the form's style draws tables."""
    return form.style in (Style.ruled_table, Style.table, Style.two_columns)


def grid(form: Form, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """State rows of facts whose cells mean nothing without their header.

    Where the style has no tables, every cell brings its label along, the first one excepted.
    """
    if tabular(form):
        form.table(header, rows)
        return
    lines = []
    for row in rows:
        cells = [f"{label} {cell}" for label, cell in zip(header[1:], row[1:], strict=True) if cell]
        lines.append(f"{row[0]}{':' if form.style is Style.key_value else ' -'} {', '.join(cells)}")
    if form.style is Style.free_text and form.rng.random() < 0.5:
        form.paragraph("; ".join(lines) + ".")
    else:
        form.lines(lines)


def series(form: Form, times: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> None:
    """State what was measured over time: a row per time, or the other way round as flowsheets do."""
    across = len(times) < len(columns) or form.rng.random() < 0.4
    if tabular(form) and across and len(times) <= 6:
        form.table(["Time", *times], [[label, *cells] for label, cells in columns])
    else:
        header = ["Time", *(label for label, _ in columns)]
        grid(form, header, [[time, *(cells[row] for _, cells in columns)] for row, time in enumerate(times)])


def halves(form: Form, left: Callable[[], None], right: Callable[[], None]) -> None:
    """Let two sections stand side by side where the style has two columns, else one below the other."""
    start = len(form.blocks)
    left()
    middle = len(form.blocks)
    right()
    if form.style is Style.two_columns:
        first, second = form.blocks[start:middle], form.blocks[middle:]
        for block in (*first, *second):
            if isinstance(block, Pairs):
                block.columns = 1  # half a page has no room for more
        del form.blocks[start:]
        form.side_by_side(first, second)
