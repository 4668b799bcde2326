"""Around every request: who may ask, how much may be sent, and one line in the log, which holds numbers only."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from medvl.serving.refusals import Refused, problem, too_many_bytes
from medvl.serving.service import new_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from medvl.serving.service import Service

log = logging.getLogger(__name__)

OPEN = ("/health", "/ready")  # for whoever watches the process
LOCAL = ("localhost", "127.0.0.1", "[::1]")
LEFT = 499  # as nginx logs a client that has left; nobody receives it


class Guard:
    """Middleware: checks host, key, state and size before anything of a body is kept.

    Args:
        paths: Those that are counted by name.
    """

    def __init__(self, app: ASGIApp, *, service: Service, paths: frozenset[str]) -> None:
        self.app, self.service, self.paths = app, service, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, name = time.monotonic(), new_id("req")
        scope["medvl.until"] = started + self.service.options.seconds
        body = _Body(receive, self.service.options.bytes, scope["medvl.until"])
        status = LEFT

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"], headers["Cache-Control"] = name, "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._admit(scope, body, sending)
        except ClientDisconnect:
            status = LEFT
        except Exception as error:  # its place, and no value
            log.error("%s failed: %s at %s", name, type(error).__name__, _place(error))
            if status == LEFT:  # else the answer has begun, and breaks off
                await JSONResponse(problem(500, "The service failed on this request.", "failed"), 500)(
                    scope, receive, sending
                )
        finally:
            seconds, path = time.monotonic() - started, scope["path"]
            label = path if path in self.paths else "other"
            self.service.counts.requests.labels(label, str(status)).inc()
            self.service.counts.seconds.labels(label).observe(seconds)
            if label not in (*OPEN, "/metrics"):
                log.info("%s %s %d, %d bytes, %.3f s", name, label, status, body.bytes, seconds)

    async def _admit(self, scope: Scope, body: _Body, send: Send) -> None:
        try:
            self._check(scope)
            with self.service.admitted() if scope["method"] == "POST" else contextlib.nullcontext():
                await self.app(scope, body, send)
        except Refused as error:
            await JSONResponse(error.body(), error.status_code, headers=error.headers)(scope, body, send)

    def _check(self, scope: Scope) -> None:
        headers, options = Headers(scope=scope), self.service.options
        if self.service.secret is not None and scope["path"] not in OPEN:
            _check_key(headers.get("authorization", ""), self.service.secret)
        elif (
            self.service.secret is None
            and options.is_local
            and _host(headers.get("host", "")) not in (*LOCAL, options.host)
        ):
            # A page of the web whose name is made to point here could read what is answered.
            raise Refused(403, "Without a key, only requests to localhost are answered.", "foreign_host")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > options.bytes:
            raise too_many_bytes(options.bytes)


class _Body:
    """Receives a request's body as far as it is allowed, and in time."""

    def __init__(self, receive: Receive, most: int, until: float) -> None:
        self._receive, self._most, self._until = receive, most, until
        self._whole = False
        self.bytes = 0

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # the client leaves
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise Refused(408, "The request was sent too slowly.", "slow_request") from None
        self.bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self.bytes > self._most:
            raise too_many_bytes(self._most)
        return message


def _check_key(header: str, secret: str) -> None:
    scheme, _, sent = header.partition(" ")
    # Digests have one length: the time of the comparison tells nothing of the key.
    digests = [hashlib.sha256(text.encode()).digest() for text in (sent.strip(), secret)]
    if not hmac.compare_digest(*digests) or scheme.lower() != "bearer":
        raise Refused(401, "The key is missing or wrong: Authorization: Bearer <key>.", "bad_key")


def _host(header: str) -> str:
    name = header.lower().strip()
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
