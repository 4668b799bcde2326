"""Files that are never half-written: replaced atomically, or appended line by line."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

PRIVATE = 0o700  # mode of folders with patients' texts: their owner's alone

# Errors that a user mends with another folder, other rights or free space.
_FOLDER_FAULTS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def folder_fault(error: OSError) -> str | None:
    """Describe an error of a folder or disk in a sentence with its mend; None: an error of another kind."""
    if error.errno not in _FOLDER_FAULTS:
        return None
    what = str(error)
    if error.strerror:
        what = f"{shortened(str(error.filename))}: {error.strerror}" if error.filename else error.strerror
    mend = "Free some space there, or name" if error.errno in _FULL else "Name"
    return f"{what}. {mend} another place: hydra.run.dir=, cache=, export= or data.path=."


def shortened(name: str) -> str:
    """Return a path as a message may name it."""
    return name if len(name) <= 200 else f"{name[:100]}...{name[-50:]}"


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically, as `write_bytes` does.

    Lone surrogates, which UTF-8 cannot hold, are written as the escapes that JSON reads back.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"), sync=True)


def private(path: str, flags: int) -> int:
    """Open a file as `opener` of open(); a new one is readable by its owner only, as it may hold patients' texts."""
    return os.open(path, flags, 0o600)


def write_bytes(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Replace a file atomically: no reader, kill or full disk ever leaves half of it.

    Args:
        sync: Wait for the disk, so that a power cut cannot either.
    """
    # Not the process's number, which processes of two containers share, nor the name, which may be as long as possible.
    draft = path.with_name(f".draft-{secrets.token_hex(6)}")
    try:
        with open(draft, "wb", opener=private) as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty draft of a folder, which takes its place when the block ends: whole, or not at all.

    The folder that was there goes only then; what an interrupted draft left is cleared.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8", opener=private) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if it is missing, incomplete or no object."""
    try:
        if not path.is_file():  # such as a pipe, which would never end
            return None
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file; a warning counts the lines that are none.

    A last line that a kill left incomplete is left out without one.
    """
    rows, bad = split_jsonl(path.read_bytes())
    if bad:
        warn_once(f"{path}: {len(bad)} damaged line(s) left out")
    return rows


def split_jsonl(data: bytes) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the objects of a JSON-lines file, and its damaged lines, except an incomplete last one.

    A power cut may leave a block of NUL bytes; what follows it on its line is read too.
    """
    rows, bad = [], []
    *lines, last = data.split(b"\n")  # splitlines would also split at U+2028
    for line in [*lines, last]:
        found = [row for part in re.split(rb"\0+", line) if (row := _object_in(part)) is not None]
        rows += found
        if line and (not found or b"\0" in line) and not (line is last and b"\0" not in line):
            bad.append(line)
    return rows, bad


def _object_in(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@functools.cache
def warn_once(text: str) -> None:
    log.warning("%s", text)


def leaves(node: Any, separator: str = ".", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings, each with its path of keys; lists are not split.

    >>> list(leaves({"after": {"cer": 0.1}, "tags": ["a"]}, "/"))
    [('after/cer', 0.1), ('tags', ['a'])]
    """
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value
