"""Rows of CSV files that people wrote: any usual delimiter, values as they are written, a broken row costs itself."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medvl.data.sources.dropped import Dropped
from medvl.data.sources.unpacking import Unpacked

LONGEST = 2**24  # characters of a line or a value; a longer one is not text of a record
_HEAD_BYTES = 8
_MOST_LINES = 5000  # of a row; a quote that was never closed can swallow more
_DELIMITERS = ",;\t|"
_OPEN = "a malformed row: a quote is not closed"
_EXCESS = "a malformed row: it has more values than the header"
_COUNTED = re.compile(r"([^\W\d]{,16}[ _-]?)([0-9]{1,9})(\.[A-Za-z]+)?")
_FILE = re.compile(r"\S+(\.[A-Za-z]\w{1,4})")
# Words of column names. The first row of a file without a header is a record, which no message may show.
_HEADER = re.compile(
    r"answers?|body|caption|category|class|description|diagnosis|file(name)?|findings|id|idx|images?|impression|index|"
    r"keywords|label|modality|name|note|page|path|prompt|questions?|report|response|row|sample|section|source|specialty|"
    r"split|subject|target|text|title|transcription|type|url"
)


def text_lines(path: Path, cut: list[str] | None = None) -> Iterator[str]:
    """Yield the lines of a text file in UTF-8, or in UTF-16 with a byte-order mark, that may be compressed.

    Args:
        cut: Receives a reason if the compressed file is cut off or damaged.

    Raises:
        ValueError: The file is empty, is not such text, or has a line that is too long to be one.
    """
    number = 0
    with open_text(path) as file:
        try:
            while line := file.readline(LONGEST):
                if len(line) == LONGEST and not line.endswith("\n"):
                    raise ValueError(
                        f"{path.name} has a line of more than {LONGEST:,} characters after line {number}: it is no "
                        "table of records. Set data.path=<a file with one record a line>."
                    )
                if cut is not None and file.buffer.raw.cut and not line.endswith(("\n", "\r")):  # type: ignore[attr-defined]
                    break  # its last value may lack its end
                number += 1
                yield line
        except UnicodeDecodeError as error:
            plain = path.name
            if cut is None or not file.buffer.raw.cut:  # type: ignore[attr-defined]
                raise ValueError(
                    f"{path} is not UTF-8 after line {number} ({error.reason}). "
                    f"Convert it: iconv -f cp1252 -t utf-8 {plain} > utf8-{plain}"
                ) from error
        if cut is not None and file.buffer.raw.cut:  # type: ignore[attr-defined]
            cut.append("the compressed file is cut off or damaged there")


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a text file in UTF-8, or in UTF-16 with a byte-order mark, that may be compressed.

    Raises:
        ValueError: The file is empty, is not such text, or cannot be opened.
    """
    try:
        raw = Unpacked(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}. Set data.path=<a file that can>.") from error
    buffer = io.BufferedReader(raw, 2**16)
    head = buffer.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    if not head:
        buffer.close()
        state = "cut off or damaged" if raw.cut else "empty"
        raise ValueError(f"{path} is {state}. Set data.path=<a whole file with records>.")
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if len(head) == _HEAD_BYTES and not wide and not (any(head[::2]) and any(head[1::2])):
        buffer.close()
        raise ValueError(
            f"{path} is not UTF-8: every other byte is null. "
            f"If it is text, convert it: iconv -f utf-16 -t utf-8 {path.name} > utf8-{path.name}"
        )
    encoding = "utf-16" if wide else "utf-8-sig"
    return io.TextIOWrapper(buffer, encoding=encoding, newline="")


def csv_rows(path: Path, named: Iterable[str] = ()) -> Iterator[dict[str, Any] | Dropped]:
    """Yield the rows of a CSV file by column; a row that is too short has None in its last columns.

    The delimiter is the one of comma, semicolon, tab and | that gives the header most columns.

    Args:
        named: Columns that are read.

    Raises:
        ValueError: The file is not text, has no header, or has one of these columns twice.
    """
    csv.field_size_limit(LONGEST)
    cut: list[str] = []
    lines = _Lines(text_lines(path, cut))
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=lambda mark: len(_split(first, mark)))
    lines.back([first])
    header = next(_records(lines, delimiter), [])
    if isinstance(header, Dropped) or not header:
        raise ValueError(f"{path} has no header: its first line is no row of column names. Add one.")
    twice = [name for name in named if header.count(name) > 1]
    if twice:
        places = " and ".join(str(at) for at, name in enumerate(header, 1) if name == twice[0])
        raise ValueError(f"{path} has the same name over columns {places}. Rename all but one of them.")
    for row in _records(lines, delimiter, len(header)):
        yield row if isinstance(row, Dropped) else dict(itertools.zip_longest(header, row[: len(header)]))
    for reason in cut:
        yield Dropped(f"after line {lines.number}", reason)


