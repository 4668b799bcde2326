"""Imported first by every program: until its libraries are imported, a signal ends it at once, in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from multiprocessing import parent_process
from types import FrameType

from medvl.record.signals import STARTING_OVER, heeded, leave_to_parent

PROGRAMS = ("train.py", "evaluate.py", "benchmark.py", "medvl", "cli.py")


def _end(number: int, frame: FrameType | None) -> None:
    # Not raised: an exception within an import may be swallowed there, and nothing has to be closed yet.
    with contextlib.suppress(OSError):
        os.write(2, f"{STARTING_OVER}\n".encode())
    os._exit(128 + number)


if parent_process() is not None:  # a worker, which imports its parent's program too
    leave_to_parent()
elif os.path.basename(sys.argv[0]) in PROGRAMS:  # else a test or a notebook, which has handlers of its own
    for number in heeded():
        signal.signal(number, _end)
