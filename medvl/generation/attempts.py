"""One request to a server over HTTP: how long it is waited for, when it is repeated, and what an error may quote."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from medvl.record.shape import tidy

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

BUSY = (429, 503)  # full, or still loading
LONGEST_WAIT_S = 30.0  # between attempts, unless the server names a longer one
QUOTED = 24  # characters of a prompt in a row that are no coincidence
_jitter = random.Random()  # apart from the generator that a run's seed sets


class Refused(Exception):
    """The server refuses a request, and would refuse it again."""

    def __init__(self, status: int, said: str = "") -> None:
        super().__init__(f"HTTP {status}{f': {said}' if said else ''}")
        self.status = status


class Failed(Exception):
    """A request has no answer after all attempts."""

    def __init__(self, why: str, *, reached: bool) -> None:
        super().__init__(why)
        self.reached = reached
        """Whether the server said something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    """How often and how long a request is tried."""

    seconds: float
    """Time limit of an attempt, and for how long a server that is busy or loading is asked again."""
    retries: int
    """How often a request is repeated after a timeout, a lost connection or a fault of the server."""

    async def send(self, client: AsyncClient, path: str, body: bytes | None = None, *, prompt: str = "") -> Any:
        """Return what the server answers, as plain containers.

        Args:
            body: JSON to post; None: get.
            prompt: What no error may quote, besides pages.

        Raises:
            Refused: It would refuse the same request again.
            Failed: There is no answer after all attempts.
        """
        started, faults, waits = time.monotonic(), 0, 0
        while True:
            answer = await self._attempt(client, path, body)
            if not isinstance(answer, Failed) and answer.status_code in BUSY:
                wait_s = _asked_wait_s(answer) or _backoff_s(waits)
                waits += 1
                if time.monotonic() - started + wait_s > self.seconds:
                    raise Failed(f"HTTP {answer.status_code} for {self.seconds:g} s", reached=True)
            else:
                if not isinstance(answer, Failed):
                    if answer.status_code < 500 and answer.status_code != 408:
                        return _content(answer, prompt)
                    answer = Failed(f"HTTP {answer.status_code}", reached=True)
                if faults >= self.retries:
                    raise answer
                wait_s = _backoff_s(faults)
                faults += 1
            await asyncio.sleep(wait_s)

    async def _attempt(self, client: AsyncClient, path: str, body: bytes | None) -> Response | Failed:
        import httpx2

        kind = {"Content-Type": "application/json"}
        try:
            async with asyncio.timeout(self.seconds):
                return await (client.get(path) if body is None else client.post(path, content=body, headers=kind))
        except (TimeoutError, httpx2.TimeoutException):
            return Failed(f"no answer within {self.seconds:g} s", reached=False)
        except httpx2.ConnectError:
            return Failed("no connection", reached=False)
        except httpx2.RequestError as error:  # its text may quote the address with its password
            return Failed(f"the connection failed: {type(error).__name__}", reached=False)


def _content(response: Response, prompt: str) -> Any:
    if response.status_code != 200:
        raise Refused(response.status_code, said(response, prompt))
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise Failed("an answer that is no JSON", reached=True) from None


def said(response: Response, prompt: str) -> str:
    """Return the server's own words on an error, unless they might quote a page or the prompt."""
    try:
        told = response.json()
    except (ValueError, RecursionError):
        return ""
    for key in ("error", "detail", "message", "msg"):  # of OpenAI, FastAPI, vLLM and pydantic
        told = told[0] if isinstance(told, list) and told else told
        told = told.get(key, told) if isinstance(told, dict) else told
    if not isinstance(told, str):
        return ""
    starts = range(max(1, len(prompt) - QUOTED + 1)) if prompt else ()
    if any(prompt[at : at + QUOTED] in told for at in starts) or re.search(r"[\w+/=-]{60}|data:", told):
        return ""
    return tidy(" ".join(told.split()))[:200]


def _asked_wait_s(response: Response) -> float:
    """Return for how long the server asks to wait, in seconds; 0 if it does not say."""
    asked = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(asked) if re.fullmatch(r"[\d.]+", asked) else _until_s(asked))
    except (ValueError, TypeError):
        return 0.0


def _until_s(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def _backoff_s(attempt: int) -> float:
    """Return a time between attempts that doubles, spread so that requests do not come back together."""
    return min(LONGEST_WAIT_S, 0.5 * 2.0 ** min(attempt, 10)) * _jitter.uniform(0.5, 1)
