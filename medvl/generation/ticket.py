"""One prompt and its answer as far as it has come, and when an answer ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from medvl.generation.grammar import Constraint
    from medvl.generation.seen import Seen
    from medvl.types import Example

PERIOD, REPEATED = 50, 200  # an answer ends if its last 200 tokens repeat up to 50 tokens
CUT = ("length", "repetition", "deadline")
SAID = ("stop", *CUT)
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
    """Of each token, in nats, as if there was no grammar; 0 for one that the grammar forced."""
    masses: list[float] = field(default_factory=list)
    """The probability of all tokens that the grammar allowed, for each token; 1 without a grammar."""
    forced: list[bool] = field(default_factory=list)
    """Of each token, whether the grammar left no choice."""
    stepped: int = 0
    """How many forced tokens took a step of their own; the others were computed in passes, or not at all."""
    finish_reason: str = ""
    """stop (the turn ended), length, repetition, cancelled, failed; empty while the answer goes on."""
    constraint: Constraint | None = None
    """The grammar that the answer follows."""
    closed: int = 0
    """How many of the last tokens were added to make a cut answer whole."""
    unwritten: int = 0
    """How many of the last tokens, all of them forced, have no keys and values yet."""
    input_ids: Tensor | None = None
    """The prompt, once it has a slot."""
    grids: list[tuple[int, int]] = field(default_factory=list)
    """Rows and columns of the tokens of each image."""
    seen: Seen | None = None
    """Where the model looked, if the session was to tell."""

    @property
    def prompt_tokens(self) -> int:
        return 0 if self.input_ids is None else len(self.input_ids)

    def cancel(self) -> None:
        """End the answer; its slot is free from the next step on."""
        self.finish_reason = self.finish_reason or "cancelled"

    def begin(self) -> None:
        """Add the tokens with which the grammar begins."""
        if self.constraint is not None:
            self._force(self.constraint)
            self.unwritten = 0  # they become part of the prompt
            if not self.finish_reason and len(self.ids) >= self.max_new_tokens:
                self.finish_reason = "length"

    def take(self, token: int, log_probability: float, mass: float = 1.0, *, ends: Collection[int]) -> None:
        """Add a token and those that it forces, and see whether the answer ends; one that has ended takes no more.

        While forced tokens have no keys and values, the token is the first of them, and they are one fewer.

        Args:
            ends: Tokens that end a turn; empty: only `max_new_tokens` ends it.
        """
        if self.finish_reason:
            return
        if self.unwritten:  # the step wrote the first of them
            self.unwritten -= 1
            self.stepped += 1
            return
        if self.constraint is not None and self.constraint.broken:
            self.finish_reason = "failed"
            return
        before = len(self.ids)
        self._add([token], log_probability, mass, forced=False)
        if token in ends:
            self.finish_reason = "stop"
            return
        if self.constraint is not None:
            self.constraint.take(token)
            self._force(self.constraint)
        if not self.finish_reason and len(self.ids) >= self.max_new_tokens:
            self.finish_reason = "length"
        elif not self.finish_reason and ends and len(self.ids) // CHECKED > before // CHECKED and repeats(self.ids):
            self.finish_reason = "repetition"

    def close(self) -> None:
        """Make an answer whole that was cut off, as its grammar asks."""
        if self.constraint is not None and self.finish_reason in CUT and not self.constraint.broken:
            added = self.constraint.closing(self.ids)
            self.closed = len(added)
            self._add(added, 0.0, 1.0, forced=True)

    def _add(self, tokens: Sequence[int], log_probability: float, mass: float, *, forced: bool) -> None:
        self.ids += tokens
        self.log_probabilities += [log_probability] * len(tokens)
        self.masses += [mass] * len(tokens)
        self.forced += [forced] * len(tokens)

    def _force(self, constraint: Constraint) -> None:
        tokens = constraint.forced()
        self._add(tokens, 0.0, 1.0, forced=True)
        self.unwritten = len(tokens)
        if constraint.complete:
            self.finish_reason = "stop"
        elif constraint.broken:
            self.finish_reason = "failed"


def repeats(ids: Sequence[int]) -> bool:
    """Return whether an answer does nothing but repeat its last tokens.

    >>> repeats([7] * 200), repeats([7, 8, 9] * 67), repeats(list(range(200)))
    (True, True, False)
    """
    if len(ids) < REPEATED:
        return False
    tail = np.asarray(ids[-REPEATED:])
    return any(bool((tail[period:] == tail[:-period]).all()) for period in range(1, PERIOD + 1))
