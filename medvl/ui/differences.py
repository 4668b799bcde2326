"""Two answers beside each other, with the words that differ marked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from medvl.ui.markup import ending, heading, notice

LONGEST = 4000  # words of both answers that are compared; it takes quadratic time
WITHOUT_BASE = (
    "To see the base model's answer beside this one, start a second service, for example "
    "medvl serve serve.port=8001, and this page with --base-url http://127.0.0.1:8001."
)


def differing(base: str, tuned: str) -> tuple[str, str]:
    """Return both texts as HTML, with the words that only one of them has in `mark`.

    >>> differing("aspirin 81 mg", "aspirin 8 mg")
    ('aspirin <mark>81</mark> mg', 'aspirin <mark>8</mark> mg')
    """
    left, right = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (base, tuned))
    if len(left) + len(right) > LONGEST:
        return escape(base), escape(tuned)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    sides: tuple[list[str], list[str]] = ([], [])
    for kind, *ends in matcher.get_opcodes():
        pieces = "".join(left[ends[0] : ends[1]]), "".join(right[ends[2] : ends[3]])
        for side, said in zip(sides, pieces, strict=True):
            side.append(f"<mark>{escape(said)}</mark>" if said and kind != "equal" else escape(said))
    return "".join(sides[0]), "".join(sides[1])


def beside(tuned: Mapping[str, Any] | Exception, base: Mapping[str, Any] | Exception | None) -> str:
    """Return the HTML of the answers of /analyze, or of what kept them from coming; None: there is no base."""
    if base is None:
        return f'<div class="mv-pair">{_side("Answer", tuned)}</div>{notice(WITHOUT_BASE, "note")}'
    if isinstance(tuned, Exception) or isinstance(base, Exception):
        return f'<div class="mv-pair">{_side("Base model", base)}{_side("Trained model", tuned)}</div>'
    said = differing(base["text"], tuned["text"])
    sides = _side("Base model", base, said[0]) + _side("Trained model", tuned, said[1])
    same = notice("Both answers are the same.", "note") if base["text"] == tuned["text"] else ""
    return f'<div class="mv-pair">{sides}</div>{same}'


def _side(title: str, answer: Mapping[str, Any] | Exception, marked: str | None = None) -> str:
    if isinstance(answer, Exception):
        return f"<section>{heading(title)}{notice(str(answer))}</section>"
    text = escape(answer["text"]) if marked is None else marked
    said = f'<pre class="mv-text">{text}</pre>' if text else notice("The answer is empty.", "note")
    return f"<section>{heading(title, ending(answer['finish_reason']))}{said}</section>"
