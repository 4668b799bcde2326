"""Large files read incrementally: JSON values one at a time, images from zip archives without unpacking."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from medvl.data.sources.source import Dropped

_CHUNK = 2**20  # characters
_LONGEST = 16 * _CHUNK  # a longer value is not a record: the file is damaged there
_TOKEN = 16  # characters; an error this close to the end of the text may be a literal or escape cut in half
_SEPARATOR = 2**12  # maximum characters between two values of an array
_HEAD = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')  # start of an object, up to its first value
_IMAGE_BYTES = 2**28  # an entry that unpacks to more is not an image


class ImageMissing(Exception):
    """An image is not found or cannot be extracted; the text becomes the reason in prepared.json."""


class Archives:
    """Finds images by name: in folders first, then in zip archives, which are opened on demand.

    Archives are searched by file name only, as their folders differ from those in the records.
    """

    def __init__(self, folders: list[Path], archives: Iterator[Path], missing: str) -> None:
        self._folders = folders
        self._archives = archives
        self._missing = missing
        self._open: list[zipfile.ZipFile] = []
        self._entries: dict[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]] = {}

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *_: object) -> None:
        for archive in self._open:
            archive.close()

    def read(self, name: str) -> tuple[bytes | str, bytes]:
        """Return an image as a `Document` stores it (a file's path, or an entry's bytes), and its bytes.

        Raises:
            ImageMissing: It is not found, or its entry is damaged.
            ValueError: An archive cannot be opened.
        """
        path = PurePosixPath(name)
        # A record must not reach files outside the folder.
        tail = Path(path.name) if path.is_absolute() or ".." in path.parts else Path(path)
        for folder in self._folders:
            for file in (folder / tail, folder / path.name):
                if path.name and file.is_file():
                    return str(file), file.read_bytes()
        while path.name not in self._entries:
            if not self._next():
                raise ImageMissing(self._missing)
        archive, entry = self._entries[path.name]
        if entry.file_size > _IMAGE_BYTES:
            raise ImageMissing("its image is too large")
        try:
            content = archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ImageMissing("its image cannot be read from the archive") from error
        return content, content

    def _next(self) -> bool:
        """Open the next archive and list its entries; return whether there was one."""
        path = next(self._archives, None)
        if path is None:
            return False
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(
                f"{path.name} is no zip archive: {error}. Delete it, or set data.path=<a folder with whole ones>."
            ) from error
        self._open.append(archive)
        for entry in archive.infolist():
            self._entries.setdefault(PurePosixPath(entry.filename).name, (archive, entry))
        return True


def json_values(file: TextIO) -> Iterator[Any]:
    """Yield the values of a JSON array, or of a file with one value per line, with one chunk in memory at a time.

    A value that is not JSON is yielded as a `Dropped`. Reading continues at the next line or, in an array, at the
    next object that begins with the same key as the objects before. Without such an object, the rest of the array
    is lost as well.

    Raises:
        ValueError: The file is not UTF-8.
    """
    text = _Reader(file)
    array = text.skip(" \t\r\n") == "["
    head, number = None, 0
    while text.skip(" \t\r\n,]" if number else " \t\r\n,[]"):
        number += 1
        try:
            value, key = text.value()
            head = key or head
        except _Broken:
            head = head or text.key()  # even a broken value may begin with a valid key
            following = rf",\s*(?=\{{\s*{re.escape(head)}\s*:)" if head else "(?!)"
            found = text.find(following if array else "\n")
            yield Dropped(f"record {number}", "not JSON, and what follows it" if array and not found else "not JSON")
            continue
        yield value


class _Broken(Exception):
    """A value is not JSON."""


class _Reader:
    """A buffer over a file's text from the current position on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text, self._at, self._read = "", 0, 0
        self._decode = json.JSONDecoder().raw_decode

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
