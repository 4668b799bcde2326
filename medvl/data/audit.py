"""Audit: does the training data match the evaluation data in legibility, layout, answers and token budget?

The baseline project trained on narrative notes shrunk until unreadable, and was tested on structured forms. Nobody
noticed before accuracy had dropped by ten points; this audit reports such a mismatch before the first step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from statistics import median
from typing import Any

from medvl.data.leaks import leaked_documents, words_of
from medvl.data.legibility import looks
from medvl.documents.render import READABLE_X_HEIGHT_PX
from medvl.record.text_table import grid
from medvl.types import Example

# Shares of examples above which a fault is reported; every large data set has a few such examples.
UNREADABLE_SHARE = 0.01
TRUNCATED_SHARE = 0.01
UNSEEN_SHARE = 0.25  # of evaluated examples whose kind, layout or task does not occur in training
SCALE_RATIO = 2.0  # between the two sides' median x-heights
ODD_LENGTHS = 0.5  # of a task's evaluated responses, outside the middle 90 % of the training lengths
ENOUGH = 5  # examples of a task needed on both sides before lengths are compared
STYLE_GAP = 0.3  # between the two sides' shares of words that contain a digit
UNKNOWN_WORDS = 0.5  # of the evaluated words, not in any training response


LARGER = "render=letter, or model.max_pixels higher"


class Audit(Enum):
    """What happens when the audit finds a fault."""

    warn = "warn"
    strict = "strict"  # train.py refuses
    off = "off"


@dataclass(slots=True)
class Side:
    """Statistics of one of the two sets of examples."""

    examples: int
    documents: int
    kinds: dict[str, float]
    """Share of the examples by kind; likewise for layouts and tasks."""
    layouts: dict[str, float]
    tasks: dict[str, float]
    x_height_px: list[float]
    """Of the smallest type of each example, after the image processor's resize; of ready pages an estimate of some."""
    visual_tokens: list[int]
    tokens: list[int]
    task_chars: dict[str, list[int]]
    """Response lengths in characters, by task."""
    words_with_digits: float
    """Share of all response words that contain a digit."""
    ready: int
    """Distinct images that medvl has not drawn; the next three are of those looked at that hold text."""
    lines: list[int]
    skew_deg: list[float]
    contrast: list[float]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Side:
        def shares(value: Callable[[Example], str]) -> dict[str, float]:
            counts = Counter(map(value, examples))
            return {name: count / len(examples) for name, count in counts.most_common()}

        words = [word for example in examples for word in example.response.split()]
        ready = [
            page
            for example in examples
            if example.x_height_px is None
            for page in zip(example.images, example.visual_tokens, strict=True)
        ]
        seen = looks(ready)
        known = [example.x_height_px for example in examples if example.x_height_px is not None]
        return cls(
            examples=len(examples),
            documents=len({example.document for example in examples}),
            kinds=shares(lambda example: example.kind),
            layouts=shares(lambda example: example.layout),
            tasks=shares(lambda example: example.task),
            x_height_px=[*known, *(look.x_height_px for look in seen)],
            ready=len(set(ready)),
            lines=[look.lines for look in seen],
            skew_deg=[look.skew_deg for look in seen],
            contrast=[look.contrast for look in seen],
            visual_tokens=[sum(example.visual_tokens) for example in examples],
            tokens=[example.tokens for example in examples],
            task_chars={
                task: [len(example.response) for example in examples if example.task == task]
                for task in sorted({example.task for example in examples})
            },
            words_with_digits=sum(any(sign.isdigit() for sign in word) for word in words) / max(1, len(words)),
        )

    @property
    def response_chars(self) -> list[int]:
        """Characters of all responses."""
        return [chars for of_task in self.task_chars.values() for chars in of_task]


