"""What became of one document."""

from __future__ import annotations

from dataclasses import dataclass, field

from medvl.data.encoding import Encoder
from medvl.data.sources.dropped import Dropped
from medvl.types import Example, TaskSpec


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A ready page that the model sees smaller than it is."""

    limit: str
    """The option that it does not fit: batch.tokens or model.max_pixels."""
    scale: float
    """What is left of the height of its letters."""


@dataclass(slots=True)
class DocumentResult:
    """The result of preparing one document."""

    examples: list[Example] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    pages: int = 0
    ready: int = 0
    """Pages that the source supplied, rather than their text."""
    shrunk: list[Shrunk] = field(default_factory=list)
    whole_tokens: int = 0
    """Tokens of the longest example if no page had been shrunk to the budget."""
    split_pages: int = 0
    """Pages split in two or more because an example exceeded the token budget."""
    cut: int = 0
    """Examples whose response was truncated to the budget."""
    lost: int = 0
    """Examples dropped because they exceed the budget."""

    def admit(self, example: Example, encoder: Encoder, budget: int, asking: TaskSpec) -> None:
        """Add an example if it keeps the token budget, or can be cut to it."""
        if example.tokens > budget and asking.overlong == "cut":
            example = encoder.cut(example, budget)
            self.cut += example.tokens <= budget
        if example.tokens > budget:
            self.lost += 1
            reason = f"longer than {budget} tokens"
            if example.x_height_px is None:  # of a drawn page, the text alone is to blame
                reason += ": raise batch.tokens (or eval.tokens), or lower model.max_pixels"
            self.dropped.append(Dropped(example.id, reason, example.source))
        else:
            self.examples.append(example)
