"""Large files read piece by piece: JSON values one at a time, images out of zip archives without unpacking."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from medvl.data.source import Dropped

_CHUNK = 2**20  # characters
_LONGEST = 16 * _CHUNK  # what takes more is no record: the file is broken there
_IMAGE_BYTES = 2**28  # an entry that unpacks to more is no image


class ImageMissing(Exception):
    """An image that is nowhere, or cannot be taken out of its archive; the text is the reason for the account."""


class Archives:
    """Finds images by their names: in folders first, then in zip archives, which are opened as they are needed.

    Archives are searched by file name alone: their folders differ from those that the records name.
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
        """Return an image as a document holds it, the path of a file or the bytes of an entry, and its bytes.

        Raises:
            ImageMissing: It is not there, or its entry is damaged.
            ValueError: An archive cannot be opened.
        """
        path = PurePosixPath(name)
        # A record may not name files outside the folder.
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
    """Yield the values of a JSON array, or of a file with one value a line, holding one chunk in memory.

    What follows a value that is not JSON is lost, and yielded as one `Dropped`.

    Raises:
        ValueError: The file is not UTF-8.
    """
    decode = json.JSONDecoder().raw_decode
    text, at, number, ended = "", 0, 0, False
    while True:
        at = _skipped(text, at, number)
        try:
            if at == len(text):
                raise ValueError("nothing left")
            value, at = decode(text, at)
        except (ValueError, RecursionError):  # not JSON, or only the beginning of it
            text, at = text[at:], 0
            chunk = "" if ended or len(text) > _LONGEST else _chunk(file, number)
            if not chunk:
                if text.strip(" \t\r\n,]"):
                    yield Dropped(f"record {number + 1}", "not JSON, and what follows it")
                return
            text += chunk
            continue
        number += 1
        yield value


def _skipped(text: str, at: int, number: int) -> int:
    """Return where the next value begins: after blanks and commas, and the bracket that opens the array."""
    between = " \t\r\n," if number else " \t\r\n["
    while at < len(text) and text[at] in between:
        at += 1
    return at


def _chunk(file: TextIO, number: int) -> str:
    try:
        return file.read(_CHUNK)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the file is not UTF-8 after record {number} ({error.reason}). Convert it and set data.path=<the new one>."
        ) from error
