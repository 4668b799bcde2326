"""What a model said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvl.generation.seen import Seen


@dataclass(slots=True)
class Answer:
    """What the model said on one example."""

    text: str
    ids: list[int]
    """Generated tokens, including the end-of-turn token."""
    finish_reason: str
    """stop (the turn ended by itself), length (the token limit), repetition, deadline (a server's), or failed."""
    log_probabilities: list[float]
    """Of each token, in nats, among all tokens; empty if transformers generated them."""
    masses: list[float] = field(default_factory=list)
    """The probability of all tokens that the grammar allowed, for each token."""
    forced: list[bool] = field(default_factory=list)
    """Of each token, whether its grammar left no choice; its log-probability then says nothing."""
    stepped: int = 0
    """How many forced tokens took a step of their own; passes over several computed the others, or nothing did."""
    seen: Seen | None = None
    """Where the model looked on its pages, if the engine was to tell."""
    closed: int = 0
    """How many of the last tokens were added to make a cut answer whole, as its grammar asks."""

    @property
    def finished(self) -> bool:
        return self.finish_reason == "stop"


def lines_of(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield warnings about a set of answers."""
    cut = sum(answer.finish_reason == "length" for answer in answers)
    if cut:
        yield f"{cut} of {len(answers)} answers were cut at the token limit (eval.max_new_tokens)"
    late = sum(answer.finish_reason == "deadline" for answer in answers)
    if late:
        yield f"{late} of {len(answers)} answers were cut at the server's time limit"
    loops = sum(answer.finish_reason == "repetition" for answer in answers)
    if loops:
        yield f"{loops} of {len(answers)} answers ended in a loop, repeating their last tokens"
