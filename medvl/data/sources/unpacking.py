"""Compressed files read piece by piece, never further than their size can justify."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

RATIO, FROM_BYTES = 100, 2**20
_OPEN: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
SUFFIXES = tuple(_OPEN)


def suffix_of(name: str) -> str:
    """Return the suffix that tells the format, in lower case, without that of the compression.

    >>> suffix_of("a.CSV"), suffix_of("a.csv.gz")
    ('.csv', '.csv')
    """
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in SUFFIXES else path.suffix


def is_bomb(packed: int, unpacked: int) -> bool:
    """Whether these numbers of bytes are no text or image, but a few repeated bytes that would fill the memory."""
    return unpacked > FROM_BYTES and unpacked > RATIO * max(packed, 1)


class Unpacked(io.RawIOBase):
    """The content of a .gz, .xz or .bz2 file, or of a file that is not compressed.

    A file that is cut or damaged ends where it is; `cut` tells.
    """

    def __init__(self, path: Path) -> None:
        self.cut = False
        self._path = path
        self._packed, self._unpacked = path.stat().st_size, 0
        self._file = _OPEN.get(path.suffix.lower(), open)(path, "rb")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes.

        Raises:
            ValueError: There are far more of them than the size of the file allows.
        """
        try:
            content = self._file.read1(len(buffer))
        except (EOFError, OSError, lzma.LZMAError, zlib.error):
            self.cut, content = True, b""
        self._unpacked += len(content)
        if is_bomb(self._packed, self._unpacked):
            raise ValueError(
                f"{self._path.name} unpacks to more than {RATIO} times its size. "
                "Unpack it yourself if it is what you expect, and set data.path=<the unpacked file>."
            )
        buffer[: len(content)] = content
        return len(content)
