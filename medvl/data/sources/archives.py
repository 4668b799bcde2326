"""Large files read incrementally: JSON values one at a time, images from zip archives without unpacking."""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from medvl.data.sources.dropped import Dropped
from medvl.data.sources.paths import HEAD_BYTES, IMAGE_BYTES, ImageMissing, image_at, inside, is_image
from medvl.data.sources.unpacking import RATIO, is_bomb

_CHUNK = 2**20  # characters
_LONGEST = 16 * _CHUNK  # a longer value is not a record: the file is damaged there
_TOKEN = 16  # characters; an error this close to the end of the text may be a literal or escape cut in half
_SEPARATOR = 2**12  # maximum characters between two values of an array
_BLANK = " \t\r\n,"  # between values
_HEAD = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')  # start of an object, up to its first value
_DIRECTORY_BYTES = 2**25  # of an archive's list of entries: some 300,000
_TAIL_BYTES = 2**16 + 128  # in which the end of that list is described
_HEADER_BYTES = 30  # of an entry, at least
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, OverflowError, struct.error)


class Archives:
    """Finds images by name: in folders first, then in zip archives, which are opened on demand.

    The folder `images` of a record stands for any folder, as those of the archives have other names. An image that
    is named in another folder must lie there.
    """

    def __init__(self, root: Path | None, archives: Iterator[Path], missing: str) -> None:
        """Take the folder of the data, which may hold a folder `images`; None: only archives."""
        self._root = root
        self._archives = archives
        self._missing = missing
        self._open: list[zipfile.ZipFile] = []
        self._entries: dict[str, list[tuple[zipfile.ZipFile, zipfile.ZipInfo]]] = {}  # by file name

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *_: object) -> None:
        for archive in self._open:
            archive.close()

    def file(self, name: str) -> Path | None:
        """Return the file of an image in the folder of the data; None if it is in an archive, or missing."""
        path = PurePosixPath(name)
        if self._root is None or not path.name:
            return None
        # A record must not reach files outside the folder.
        tails = [] if path.is_absolute() or ".." in path.parts else [name]
        tails += [path.name] if _is_bare(path) else []
        places = (f"{folder}{tail}" for folder in ("", "images/") for tail in tails)
        return next(filter(None, (inside(self._root, place) for place in places)), None)

    def read(self, name: str) -> tuple[bytes | str, bytes]:
        """Return an image as a `Document` stores it (a file's path, or an entry's bytes), and its bytes.

        Raises:
            ImageMissing: It is not found, is not an image, is too large, is damaged, or several have its name.
            ValueError: An archive cannot be opened.
        """
        file = self.file(name)
        if file is not None:
            return str(file), image_at(file.parent, file.name, self._missing)
        while self._root is not None and self._next():  # all at once, unless an archive is downloaded for it
            pass
        path = PurePosixPath(name)
        while not (found := _named(path, self._entries.get(path.name, []))):
            if not self._next():
                raise ImageMissing(self._missing)
        if len({(entry.CRC, entry.file_size) for _, entry in found}) > 1:
            raise ImageMissing("several images have its name")
        content = _unpacked(*found[0])
        return content, content

    def _next(self) -> bool:
        """Open the next archive and list its entries; return whether there was one.

        Raises:
            ValueError: It cannot be opened, or is made to exhaust the memory.
        """
        path = next(self._archives, None)
        if path is None:
            return False
        try:
            _check_directory(path)
            archive = zipfile.ZipFile(path)
            self._open.append(archive)
            _check_places(archive)
        except _DAMAGES as error:
            raise ValueError(
                f"{path.name} is no zip archive: {error}. Delete it, or set data.path=<a folder with whole ones>."
            ) from error
        for entry in archive.infolist():
            if not entry.is_dir():
                self._entries.setdefault(PurePosixPath(entry.filename).name, []).append((archive, entry))
        return True


def _is_bare(path: PurePosixPath) -> bool:
    """Whether a record names no folder, or the one that stands for any."""
    return str(path.parent) in (".", "images")


