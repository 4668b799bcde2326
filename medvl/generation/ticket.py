"""One prompt and its answer as far as it has come, and when an answer ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from medvl.types import Example

PERIOD, REPEATED = 50, 200  # an answer ends if its last 200 tokens repeat up to 50 tokens
CHECKED = 16  # tokens between two looks for repetition


@dataclass(eq=False, slots=True)
class Ticket:
    """One prompt and its answer as far as it has come."""

    example: Example
    """Images and prompt; the response is not used."""
    max_new_tokens: int
    ids: list[int] = field(default_factory=list)
    """Chosen tokens, including the end of the turn."""
    log_probabilities: list[float] = field(default_factory=list)
    """Of each chosen token, in nats."""
    finish_reason: str = ""
    """stop (the turn ended), length, repetition, cancelled; empty while the answer goes on."""
    input_ids: Tensor | None = None
    """The prompt, once it has a slot."""

    @property
    def prompt_tokens(self) -> int:
        return 0 if self.input_ids is None else len(self.input_ids)

    def cancel(self) -> None:
        """End the answer; its slot is free from the next step on."""
        self.finish_reason = self.finish_reason or "cancelled"

    def take(self, token: int, log_probability: float, ends: Collection[int]) -> None:
        """Add a token, and see whether the answer ends with it; one that has ended takes no more.

        Args:
            ends: Tokens that end a turn; empty: only `max_new_tokens` ends it.
        """
        if self.finish_reason:
            return
        self.ids.append(token)
        self.log_probabilities.append(log_probability)
        if token in ends:
            self.finish_reason = "stop"
        elif len(self.ids) >= self.max_new_tokens:
            self.finish_reason = "length"
        elif ends and len(self.ids) % CHECKED == 0 and repeats(self.ids):
            self.finish_reason = "repetition"


def repeats(ids: Sequence[int]) -> bool:
    """Return whether an answer does nothing but repeat its last tokens.

    >>> repeats([7] * 200), repeats([7, 8, 9] * 67), repeats(list(range(200)))
    (True, True, False)
    """
    if len(ids) < REPEATED:
        return False
    tail = np.asarray(ids[-REPEATED:])
    return any(bool((tail[period:] == tail[:-period]).all()) for period in range(1, PERIOD + 1))
