"""Asks `medvl serve` over HTTP, and says in words what went wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import httpx

WAIT_S = 600.0  # for an answer: longer than serve.seconds, after which the service ends it


class Trouble(Exception):
    """Something that a person can be told."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """A `medvl serve`.

    Args:
        url: Its address, without a path.
        key: What it wants as `Authorization: Bearer <key>`; None: nothing.
        transport: What answers in its place, in tests.
    """

    def __init__(self, url: str, key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # Pages go to this address only: no proxy of the environment, and no redirection.
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(WAIT_S, connect=5.0),
            trust_env=False,
            transport=transport,
        )

    def extract(self, files: Sequence[bytes], schema: str) -> dict[str, Any]:
        """Return the text of every page; with a schema, its fields instead."""
        return self._ask("POST", "/extract", files, {"schema": schema} if schema.strip() else {})

    def analyze(self, files: Sequence[bytes], prompt: str) -> dict[str, Any]:
        """Return the answer to a prompt about all pages together."""
        return self._ask("POST", "/analyze", files, {"prompt": prompt})

    def records(self) -> dict[str, Any] | None:
        """Return what was measured of the run that is served; None if none is."""
        try:
            return self._ask("GET", "/benchmark")
        except Trouble as error:
            if error.status == 404:
                return None
            raise

    def times(self) -> dict[str, tuple[int, float]]:
        """Return how often each endpoint was asked since the service was started, and its mean seconds."""
        text = self._send("GET", "/metrics").text
        found = {}
        for endpoint in ("/extract", "/analyze", "/v1/chat/completions"):
            line = rf'^medvl_request_seconds_(sum|count){{endpoint="{endpoint}"}} (\S+)$'
            known = {name: float(number) for name, number in re.findall(line, text, re.MULTILINE)}
            if known.get("count"):
                found[endpoint] = (int(known["count"]), known["sum"] / known["count"])
        return found

    def state(self) -> str:
        """Say whether requests are answered."""
        try:
            self._ask("GET", "/ready")
            models = self._ask("GET", "/v1/models")["data"]
        except Trouble as error:
            return str(error)
        return f"{models[0]['id']} at {self.url} is ready."

    def _ask(self, method: str, path: str, *body: Any) -> dict[str, Any]:
        answer = self._send(method, path, *body)
        found = _json(answer)
        if isinstance(found, dict):
            return found
        raise self._stranger(answer)

    def _send(
        self, method: str, path: str, files: Sequence[bytes] = (), fields: dict[str, str] | None = None
    ) -> httpx.Response:
        # The names that files have here are not sent: they may be a patient's.
        parts = [("files", (str(at), content, "application/octet-stream")) for at, content in enumerate(files, 1)]
        try:
            answer = self._client.request(method, path, files=parts or None, data=fields)
        except httpx.TimeoutException:
            raise Trouble(f"The service at {self.url} did not answer in time. Try again.") from None
        except httpx.ConnectError:
            raise Trouble(f"No service answers at {self.url}. Start one: medvl serve") from None
        except httpx.HTTPError as error:
            raise Trouble(f"The connection to {self.url} broke off ({type(error).__name__}). Try again.") from None
        if answer.status_code == 200:
            return answer
        body = _json(answer)
        problem = body.get("error") if isinstance(body, dict) else None
        if not isinstance(problem, dict):
            raise self._stranger(answer)
        said = str(problem.get("message") or "")
        raise Trouble(explained(answer.status_code, said, answer.headers.get("Retry-After")), answer.status_code)

    def _stranger(self, answer: httpx.Response) -> Trouble:
        return Trouble(f"What answers at {self.url} is not medvl serve (status {answer.status_code}).")


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def explained(status: int, message: str, retry_after: str | None) -> str:
    """Return what to tell a person about a refusal, and what mends it.

    >>> explained(429, "Too many requests wait already.", "3")
    'The service is busy. Too many requests wait already. Try again in 3 s.'
    """
    if status == 401:
        return "The service wants another key. Start this page with --key NAME, a variable that holds its key."
    lead = {
        413: "That is too much for the service. ",
        415: "The service cannot read this. ",
        429: "The service is busy. ",
        500: "The service failed. ",
        503: "The service is not ready. ",
        504: "The service took too long. ",
    }.get(status, "")
    again = ""
    if status in (429, 503, 504):
        again = f" Try again in {retry_after} s." if (retry_after or "").isdecimal() else " Try again later."
    if status == 413:
        again = " Send fewer or smaller pages, or start it with higher limits (serve.bytes, serve.pages, serve.pixels)."
    return f"{lead}{message or f'It said status {status}.'}{again}"
