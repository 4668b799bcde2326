"""Blocks to rows: words get their places, fields stay tied to the words that state them; nothing is drawn yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from medvl.documents.fonts import Font
from medvl.documents.marks import Cell
from medvl.types import Block, Columns, Heading, Pairs, Rule, Table, Text

_HEADING = re.compile(r"[A-Z][A-Z0-9 /&()'#.-]{2,60}:")
TITLE = 1.25  # size of a title over that of the text
CELL = " | "  # parts the cells of a row in a page's text

Edges = tuple[float, float, float, float]  # left, top, right, bottom


def note(text: str) -> list[Block]:
    """Return a narrative as blocks: the headings at the beginning of its lines become bold."""
    blocks: list[Block] = []
    for line in text.splitlines():
        heading = _HEADING.match(line)
        blocks.append(Text(line, bold=heading.end() if heading else 0))
    return blocks


@dataclass(slots=True)
class Run:
    """Words of one face in one place, relative to their row."""

    x_px: float
    y_px: float
    text: str
    bold: bool = False
    title: bool = False


@dataclass(slots=True)
class Row:
    """What a page break never parts. Places are pixels from the row's upper left corner."""

    height_px: float
    runs: list[Run] = field(default_factory=list)
    lines: list[tuple[str, Edges]] = field(default_factory=list)
    """What it says, in reading order; a blank line says nothing."""
    fields: list[tuple[int, str, Edges]] = field(default_factory=list)
    """Index, words and place of what it states of each field."""
    rules: list[Edges] = field(default_factory=list)
    header: Row | None = None
    """Repeated at the head of a page that this row begins."""
    gap: bool = False
    """White space that a page neither begins nor ends with."""
    heads: bool = False
    """Stays with the row after it."""

    def shifted(self, x_px: float, y_px: float) -> Row:
        """Return the row's contents at another place."""

        def moved(edges: Edges) -> Edges:
            return edges[0] + x_px, edges[1] + y_px, edges[2] + x_px, edges[3] + y_px

        return Row(
            self.height_px,
            [Run(run.x_px + x_px, run.y_px + y_px, run.text, run.bold, run.title) for run in self.runs],
            [(text, moved(edges)) for text, edges in self.lines],
            [(index, words, moved(edges)) for index, words, edges in self.fields],
            [moved(edges) for edges in self.rules],
        )


