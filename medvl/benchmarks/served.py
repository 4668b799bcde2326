"""What a served model takes: time to the first token, time per later token and latency, as its client sees them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvl.benchmarks.timings import timings
from medvl.generation.attempts import BUSY, Refused, said

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from medvl.benchmarks.model import ModelBench
    from medvl.generation.remote import RemoteEngine
    from medvl.types import Example


@dataclass(slots=True)
class Streamed:
    """One answer that came in pieces."""

    ticks: list[float]
    """Seconds from the request to each piece of text."""
    tokens: int
    """As the server counts them, else the pieces."""


def served(engine: RemoteEngine, examples: Sequence[Example], bench: ModelBench) -> dict[str, Any]:
    """Time streamed answers of a server, `bench.batch` requests at a time.

    Returns:
        Milliseconds: to the first token and per later token (medians over the answers), latency of a batch at p50, p95
        and p99; output tokens; tokens per second; and every sample. Requests are encoded before the clock starts.

    Raises:
        ValueError: The server refuses a request, or does not stream.
    """
    batches = asyncio.run(_batches(engine, examples, bench))
    answers = [one for together in batches for one in together]
    each = [
        1e3 * (one.ticks[-1] - one.ticks[0]) / (one.tokens - 1) for one in answers if len(one.ticks) > 1 < one.tokens
    ]
    if not each:
        raise ValueError(
            f"{engine.endpoint.place} sends its answers in one piece, so a token has no time of its own. "
            "Measure its latency by python evaluate.py engine=openai."
        )
    first = [1e3 * one.ticks[0] for one in answers if one.ticks]
    latency = [1e3 * max(one.ticks[-1] for one in together if one.ticks) for together in batches]
    return timings(first, each, latency, sum(one.tokens for one in answers))


async def _batches(engine: RemoteEngine, examples: Sequence[Example], bench: ModelBench) -> list[list[Streamed]]:
    fields = {"stream": True, "stream_options": {"include_usage": True}, **engine.served.endless}
    timed = []
    async with engine.endpoint.client() as client:
        for number in range(bench.warmup + bench.repeats):
            asked = [examples[(number * bench.batch + at) % len(examples)] for at in range(bench.batch)]
            bodies = [engine.request(one, bench.new_tokens, **fields) for one in asked]
            prompts = [one.prompt for one in asked]
            together = [_streamed(engine, client, *one) for one in zip(bodies, prompts, strict=True)]
            answers = await asyncio.gather(*together)
            if number >= bench.warmup and any(one.ticks for one in answers):
                timed.append(answers)
    return timed


async def _streamed(
    engine: RemoteEngine, client: AsyncClient, body: bytes, prompt: str, *, again: bool = True
) -> Streamed:
    """Time one answer.

    Args:
        again: Ask once more if the connection ends before the answer begins: servers end those that have stood idle.
    """
    import httpx2

    endpoint, kind = engine.endpoint, {"Content-Type": "application/json"}
    ticks: list[float] = []
    tokens = 0
    started = time.perf_counter()
    try:
        async with (
            asyncio.timeout(endpoint.seconds),
            client.stream("POST", "chat/completions", content=body, headers=kind) as response,
        ):
            if response.status_code in BUSY:
                raise ValueError(f"{endpoint.place} is busy (HTTP {response.status_code}). Set bench.batch=1, or wait.")
            if response.status_code != 200:
                await response.aread()
                raise endpoint.refusal(Refused(response.status_code, said(response, prompt)))
            async for line in response.aiter_lines():
                text, count = _piece(line)
                tokens = count or tokens
                if text:
                    ticks.append(time.perf_counter() - started)
    except TimeoutError:
        raise ValueError(
            f"{endpoint.place} gave no whole answer within {endpoint.seconds:g} s. "
            f"Set engine.seconds={2 * endpoint.seconds:g}, or bench.new_tokens={max(2, len(ticks))}."
        ) from None
    except httpx2.RequestError as error:
        if again and not ticks and isinstance(error, httpx2.RemoteProtocolError):
            return await _streamed(engine, client, body, prompt, again=False)
        raise endpoint.absent(f"the connection failed: {type(error).__name__}") from None
    return Streamed(ticks, tokens or len(ticks))


def _piece(line: str) -> tuple[str, int]:
    """Return the text in a line of a stream, and the tokens of the whole answer, 0 unless they are told there."""
    if not line.startswith("data:"):
        return "", 0
    try:
        told = json.loads(line.removeprefix("data:"))
        choices, usage = told.get("choices") or [{}], told.get("usage") or {}
        return str((choices[0].get("delta") or {}).get("content") or ""), int(usage.get("completion_tokens") or 0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        return "", 0  # as [DONE]
