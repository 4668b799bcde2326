"""Requests that arrive at random times, as from many users: how long each waits."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvl.generation.engine import Engine
    from medvl.types import Example

PERCENTILES = (50, 95, 99)


def arrivals(
    engine: Engine, examples: Sequence[Example], *, count: int, per_s: float, rows: int, new_tokens: int
) -> dict[str, float]:
    """Time requests whose arrivals are a Poisson process, through the front, images decoded from files.

    Args:
        per_s: Mean arrivals a second.
        rows: The most answers in progress at a time.
        new_tokens: Tokens of every answer.

    Returns:
        Percentiles, in milliseconds from a request's arrival, of its first token and of its last; answers a second from
        the first arrival to the last answer.
    """
    import numpy as np

    from medvl.generation.front import Front

    asked = [examples[at % len(examples)] for at in range(count)]
    width = max(one.tokens - one.answer_tokens for one in asked) + new_tokens
    draw = random.Random(0)
    with Front(engine, rows=rows, width=width, queue=max(count, rows), endless=True) as front:
        for stream in [front.submit(asked[at % count], new_tokens) for at in range(rows)]:
            stream.result()  # captures the steps
        started = due = time.perf_counter()
        streams = []
        for one in asked:
            due += draw.expovariate(per_s)
            time.sleep(max(0.0, due - time.perf_counter()))
            streams.append(front.submit(one, new_tokens))
        for stream in streams:
            stream.result()
    ends = [stream.ended_s for stream in streams if stream.ended_s is not None]
    waits = {
        "first_token": [stream.first_s - stream.submitted_s for stream in streams if stream.first_s is not None],
        "answer": [end - stream.submitted_s for end, stream in zip(ends, streams, strict=True)],
    }
    times = {
        f"{name}_p{percent}_ms": 1e3 * float(np.percentile(seconds, percent))
        for name, seconds in waits.items()
        for percent in PERCENTILES
    }
    return {"count": count, "per_s": per_s, "answers_per_s": count / (max(ends) - started), **times}


def arrival_line(found: dict[str, float]) -> str:
    """Return one line about the times of `arrivals`."""
    parts = []
    for name, title in (("first_token", "first token"), ("answer", "answer")):
        times = " / ".join(f"{found[f'{name}_p{percent}_ms']:,.0f}" for percent in PERCENTILES)
        parts.append(f"{title} after {times} ms")
    return (
        f"{found['count']} requests, {found['per_s']:g} a second, at random: "
        f"{', '.join(parts)} (p50 / p95 / p99); {found['answers_per_s']:.2f} answers/s"
    )
