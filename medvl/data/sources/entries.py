"""The records of a file or folder of FHIR resources or tables, one by one, each with its place.

A file holds a resource, a bundle, an array of them (.json), or one of them a line (.ndjson, .jsonl), and may be
compressed; a line without a `resourceType` is a row of a table. Bundles are taken apart, nested ones too.
"""

from __future__ import annotations

import codecs
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl.data.sources.archives import json_values
from medvl.data.sources.clinical_values import clean
from medvl.data.sources.csv_rows import LONGEST
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.paths import belongs
from medvl.data.sources.unpacking import SUFFIXES as PACKED
from medvl.data.sources.unpacking import Unpacked, suffix_of

TABLES = ("lab_reports.jsonl", "medication_requests.jsonl")
SUFFIXES = (".json", ".ndjson", ".jsonl")
DELETED = "deleted"


@dataclass(slots=True, eq=False)
class Entry:
    """One record of the input: a FHIR resource, or a row of a table."""

    name: str
    content: dict[str, Any]
    scope: tuple[str, ...] = ()
    """Folders, file and bundles around it, from the outside in."""
    url: str = ""
    """The `fullUrl` that its bundle gives it."""
    newest_first: bool = False
    """Whether its bundle lists the versions of a resource from the newest on."""
    reason: str = ""
    """Why it is not drawn; empty if that is not known, or if it is drawn."""
    drawn: bool = False
    successor: Entry | None = None
    """The newer or equal resource that stands for this one."""

    @property
    def type(self) -> str:
        """Its resource type; empty for a row of a table, and for what is no record."""
        found = self.content.get("resourceType")
        return found if isinstance(found, str) else ""

    @property
    def id(self) -> str:
        return identifier(self.content)


def identifier(resource: dict[str, Any]) -> str:
    """Return the id of a resource as text; empty if it has none."""
    found = resource.get("id")
    return clean(str(found) if isinstance(found, int) and abs(found) < 10**15 else found)


def entries(path: Path) -> Iterator[Entry]:
    """Yield the records of a file or folder; one that cannot be read has a reason and no content.

    Raises:
        ValueError: A folder holds no such file, or a compressed file is damaged.
    """
    for file, fault in [(path, "")] if path.is_file() else _files(path):
        within = file.relative_to(path) if file != path else Path(file.name)
        name = clean(within.as_posix())
        if fault:
            yield Entry(name, {}, reason=fault)
            continue
        try:
            for place, value in _values(file):
                yield from _resources(value, f"{name}, {place}" if place else name, (*within.parts,))
        except OSError:
            yield Entry(name, {}, reason="a file that cannot be read")


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a folder, each with the reason why it is not read.

    Raises:
        ValueError: There are none.
    """
    tables = [folder / f"{name}{suffix}" for name in TABLES for suffix in ("", *PACKED)]
    read = [path for path in tables if path.is_file()]
    found = read + sorted(path for path in _below(folder) if path not in read)
    if not found:
        raise ValueError(
            f"{folder} holds neither {TABLES[0]}[.xz] nor FHIR bundles or resources (*{', *'.join(SUFFIXES)}, "
            f"also with {', '.join(PACKED)}). Set data.path=<a folder that does>."
        )
    beside = "a file beside the tables is not read" if read else ""
    return [(path, _link_fault(path, folder) or ("" if path in read else beside)) for path in found]


def _below(folder: Path) -> Iterator[Path]:
    """Yield the data files at any depth, and links to what is not below the folder."""
    for parent, folders, files in os.walk(folder):  # does not follow links
        for name in folders + files:
            path = Path(parent, name)
            link = os.path.islink(path)
            if os.path.isdir(path):
                if link and _link_fault(path, folder):
                    yield path
            elif suffix_of(name) in SUFFIXES and (link or os.path.isfile(path)):
                yield path


def _link_fault(path: Path, folder: Path) -> str:
    # A data set from elsewhere must not show files of this machine.
    if not belongs(Path(os.path.realpath(path)), folder):
        return "a link that leaves the data folder"
    return "" if os.path.exists(path) else "a link to nothing"


def _values(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the JSON values of a file with their places in it; `Dropped` for one that is broken."""
    if suffix_of(file.name) != ".json":
        yield from _lines(file)
        return
    content = _whole(file)
    try:
        whole = _parsed(content)
    except (ValueError, RecursionError):
        yield from _salvaged(content)
        return
    if isinstance(whole, list):
        yield from ((f"record {number}", _typed(value)) for number, value in enumerate(whole, 1))
    else:
        yield "", _typed(whole)


