"""The time that a run takes: told before it starts, corrected by what is measured, and told every minute."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

log = logging.getLogger(__name__)

EVERY_S = 60.0  # between two lines without a terminal
FIRST_S, FIRST = 3.0, 3  # what must be measured before a rate is believed, in seconds and in units
Item = TypeVar("Item")


@dataclass(kw_only=True)
class Part:
    """A part of a run whose duration is proportional to what it counts."""

    name: str
    """What is shown: evaluation, training."""
    amount: int
    unit: str
    """step, answer"""
    title: str = ""
    """What a line calls it: evaluation of the target set."""
    done: int = 0
    seconds: float = 0.0
    ended: bool = False

    @property
    def measured(self) -> float | None:
        """Seconds a unit, as far as they were measured here."""
        enough = self.done >= min(FIRST, self.amount) and self.seconds >= (0.0 if self.ended else FIRST_S)
        return self.seconds / self.done if self.done and enough else None


class Timetable:
    """The parts of a run in their order, and what is left of them.

    Args:
        known: Seconds a unit by the name of a part, as earlier runs took them.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        parts: Sequence[Part] = (),
        known: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[], None] = lambda: None,
    ) -> None:
        self.parts, self.known, self.clock, self.note = list(parts), dict(known or {}), clock, note
        self.current: Part | None = None
        self.began = self.told = self.noted = clock()
        self.estimated = False

    def start(self) -> None:
        """Tell how long the whole run takes, or when that will be known."""
        if not self.parts:
            return
        if self.left_s() is not None:
            self.estimated = True
            log.info("the run takes %s", self.text())
        else:
            unknown = list({part.name: part for part in self.parts if self._rate(part) is None}.values())[-1]
            log.info("how long the run takes is known after the first %ss of its %s", unknown.unit, unknown.name)

    @contextlib.contextmanager
    def part(self, at: int) -> Iterator[None]:
        """Measure the part at a position while a block runs; without parts nothing is measured."""
        if not self.parts:
            yield
            return
        self.begin(at)
        yield
        self._end()

    def begin(self, at: int = 0) -> None:
        """Start the part at a position."""
        self.current = self.parts[at]
        self.began = self.told = self.clock()

    def tick(self, count: int = 1) -> None:
        """Count what the current part has done."""
        if self.current is not None:
            self.reach(self.current.done + count)

    def reach(self, done: int) -> None:
        """Note how much the current part has done; say it when a minute has passed, or the first estimate is there."""
        part = self.current
        if part is None:
            return
        now = self.clock()
        part.done, part.seconds = min(done, part.amount), now - self.began
        if not self.estimated and self.left_s() is not None:
            self.estimated = True
            log.info("%s", self.text(" left"))
        elif now - self.told >= EVERY_S and not sys.stderr.isatty():
            self.told = now
            left = self.left_s()
            after = f", about {span(left)} left" if left is not None else ""
            log.info("%s%s", line(part.title or part.name, part.done, part.amount, part.unit, part.seconds), after)
        if now - self.noted >= 2.0:
            self.noted = now
            self.note()

    def _end(self) -> None:
        """End the current part, and tell what is left if that was estimated otherwise."""
        part, self.current = self.current, None
        if part is None:
            return
        before = self._estimate(part)
        part.done, part.seconds, part.ended = part.amount, self.clock() - self.began, True
        left = self.left_s()
        if left is None or not any(not one.ended for one in self.parts):
            return
        off = before is not None and abs(part.seconds - before) > max(5.0, 0.2 * before)
        if off or not self.estimated:
            self.estimated = True
            log.info("%s", self.text(" left"))

    def lessen(self, count: int) -> None:
        """Leave out some of the current part, as an earlier session has done it."""
        if self.current is not None:
            self.current.amount = max(0, self.current.amount - count)

    def left_s(self) -> float | None:
        """Return the seconds that are left; None if the rate of a part is not known."""
        lefts = [self._left(part) for part in self.parts if not part.ended]
        return None if not self.parts or None in lefts else sum(left for left in lefts if left is not None)

    def text(self, word: str = "") -> str:
        """Return what is left, in all and by part: about 4 min: evaluation 1, training 2, evaluation 1.

        Args:
            word: What follows the sum.
        """
        lefts = [(part.name, self._left(part) or 0.0) for part in self.parts if not part.ended]
        total = sum(left for _, left in lefts)
        unit, size = ("s", 1.0) if total < 100 else ("min", 60.0) if total < 6000 else ("h", 3600.0)
        told = ", ".join(f"{name} {_brief(left / size)}" for name, left in lefts)
        return f"about {_brief(total / size)} {unit}{word}" + (f": {told}" if len(lefts) > 1 else "")

    def facts(self) -> dict[str, Any]:
        """Return what status.json says of a run at work."""
        left = self.left_s()
        phase = {"phase": self.current.title or self.current.name} if self.current is not None else {}
        return phase | ({"left_s": round(left, 1)} if left is not None else {})

    def rates(self) -> dict[str, float]:
        """Return the seconds a unit that were measured, by the name of the part; the last part of a name counts."""
        return {part.name: part.measured for part in self.parts if part.measured is not None}

    def _left(self, part: Part) -> float | None:
        rate = self._rate(part)
        if not part.amount:
            return 0.0
        if rate is None:
            return None
        passed = self.clock() - self.began - part.seconds if part is self.current else 0.0
        return max(0.0, (part.amount - part.done) * rate - passed)

    def _rate(self, part: Part) -> float | None:
        if part.measured is not None:
            return part.measured
        alike = [one.measured for one in self.parts if one.name == part.name and one.ended and one.measured is not None]
        return alike[-1] if alike else self.known.get(part.name)

    def _estimate(self, part: Part) -> float | None:
        """Return the seconds that were expected of a part before it began."""
        alike = [one.measured for one in self.parts if one is not part and one.name == part.name and one.ended]
        rate = next((one for one in reversed(alike) if one is not None), self.known.get(part.name))
        return None if rate is None else rate * part.amount


def line(what: str, done: int, amount: int | None, unit: str, seconds: float) -> str:
    """Return what is done and at which rate.

    >>> line("training", 120, 216, "step", 60.0), line("training", 3, 216, "step", 60.0)
    ('training: 120 of 216 steps, 2 steps/s', 'training: 3 of 216 steps, 20 s a step')
    """
    of = f" of {amount:,}" if amount is not None else ""
    if not done or not seconds:
        return f"{what}: {done:,}{of} {unit}s"
    rate = done / seconds
    pace = f"{rate:.3g} {unit}s/s" if rate >= 1 else f"{1 / rate:.3g} s a{'n' if unit[0] in 'aeiou' else ''} {unit}"
    return f"{what}: {done:,}{of} {unit}s, {pace}"


def told_every_minute(
    items: Iterable[Item],
    what: str,
    total: int | None,
    unit: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yield items; without a terminal log a line every minute with how many have come, what is left, and the rate."""
    began = told = clock()
    for done, item in enumerate(items, 1):
        yield item
        now = clock()
        if now - told >= EVERY_S and not sys.stderr.isatty():
            told = now
            left = f", about {span((total - done) * (now - began) / done)} left" if total else ""
            log.info("%s%s", line(what, done, total, unit, now - began), left)


def span(seconds: float) -> str:
    """Format a duration for people.

    >>> [span(value) for value in (7.4, 260, 8000)]
    ['7 s', '4.3 min', '2.2 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _brief(number: float) -> str:
    return f"{number:.0f}" if number >= 10 or abs(number - round(number)) < 0.05 else f"{number:.1f}"
