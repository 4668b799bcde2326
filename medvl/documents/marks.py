"""Words that state a field, tied to it within the texts of blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Private-use characters that no document holds: they part a field's number from its words.
_OPEN, _NUMBER, _CLOSE = "\ue000", "\ue001", "\ue002"
_MARK = re.compile(f"{_OPEN}(\\d+){_NUMBER}([^{_CLOSE}]*){_CLOSE}")


def mark(field: int, text: str) -> str:
    """Tie words to a field, by its index in the document; blocks may hold marked words anywhere in their texts."""
    return f"{_OPEN}{field}{_NUMBER}{text}{_CLOSE}"


def unmarked(text: str) -> str:
    """Return a text without the ties of its words."""
    return _MARK.sub(r"\2", text)


@dataclass(slots=True)
class Cell:
    """Words to be wrapped within a width: their text, the stretch of each field, how many characters are bold."""

    text: str
    fields: list[tuple[int, int, int]]
    bold: int = 0

    @classmethod
    def of(cls, text: str, bold: int = 0) -> Cell:
        plain, fields, end = "", [], 0
        for match in _MARK.finditer(text):
            plain += text[end : match.start()]
            fields.append((int(match[1]), len(plain), len(plain) + len(match[2])))
            plain, end = plain + match[2], match.end()
        return cls(plain + text[end:], fields, bold)
