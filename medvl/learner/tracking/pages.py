"""Examples as a service shows them: page, reference, answer, and what is wrong or missing in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medvl.differences import MISSING, SAME, WRONG, compared

SHOWN = 8  # examples of an evaluation that are shown
MARKS = {SAME: ("", ""), MISSING: ("[-", "-]"), WRONG: ("{+", "+}")}
TEXTS = ("id", "kind", "task", "page", "prompt", "reference", "prediction", "differences")


def shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that are shown, the same ones whenever the same examples are scored.

    Evenly spread: mixtures and generated forms lie in blocks, and the first ones would all be of a kind.
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
    """Return columns and cells, with one column a measure; `page` is the path of the image."""
    examples = shown(rows)
    measures = list(dict.fromkeys(name for example in examples for name in example["scores"]))
    cells = [
        [*(example[name] for name in TEXTS), *(example["scores"].get(name) for name in measures)]
        for example in examples
    ]
    return [*TEXTS, *measures], cells


def documents(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what is shown of every example, and that in Markdown."""
    for example in shown(rows):
        scores = ", ".join(f"{name} {value:.3f}" for name, value in example["scores"].items() if value is not None)
        parts = [f"### {example['id']}", f"{example['kind']}, {example['task']}; {scores}"]
        parts += [f"{name}\n\n{_block(example[name])}" for name in TEXTS[TEXTS.index("prompt") :]]
        yield example, "\n\n".join(parts) + "\n"


def _block(text: str) -> str:
    """Indent a text, so that Markdown leaves it alone."""
    return "\n".join(f"    {line}" for line in text.split("\n"))
