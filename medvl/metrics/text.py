"""Metrics of text: the terms and values found in it, its distance from a reference, and short answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

# A number with the unit that follows it, if any: 120/80 mmHg, 7.35, 5 mg, 99.1 %, 1,200 mL/hr.
VALUE = re.compile(
    r"\d+(?:[.,/:-]\d+)*(?:\s?(?:%|(?:mc?g|kg|g|m?L|dL|cc|cm|mm|mEq|mmol|units?|bpm|mmHg)\b)"
    r"(?:/(?:dL|mL|L|kg|hr?|day|min)\b)?)?"
)


def values_in(text: str) -> list[str]:
    """Return the distinct clinical values of a text, in order: numbers with their units.

    >>> values_in("BP 120/80 mmHg, aspirin 81 mg daily, aspirin 81 mg")
    ['120/80 mmHg', '81 mg']
    """
    return list(dict.fromkeys(VALUE.findall(text)))


def terms_in(text: str, terms: Sequence[str]) -> list[str]:
    """Return the terms that occur in the text, ignoring case."""
    lowered = text.lower()
    return [term for term in terms if term.lower() in lowered]


@lru_cache(maxsize=8192)
def whole(expected: str) -> re.Pattern[str]:
    """Compile a search for a string that is not part of a longer word, number or rate."""
    before = after = ""
    if expected[:1].isdigit():
        before = r"(?<![\w.])(?<!\d[,/:-])"
    elif re.match(r"\w", expected):
        before = r"(?<!\w)"
    if expected[-1:].isdigit():
        after = r"(?!\w)(?![.,/:-]\d)"
    elif re.search(r"\w$", expected):
        # 5 mg is not found in 5 mg/kg, but nausea is in nausea/vomiting.
        after = r"(?!\w)(?!/\w)" if expected[:1].isdigit() else r"(?!\w)"
    return re.compile(before + re.escape(expected) + after)


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


def found_share(expected: Sequence[str], prediction: str, *, strict: bool = False, reference: str = "") -> float | None:
    """Return the share of the expected strings that the prediction contains, ignoring case.

    The baseline project's definition: plain substrings, so 5 is found in 15. None when nothing is expected.

    Args:
        strict: Count whole words and numbers only.
        reference: The text that the expected strings come from. A string that occurs there only inside a longer
            word (the 2 of FiO2) cannot be required as a whole word, so the plain definition is used for it.

    >>> found_share(["5", "aspirin"], "Aspirin 15 mg"), found_share(["5", "aspirin"], "Aspirin 15 mg", strict=True)
    (1.0, 0.5)
    """
    if not expected:
        return None
    if not strict:
        return len(terms_in(prediction, expected)) / len(expected)
    said, source = prediction.lower(), reference.lower()
    count = 0
    for string in (entry.lower() for entry in expected):
        within_a_word = string in source and not stands_whole(string, source)
        count += string in said if within_a_word else stands_whole(string, said)
    return count / len(expected)


def distance(reference: Sequence[str], prediction: Sequence[str]) -> int:
    """Return the Levenshtein distance, in characters of strings or in entries of lists."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(reference, prediction)


def character_errors(reference: str, prediction: str) -> tuple[int, int]:
    """Return the character errors and the reference's length, at least 1.

    An empty reference has no rate of its own; with length 1 its errors still count in a sum over a set.
    """
    return distance(reference, prediction), max(1, len(reference))


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
    ('heart of cell', 'ph 1.5', '< 5 %', 'hepatitis a')
    """
    words = _PUNCTUATION.sub("", text.lower())
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
