"""A clinical form while it is being written: its facts, its blocks, and the style drawn for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from medvl.documents.marks import mark, unmarked
from medvl.types import Block, Columns, Document, Field, Heading, Pairs, Rule, Table, Text


class Style(Enum):
    """How a form arranges its facts; the value is what `Document.layout` says."""

    ruled_table = "ruled table"
    table = "table"
    two_columns = "two columns"
    key_value = "key: value"
    free_text = "free text"


@dataclass(kw_only=True)
class Form:
    """Collects the facts of one document and arranges them.

    `field` registers a fact and returns its words, tied to it; they go into any of the blocks:

    >>> form = Form(kind="prescription", rng=Random(7), style=Style.key_value)
    >>> form.pairs([("Patient", form.field("patient.name", "Ada Byron", "name"))])
    >>> form.document().fields[0].value
    'Ada Byron'
    """

    kind: str
    rng: Random
    style: Style
    blocks: list[Block] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)

    def field(self, path: str, value: str, type: str, *, critical: bool = False) -> str:
        """Register a fact.

        Args:
            path: Keys and list positions from the outside in, joined by points: `medications.0.dose`.
                Positions count from 0 without gaps, and the first field of a list's item names it
                (the drug, the test, the time).
            type: See `Field.type`.
            critical: Whether a mistake can harm: a dose, an allergy, a critical laboratory value.

        Raises:
            ValueError: The value is empty, or the path is taken.
        """
        if not value.strip() or any(known.path == path for known in self.fields):
            raise ValueError(f"field {path}={value!r} is empty or stands already")
        self.fields.append(Field(path=path, value=value, type=type, critical=critical))
        return mark(len(self.fields) - 1, value)

    def title(self, text: str) -> None:
        """Set the form's title, with a line under it in some styles."""
        self.blocks.append(Heading(text, level=1))
        if self.style in (Style.ruled_table, Style.two_columns):
            self.blocks.append(Rule())

    def section(self, text: str) -> None:
        """Start a section."""
        self.blocks.append(Heading(text, level=2))

    def pairs(self, labelled: Sequence[tuple[str, str]]) -> None:
        """State labelled facts, as the style does: in a line, in two columns, or one below the other."""
        if self.style is Style.free_text:
            self.paragraph(". ".join(f"{label}: {value}" for label, value in labelled) + ".")
        elif self.style is Style.key_value:
            self.blocks.append(Pairs(list(labelled)))
        else:
            self.blocks.append(Pairs(list(labelled), columns=2))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """State rows of facts; empty cells are allowed. Styles without tables write a line a row."""
        if self.style in (Style.ruled_table, Style.table, Style.two_columns):
            self.blocks.append(Table(list(header), [list(row) for row in rows], rules=self.style is Style.ruled_table))
        elif self.style is Style.key_value:
            self.lines([f"{row[0]}: " + ", ".join(cell for cell in row[1:] if cell) for row in rows])
        else:
            self.lines([" ".join(cell for cell in row if cell) for row in rows], bullet="- ")

    def lines(self, texts: Sequence[str], bullet: str = "") -> None:
        """State one fact or sentence a line."""
        self.blocks.append(Text("\n".join(bullet + text for text in texts)))

    def paragraph(self, text: str, lead: str = "") -> None:
        """Write a paragraph, after a bold lead such as `ASSESSMENT:`."""
        self.blocks.append(Text(f"{lead} {text}" if lead else text, bold=len(lead)))

    def side_by_side(self, left: Sequence[Block], right: Sequence[Block]) -> None:
        """Lay two stacks of blocks next to each other."""
        self.blocks.append(Columns(list(left), list(right)))

    def document(self, groups: Sequence[str] = ()) -> Document:
        """Return the finished document; its id is that of its content."""
        text = "\n".join(unmarked(line) for block in self.blocks for line in _texts(block))
        identity = hashlib.sha256(f"{self.kind}\n{self.style.value}\n{text}".encode()).hexdigest()[:16]
        return Document(
            id=f"form-{identity}", kind=self.kind, layout=self.style.value, text=text,
            blocks=self.blocks, fields=self.fields, groups=list(groups),
        )  # fmt: skip


def _texts(block: Block) -> list[str]:
    """Return the lines of a block in reading order."""
    match block:
        case Heading(text=text) | Text(text=text):
            return [text]
        case Pairs(pairs=pairs):
            return [f"{label}: {value}" for label, value in pairs]
        case Table(header=header, rows=rows):
            return [" | ".join(row) for row in (header, *rows)]
        case Columns(left=left, right=right):
            return [line for inner in (*left, *right) for line in _texts(inner)]
        case Rule():
            return []
