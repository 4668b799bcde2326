"""A lock that lets only one process work in a run directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FILE = ".lock"


@contextlib.contextmanager
def locked(folder: Path, patience_s: float = 0.0, name: str = FILE) -> Iterator[None]:
    """Lock a folder while the block runs; the lock ends with the process, however that ends.

    Args:
        patience_s: How long to wait for another process to release the lock.
        name: The file that is locked.

    Raises:
        ValueError: Another process holds the lock, or another user left it.
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


def is_locked(folder: Path, name: str = FILE) -> bool:
    """Return whether a process has locked a folder. Never call it in that process: it would release the lock."""
    path = folder / name
    try:
        with path.open() as file:
            return not _lock(file, fcntl.LOCK_SH)  # shared, so that two simultaneous checks do not see each other
    except OSError:
        return False


def _try(path: Path) -> IO[str] | None:
    """Return the locked file; None if another process has locked it."""
    try:
        file = path.open("a")
    except PermissionError:
        if not _remove_foreign(path):
            return None
        file = path.open("a")
    # The previous holder may have deleted the file just opened; a lock on it would be worthless.
    if _lock(file) and _is_there(file, path):
        return file
    file.close()
    return None


def _remove_foreign(path: Path) -> bool:
    """Remove another user's lock; return False if a process still holds it.

    Raises:
        ValueError: It cannot be removed.
        PermissionError: There is no such file, and none may be created.
    """
    if not path.exists():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    with contextlib.suppress(OSError), path.open() as file:
        if not _lock(file, fcntl.LOCK_SH):
            return False
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"{path} belongs to another user: {error.strerror}. Have it deleted if no run is at work there."
        ) from error
    return True


def _lock(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)  # POSIX: not inherited by workers, works on NFS
    except (BlockingIOError, PermissionError):  # lockf's errors if the lock is taken, see fcntl(2)
        return False
    return True


def _is_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
