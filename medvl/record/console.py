"""The terminal of a process: what it cannot show, or nobody reads any more, is no error; a signal ends in one line."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from medvl.record.files import folder_fault
from medvl.record.masking import masked
from medvl.record.signals import STARTING_OVER, Stopped, stoppable


class _Pipe(io.FileIO):
    """An output whose reader may leave, as `head` does; what is written then is lost without an error."""

    replaced: TextIO

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: the terminal was closed
                raise
            return memoryview(data).nbytes


class _Masked(io.TextIOWrapper):
    """A stream for what is not logged: Hydra's errors quote the command line."""

    def write(self, text: str) -> int:
        super().write(masked(text))
        return len(text)


@contextlib.contextmanager
def console() -> Iterator[None]:
    """Run a program in a block: a signal or an unusable folder ends it with one line and its exit status.

    Characters that the terminal lacks are printed as escapes.
    """
    sys.stdout, sys.stderr = _robust(sys.stdout), _robust(sys.stderr, _Masked)
    logging.raiseExceptions = False  # else a log on a full disk prints a traceback for every line
    try:
        with stoppable():
            yield
    except (Stopped, KeyboardInterrupt) as stop:
        print(STARTING_OVER, file=sys.stderr)
        code = stop.code if isinstance(stop, Stopped) else 128 + signal.SIGINT
        raise SystemExit(code) from None
    except OSError as error:
        sentence = folder_fault(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        raise SystemExit(2) from None


def _robust(stream: TextIO, kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> TextIO:
    """Return a stream that writes to the same file and never fails for its reader or its characters."""
    try:
        number = stream.fileno()
    except (OSError, AttributeError):  # a test's or a notebook's stream, or none at all
        return stream
    if isinstance(getattr(getattr(stream, "buffer", None), "raw", None), _Pipe):
        return stream
    stream.flush()
    pipe = _Pipe(number, "w", closefd=False)
    pipe.replaced = stream  # collected, it would close the file that both share
    return kind(
        io.BufferedWriter(pipe),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(stream.line_buffering or getattr(stream, "write_through", False)),
    )
