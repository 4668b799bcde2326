"""The page cache of files that will not be read again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def drop(files: Iterable[Path]) -> None:
    """Free the page cache of files, as far as no process maps them; needs no root.

    Where CPU and GPU share one memory, the cache of a checkpoint is a second copy of its weights, and what CUDA
    allocates competes with it. Files that cannot be opened are left out: this only saves memory.
    """
    for file in files:
        with contextlib.suppress(OSError):
            handle = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
