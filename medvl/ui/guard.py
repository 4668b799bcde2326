"""Around every request of the page: which hosts it answers to, and what a browser may load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Message = MutableMapping[str, Any]


class Guard:
    """ASGI middleware.

    Args:
        hosts: Names that the page has; None: any. A page of the web whose name is made to point here has another.
        policy: The Content-Security-Policy.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], hosts: Sequence[str] | None, policy: str) -> None:
        self.app, self.hosts = app, hosts
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if self.hosts is not None and host_of(dict(scope["headers"]).get(b"host", b"")) not in self.hosts:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body"})
            else:
                await send({"type": "websocket.close", "code": 1008})
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        await self.app(scope, receive, sending)


def host_of(header: bytes) -> str:
    """Return a Host header without its port.

    >>> host_of(b"[::1]:7860"), host_of(b"LOCALHOST:7860")
    ('[::1]', 'localhost')
    """
    name = header.decode("latin-1").strip().lower()
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
