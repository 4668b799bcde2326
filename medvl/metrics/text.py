"""Metrics of text: the terms and values found in it, its distance from a reference, and short answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from medvl.metrics.dates import PRINTED as PRINTED_DATE
from medvl.metrics.dates import iso_dates
from medvl.metrics.spelling import CURRENCY, FRACTIONS, PRINTED_UNIT, UNITS, spelled, typed
from medvl.types import DateOrder

_NUMBER = (
    rf"(?:\d+[^\S\n][1-7]/[2-8](?![\d/])|(?:(?<![\w.])\.)?\d+(?:(?:[.,/:\u2010-\u2015\u2212-]|[^\S\n]/[^\S\n])\d+)*"
    rf"(?:[^\S\n]?[{FRACTIONS}])?|[{FRACTIONS}])"
)
# A date with a month's name, or a number with its sign, currency and unit: 120/80 mmHg, <5, -2.7, 1,200 mL/hr.
VALUE = re.compile(
    rf"(?i:{PRINTED_DATE})|(?:(?<![-=<>])[<>\u2264\u2265]=?[^\S\n]?|(?<![^\s(:=])[\u2010-\u2015\u2212-](?=\.?\d))?"
    rf"(?:{CURRENCY})?{_NUMBER}{PRINTED_UNIT}"
)


def values_in(text: str) -> list[str]:
    """Return the distinct clinical values of a text, in order: numbers with their signs and units, and dates.

    >>> values_in("BP 120/80 mmHg, aspirin 81 mg daily, aspirin 81 mg, BE -2.7, ALT < 5 U/L, since 3 DEC 2018")
    ['120/80 mmHg', '81 mg', '-2.7', '< 5 U/L', '3 DEC 2018']
    """
    return list(dict.fromkeys(VALUE.findall(text)))


def terms_in(text: str, terms: Sequence[str]) -> list[str]:
    """Return the terms that occur in the text, ignoring case."""
    lowered = text.lower()
    return [term for term in terms if term.lower() in lowered]


_NUMERIC = re.compile(r"(?:[<>]=?)?-?\d")
_AMOUNT = re.compile(rf"(.*\d) ?((?:{UNITS})(?!\w).*)")
# No sign, no < and no whole part of a mixed number stands before it: 5 is not found in -5, <5 and 1 5/8.
_UNSIGNED = r"(?<![<>])(?<![<>]=)(?<![\s(:=]-)(?<!^-)"
_WHOLE_NUMBER = re.compile(r"(?<![./,:\w-])\d+$")
_SIMPLE_FRACTION = re.compile(r"[1-7]/[2-8](?![\w/])")


@lru_cache(maxsize=8192)
def whole(expected: str) -> re.Pattern[str]:
    """Compile a search for a string that is not part of a longer word, number or rate.

    Args:
        expected: Like the texts to search, as `spelled` writes it; the blank before a unit may be missing there.
    """
    before = after = ""
    numeric = _NUMERIC.match(expected) is not None
    if expected[:1].isdigit():
        before = rf"(?<![\w.])(?<!\d[,/:-]){_UNSIGNED}"
        before += r"(?<!(?<![./,:\w-])\d )(?<!(?<![./,:\w-])\d\d )" if _SIMPLE_FRACTION.match(expected) else ""
    elif numeric or re.match(r"\w", expected):
        before = r"(?<!\w)"
    if expected[-1:].isdigit():
        after = r"(?!\w)(?![.,/:^-]\d)"
        after += r"(?! [1-7]/[2-8](?![\w/]))" if _WHOLE_NUMBER.search(expected) else ""  # 14 1/2; not a date and 2/3
    elif numeric and re.search(r"[\w%]$", expected):
        # 5 mg is not found in 5 mg/kg, but nausea is in nausea/vomiting.
        after = r"(?!\w)(?!/\w)"
    elif re.search(r"\w$", expected):
        after = r"(?!\w)"
    amount = _AMOUNT.fullmatch(expected)
    written = " ?".join(map(re.escape, amount.groups())) if amount else re.escape(expected)
    return re.compile(before + written + after)


def stands_whole(expected: str, text: str) -> bool:
    """Return whether a string occurs in a text at word and number boundaries; case-sensitive.

    >>> [stands_whole("5", text) for text in ("15", "1.5", "5.2", "5,000", "5/8", "2-5", "5mg")]
    [False, False, False, False, False, False, False]
    >>> [stands_whole("5", text) for text in ("It was 5.", "5, 6", "(5)", "pH: 5")]
    [True, True, True, True]
    >>> stands_whole("81 mg", "181 mg"), stands_whole("5 mg", "5 mg/kg"), stands_whole("5 mg", "5 mg, 5 mg/kg")
    (False, False, True)
    """
    return whole(expected).search(text) is not None


def found_share(
    expected: Sequence[str], prediction: str | Said, *, strict: bool = False, reference: str | Sequence[Said] = ""
) -> float | None:
    """Return the share of the expected strings that the prediction contains, ignoring case.

    The baseline project's definition: plain substrings, so 5 is found in 15; besides, what is only typed differently
    counts. None when nothing is expected.

    Args:
        strict: Count whole words and numbers only.
        reference: The text, or texts, that the expected strings come from. A string that occurs in the first that
            has it only inside a longer word (the 2 of FiO2) cannot be required as a whole word, so the plain
            definition is used for it.

    >>> found_share(["5", "aspirin"], "Aspirin 15 mg"), found_share(["5", "aspirin"], "Aspirin 15 mg", strict=True)
    (1.0, 0.5)
    >>> [found_share(["5 \u00b5g/kg/min"], text, strict=True) for text in ("5 mcg/kg/min", "5 mg/kg/min")]
    [1.0, 0.0]
    """
    if not expected:
        return None
    said, found = Said.of(prediction), 0
    sources = [Said.of(reference)] if isinstance(reference, str) else reference
    for string in expected:
        lower, stated = string.lower(), said.states(string)
        source = next((one for one in sources if lower in one.lower), None)
        if not strict or (source is not None and not source.states(string)):
            stated = stated or lower in said.lower
        found += stated
    return found / len(expected)


@dataclass(frozen=True, slots=True)
class Said:
    """A text in the spellings in which an expected string is looked for."""

    lower: str
    spelled: str
    dated: str
    """With its dates in ISO 8601."""
    order: DateOrder

    @classmethod
    def of(cls, text: str | Said, order: DateOrder = DateOrder.mdy) -> Said:
        if isinstance(text, Said):
            return text
        written = spelled(text, words=True)
        return cls(text.lower(), written, iso_dates(written, order), order)

    def states(self, expected: str) -> bool:
        """Return whether a term or a value, however it is typed, occurs at word and number boundaries."""
        written = _spelled(expected)
        date = iso_dates(written, self.order)
        return stands_whole(date, self.dated) if _DATE.fullmatch(date) else stands_whole(written, self.spelled)


_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d/\d\d/\d{2,4}")


@lru_cache(maxsize=16384)
def _spelled(expected: str) -> str:
    return spelled(expected, words=True)


def distance(reference: Sequence[str], prediction: Sequence[str]) -> int:
    """Return the Levenshtein distance, in characters of strings or in entries of lists."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(reference, prediction)


