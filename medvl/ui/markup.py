"""HTML of small things. Whatever a model, a service or a person wrote is escaped before it becomes a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

ENDS = {
    "length": "cut at the most tokens of an answer",
    "repetition": "cut, because the model repeated itself",
    "deadline": "cut, because it took too long",
}


def notice(message: str, kind: str = "trouble") -> str:
    """Return a box with a message: trouble or note."""
    role = "alert" if kind == "trouble" else "status"
    return f'<div class="mv-notice mv-{kind}" role="{role}">{escape(message)}</div>'


def heading(text: str, mark: str = "") -> str:
    """Return a heading; mark: HTML that follows it."""
    return f'<h3 class="mv-title">{escape(text)} {mark}</h3>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "dense") -> str:
    """Return a table whose cells are HTML; of kind stack, a phone shows every row as a block of named cells."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = ""
    for row in rows:
        cells = zip(head, row, strict=True)
        body += "<tr>" + "".join(_cell(name, cell) for name, cell in cells) + "</tr>"
    return f'<table class="mv-table mv-{kind}"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'


def _cell(name: str, cell: str) -> str:
    return f'<td data-name="{escape(name)}"><div>{cell}</div></td>'


def ending(reason: str) -> str:
    """Return a mark for an answer that did not end by itself."""
    if reason == "stop":
        return ""
    return f'<span class="mv-mark mv-cut">{escape(ENDS.get(reason, reason))}</span>'


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
