"""One spelling for equivalent expressions of a clinical text; expressions that differ clinically stay distinct.

Merged, by `normal`:
    characters   what `spelled` merges: quotes, dashes, blanks, fractions, units
    numbers      1,200 = 1200; 1.50 = 1.5; .5 = 0.5; 3.5 - 5.1 = 3.5-5.1; 81mg = 81 mg
    dates        03/14/2024, 3/14/24, 14-Mar-2024, March 14, 2024, 14 March 2024 = 2024-03-14, by `iso_dates`
    frequencies  bid = b.i.d. = twice daily = twice a day = 2 times a day; tid and qid likewise; daily = qd =
                 once daily = every day; qod = every other day; weekly = once a week; q6h = every 6 hours = q 6 hrs;
                 qhs = at bedtime; qam = every morning; qpm = every evening; prn = as needed
Merged, by `spellings`: g, mg and mcg, which convert exactly.

Kept apart: q12h and bid, q8h and tid, q24h and daily (fixed intervals, not waking hours); once and once daily;
nightly and at bedtime; biweekly; IU and units; mL and cc; a number with < or > and one without; leading zeros.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from medvl.metrics.dates import iso_dates
from medvl.metrics.spelling import UNITS, spelled
from medvl.metrics.text import whole
from medvl.types import DateOrder

_TIMES = {
    "twice": "bid",
    "two times": "bid",
    "2 times": "bid",
    "2x": "bid",
    "three times": "tid",
    "3 times": "tid",
    "3x": "tid",
    "four times": "qid",
    "4 times": "qid",
    "4x": "qid",
    "once": "daily",
    "1x": "daily",
}
_DIGITS = {"two": "2", "three": "3", "four": "4", "six": "6", "eight": "8", "twelve": "12"}

_ALONE = {"u": "units", "unit": "units", "hr": "h", "hrs": "h", "hour": "h", "hours": "h"}


def _dotted(letters: str) -> str:
    """Return a pattern for an abbreviation with or without points; the full stop of a sentence is not matched."""
    return rf"\b(?:{letters}\b|{'[.]'.join(letters)}\b\.?)"


Replacement = str | Callable[[re.Match[str]], str]
# Applied in this order, to text in lower case.
_RULES: tuple[tuple[str, Replacement], ...] = (
    (r"(?<=\d)[^\S\n]+-[^\S\n]+(?=\d)", "-"),  # a range; 18 -7 are two numbers
    (r"[^\S\n]*\|[^\S\n]*", " "),  # cells of a table
    (r"(?<![\d.])(\d+)\.(\d*?)0+(?![\d.]\d|\d)", lambda found: f"{found[1]}.{found[2]}".rstrip(".")),
    (rf"{_dotted('qod')}|\bevery other day\b", "every other day"),
    (_dotted("bid"), "bid"),
    (_dotted("tid"), "tid"),
    (_dotted("qid"), "qid"),
    (rf"\b({'|'.join(_TIMES)})(?: a day| per day| daily|/day)\b", lambda found: _TIMES[found[1]]),
    (rf"{_dotted('qd')}|\bevery day\b", "daily"),
    (r"\b(?:once (?:a week|weekly|per week)|every week)\b", "weekly"),
    (
        r"\b(?:q|every)\.?\s?(\d+|two|three|four|six|eight|twelve)(-\d+)?\s?(?:h|hrs?|hours?)\b",
        lambda found: f"q{_DIGITS.get(found[1], found[1])}{found[2] or ''}h",
    ),
    (rf"{_dotted('qhs')}|\bevery night at bedtime\b|\bat bedtime\b", "qhs"),
    (rf"{_dotted('qam')}|\bevery morning\b", "qam"),
    (rf"{_dotted('qpm')}|\bevery evening\b", "qpm"),
    (rf"{_dotted('prn')}|\bas needed\b", "prn"),
    (r"(?<=\d)\s?(?:u|units?)\b", " units"),
    (r"\bu(?=/)", "units"),
    (rf"(?<![a-z\d.-])(\d[\d.,/-]*)(?<!/)(?=(?:{UNITS})(?!\w))", r"\1 "),
    (r"[^\S\n]+", " "),
)
_COMPILED = [(re.compile(pattern), replacement) for pattern, replacement in _RULES]
_MASS = re.compile(r"(\d+(?:\.\d+)?) (g|mg|mcg)(?=$|/)")
_GRAMS = {"g": Decimal(1), "mg": Decimal("1e-3"), "mcg": Decimal("1e-6")}


def normal(text: str, dates: DateOrder = DateOrder.mdy) -> str:
    """Return a text, or a value, in the one spelling of this module; line breaks are kept.

    >>> normal("Insulin 10 U b.i.d., started 3/14/24"), normal("1,200.0 mL/hr"), normal("HR 80, q12h")
    ('insulin 10 units bid, started 2024-03-14', '1200 ml/h', 'hr 80, q12h')
    """
    text = iso_dates(spelled(text), dates)
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text.strip()


def value(text: object, dates: DateOrder = DateOrder.mdy) -> str:
    """Return a single value in its normal spelling: on one line, without punctuation at the end.

    >>> value("500  mg."), value(1.0), value("03/14/2024"), value("Twice\\ndaily")
    ('500 mg', '1', '2024-03-14', 'bid')
    """
    return _value(str(text), dates)


@lru_cache(maxsize=16384)
def _value(text: str, dates: DateOrder) -> str:
    written = normal(" ".join(text.split()).rstrip(" .,;"), dates)
    return _ALONE.get(written, written)


def spellings(normalized: str) -> list[str]:
    """Return a value in each of the mass units that convert exactly, beginning with itself.

    >>> spellings("0.5 g"), spellings("5 mcg/kg/min"), spellings("1-2 mg")
    (['0.5 g', '500 mg', '500000 mcg'], ['5 mcg/kg/min', '0.000005 g/kg/min', '0.005 mg/kg/min'], ['1-2 mg'])
    """
    found = _MASS.match(normalized)
    if found is None:
        return [normalized]
    grams, rest = Decimal(found[1]) * _GRAMS[found[2]], normalized[found.end() :]
    others = (f"{_written(grams / size)} {unit}{rest}" for unit, size in _GRAMS.items() if unit != found[2])
    return [normalized, *others]


def _written(number: Decimal) -> str:
    """Return a number without exponent and trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def same(one: object, other: object, dates: DateOrder = DateOrder.mdy) -> bool:
    """Return whether two values mean the same.

    >>> same("0.5 g", "500 mg"), same("1.0", 1), same("BID", "q12h"), same("<5", "5")
    (True, True, False, False)
    """
    return value(other, dates) in spellings(value(one, dates))


def mentions(text: str, normalized: str) -> list[tuple[int, int]]:
    """Return the start and end of each place where a normalised text states a normalised value as a whole."""
    return [
        found.span() for spelling in spellings(normalized) if spelling for found in _standing(spelling).finditer(text)
    ]


def states(text: str, normalized: str) -> bool:
    """Return whether a normalised text states a normalised value, as a whole and with its sign.

    >>> states("aspirin 0.5 g daily", "500 mg"), states("troponin <5", "5"), states("troponin <5", "<5")
    (True, False, True)
    >>> states("rass -1", "1"), states("be -2.7", "-2.7"), states("0-1 drinks", "1")
    (False, True, False)
    >>> states("5 mg/kg", "mg"), states("5 mg", "mg")
    (False, True)
    """
    return bool(mentions(text, normalized))


@lru_cache(maxsize=8192)
def _standing(spelling: str) -> re.Pattern[str]:
    """Compile a search for a value: a unit is not found inside another unit, nor 5 in <5 or -5."""
    if re.fullmatch(UNITS, spelling):
        return re.compile(rf"(?<![\w/]){spelling}(?![\w/])")
    return whole(spelling)
