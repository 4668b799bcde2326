"""The metrics that apply to one example, their sums over a set, and summaries side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from medvl.metrics import extraction, text
from medvl.metrics.registry import METRICS
from medvl.record.text_table import grid
from medvl.types import DateOrder, Example

Sums = dict[str, tuple[float, float]]
# Scores are rounded to multiples of 1 / GRAIN. Their sums are exact in float64 up to 2**17 = 131,072 rows (sums of
# whole numbers up to 2**53), so neither the order of the rows nor their spread over processes changes a digit.
GRAIN = 2**36
CHIEF = ("cer_text", "field_f1", "answer", "token_f1", "anls_star")  # objectives that fit a task, in this order

SCORING = 3  # in every scored row; increase it when the same answer would get other scores


def score(example: Example, prediction: str) -> Sums:
    """Score one prediction by every metric that applies to the example's task and references.

    Returns:
        Metric to (numerator, denominator > 0); the metric of a set is the ratio of their sums.
    """
    task, reference = example.task, example.response
    scores: Sums = {}
    if task not in ("question", "list", "vqa"):
        scores |= _found(example, prediction)
    if task != "json":
        scores["cer_text"] = text.character_errors(*map(text.layout_free, (reference, prediction)))
        scores["cer"] = text.character_errors(reference, prediction)
        scores["wer"] = text.word_errors(reference, prediction)
        scores["exact"] = (reference.strip() == prediction.strip(), 1)
    if task in ("question", "vqa", "caption"):
        scores |= _short(example, prediction)
    if task in ("json", "list"):
        scores["anls_star"] = (_anls_star(example, prediction), 1)
    scores |= _facts(example, prediction)
    return {name: (float(above), float(below)) for name, (above, below) in scores.items() if below}


def score_if_known(example: Example, prediction: str) -> Sums:
    """Score one prediction; nothing is scored where no answer is known (the pages are only asked about)."""
    return score(example, prediction) if example.response else {}


def _found(example: Example, prediction: str) -> Sums:
    """Score the terms and values that are listed for the example."""
    scores: Sums = {}
    order = DateOrder[example.dates]
    source = [text.Said.of(one, order) for one in (example.response, example.page_text)]
    said = text.Said.of(prediction, order)
    for suffix, strict in (("", False), ("_strict", True)):
        shares = {
            "term": text.found_share(example.terms, said, strict=strict, reference=source),
            "value": text.found_share(example.values, said, strict=strict, reference=source),
        }
        known = {name: share for name, share in shares.items() if share is not None}
        scores |= {f"{name}{suffix}": (share, 1) for name, share in known.items()}
        if known:
            scores[f"combined{suffix}"] = (sum(known.values()) / len(known), 1)
    return scores


def _short(example: Example, prediction: str) -> Sums:
    """Score an answer of a few words."""
    reference, expected = example.response, text.plain(example.response)
    scores: Sums = {"token_f1": (text.token_f1(reference, prediction), 1)}
    if example.task == "caption":
        return scores
    right = expected == text.plain(prediction)
    scores |= {"anls": (text.anls([reference], prediction), 1), "answer": (right, 1)}
    if example.task == "vqa":
        closed = expected in ("yes", "no")
        scores["yes_no" if closed else "open"] = (text.says_yes_or_no(prediction) == expected if closed else right, 1)
    return scores


def _facts(example: Example, prediction: str) -> Sums:
    """Score the facts, and the values that are not on the page."""
    scores: Sums = {}
    order = DateOrder[example.dates]
    answer = extraction.json_answer(prediction, example.fields) if example.task == "json" else None
    if example.task == "json":
        scores["invalid_json"] = (answer is None, 1)
    if example.task in ("extract", "json") and example.fields:
        if answer is not None:
            scores |= extraction.facts_in_json(example.fields, answer, order).scores()
        else:
            texts = [example.page_text] if example.task == "json" else [example.response, example.page_text]
            scores |= extraction.facts_in_text(example.fields, prediction, texts, order).scores()
    # Where only labels are known, what none of them says counts as invented.
    labels = [field.value for field in example.fields] if example.task in ("extract", "json") else []
    if page_text := example.page_text or "\n".join(labels):
        said = extraction.stated_values(prediction, order)
        if answer is not None:
            said = [leaf for leaf in extraction.leaves(answer) if not isinstance(leaf, bool)]
        scores["invented"] = (extraction.invented(said, page_text, order), len(said))
    return scores


def _anls_star(example: Example, prediction: str) -> Any:
    """Return ANLS* (Peer et al., arXiv:2402.03848) by its authors' package, in [0, 1]."""
    from anls_star import anls_score

    if example.task == "list":
        return anls_score(entries(example.response), entries(prediction))
    said = extraction.json_answer(prediction, example.fields)
    if said is None:
        return 0.0
    expected = extraction.nested(example.fields) if example.fields else extraction.json_object(example.response)
    return anls_score({} if expected is None else expected, said)


