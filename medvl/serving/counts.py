"""What Prometheus is told: numbers only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class Counts:
    """The counters of one service.

    Args:
        load: Returns how many requests wait, and how many answers go on.
    """

    def __init__(self, load: Callable[[], tuple[int, int]]) -> None:
        self.registry = CollectorRegistry()
        on: dict[str, Any] = {"registry": self.registry}
        labels = ("endpoint", "status")
        self.requests = Counter("medvl_requests", "Requests, by endpoint and status", labels, **on)
        self.seconds = Histogram(
            "medvl_request_seconds", "Time of a request to its end", ("endpoint",), buckets=SECONDS, **on
        )
        self.first_token = Histogram("medvl_first_token_seconds", "Time to the first token", buckets=SECONDS, **on)
        self.pages = Counter("medvl_pages", "Pages read", **on)
        self.prompt_tokens = Counter("medvl_prompt_tokens", "Tokens of prompts, images included", **on)
        self.answer_tokens = Counter("medvl_answer_tokens", "Tokens generated", **on)
        self.ends = Counter("medvl_answers", "Answers, by what ended them", ("reason",), **on)
        Gauge("medvl_waiting", "Pages and questions that wait", **on).set_function(lambda: load()[0])
        Gauge("medvl_answering", "Answers that go on", **on).set_function(lambda: load()[1])

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self.registry)
