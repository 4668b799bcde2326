"""Evaluation: generate, score, write; the same before and after training and in evaluate.py."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from medvl.measures import HIGHER_IS_BETTER, score
from medvl.types import Example

if TYPE_CHECKING:
    from medvl.engine import Engine

log = logging.getLogger(__name__)


class Objective(Enum):
    """The number that a sweep optimises."""

    combined = "combined"
    term = "term"
    value = "value"
    cer = "cer"
    exact = "exact"

    @property
    def higher_is_better(self) -> bool:
        return HIGHER_IS_BETTER[self.value]


class Split(Enum):
    """Which documents are scored."""

    train = "train"  # memorisation only
    val = "val"  # to tune on
    test = "test"  # to report


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """What is generated and scored."""

    split: Split = Split.test
    limit: int | None = 24
    """Examples, the first of the split; None: all of it."""
    max_new_tokens: int | None = None
    """Tokens an answer may have; None: a tenth more than the longest reference."""
    batch: int = 24
    """Examples generated together."""
    objective: Objective = Objective.cer
    before: bool = True
    """train.py: evaluate the base before training too."""

    def __post_init__(self) -> None:
        for name in ("limit", "max_new_tokens", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"eval.{name} must be positive, got {value}. Set eval.{name}=8.")

    def chosen(self, examples: Mapping[str, Sequence[Example]]) -> Sequence[Example]:
        """Return the examples to score, out of those of every split.

        Raises:
            ValueError: There is nothing to evaluate.
        """
        chosen = examples[self.split.value][: self.limit]
        if not chosen:
            raise ValueError(f"the {self.split.value} split is empty. Set eval.split=train, or data.limit=null.")
        return chosen

    def run(self, engine: Engine, examples: Sequence[Example], *, bar: bool = True) -> list[dict[str, Any]]:
        """Answer and score examples; returns one row each, for predictions.jsonl."""
        from tqdm.auto import tqdm

        from medvl.engine import lines_of

        longest = max(example.answer_tokens for example in examples)
        most = self.max_new_tokens or round(1.1 * longest) + 1
        if most < longest:
            log.warning("references have up to %d tokens: eval.max_new_tokens=%d cuts answers short", longest, most)
        hidden = None if bar else True  # None: shown on a terminal only
        with tqdm(total=len(examples), desc="evaluating", unit="page", disable=hidden, leave=False) as progress:
            answers = engine.answers(examples, max_new_tokens=most, batch=self.batch, tick=progress.update)
        for line in lines_of(answers):
            log.info(line)
        return [
            {
                "id": example.id,
                "images": example.images,
                "prompt": example.prompt,
                "reference": example.response,
                "prediction": answer.text,
                "tokens": len(answer.ids),
                "finished": answer.finished,
                **score(example.response, answer.text, example.terms, example.values),
            }
            for example, answer in zip(examples, answers, strict=True)
        ]
