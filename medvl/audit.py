"""Does the training data match what is evaluated? Read pages, arrangement, answers and budget, side by side.

The seed project trained on narrative notes shrunk until unreadable and tested on structured forms; nothing said so
until its accuracy had fallen by ten points. This is what would have said so before the first step.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from statistics import median
from typing import Any

from medvl.documents.render import READABLE_X_HEIGHT_PX
from medvl.table import grid
from medvl.types import Example

# A share of the examples from which on a fault is called one; below it lies what every large set has.
UNREADABLE_SHARE = 0.01
TRUNCATED_SHARE = 0.01
UNSEEN_SHARE = 0.25  # of evaluated examples whose kind, layout or task does not occur in training
SCALE_RATIO = 2.0  # between the two sides' median x-heights
ODD_LENGTHS = 0.5  # of a task's evaluated responses, those outside the lengths of 90 % of training's
ENOUGH = 5  # examples of a task on both sides, for its lengths to say anything
STYLE_GAP = 0.3  # between their shares of words that hold a digit
UNKNOWN_WORDS = 0.5  # of the words evaluated, those that training never answers with
LEAKED = 0.5  # of a document's 5-word shingles, those that stand in one training document
COMMON = 50  # training documents that hold a shingle, from which on it is boilerplate


class Audit(Enum):
    """What a fault leads to."""

    warn = "warn"
    strict = "strict"  # train.py refuses
    off = "off"


@dataclass(slots=True)
class Side:
    """One of the two sets of examples, in figures."""

    examples: int
    documents: int
    kinds: dict[str, float]
    """Shares of the examples, as in layouts and tasks."""
    layouts: dict[str, float]
    tasks: dict[str, float]
    x_height_px: list[float]
    """Of each example's page, after the image processor's resize."""
    visual_tokens: list[int]
    tokens: list[int]
    task_chars: dict[str, list[int]]
    """Characters of the responses, by task."""
    words_with_digits: float
    """Share of the words of all responses."""

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Side:
        def shares(value: Callable[[Example], str]) -> dict[str, float]:
            counts = Counter(map(value, examples))
            return {name: count / len(examples) for name, count in counts.most_common()}

        words = [word for example in examples for word in example.response.split()]
        return cls(
            examples=len(examples),
            documents=len({example.document for example in examples}),
            kinds=shares(lambda example: example.kind),
            layouts=shares(lambda example: example.layout),
            tasks=shares(lambda example: example.task),
            x_height_px=[example.x_height_px for example in examples if example.x_height_px is not None],
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
    """Both sides, what connects them, and the faults found."""

    train: Side
    evaluated: Side
    lost: int
    """Training examples that were dropped because they are longer than the budget."""
    cut: int
    """Training examples whose response lost its end to it."""
    budget: int
    unknown_words: float
    """Share of the words of the evaluated responses that no training response holds."""
    leaked: list[str]
    """Evaluated documents that training holds, or most of whose text stands in one training document."""
    faults: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        names = [fault.partition(":")[0] for fault in self.faults]
        return ", ".join(dict.fromkeys(names)) or "matched"

    def to_json(self) -> dict[str, Any]:
        """Return the audit with its distributions as least, 5 %, median, 95 % and most."""
        return {"verdict": self.verdict, **_summed_up(asdict(self))}

    def lines(self) -> list[str]:
        """Return the audit as lines for people: a table, the faults, the verdict."""
        rows = [["audit", "training", "evaluation"]]
        rows += [[name, *(figure(side) for side in (self.train, self.evaluated))] for name, figure in FIGURES.items()]
        shared = [
            ["words evaluated that training never answers with", f"{self.unknown_words:.0%}"],
            ["documents evaluated that training holds", f"{len(self.leaked)} of {self.evaluated.documents}"],
            [f"training examples cut or dropped, longer than {self.budget} tokens", f"{self.cut + self.lost:,}"],
        ]
        return [grid(rows), grid(shared), *self.faults, f"verdict: {self.verdict}"]


def audit(
    train: Sequence[Example], evaluated: Sequence[Example], *, lost: int, cut: int, budget: int,
    memorised: bool = False, named: bool = True,
) -> Report:  # fmt: skip
    """Compare what is trained with what is evaluated.

    Args:
        memorised: Whether documents trained on are evaluated on purpose.
        named: Whether documents may be named.
        lost, cut: Training examples that were dropped, or whose response was cut, as longer than `budget` tokens.
    """
    known = {word for example in train for word in _words(example.response)}
    asked = [word for example in evaluated for word in _words(example.response)]
    report = Report(
        train=Side.of(train),
        evaluated=Side.of(evaluated),
        lost=lost,
        cut=cut,
        budget=budget,
        unknown_words=sum(word not in known for word in asked) / max(1, len(asked)),
        leaked=[] if memorised else _leaked(train, evaluated),
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
                "Set render=letter, or model.max_pixels higher."
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


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case; numbers are no vocabulary."""
    return re.findall(r"[^\W\d_]{2,}", text.lower())


def _shingles(text: str) -> set[int]:
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[at : at + 5])) for at in range(len(words) - 4)}


def _leaked(train: Sequence[Example], evaluated: Sequence[Example]) -> list[str]:
    """Return the evaluated documents that training holds, or most of whose text stands in one of its documents."""
    trained = dict.fromkeys(example.document for example in train)
    holders: dict[int, set[str]] = {}
    for document, text in dict.fromkeys((example.document, example.page_text) for example in train):
        for shingle in _shingles(text):
            holders.setdefault(shingle, set()).add(document)
    texts: dict[str, set[int]] = {}
    for example in evaluated:
        texts.setdefault(example.document, set()).update(_shingles(example.page_text))
    leaked = []
    for document, shingles in texts.items():
        shared = Counter(
            holder for shingle in shingles if len(found := holders.get(shingle, ())) < COMMON for holder in found
        )
        most = max(shared.values(), default=0)
        if document in trained or most > LEAKED * max(1, len(shingles)):
            leaked.append(document)
    return leaked


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
