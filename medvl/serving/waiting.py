"""What a request waits for: as long as its client does, and no longer than it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import ClientDisconnect

from medvl.serving.refusals import too_late

if TYPE_CHECKING:
    from starlette.requests import Request

    from medvl.serving.options import Serve

T = TypeVar("T")
LATE_S = 5.0  # after its deadline, for an engine that has not noticed it


def seconds_left(request: Request, options: Serve) -> float:
    """Return how long a request may still take.

    Raises:
        Refused: No longer.
    """
    left = float(request.scope["medvl.until"] - time.monotonic())
    if left <= 0:
        raise too_late()
    return min(left, options.seconds)


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """Wait for work as long as the client is there.

    Raises:
        ClientDisconnect: It has left; the work was cancelled.
        Refused: 504, the work took too long. A deadline within it comes first, and gives what there is.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    late = max(0.0, request.scope["medvl.until"] - time.monotonic()) + LATE_S
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED, timeout=late)
        if doing.done():
            return doing.result()
        if leaving.done():
            raise ClientDisconnect
        raise too_late()
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
