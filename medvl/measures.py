"""Scores of a prediction against its reference, and their sums over a set."""

from __future__ import annotations

import re
from typing import Any

# A number with the unit that follows it, if any: 120/80 mmHg, 7.35, 5 mg, 99.1 %, 1,200 mL/hr.
_VALUE = re.compile(r"\d+(?:[.,/:-]\d+)*(?:\s?(?:%|(?:mc?g|kg|g|m?L|dL|cc|cm|mm|mEq|mmol|units?|bpm|mmHg)\b)"
                    r"(?:/(?:dL|mL|L|kg|hr?|day|min)\b)?)?")  # fmt: skip


def values_in(text: str) -> list[str]:
    """Return the distinct clinical values of a text, in order: numbers with their units.

    >>> values_in("BP 120/80 mmHg, aspirin 81 mg daily, aspirin 81 mg")
    ['120/80 mmHg', '81 mg']
    """
    return list(dict.fromkeys(_VALUE.findall(text)))


def terms_in(text: str, terms: list[str]) -> list[str]:
    """Return those of the terms that stand in the text, ignoring case."""
    lowered = text.lower()
    return [term for term in terms if term.lower() in lowered]


def found_share(expected: list[str], prediction: str) -> float | None:
    """Return the share of the expected strings that the prediction contains, ignoring case.

    The seed project's definition: plain substrings, so 5 is found in 15. None when nothing is expected.
    """
    if not expected:
        return None
    return len(terms_in(prediction, expected)) / len(expected)


def character_errors(reference: str, prediction: str) -> int:
    """Return the Levenshtein distance in characters."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(reference, prediction)


def score(reference: str, prediction: str, terms: list[str], values: list[str]) -> dict[str, float | None]:
    """Score one prediction.

    Returns:
        term, value, combined: shares in [0, 1] after the seed's definition, None where the reference
        lists none; cer: character errors over reference characters, may exceed 1; exact: 1 where the
        texts are equal but for outer white space, else 0.
    """
    term, value = found_share(terms, prediction), found_share(values, prediction)
    known = [share for share in (term, value) if share is not None]
    return {
        "term": term,
        "value": value,
        "combined": sum(known) / len(known) if known else None,
        "cer": character_errors(reference, prediction) / max(1, len(reference)),
        "exact": float(reference.strip() == prediction.strip()),
    }


def summarize(rows: list[dict[str, Any]]) -> dict[str, float | int | None]:
    """Sum scored predictions up over a set.

    term, value and combined are means over the examples that have any (the seed's average over cases);
    cer is all errors over all reference characters; exact is a share of the examples.

    Args:
        rows: Each holds the keys of `score` and `reference`.
    """

    def mean(name: str) -> float | None:
        known = [row[name] for row in rows if row[name] is not None]
        return sum(known) / len(known) if known else None

    characters = [max(1, len(row["reference"])) for row in rows]
    errors = sum(row["cer"] * count for row, count in zip(rows, characters, strict=True))
    return {
        "term": mean("term"),
        "value": mean("value"),
        "combined": mean("combined"),
        "cer": errors / sum(characters) if rows else None,
        "exact": mean("exact"),
        "examples": len(rows),
    }


HIGHER_IS_BETTER = {"term": True, "value": True, "combined": True, "cer": False, "exact": True}