def _salvaged(content: bytes) -> Iterator[tuple[str, Any]]:
    """Yield what a broken file still holds: the whole values of an array, or of lines."""
    if content.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        try:
            text = io.StringIO(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            yield "", Dropped("", "not UTF-8")
            return
        yield from ((f"record {number}", _typed(value)) for number, value in enumerate(json_values(text), 1))
        return
    lines = _parsed_lines(io.BytesIO(content))
    first = next(lines, ("", Dropped("", "not JSON")))
    if isinstance(first[1], Dropped):
        yield "", first[1]
        return
    yield first[0], _typed(first[1])
    yield from ((place, _typed(value)) for place, value in lines)


def _typed(value: Any) -> Any:
    known = isinstance(value, Dropped) or (isinstance(value, dict) and "resourceType" in value)
    return value if known else Dropped("", "no FHIR resource")


def _whole(file: Path) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: The file is compressed, and damaged or made to exhaust the memory.
    """
    with io.BufferedReader(Unpacked(file)) as content:
        whole = content.read()
        _check_whole(file, content, "")
    return whole


def _check_whole(file: Path, content: io.BufferedReader[Unpacked], place: str) -> None:
    if content.raw.cut:
        raise ValueError(f"{file} cannot be read{place}: it is cut off or damaged there. Set data.path=<a whole one>.")


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the JSON values of a file with one a line.

    Raises:
        ValueError: The file is compressed, and damaged or made to exhaust the memory, or a line is far too long.
    """
    with io.BufferedReader(Unpacked(file)) as content:
        yield from _parsed_lines(_raw_lines(file, content))


def _raw_lines(file: Path, content: io.BufferedReader[Unpacked]) -> Iterator[bytes]:
    number = 0
    while line := content.readline(LONGEST):
        if len(line) == LONGEST and not line.endswith(b"\n"):
            raise ValueError(
                f"{file} has a line of more than {LONGEST:,} bytes after line {number}: it is no record. "
                "Set data.path=<a file with one record a line>."
            )
        number += 1
        yield line
    _check_whole(file, content, f" after line {number}")


def _parsed_lines(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", _parsed(line)
        except (ValueError, RecursionError):
            yield f"line {number}", Dropped("", "not JSON")


def _parsed(text: bytes) -> Any:
    return json.loads(text.decode("utf-8-sig"))


def _resources(value: Any, name: str, scope: tuple[str, ...]) -> Iterator[Entry]:
    """Yield a value as a record, or the resources of a bundle in their order."""
    waiting = [(value, Entry(name, {}, scope))]
    while waiting:  # not recursive: bundles may be nested deeper than Python's stack
        value, entry = waiting.pop()
        if isinstance(value, Dropped):
            entry.reason = value.reason
        elif not isinstance(value, dict):
            entry.reason = "not a JSON object"
        elif value.get("resourceType") == "Bundle":
            waiting += reversed(list(_of_bundle(value, entry)))
            continue
        else:
            entry.content = value
        yield entry


def _of_bundle(bundle: dict[str, Any], around: Entry) -> Iterator[tuple[Any, Entry]]:
    held = bundle.get("entry")
    if not (isinstance(held, list) and held):
        yield Dropped("", "a bundle without entries"), around
        return
    scope = (*around.scope, around.name)
    for number, item in enumerate(held, 1):
        item = item if isinstance(item, dict) else {}
        url = item.get("fullUrl")
        entry = Entry(f"{around.name}, entry {number}", {}, scope, url=url if isinstance(url, str) else "")
        entry.newest_first = bundle.get("type") == "history"
        resource = item.get("resource")
        if not isinstance(resource, dict):
            resource = _deleted(item) or Dropped("", "an entry without a resource")
            entry.reason = DELETED if isinstance(resource, dict) else ""
        yield _typed(resource), entry


def _deleted(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return type, id and time of the resource that an entry of a history deletes."""
    request, response = item.get("request"), item.get("response")
    url = request.get("url") if isinstance(request, dict) and request.get("method") == "DELETE" else None
    parts = url.split("/") if isinstance(url, str) else []
    if len(parts) < 2:
        return None
    when = response.get("lastModified") if isinstance(response, dict) else None
    return {"resourceType": parts[-2], "id": parts[-1], "meta": {"lastUpdated": when}}
