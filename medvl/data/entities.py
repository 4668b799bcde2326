"""Labels and text of a form whose words are marked as entities that are linked: FUNSD's annotations.

    {"form": [{"id": 0, "text": "DATE:", "label": "question", "linking": [[0, 1]], "box": [l, t, r, b], "words": []},
              {"id": 1, "text": "3/14/24", "label": "answer", "linking": [[0, 1]], "box": [l, t, r, b], "words": []}]}

Source:
    Jaume et al., FUNSD: a dataset for form understanding in noisy scanned documents, arXiv:1905.13538.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Word = tuple[str, float, float, float, float]  # text; left, top, right, bottom in pixels


def is_form(labels: Any) -> bool:
    """Whether labels are such an annotation."""
    form = labels.get("form") if isinstance(labels, dict) else None
    return isinstance(form, list) and bool(form) and all(isinstance(one, dict) and "linking" in one for one in form)


def labels_of_form(labels: dict[str, Any]) -> dict[str, Any]:
    """Return the answers under their questions, and those under the header that is linked to them.

    A question without an answer is left out, as is an answer without a question; several answers are a list.

    >>> marks = [("question", "DATE:", [[0, 1]]), ("answer", "3/14/24", [[0, 1]]), ("question", "TO:", [])]
    >>> labels_of_form({"form": [{"id": at, "label": label, "text": text, "linking": linking}
    ...                          for at, (label, text, linking) in enumerate(marks)]})
    {'DATE': '3/14/24'}
    """
    entities = {one.get("id"): one for one in labels["form"]}
    linked = sorted({(pair[0], pair[1]) for one in labels["form"] for pair in one["linking"] or () if len(pair) == 2})
    found: dict[str, Any] = {}
    for identity, entity in entities.items():
        key = _text(entity).rstrip(" :")
        answers = [
            _text(entities[other]) for one, other in linked if one == identity and _is(entities, other, "answer")
        ]
        answers = [answer for answer in answers if answer]
        if entity.get("label") != "question" or not key or not answers:
            continue
        header = next(
            (_text(entities[one]) for one, other in linked if other == identity and _is(entities, one, "header")), ""
        )
        held = found.setdefault(header.rstrip(" :"), {}) if header else found
        group = held if isinstance(held, dict) else found  # the header may also be a question
        group[key] = [*_listed(group.get(key)), *answers] if key in group or len(answers) > 1 else answers[0]
    return found


def loose_answers(labels: dict[str, Any]) -> list[str]:
    """Return the ids of the answers of a form to which no question is linked; none if the labels are no form."""
    form = labels["form"] if is_form(labels) else []
    asking = {one.get("id") for one in form if one.get("label") == "question"}
    return [
        f"entity {one.get('id')}"
        for one in form
        if one.get("label") == "answer" and not any(set(pair) & asking for pair in one["linking"] or ())
    ]


def _is(entities: dict[Any, Any], identity: Any, label: str) -> bool:
    return entities.get(identity, {}).get("label") == label


def _listed(held: Any) -> list[Any]:
    return held if isinstance(held, list) else [] if held is None else [held]


def _text(entity: dict[str, Any]) -> str:
    return " ".join(str(entity.get("text") or "").split())


def text_of_form(labels: dict[str, Any]) -> str:
    """Return all words of a form by their boxes: line by line, from left to right."""
    words = sorted(_words(labels), key=lambda word: (word[2] + word[4], word[1]))
    lines: list[list[Word]] = []
    for word in words:
        centre = (word[2] + word[4]) / 2
        if lines and centre < lines[-1][0][4]:
            lines[-1].append(word)
        else:
            lines.append([word])
    return "\n".join(" ".join(word[0] for word in sorted(line, key=lambda word: word[1])) for line in lines)


def _words(labels: dict[str, Any]) -> Iterator[Word]:
    for entity in labels["form"]:
        parts = entity.get("words") or [entity]
        for part in parts if isinstance(parts, list) else [entity]:
            box, text = part.get("box"), _text(part)
            if text and isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box):
                yield text, box[0], box[1], box[2], box[3]
