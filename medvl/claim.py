"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FILE = ".lock"


@contextlib.contextmanager
def claimed(folder: Path, patience_s: float = 0.0, name: str = FILE) -> Iterator[None]:
    """Hold a folder while the block runs; the claim ends with the process, however that ends.

    Args:
        patience_s: How long to wait for another process to let go.
        name: The file that is locked.

    Raises:
        ValueError: Another process holds it.
    """
    deadline = time.monotonic() + patience_s
    while (file := _try(folder / name)) is None:
        if time.monotonic() >= deadline:
            raise ValueError(f"another process is at work in {folder}. Wait for it, or stop it first.")
        time.sleep(0.2)
    try:
        yield
    finally:
        (folder / name).unlink(missing_ok=True)
        file.close()


def is_claimed(folder: Path) -> bool:
    """Return whether a process is at work in a folder. Never ask in the process that holds it: that lets go."""
    path = folder / FILE
    try:
        with path.open() as file:
            return not _lock(file, fcntl.LOCK_SH)  # shared: two that ask do not take each other for a holder
    except (FileNotFoundError, PermissionError):
        return False


def _try(path: Path) -> IO[str] | None:
    """Return the locked file, or None where another process has it."""
    file = path.open("a")
    # Whoever held it before may have removed the file that was opened here: then the lock is on nothing.
    if _lock(file) and _is_there(file, path):
        return file
    file.close()
    return None


def _lock(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)  # POSIX: not inherited by workers, works on NFS
    except (BlockingIOError, PermissionError):  # what lockf says of a lock that is taken, see fcntl(2)
        return False
    return True


def _is_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