@dataclass(slots=True)
class Report:
    """Statistics of both sides, their comparison, and the faults found."""

    train: Side
    evaluated: Side
    lost: int
    """Training examples dropped because they exceed the token budget."""
    cut: int
    """Training examples whose response was truncated to the budget."""
    budget: int
    unknown_words: float
    """Share of the words in evaluated responses that occur in no training response."""
    leaked: list[str]
    """Evaluated documents that are in the training data, or share most of their text with one training document."""
    faults: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        names = [fault.partition(":")[0] for fault in self.faults]
        return ", ".join(dict.fromkeys(names)) or "matched"

    def to_json(self) -> dict[str, Any]:
        """Return the audit with each distribution as minimum, 5 %, median, 95 % and maximum."""
        return {"verdict": self.verdict, **_summed_up(asdict(self))}

    def lines(self) -> list[str]:
        """Return the audit as readable lines: a table, the faults, the verdict."""
        rows = [["audit", "training", "evaluation"]]
        figures = FIGURES | (READY if self.train.ready or self.evaluated.ready else {})
        rows += [[name, *(figure(side) for side in (self.train, self.evaluated))] for name, figure in figures.items()]
        shared = [
            ["words evaluated that training never answers with", f"{self.unknown_words:.0%}"],
            ["documents evaluated that training holds", f"{len(self.leaked)} of {self.evaluated.documents}"],
            [f"training examples cut or dropped, longer than {self.budget} tokens", f"{self.cut + self.lost:,}"],
        ]
        return [grid(rows), grid(shared), *self.faults, f"verdict: {self.verdict}"]


def audit(
    train: Sequence[Example],
    evaluated: Sequence[Example],
    *,
    lost: int,
    cut: int,
    budget: int,
    memorised: bool = False,
    named: bool = True,
) -> Report:
    """Compare the training examples with the evaluated ones.

    Args:
        memorised: Whether training documents are evaluated on purpose; turns the leak check off.
        named: Whether the faults may name documents.
        lost, cut: Number of training examples dropped, or truncated, because they exceed `budget` tokens.
    """
    known = {word for example in train for word in words_of(example.response)}
    asked = [word for example in evaluated for word in words_of(example.response)]
    report = Report(
        train=Side.of(train),
        evaluated=Side.of(evaluated),
        lost=lost,
        cut=cut,
        budget=budget,
        unknown_words=sum(word not in known for word in asked) / max(1, len(asked)),
        leaked=[] if memorised else leaked_documents(train, evaluated),
    )
    report.faults = [*_unreadable(report), *_mismatched(report), *_truncated(report), *_leaks(report, named)]
    return report


def _unreadable(report: Report) -> list[str]:
    faults = []
    for name, side in (("training", report.train), ("evaluated", report.evaluated)):
        small = sum(height < READABLE_X_HEIGHT_PX for height in side.x_height_px)
        if small > UNREADABLE_SHARE * max(1, len(side.x_height_px)):
            faults.append(
                f"UNREADABLE: on {small / len(side.x_height_px):.0%} of the {name} pages an x is less than "
                f"{READABLE_X_HEIGHT_PX:.0f} px high after the processor's resize (median "
                f"{median(side.x_height_px):.1f} px, {median(side.visual_tokens):.0f} visual tokens). "
                f"Set {'model.max_pixels higher, or scan the pages larger' if side.ready else LARGER}."
            )
    return faults


