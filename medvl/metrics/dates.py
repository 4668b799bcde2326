"""Dates in one spelling, ISO 8601, by the order of day and month of their data set."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from medvl.metrics.spelling import UNITS
from medvl.types import DateOrder

_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = r"(?:1[6-9]|2[01])\d\d"
_START, _ORDINAL = r"(?<![\w./-])", "(?:st|nd|rd|th)?"
# A time may follow. A number with a unit is a value, no year.
_END = rf"(?:(?![\w/-]|[.:]\d| ?(?:{UNITS})(?!\w))|(?=t\d\d:\d\d))"
_WITH_NAMES = (  # patterns with a month's name, and the order of their groups: year, month, day
    (rf"\b{_MONTH}[ ./,-]{{0,2}}(\d{{1,2}}){_ORDINAL}(?:,? ?| ?[./-] ?)'?({_YEAR}){_END}", (3, 1, 2)),
    (rf"\b{_MONTH}([./-])(\d{{1,2}})\2(\d\d){_END}", (4, 1, 3)),
    (
        rf"{_START}(\d{{1,2}}){_ORDINAL}(?: of)?[ ./-]{{0,3}}{_MONTH},?[ ./-]{{0,3}}'?({_YEAR}|(?<=\W)\d\d){_END}",
        (3, 2, 1),
    ),
    (rf"{_START}({_YEAR})[ ./-]{{1,3}}{_MONTH}[ ./-]{{1,3}}(\d{{1,2}}){_END}", (1, 2, 3)),
)
_BY_NAME = [(re.compile(pattern, re.IGNORECASE), order) for pattern, order in _WITH_NAMES]
_YEAR_FIRST = re.compile(rf"{_START}({_YEAR})([ ./-]|[.] )(\d{{1,2}})\2(\d{{1,2}}){_END}", re.IGNORECASE)
_YEAR_LAST = tuple(
    re.compile(rf"{_START}(\d{{1,2}})({between})(\d{{1,2}})\2({year}){_END}", re.IGNORECASE)
    for between, year in (("[ ./-]| ?[/-] ?|[.] ", _YEAR), ("[./-]", r"\d\d"))
)
# As it is printed, with a month's name, in a text that need not be a date.
PRINTED = "|".join(re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern).replace(r"\2", "[./-]") for pattern, _ in _WITH_NAMES)


def iso_dates(text: str, order: DateOrder = DateOrder.mdy) -> str:
    """Return a text with its dates in ISO 8601; what is no day of the calendar stays as it is.

    Of 03/04/2024, `order` says which number is the month; a number above 12 is the day in any order. Under
    `DateOrder.iso`, which says nothing of such dates, one that can be read in two ways equals only itself.
    Two-digit years up to 30 are of this century: a record's dates, births above all, lie in the past.

    >>> iso_dates("3rd Dec 2018, 12.03.2018, 25/12/2018", DateOrder.dmy)
    '2018-12-03, 2018-03-12, 2018-12-25'
    >>> iso_dates("12-03-2018 and 5/5/2018", DateOrder.iso)
    '12/03/2018 and 2018-05-05'
    """
    for pattern, groups in _BY_NAME:
        text = pattern.sub(_reader(partial(_named, groups)), text)
    text = _YEAR_FIRST.sub(_reader(lambda found: _day(found[1], found[3], found[4])), text)
    for pattern in _YEAR_LAST:
        text = pattern.sub(_reader(lambda found: _read(found[1], found[3], found[4], order)), text)
    return text


def _named(groups: tuple[int, int, int], found: re.Match[str]) -> str | None:
    return _day(*found.group(*groups))


def _reader(read: Callable[[re.Match[str]], str | None]) -> Callable[[re.Match[str]], str]:
    return lambda found: read(found) or found[0]


def _read(one: str, two: str, year: str, order: DateOrder) -> str | None:
    """Return the day of two numbers and a year."""
    month_first, day_first = _day(year, one, two), _day(year, two, one)
    if order is DateOrder.mdy:
        return month_first or day_first
    if order is DateOrder.dmy:
        return day_first or month_first
    if len(year) == 2:  # the year may come first
        return f"{int(one):02}/{int(two):02}/{year}"
    if month_first and day_first and month_first != day_first:
        return f"{int(one):02}/{int(two):02}/{year}"
    return month_first or day_first


def _day(year: str, month: str, day: str) -> str | None:
    """Return a date in ISO 8601; None if there is no such day."""
    import datetime

    number = int(month) if month.isdigit() else _MONTHS.index(month[:3].casefold()) // 3 + 1
    century = "" if len(year) == 4 else "20" if int(year) <= 30 else "19"
    try:
        return datetime.date(int(century + year), number, int(day)).isoformat()
    except ValueError:
        return None