def _named(
    path: PurePosixPath, found: list[tuple[zipfile.ZipFile, zipfile.ZipInfo]]
) -> list[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """Return which entries of its file name an image's path means: those that share most of its folders."""
    best = (1, False) if _is_bare(path) else (2, False)
    chosen: list[tuple[zipfile.ZipFile, zipfile.ZipInfo]] = []
    for archive, entry in found:
        parts = PurePosixPath(entry.filename).parts
        shared = min(len(parts), len(path.parts))
        if parts[-shared:] != path.parts[-shared:]:
            shared = 1
        rank = (shared, parts == path.parts)
        if rank > best:
            best, chosen = rank, []
        if rank == best:
            chosen.append((archive, entry))
    return chosen


def _check_directory(path: Path) -> None:
    """Check the size of an archive's list of entries, which is read whole.

    Raises:
        BadZipFile: There are more entries than any data set has images.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        listed = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
        wide = tail.rfind(b"PK\6\6")  # the record of archives with 64-bit sizes
        if wide >= 0:
            listed = max(listed % 0xFFFFFFFF, int.from_bytes(tail[wide + 40 : wide + 48], "little"))
    if listed > _DIRECTORY_BYTES:
        raise zipfile.BadZipFile(f"its list of entries has {listed:,} bytes")


def _check_places(archive: zipfile.ZipFile) -> None:
    """Check that entries lie one after the other.

    Raises:
        BadZipFile: Some overlap, so that few bytes unpack to many images.
    """
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    starts = [entry.header_offset for entry in entries[1:]] + [archive.start_dir]
    for entry, following in zip(entries, starts, strict=True) if entries else ():
        if entry.header_offset + _HEADER_BYTES + entry.compress_size > following:
            raise zipfile.BadZipFile("its entries overlap")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return an entry that is an image; the sizes that the archive states are not trusted.

    Raises:
        ImageMissing: It is damaged, encrypted, too large, or not an image.
    """
    if entry.file_size > IMAGE_BYTES:
        raise ImageMissing("its image is too large")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImageMissing("its image cannot be read from the archive")
    try:
        with archive.open(entry) as file:
            content = file.read(HEAD_BYTES)
            if not is_image(content):
                raise ImageMissing("the file that it names is not an image")
            if is_bomb(entry.compress_size, entry.file_size):
                raise ImageMissing(f"its image unpacks to more than {RATIO} times its size")
            content += file.read(IMAGE_BYTES + 1 - len(content))
    except _DAMAGES as error:
        raise ImageMissing("its image cannot be read from the archive") from error
    if len(content) > IMAGE_BYTES:
        raise ImageMissing("its image is too large")
    return content


def json_values(file: TextIO, *, as_written: bool = False) -> Iterator[Any]:
    """Yield the values of a JSON array, or of a file with one value per line, with one chunk in memory at a time.

    A value that is not JSON is yielded as a `Dropped`. Reading continues at the next line or, in an array, at the
    next object that begins with the same key as the objects before. Without such an object, the rest of the array
    is lost as well. An array that the file does not end is one `Dropped` more.

    Args:
        as_written: Whether numbers are read as texts; NaN and infinities are then None.

    Raises:
        ValueError: The file is not UTF-8.
    """
    text = _Reader(file, as_written)
    array = text.skip(" \t\r\n") == "["
    within = array  # the array has not ended
    head, number = None, 0
    while following := text.skip(_BLANK if within and number else f"{_BLANK}[" if within else f"{_BLANK}]"):
        if within and following == "]":
            within = False
            continue
        number += 1
        try:
            value, key = text.value()
            head = key or head
        except _Broken:
            head = head or text.key()  # even a broken value may begin with a valid key
            resumed = rf",\s*(?=\{{\s*{re.escape(head)}\s*:)" if head else "(?!)"
            found = text.find(resumed if array else "\n")
            within = within and found
            yield Dropped(f"record {number}", "not JSON, and what follows it" if array and not found else "not JSON")
            continue
        yield value
    if within:
        yield Dropped(f"after record {number}", "the file ends before its array does")


class _Broken(Exception):
    """A value is not JSON."""


class _Reader:
    """A buffer over a file's text from the current position on."""

    def __init__(self, file: TextIO, as_written: bool) -> None:
        self._file = file
        self._text, self._at, self._read = "", 0, 0
        hooks: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": lambda _: None}
        self._decode = json.JSONDecoder(**hooks if as_written else {}).raw_decode

    def skip(self, characters: str) -> str:
        """Skip the given characters; return the next other one, or an empty string at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in characters:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def key(self) -> str | None:
        """Return the first key of the object that begins here, as it is written."""
        begun = _HEAD.match(self._text, self._at)
        return begun[1] if begun else None

    def value(self) -> tuple[Any, str | None]:
        """Read the value that begins here; return it with its first key.

        Raises:
            _Broken: It is not JSON, or longer than any record.
        """
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                key, self._at = self.key(), end
                return value, key
            except json.JSONDecodeError as error:
                # For an unterminated string the decoder reports where it begins, otherwise where it stopped.
                cut = error.msg.startswith("Unterminated string") or error.pos + _TOKEN > len(self._text)
                if not cut or len(self._text) - self._at > _LONGEST or not self._more():
                    raise _Broken from error
            except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
                raise _Broken from error

    def find(self, pattern: str) -> bool:
        """Advance to the end of the next match, or else of the file; return whether there was a match."""
        expression = re.compile(pattern)
        while True:
            match = expression.search(self._text, self._at)
            if match is not None:
                self._at = match.end()
                return True
            self._at = max(self._at, len(self._text) - _SEPARATOR)
            if not self._more():
                self._at = len(self._text)
                return False

    def _more(self) -> bool:
        """Read the next chunk and discard the text already passed; return whether there was more."""
        try:
            chunk = self._file.read(_CHUNK)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"the file is not UTF-8 after {self._read:,} characters ({error.reason}). "
                "Convert it and set data.path=<the new one>."
            ) from error
        self._text, self._at = self._text[self._at :] + chunk, 0
        self._read += len(chunk)
        return bool(chunk)