def _mismatched(report: Report) -> list[str]:
    train, evaluated = report.train, report.evaluated
    faults = []
    for name in ("kinds", "layouts", "tasks"):
        learned: dict[str, float] = getattr(train, name)
        unseen = {what: share for what, share in getattr(evaluated, name).items() if what not in learned}
        if sum(unseen.values()) > UNSEEN_SHARE:
            faults.append(
                f"MISMATCHED: {sum(unseen.values()):.0%} of the evaluated examples have {name} that training lacks "
                f"({', '.join(unseen)}); it has {', '.join(list(learned)[:6])}."
            )
    if train.x_height_px and evaluated.x_height_px:
        ratio = median(evaluated.x_height_px) / median(train.x_height_px)
        if max(ratio, 1 / ratio) > SCALE_RATIO:
            faults.append(
                f"MISMATCHED: an x is {median(train.x_height_px):.1f} px high in training and "
                f"{median(evaluated.x_height_px):.1f} px in evaluation."
            )
    for task in (task for task in train.task_chars if task in evaluated.task_chars):
        learned_chars, asked_chars = train.task_chars[task], evaluated.task_chars[task]
        low, high = _middle(learned_chars)
        odd = sum(not low <= chars <= high for chars in asked_chars) / len(asked_chars)
        if min(len(learned_chars), len(asked_chars)) >= ENOUGH and odd > ODD_LENGTHS:
            faults.append(
                f"MISMATCHED: a response to {task} has {low} to {high} characters in training; {odd:.0%} of those "
                f"evaluated lie outside (median {median(asked_chars):.0f})."
            )
    if abs(evaluated.words_with_digits - train.words_with_digits) > STYLE_GAP:
        faults.append(
            f"MISMATCHED: {train.words_with_digits:.0%} of the words of a response hold digits in training, "
            f"{evaluated.words_with_digits:.0%} in evaluation."
        )
    if report.unknown_words > UNKNOWN_WORDS:
        faults.append(
            f"MISMATCHED: training never answers with {report.unknown_words:.0%} of the words that are evaluated."
        )
    return faults


def _truncated(report: Report) -> list[str]:
    total = report.train.examples + report.lost
    if report.lost + report.cut <= TRUNCATED_SHARE * total:
        return []
    return [
        f"TRUNCATED: of {total:,} training examples {report.cut:,} lost the end of their response to the budget of "
        f"{report.budget} tokens, and {report.lost:,} were dropped as longer. Set batch.tokens higher, or "
        "data.overlong=split."
    ]


def _leaks(report: Report, named: bool) -> list[str]:
    if not report.leaked:
        return []
    names = f" ({', '.join(report.leaked[:3])})" if named else ""
    return [
        f"LEAKED: {len(report.leaked)} of {report.evaluated.documents} evaluated documents stand in the training data, "
        f"whole or for the most part{names}."
    ]


def _most(shares: dict[str, float]) -> str:
    first = [f"{name} {share:.0%}" for name, share in list(shares.items())[:2]]
    return ", ".join(first) + (f", {len(shares) - 2} more" if len(shares) > 2 else "")


def _summed_up(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _summed_up(value) for key, value in node.items()}
    if isinstance(node, list) and node and not isinstance(node[0], str):
        return [min(node), _middle(node)[0], median(node), _middle(node)[1], max(node)]
    return node


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the middle 90 % of some values."""
    ranked = sorted(values)
    return ranked[len(ranked) // 20], ranked[-1 - len(ranked) // 20]


def _spread(values: Sequence[float], form: str = ".0f") -> str:
    if not values:
        return "n/a"
    low, high = _middle(values)
    return f"{median(values):{form}} ({low:{form}} to {high:{form}})"


FIGURES: dict[str, Callable[[Side], str]] = {
    "documents": lambda side: f"{side.documents:,}",
    "examples": lambda side: f"{side.examples:,}",
    "kinds": lambda side: _most(side.kinds),
    "layouts": lambda side: _most(side.layouts),
    "tasks": lambda side: _most(side.tasks),
    "x-height in px, median (5 to 95 %)": lambda side: _spread(side.x_height_px, ".1f"),
    "visual tokens": lambda side: _spread(side.visual_tokens),
    "tokens": lambda side: _spread(side.tokens),
    "characters a response": lambda side: _spread(side.response_chars),
    "words with digits": lambda side: f"{side.words_with_digits:.0%}",
}
# Of ready pages, which are looked at.
READY: dict[str, Callable[[Side], str]] = {
    "ready images; looked at and found to hold text": lambda side: f"{side.ready:,}; {len(side.lines)}",
    "lines of text a page": lambda side: _spread(side.lines),
    "skew in degrees": lambda side: _spread(side.skew_deg, ".1f"),
    "contrast of the ink, 0 to 1": lambda side: _spread(side.contrast, ".2f"),
}
