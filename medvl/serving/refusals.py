"""Refusals: one form for every error, without a word of what the client sent."""

from __future__ import annotations

import math
from typing import Any

from starlette.exceptions import HTTPException

KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 403: "permission_error"}


class Refused(HTTPException):
    """A request that is not answered.

    Args:
        code: A word for programs.
        param: The field of the request that is meant.
        seconds: When to come back.
    """

    def __init__(
        self, status: int, message: str, code: str, *, param: str | None = None, seconds: float | None = None
    ) -> None:
        headers = {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers or None)
        self.code, self.param = code, param

    def body(self) -> dict[str, Any]:
        return problem(self.status_code, str(self.detail), self.code, self.param)


def problem(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error, as OpenAI's API has it."""
    message = message.encode("utf-8", "backslashreplace").decode()  # half a character cannot be sent
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def loading() -> Refused:
    return Refused(503, "The model is being loaded.", "loading", seconds=5)


def stopping() -> Refused:
    return Refused(503, "The service is stopping.", "stopping", seconds=30)


def too_late() -> Refused:
    return Refused(504, "The request took longer than it may, before its answer began.", "deadline")


def full(seconds: float) -> Refused:
    return Refused(429, "Too many requests wait already.", "queue_full", seconds=seconds)


def too_many_bytes(most: int) -> Refused:
    return Refused(413, f"The request has more than {most:,} bytes.", "too_many_bytes")
