"""Examples as trackers show them: page, reference, answer, and what is wrong or missing in the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medvl.evaluation.answer_diff import MISSING, SAME, WRONG, compared

SHOWN = 8  # examples shown per evaluation
MARKS = {SAME: ("", ""), MISSING: ("[-", "-]"), WRONG: ("{+", "+}")}
TEXTS = ("id", "kind", "task", "page", "prompt", "reference", "prediction", "differences")


def shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows to show, which are the same for the same examples.

    They are evenly spaced: mixtures and generated forms are ordered by kind, and the first ones would all be alike.
    """
    count = min(SHOWN, len(rows))
    return [_shown(rows[at * len(rows) // count]) for at in range(count)]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    texts = {name: row[name] for name in TEXTS if name in row}
    scores = {name: above / below if below else None for name, (above, below) in row["scores"].items()}
    marked = _marked(row["reference"], row["prediction"])
    return {**texts, "page": row["images"][0], "differences": marked, "scores": scores}


def _marked(reference: str, answer: str) -> str:
    """Return a reference and an answer as one text: [-missing from it-] {+wrong or invented+}."""
    pieces = compared(reference, answer)
    return "".join(f"{MARKS[piece.kind][0]}{piece.text}{MARKS[piece.kind][1]}" for piece in pieces)


def table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return columns and cells, with one column per metric; `page` is the path of the image."""
    examples = shown(rows)
    metrics = list(dict.fromkeys(name for example in examples for name in example["scores"]))
    cells = [
        [*(example[name] for name in TEXTS), *(example["scores"].get(name) for name in metrics)] for example in examples
    ]
    return [*TEXTS, *metrics], cells


def documents(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every example to show, and its Markdown."""
    for example in shown(rows):
        scores = ", ".join(f"{name} {value:.3f}" for name, value in example["scores"].items() if value is not None)
        parts = [f"### {example['id']}", f"{example['kind']}, {example['task']}; {scores}"]
        parts += [f"{name}\n\n{_block(example[name])}" for name in TEXTS[TEXTS.index("prompt") :]]
        yield example, "\n\n".join(parts) + "\n"


def _block(text: str) -> str:
    """Indent a text so that Markdown shows it verbatim."""
    return "\n".join(f"    {line}" for line in text.split("\n"))


def joined(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], Any]]:
    """Return the examples to show of an evaluation, each with the same one of an earlier evaluation."""
    earlier = {row["id"]: _shown(row) for row in before}
    return [(example, earlier[example["id"]]) for example in shown(after) if example["id"] in earlier]


def compared_table(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> tuple[list[str], list[list[Any]]]:
    """Return columns and cells of two evaluations of the same examples: both answers, and of every metric its change.

    A change is after - before, whichever is better.
    """
    pairs = joined(before, after)
    metrics = list(dict.fromkeys(name for pair in pairs for name in pair[0]["scores"] if name in pair[1]["scores"]))
    told = [name for name in TEXTS if name not in ("prediction", "differences")]
    cells = []
    for now, then in pairs:
        scores = [(then["scores"].get(name), now["scores"].get(name)) for name in metrics]
        changes = [(a, b, b - a if a is not None and b is not None else None) for a, b in scores]
        texts = [then["prediction"], now["prediction"], then["differences"], now["differences"]]
        cells.append([*(now[name] for name in told), *texts, *(value for one in changes for value in one)])
    columns = [f"{name} {when}" for name in metrics for when in ("before", "after", "change")]
    return [*told, "before", "after", "differences before", "differences after", *columns], cells


def compared_documents(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every example to show of two evaluations, and its Markdown."""
    for now, then in joined(before, after):
        both = ((name, then["scores"].get(name), value) for name, value in now["scores"].items())
        scores = ", ".join(f"{name} {a:.3f} to {b:.3f}" for name, a, b in both if a is not None and b is not None)
        parts = [f"### {now['id']}", f"{now['kind']}, {now['task']}; {scores}"]
        texts = {"prompt": now["prompt"], "before": then["differences"], "after": now["differences"]}
        yield now, "\n\n".join([*parts, *(f"{name}\n\n{_block(text)}" for name, text in texts.items())]) + "\n"