def character_errors(reference: str, prediction: str) -> tuple[int, int]:
    """Return the character errors and the reference's length, at least 1.

    An empty reference has no rate of its own; with length 1 its errors still count in a sum over a set.
    """
    return distance(reference, prediction), max(1, len(reference))


_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-{2,}[ \t:-]*\|[ \t|:-]*$", re.MULTILINE)  # |---|:--:| of Markdown
_LAYOUT = re.compile(r"[\s|]+")


def layout_free(text: str) -> str:
    """Return a text without what only arranges it: white space, the signs between columns, Markdown's table rules.

    >>> layout_free("Dose | 81 mg\\nRoute |  | oral"), layout_free("| Dose | 81 mg |\\n|---|--:|\\n")
    ('Dose81mgRouteoral', 'Dose81mg')
    """
    return _LAYOUT.sub("", _TABLE_RULE.sub("", text))


def word_errors(reference: str, prediction: str) -> tuple[int, int]:
    """Return the errors in words separated by white space, and the number of reference words, at least 1."""
    expected = reference.split()
    return distance(expected, prediction.split()), max(1, len(expected))


def anls(answers: Sequence[str], prediction: str) -> float:
    """Return the average normalised Levenshtein similarity (ANLS) of one prediction, in [0, 1].

    1 - distance / length of the longer text, for the best of the accepted answers; below 0.5 it is 0.
    Biten et al., Scene Text Visual Question Answering, ICCV 2019, eq. 1; lower case and single blanks as in
    github.com/shunk031/ANLS at 6472e1d, which like ANLS* keeps a similarity of exactly 0.5.

    >>> anls(["Coca Cola", "Coca Cola Company"], " CocaCola"), anls(["Coca Cola"], "The Coca")
    (0.8888888888888888, 0.0)
    """
    said = " ".join(prediction.lower().split())
    best = 0.0
    for answer in answers:
        expected = " ".join(answer.lower().split())
        longer = max(len(expected), len(said))
        best = max(best, 1 - distance(expected, said) / longer if longer else 1.0)
    return best if best >= 0.5 else 0.0


# Punctuation, except signs that are part of a number's meaning: 1.5, 5/8, -5, 5 %, < 5, 2+.
_PUNCTUATION = re.compile(r"(?!(?<=\d)[.,/:-](?=\d)|(?<!\w)-(?=\d)|[%<>+])[^\w\s]|_")


def plain(text: str) -> str:
    """Return an answer in lower case, without punctuation, articles and extra blanks.

    SQuAD's normalize_answer (evaluate-v1.1.py, Rajpurkar et al., arXiv:1606.05250) with two changes: SQuAD turns 1.5
    into 15, here a number keeps its signs; SQuAD turns hepatitis A into hepatitis, here "a" counts as an article only
    before a word.

    >>> plain("The heart, of a Cell."), plain("pH 1.5"), plain("< 5 %"), plain("Hepatitis A")
    ('heart of cell', 'ph 1.5', '<5 %', 'hepatitis a')
    """
    words = _PUNCTUATION.sub("", typed(text).lower())
    return " ".join(re.sub(r"\b(?:a|an|the)\s+(?=\S)", " ", words).split())


def token_f1(reference: str, prediction: str) -> float:
    """Return the harmonic mean of word precision and recall over normalised words, in [0, 1].

    SQuAD's f1_score; if one text has no words, 1 if the other has none either, else 0 (as in evaluate-v2.0.py).

    >>> token_f1("a squamous cell carcinoma", "cell carcinoma")
    0.8
    """
    expected, said = plain(reference).split(), plain(prediction).split()
    if not expected or not said:
        return float(expected == said)
    return 2 * (Counter(expected) & Counter(said)).total() / (len(expected) + len(said))


def says_yes_or_no(text: str) -> str | None:
    """Return `yes` or `no` if a text begins with that word, else None.

    >>> says_yes_or_no("Yes, it is."), says_yes_or_no("normal")
    ('yes', None)
    """
    first = next(iter(plain(text).split()), None)
    return first if first in ("yes", "no") else None
