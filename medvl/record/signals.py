"""Signals that end a process: raised as an exception, so that everything is closed on the way out."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STARTING_OVER = "interrupted; the same command starts over"

_seen: list[int] = []
_reasons: list[str] = []  # why this process has ended itself


class Stopped(SystemExit):
    """A signal has asked the process to end; its code is 128 + the signal's number, as a shell reports it."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped on a signal while the block runs; a second Ctrl-C ends the process at once.

    It does nothing within another such block, or in a thread, where Python handles no signals.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is _stop:
        yield
        return
    _seen.clear()
    _reasons.clear()
    before = {number: signal.signal(number, _stop) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def heeded() -> list[signal.Signals]:
    """Return the signals that end a process, without SIGHUP under `nohup`."""
    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in ENDING if not (under_nohup and number == signal.SIGHUP)]


def leave_to_parent() -> None:
    """Let a worker process end with its parent, and by nothing else.

    A terminal sends signals to both, and the parent ends its workers itself. If it is killed, they exit, whatever they
    are doing.
    """
    import multiprocessing
    from multiprocessing import connection

    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_process(reason: str) -> None:
    """End this process as SIGTERM does, so that it saves first; its record tells the reason."""
    _reasons[:] = [reason]
    os.kill(os.getpid(), signal.SIGTERM)


def cause_of(code: object) -> str | None:
    """Return why a process ended with an exit status: the reason of `end_process`, or the name of the signal."""
    name = signal_in(code)
    return _reasons[0] if _reasons and name == signal.SIGTERM.name else name


def signal_in(code: object) -> str | None:
    """Return the name of the signal that an exit status stands for; None if it stands for none."""
    if isinstance(code, int) and code - 128 in set(signal.Signals):
        return signal.Signals(code - 128).name
    return None


def _stop(number: int, frame: FrameType | None) -> None:
    if _seen and number == signal.SIGINT:
        os._exit(128 + number)
    _seen.append(number)
    raise Stopped(128 + number)