def entries(written: str) -> list[str]:
    """Return the entries of a list, one per line or separated by commas or semicolons, without bullets and numbers.

    >>> entries("1. aspirin 81 mg\\n- heparin 1,200 units; statin")
    ['aspirin 81 mg', 'heparin 1,200 units', 'statin']
    """
    parts = (re.sub(r"^\s*(?:[-*\u2022]\s+|\d{1,2}[.)]\s+)", "", part) for part in re.split(r"\n|;|,(?!\d)", written))
    return [part.strip() for part in parts if part.strip()]


def summarize(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | int]:
    """Summarise the scored predictions of a set.

    Args:
        rows: Each holds `document` and `scores`, what `score` returned or its JSON.

    Returns:
        The value of every metric that any row has, in the order of METRICS, then `examples` and `documents`.
    """
    rows = list(rows)
    scores = shares(sums(row["scores"] for row in rows))
    return {**scores, "examples": len(rows), "documents": len({row["document"] for row in rows})}


def sums(scores: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Add up rows that map metrics to (numerator, denominator).

    Raises:
        ValueError: A metric is not one of METRICS.
    """
    totals: dict[str, list[float]] = {}
    for row in scores:
        for name, (above, below) in row.items():
            total = totals.setdefault(name, [0.0, 0.0])
            total[0] += round(above * GRAIN) / GRAIN if math.isfinite(above) else math.nan
            total[1] += below
    if unknown := totals.keys() - METRICS.keys():
        raise ValueError(f"there is no measure {', '.join(sorted(unknown))}; there are {', '.join(METRICS)}")
    return totals


def shares(totals: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the ratio of every metric whose denominator is not 0, in the order of METRICS."""
    known = {name: totals[name] for name in METRICS if name in totals}
    return {name: above / below for name, (above, below) in known.items() if below}


def unfit(objective: str, known: Collection[str], option: str) -> str:
    """Say that an objective does not apply, and which one would.

    Args:
        known: The metrics that apply.
        option: The evaluation that has the objective: eval or replay.
    """
    better = next((name for name in CHIEF if name in known), None)
    return f"{objective} does not apply." + (f" Set {option}.objective={better}." if better else "")


def headline(summary: Mapping[str, Any], objective: str) -> dict[str, Any]:
    """Return what the table of a sweep shows of a summary: the objective, and what a transcription is judged by."""
    return {name: summary.get(name) for name in dict.fromkeys((objective, "cer_text", "combined", "exact"))}


def summary_table(
    columns: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, tuple[float, float] | None]] | None = None,
) -> str:
    """Lay summaries out side by side, as text in percent; two summaries get their difference in points as well.

    Args:
        columns: Heading to `summarize`'s result.
        intervals: Heading to `intervals`' result, for any of the headings.

    >>> print(summary_table({"test": {"cer": 0.165, "exact": 0.5}}, {"test": {"cer": (0.138, 0.199)}}))
                                          test
    character error rate  16.50 % [13.8, 19.9]
    exact match                        50.00 %
    """
    headings = list(columns)
    two = len(headings) == 2
    rows = [["", *headings, "change"] if two else ["", *headings]]
    for name, measure in METRICS.items():
        values: list[Any] = [columns[heading].get(name) for heading in headings]
        if all(value is None for value in values):
            continue
        known = [(intervals or {}).get(heading, {}).get(name) for heading in headings]
        cells = [percent(value, interval) for value, interval in zip(values, known, strict=True)]
        if two and None not in values:
            cells.append(f"{100 * (values[1] - values[0]):+.2f}")
        rows.append([measure.title, *cells])
    return grid(rows) if len(rows) > 1 else "no measure applies; predictions.jsonl holds the answers"


def percent(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """Write a share in percent, with its interval.

    >>> percent(0.835, (0.801, 0.862)), percent(None)
    ('83.50 % [80.1, 86.2]', 'n/a')
    """
    if value is None or math.isnan(value):
        return "n/a"
    return f"{100 * value:.2f} %" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")
