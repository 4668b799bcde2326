"""The life of a server: it answers while the model is loaded, and ends what goes on before it stops."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from medvl.serving.service import Service

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

FLUSH_S = 5  # for answers that are complete and only have to be sent
QUIET = ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx")


@contextlib.contextmanager
def listening(service: Service, taken: socket.socket) -> Iterator[threading.Thread]:
    """Serve on a bound socket in a thread; when the block ends, by whatever, the service is closed first."""
    import uvicorn

    from medvl.serving.app import create_app

    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)  # access logs hold addresses as clients wrote them
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=FLUSH_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([taken],), name="http", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        service.close()
        server.should_exit = True
        thread.join(FLUSH_S + 5)
        taken.close()