@dataclass(slots=True)
class Setter:
    """Sets blocks in one font within a width. Lengths are pixels of the page as drawn."""

    font: Font
    font_px: int
    line_px: float
    width_px: float
    height_px: float
    """Of a page's text area: what must stay together may be no higher."""

    def rows(self, blocks: Sequence[Block]) -> Iterator[Row]:
        """Yield the rows of blocks in reading order."""
        for block in blocks:
            match block:
                case Heading(text=text, level=1):
                    yield from self._title(text)
                case Heading(text=text):
                    yield Row(self.line_px / 2, gap=True)
                    for row in self._text(Cell.of(text, bold=len(text))):
                        row.heads = True
                        yield row
                case Text(text=text, bold=bold):
                    yield from self._paragraphs(text, bold)
                case Pairs(pairs=pairs, columns=columns):
                    yield from self._pairs(pairs, columns)
                case Table():
                    yield from self._table(block)
                case Columns(left=left, right=right):
                    yield from self._columns(left, right)
                case Rule():
                    middle = self.line_px / 4
                    yield Row(2 * middle, rules=[(0, middle, self.width_px, middle)])

    def _title(self, text: str) -> Iterator[Row]:
        title_px = round(TITLE * self.font_px)
        large = Setter(self.font, title_px, TITLE * self.line_px, self.width_px, self.height_px)
        for row in large._text(Cell.of(text, bold=len(text))):
            row.heads = True
            for run in row.runs:
                run.title = True
            yield row

    def _paragraphs(self, text: str, bold: int) -> Iterator[Row]:
        for number, line in enumerate(text.expandtabs(4).splitlines() or [""]):
            line = line.rstrip()
            yield from self._text(Cell.of(line, bold=0 if number else bold))

    def _text(self, cell: Cell) -> Iterator[Row]:
        """Yield a row for every line that a text wraps to."""
        for start, end in self._breaks(cell, self.width_px):
            row = Row(self.line_px)
            self._place(row, cell, start, end, 0, 0)
            row.lines.append((cell.text[start:end], (0, 0, self._width(cell, start, end), self.line_px)))
            yield row

    def _pairs(self, pairs: Sequence[tuple[str, str]], columns: int) -> Iterator[Row]:
        if self.width_px / columns < 18 * self.font.width_px("n", self.font_px):
            columns = 1
        cells = [Cell.of(f"{label}: {value}", bold=len(label) + 1) for label, value in pairs]
        width_px = self.width_px / columns
        for start in range(0, len(cells), columns):
            part = cells[start : start + columns]
            row = self._row(part, [width_px * at for at in range(columns)], [width_px - self._gap()] * columns)
            if row.height_px > self.height_px:
                for cell in part:
                    yield from self._text(cell)
            else:
                yield row

    def _table(self, table: Table) -> Iterator[Row]:
        header = [Cell.of(text, bold=len(text)) for text in table.header]
        rows = [[Cell.of(text) for text in row] for row in table.rows]
        pad_px = self._gap() / 2
        widths = self._column_widths([header, *rows], self.width_px - 2 * pad_px * len(header))
        if widths is None:  # too many columns for this page: a row becomes a line
            for row in [table.header, *table.rows]:
                yield from self._text(Cell.of(_joined(row)))
            return
        lefts = [pad_px + sum(widths[:at]) + 2 * pad_px * at for at in range(len(widths))]
        frame = [left - pad_px for left in lefts] + [lefts[-1] + widths[-1] + pad_px]
        head = self._row(header, lefts, widths)
        head.heads = True
        self._frame(head, frame, table.rules, top=True)
        yield Row(self.line_px / 4, gap=True)
        yield head
        for cells, texts in zip(rows, table.rows, strict=True):
            row = self._row(cells, lefts, widths)
            if row.height_px + head.height_px > self.height_px:
                yield from self._text(Cell.of(_joined(texts)))
                continue
            row.header = head
            self._frame(row, frame, table.rules)
            yield row
        yield Row(self.line_px / 4, gap=True)

    @staticmethod
    def _frame(row: Row, frame: list[float], ruled: bool, top: bool = False) -> None:
        """Rule a row of a table: below the header always, around every cell where asked for."""
        left, right, bottom = frame[0], frame[-1], row.height_px
        if ruled or top:
            row.rules.append((left, bottom, right, bottom))
        if ruled:
            row.rules += [(x_px, 0, x_px, bottom) for x_px in frame]
            if top:
                row.rules.append((left, 0, right, 0))

    def _columns(self, left: Sequence[Block], right: Sequence[Block]) -> Iterator[Row]:
        half_px = (self.width_px - 2 * self._gap()) / 2
        half = Setter(self.font, self.font_px, self.line_px, half_px, self.height_px)
        stacks = [list(half.rows(blocks)) for blocks in (left, right)]
        height_px = max(sum(row.height_px for row in stack) for stack in stacks)
        if height_px > self.height_px or half_px < 18 * self.font.width_px("n", self.font_px):
            yield from self.rows([*left, *right])
            return
        whole = Row(height_px)
        for x_px, stack in zip((0.0, half_px + 2 * self._gap()), stacks, strict=True):
            y_px = 0.0
            for row in stack:
                moved = row.shifted(x_px, y_px)
                whole.runs += moved.runs
                whole.lines += moved.lines
                whole.fields += moved.fields
                whole.rules += moved.rules
                y_px += row.height_px
        yield whole

    def _row(self, cells: Sequence[Cell], lefts: Sequence[float], widths: Sequence[float]) -> Row:
        """Set cells side by side, each wrapped within its own width; they are one line of the page's text."""
        wrapped = [list(self._breaks(cell, width)) for cell, width in zip(cells, widths, strict=False)]
        row = Row(self.line_px * max(map(len, wrapped)))
        right_px = 0.0
        for cell, breaks, left in zip(cells, wrapped, lefts, strict=False):
            for number, (start, end) in enumerate(breaks):
                self._place(row, cell, start, end, left, number * self.line_px)
                right_px = max(right_px, left + self._width(cell, start, end))
        row.lines.append((_joined([cell.text for cell in cells]), (lefts[0], 0, right_px, row.height_px)))
        return row

    def _place(self, row: Row, cell: Cell, start: int, end: int, x_px: float, y_px: float) -> None:
        """Put a stretch of a cell's text into a row, with the boxes of the fields it states."""
        turn = min(max(cell.bold, start), end)  # bold up to here
        if turn > start:
            row.runs.append(Run(x_px, y_px, cell.text[start:turn], bold=True))
        if end > turn:
            row.runs.append(Run(x_px + self._width(cell, start, turn), y_px, cell.text[turn:end]))
        for index, first, last in cell.fields:
            first, last = max(first, start), min(last, end)
            if first < last:
                left, right = (x_px + self._width(cell, start, at) for at in (first, last))
                row.fields.append((index, cell.text[first:last], (left, y_px, right, y_px + self.line_px)))

    def _width(self, cell: Cell, start: int, end: int) -> float:
        turn = min(max(cell.bold, start), end)
        bold_px = self.font.width_px(cell.text[start:turn], self.font_px, bold=True)
        return bold_px + self.font.width_px(cell.text[turn:end], self.font_px)

    def _breaks(self, cell: Cell, width_px: float) -> Iterator[tuple[int, int]]:
        """Yield the lines of a cell, as (start, end): broken at blanks; a word that is too wide is cut."""
        text, start = cell.text, 0
        while self._width(cell, start, len(text)) > width_px:
            cut = start + self._fitting(cell, start, width_px)
            space = text.rfind(" ", start + 1, cut + 1)
            cut = space if space > start and text[start:space].strip() else cut
            yield start, start + len(text[start:cut].rstrip())
            start = cut + len(text[cut:]) - len(text[cut:].lstrip())
        yield start, len(text)

    def _fitting(self, cell: Cell, start: int, width_px: float) -> int:
        """Return how many characters from a place on fit, at least one."""
        low, high = 1, len(cell.text) - start
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._width(cell, start, start + middle) <= width_px
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _column_widths(self, rows: Sequence[Sequence[Cell]], available_px: float) -> list[float] | None:
        """Return the widths of a table's columns; None where even its longest words do not fit side by side."""
        columns = [[row[at] for row in rows if at < len(row)] for at in range(max(map(len, rows)))]
        natural = [max(self._width(cell, 0, len(cell.text)) for cell in column) for column in columns]
        if sum(natural) <= available_px:
            return natural
        least = [max(self._longest_word(cell) for cell in column) for column in columns]
        if sum(least) > available_px:
            return None
        # Narrow columns keep their width, the wide ones share what is left, none less than its longest word.
        widths, left_px = list(least), available_px
        for rank, at in enumerate(sorted(range(len(natural)), key=natural.__getitem__)):
            widths[at] = min(natural[at], max(least[at], left_px / (len(natural) - rank)))
            left_px -= widths[at]
        return widths if left_px >= 0 else least

    def _longest_word(self, cell: Cell) -> float:
        bold = cell.bold > 0
        return max((self.font.width_px(word, self.font_px, bold) for word in cell.text.split()), default=0.0)

    def _gap(self) -> float:
        """Return the white space between columns."""
        return 2 * self.font.width_px("n", self.font_px)


def _joined(cells: Sequence[str]) -> str:
    """Return a row's cells as one line; empty ones at its end leave no trace."""
    return CELL.join(cells).rstrip(" |")
