"""The life of a server: it answers while the model is loaded, and ends what goes on before it stops."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from medvl.serving.service import Service

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks at the engine
FLUSH_S = 5  # for answers that are complete and only have to be sent
IDLE_S = 75  # a connection is kept: httpx and openai reuse one for 5 s, and may send just as it would be closed then
QUIET = ("uvicorn", "uvicorn.error", "uvicorn.access", "python_multipart", "PIL")  # they quote what clients send


@contextlib.contextmanager
def listening(service: Service, taken: socket.socket) -> Iterator[threading.Event]:
    """Serve on a bound socket in a thread; when the block ends, by whatever, the service is closed first.

    What is yielded is set when the server has ended. It is waited for, not the thread: a signal that interrupts
    `Thread.join` makes Python 3.11 take the thread for ended.
    """
    import uvicorn

    from medvl.serving.app import create_app

    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=FLUSH_S,
    )
    server = uvicorn.Server(config)
    ended = threading.Event()

    def run() -> None:
        try:
            server.run([taken])
        finally:
            ended.set()

    threading.Thread(target=run, name="http", daemon=True).start()
    try:
        yield ended
    finally:
        service.close()
        server.should_exit = True
        ended.wait(FLUSH_S + 5)
        taken.close()


def wait(service: Service, ended: threading.Event) -> None:
    """Wait until a signal comes.

    Raises:
        RuntimeError: The server or the engine has ended by itself, so that whoever watches the process starts it anew.
    """
    while not ended.wait(LOOK_S):
        if service.front is not None and service.front.stalled_s == math.inf:
            raise RuntimeError("the engine has ended by itself; the log says why")
    raise RuntimeError("the server has ended by itself; the log says why")