def columns_text(names: Iterable[Any]) -> str:
    """Return the columns of a table in words: their names if they look like such, and otherwise only their number."""
    names = [str(name) for name in names]
    known = any(_HEADER.fullmatch(word) for name in names for word in name.lower().split("_"))
    if known and all(re.fullmatch(r"([A-Za-z_]\w{0,31})?", name, re.ASCII) for name in names):
        return ", ".join(filter(None, names))
    return f"{len(names)} columns with other names, or no header"


class _Lines:
    """Lines that can be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.number = 0
        self._lines, self._again = lines, deque[str]()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        return line

    def back(self, lines: list[str]) -> None:
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)

    def kept(self, taken: list[str]) -> Iterator[str]:
        """Yield the lines of one row, and append them to a list as well."""
        for line in self:
            taken.append(line)
            if len(taken) > _MOST_LINES:
                raise csv.Error("too many lines")
            yield line


def _records(lines: _Lines, delimiter: str, width: int | None = None) -> Iterator[list[str] | Dropped]:
    """Yield the rows; after a quote that is not closed, reading goes on at the next line.

    The lines after it that are too short for a row are the rest of the broken one.

    Args:
        width: Number of columns; None for a header.
    """
    broken: tuple[int, int, str] | None = None  # first line, last line, reason
    while True:
        taken: list[str] = []
        begin, reason, row = lines.number + 1, None, []
        try:
            row = next(csv.reader(lines.kept(taken), delimiter=delimiter, strict=True))
            reason = _fault(row, taken, delimiter, width)
        except StopIteration:
            break
        except csv.Error as error:
            reason = _words(error, len(taken))
        if broken is not None and reason is None and width is not None and len(row) < width:
            broken = broken[0], lines.number, broken[2]
            continue
        if broken is not None:
            yield _lost(*broken)
            broken = None
        if reason is not None and reason != _EXCESS:
            last = _opened_at(taken, delimiter)
            lines.back(taken[last + 1 :])
            broken = begin, begin + last, reason
        elif reason is not None:
            yield _lost(begin, lines.number, reason)
        elif any("\0" in cell for cell in row):
            yield _lost(begin, lines.number, "a malformed row: it has null bytes")
        elif row:
            yield row
    if broken is not None:
        yield _lost(*broken)


def _lost(first: int, last: int, reason: str) -> Dropped:
    return Dropped(f"line {first}" if first == last else f"lines {first} to {last}", reason)


def _words(error: csv.Error, lines: int) -> str:
    """Return the reason for a row that cannot be parsed; the error is not quoted, as it may name what it found."""
    if lines > 1 or "unexpected end" in str(error):
        return _OPEN
    return "a malformed row: a quote within a value"


def _fault(row: list[str], taken: list[str], delimiter: str, width: int | None) -> str | None:
    """Return what shows that a row is none, though it can be parsed.

    Args:
        taken: Its lines.
    """
    if width is None:
        return None
    excess = any(cell.strip() for cell in row[width:])
    least = 3 if excess else 5
    # The last line is looked at first: of most values that span lines it is no row.
    if len(taken) < 2 or width < 2 or len(_split(taken[-1], delimiter)) != width:
        return _EXCESS if excess else None
    lines = [_split(line, delimiter) for line in taken[_opened_at(taken, delimiter) :]]
    if len(lines) >= 2 and all(len(line) == width for line in lines):
        # A list in a value can look like rows, too. What makes sure: the quote that closes it begins another value,
        # or names and numbers of records.
        begun = excess and len(lines) >= least and taken[-1].partition('"')[0].endswith(delimiter)
        enough = width >= 3 or len(lines) >= least
        if begun or (enough and any(map(_numbered, zip(*lines, strict=True)))):
            return _OPEN
    return _EXCESS if excess else None


def _numbered(column: Sequence[str]) -> bool:
    """Whether values are those of records one after the other: numbers that count on, or files of one type.

    >>> _numbered(["page 9", "page 10"]), _numbered(["a.png", "b.png"]), _numbered(["Aspirin", "Metformin"])
    (True, True, False)
    """
    found = [_COUNTED.fullmatch(value) for value in column]
    if len({match and (match[1], match[3]) for match in found}) == 1 and found[0]:
        numbers = [int(match[2]) for match in found if match]
        return all(after == before + 1 for before, after in itertools.pairwise(numbers))
    files = [_FILE.fullmatch(value) for value in column]
    return len({match and match[1] for match in files}) == 1 and files[0] is not None


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _opened_at(taken: list[str], delimiter: str) -> int:
    """Return the index of the line on which the last value that spans lines begins."""
    opened, found, quoted, fresh = 0, 0, False, True
    for at, line in enumerate(taken):
        place = 0
        while place < len(line):
            mark = line[place]
            if quoted:
                if mark == '"' and line[place + 1 : place + 2] == '"':
                    place += 1
                elif mark == '"':
                    quoted = False
                    found = opened if opened < at else found
                    if line[place + 1 : place + 2] not in ("", "\r", "\n", delimiter):
                        return opened  # the parser stopped here
            elif mark == '"' and fresh:
                quoted, opened = True, at
            fresh = not quoted and mark == delimiter
            place += 1
        fresh = fresh or not quoted
    return opened if quoted else found
