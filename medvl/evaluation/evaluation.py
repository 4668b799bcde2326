"""Evaluation: generate, score, write; the same before and after training and in evaluate.py."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from medvl.data.decoding import open_image
from medvl.data.sources.source import Source
from medvl.documents.render import Render
from medvl.geometry import MAX_IMAGE_PIXELS
from medvl.metrics import METRICS
from medvl.metrics.scoring import SCORING, score_if_known, unfit
from medvl.record.files import write_bytes
from medvl.types import Example

if TYPE_CHECKING:
    from medvl.generation.engine import Engine
    from medvl.generation.remote import RemoteEngine
    from medvl.readers.reader import ReadingEngine

    Answering: TypeAlias = Engine | RemoteEngine | ReadingEngine

log = logging.getLogger(__name__)

Scored = tuple[list[dict[str, Any]], dict[str, Any]]  # one row per example, and their summary


OPEN_TOKENS = 1024  # maximum of an answer of which nothing is known, unless configured


class MetricName(Enum):
    """Names of metrics."""

    @property
    def higher_is_better(self) -> bool:
        return METRICS[self.value].higher_is_better


if TYPE_CHECKING:
    Objective: TypeAlias = Any  # mypy reads no enumeration whose members are computed
else:
    Objective = MetricName("Objective", {name: name for name in METRICS})  # the number that a sweep optimises


class Split(Enum):
    """Which documents are scored."""

    minitrain = "minitrain"  # some training documents, to measure memorisation
    val = "val"  # to tune on
    test = "test"  # to report
    all = "all"  # every split, for data that are not trained on

    def __str__(self) -> str:
        return "all splits" if self is Split.all else f"the {self.value} split"


class Ablation(Enum):
    """What replaces the page; a score that does not drop did not come from reading it."""

    blank = "blank"  # white paper of the same size
    shuffled = "shuffled"  # the page of another document


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """What is generated and scored: the `eval` and `replay` config groups."""

    data: Source | None = None
    """A data set to score instead of the held-out training data; only its `split` is used."""
    render: Render | None = None
    """How its documents are drawn as pages; None: like the training data."""
    split: Split = Split.test
    """Which documents are scored."""
    tokens: int = 16384
    """Token budget per example of `data`; held-out training data use the budget of training."""
    limit: int | None = 24
    """Number of examples, spread evenly over the split; None: all of it."""
    max_new_tokens: int | None = None
    """Maximum tokens of an answer; None: a tenth more than the longest reference, 1024 if an answer is unknown."""
    batch: int | None = None
    """The most examples generated together; None: as many as are worth while and fit into the memory."""
    objective: Objective | None = None
    """What its examples are judged by; None: layout-free CER where pages are transcribed, else by their tasks."""
    constrained: bool = False
    """JSON answers follow their schema while they are generated; evaluate.py answers without as well, to compare."""
    before: bool = True
    """train.py: evaluate the base before training too."""

    def __post_init__(self) -> None:
        for name in ("limit", "max_new_tokens", "batch", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"eval.{name} must be positive, got {value}. Set eval.{name}=8.")
        if self.split is Split.all and self.data is None:
            raise ValueError("eval.split=all of the training data holds what is trained on. Set eval.split=test.")

    def chosen(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples of a split that are scored."""
        if self.limit is None or self.limit >= len(examples):
            return examples
        # Evenly spread: mixtures and generated forms come in blocks, and the first ones would all be of one kind.
        return [examples[at * len(examples) // self.limit] for at in range(self.limit)]

    def run(
        self,
        engine: Answering,
        examples: Sequence[Example],
        *,
        head_tokens: int = 0,
        bar: bool = True,
        tick: Callable[[int], Any] = lambda count: None,
    ) -> list[dict[str, Any]]:
        """Answer and score examples; returns one row each, for predictions.jsonl.

        Args:
            head_tokens: What an answer takes before its text.
            tick: Called with the number of answers that ended.
        """
        from tqdm.auto import tqdm

        from medvl.evaluation.constrained import schemas_of
        from medvl.generation.answer import lines_of

        longest = max(example.answer_tokens for example in examples)
        usual = round(1.1 * longest) + 1 + head_tokens
        most = self.max_new_tokens or (usual if all(one.response for one in examples) else max(usual, OPEN_TOKENS))
        if most < longest:
            log.warning("references have up to %d tokens: eval.max_new_tokens=%d cuts answers short", longest, most)
        hidden = None if bar else True  # None: shown on a terminal only
        with tqdm(total=len(examples), desc="evaluating", unit="page", disable=hidden, leave=False) as progress:
            started = time.perf_counter()
            schemas = schemas_of(examples) if self.constrained else None

            def ended(count: int) -> None:
                progress.update(count)
                tick(count)

            answers = engine.answers(examples, max_new_tokens=most, batch=self.batch, tick=ended, schemas=schemas)
        seconds = time.perf_counter() - started
        log.info("%d answers in %.1f s: %.2f a second", len(answers), seconds, len(answers) / seconds)
        for line in lines_of(answers):
            log.info(line)
        return [
            {
                "id": example.id,
                "document": example.document,
                "kind": example.kind,
                "layout": example.layout,
                "task": example.task,
                "dates": example.dates,
                "images": example.images,
                "prompt": example.prompt,
                "reference": example.response,
                "prediction": answer.text,
                "tokens": len(answer.ids),
                **({"forced": sum(answer.forced) - answer.stepped} if schemas else {}),
                "finished": answer.finished,
                "finish_reason": answer.finish_reason,
                "scores": score_if_known(example, answer.text),
                "scoring": SCORING,
            }
            for example, answer in zip(examples, answers, strict=True)
        ]


def ablated(
    examples: Sequence[Example], how: Ablation, pages: Path, max_image_pixels: int = MAX_IMAGE_PIXELS
) -> list[Example]:
    """Return the same questions without their pages.

    Args:
        pages: Folder for the blank pages.
        max_image_pixels: Image files with more pixels are refused.

    Raises:
        ValueError: All examples are of one document, so there is no other page.
    """
    if how is Ablation.blank:
        return [
            replace(one, images=[_blank(image, pages, max_image_pixels) for image in one.images]) for one in examples
        ]
    if len({example.document for example in examples}) < 2:
        raise ValueError("ablation=shuffled needs pages of two documents. Set eval.limit higher.")
    swapped = []
    for at, example in enumerate(examples):
        others = (examples[(at + step) % len(examples)] for step in range(1, len(examples)))
        swapped.append(_shown(example, next(other for other in others if other.document != example.document)))
    return swapped


def _shown(example: Example, other: Example) -> Example:
    """Return the question of one example about the pages of another."""

    def image_tokens(one: Example) -> int:
        return sum(one.visual_tokens) + 2 * len(one.images)  # with the marks of their starts and ends

    tokens = example.tokens - image_tokens(example) + image_tokens(other)
    return replace(example, images=other.images, visual_tokens=other.visual_tokens, tokens=tokens)


def _blank(image: str, pages: Path, max_image_pixels: int) -> str:
    from PIL import Image

    size = open_image(image, max_image_pixels).size
    path = pages / f"blank-{size[0]}x{size[1]}.png"
    if not path.exists():
        encoded = io.BytesIO()
        Image.new("L", size, 255).save(encoded, format="PNG")
        write_bytes(path, encoded.getvalue())
    return str(path)


def does_it_read(
    rows: Sequence[dict[str, Any]], without: Sequence[dict[str, Any]], how: Ablation, objective: str
) -> str:
    """Say whether a score depends on the page, by a paired comparison with the same questions without it.

    It reads if the whole interval of the difference says so, and does not read if none of the interval does.

    Args:
        rows: Scored with the pages; `without` are the same questions scored without them.
        objective: The metric to compare.
    """
    from medvl.metrics.confidence import enough, paired

    name = f"{how.value} page"
    differences = paired(without, rows)
    if objective not in differences:
        return f"{name}: {unfit(objective, differences, 'eval')}"
    found = differences[objective]
    title, better = METRICS[objective].title, METRICS[objective].higher_is_better
    numbers = f"{title} {100 * found.b:.2f} % with the page, {100 * found.a:.2f} % with a {name}"
    if found.low is not None and found.high is not None:
        numbers += (
            f" (difference {100 * found.difference:+.2f}, 95 % {100 * found.low:+.2f} to {100 * found.high:+.2f})"
        )
    prior = f" {100 * found.a:.1f} points survive without the page: a language prior." if better and found.a > 0 else ""
    if found.verdict == "better":
        return f"It reads: {numbers}.{prior}"
    if found.low is None or found.high is None or not enough(found.documents):
        count = f"{found.documents} document{' is' if found.documents == 1 else 's are'}"
        return f"Cannot tell whether it reads: {numbers}, but {count} too few. Set eval.limit higher.{prior}"
    if found.low < 0 < found.high:
        return f"Cannot tell whether it reads: {numbers}: the interval holds 0.{prior}"
    return f"It does not read, as far as can be told: {numbers}.{prior}"
