"""Conversations about images, as people store them: ShareGPT's turns and OpenAI's messages.

{"conversations": [{"from": "human", "value": "<image>Total?"}, {"from": "gpt", "value": "9.00"}], "images": ["a.png"]}
{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}},
                                           {"type": "text", "text": "Total?"}]}, {"role": "assistant", ...}]}

A prompt of medvl is one turn of the user with all images before the text. So the placeholders that begin a question
are dropped; one that follows words becomes "(image 2)" where several images are shown, and nothing where there is one.
What a system turn says comes before each question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from medvl.data.json_text import json_in
from medvl.model.prompt import normalized

PLACEHOLDER = "<image>"
_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "system": "system",
}


class Unusable(Exception):
    """A conversation that cannot be used; the text becomes the reason in prepared.json."""


@dataclass(slots=True)
class Exchange:
    """A question with its answer."""

    question: str
    answer: str
    shown: int
    """Number of images shown up to the question."""


@dataclass(slots=True)
class Conversation:
    """What a record says."""

    images: list[Any]
    """As the record holds them, in the order in which they are shown."""
    exchanges: list[Exchange] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Why turns are not among them."""


@dataclass(slots=True)
class _Image:
    """Stands in a turn for an image."""

    content: Any = None
    """None: the next image of the record."""


def conversation(turns: Any, images: Sequence[Any]) -> Conversation:
    """Return the exchanges of a record.

    Args:
        turns: Its turns, or their JSON.
        images: Those that it lists apart from the turns.

    Raises:
        Unusable: It is no conversation, or its placeholders do not fit its images.
    """
    said = [_turn(turn) for turn in _listed(turns)]
    marks = [piece for role, pieces in said if role == "user" for piece in pieces if isinstance(piece, _Image)]
    open_marks = [mark for mark in marks if mark.content is None]
    if not open_marks and images:
        first = next((pieces for role, pieces in said if role == "user"), [])
        first[:0] = [_Image(image) for image in images]
    elif len(open_marks) != len(images):
        raise Unusable(f"its {PLACEHOLDER} placeholders and its images differ in number")
    for mark, image in zip(open_marks, images, strict=False):
        mark.content = image
    found = Conversation([])
    _exchange(said, found, several=len(marks) > 1 or len(images) > 1)
    return found


def _exchange(said: list[tuple[str, list[Any]]], found: Conversation, *, several: bool) -> None:
    """Fill a conversation with the images and the exchanges of its turns."""
    before: list[str] = []  # what system turns say
    asked: list[str] = []
    for role, pieces in said:
        if role == "system":
            before.append(_text(pieces, found, several=False))
        elif role == "user":
            asked.append(_text(pieces, found, several=several))
        elif not any(asked):
            found.lost.append("an answer without a question")
        elif not (answer := _text(pieces, found, several=False)):
            found.lost.append("a question without an answer")
            asked = []
        else:
            question = "\n".join(filter(None, (*before, *asked)))
            found.exchanges.append(Exchange(question, answer, len(found.images)))
            asked = []
    if any(asked):
        found.lost.append("a question without an answer")


def _text(pieces: list[Any], found: Conversation, *, several: bool) -> str:
    """Return the words of a turn, and add its images to those of the conversation."""
    words: list[str] = []
    for piece in pieces:
        if isinstance(piece, _Image):
            found.images.append(piece.content)
            if several and any(word.strip() for word in words):
                words.append(f"(image {len(found.images)})")
        else:
            words.append(piece)
    return normalized("".join(words)).strip()


def _listed(turns: Any) -> list[Any]:
    if isinstance(turns, str):
        turns = json_in(turns)
    if not (isinstance(turns, list) and turns):
        raise Unusable("no conversation")
    return turns


def _turn(turn: Any) -> tuple[str, list[Any]]:
    """Return who speaks in a turn, and its words and images in their order."""
    if not isinstance(turn, dict):
        raise Unusable("a turn that is no object")
    speaker = turn.get("role", turn.get("from"))
    role = _ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise Unusable("a turn of someone else than user, assistant and system")
    content = turn.get("content", turn.get("value"))
    if isinstance(content, str):
        return role, list(_split(content)) if role == "user" else [content]
    if isinstance(content, dict) and role == "assistant" and "type" not in content:
        return role, [json.dumps(content, ensure_ascii=False)]
    pieces: list[Any] = []
    for part in content if isinstance(content, list) else [content]:
        if pieces and isinstance(pieces[-1], str):
            pieces.append("\n")
        pieces += _part(part)
    return role, pieces


def _split(text: str) -> Iterator[Any]:
    """Yield the words of a text, and an image for each placeholder."""
    first, *others = text.split(PLACEHOLDER)
    yield first
    for other in others:
        yield _Image()
        yield other


def _part(part: Any) -> list[Any]:
    """Return a part of a message as words or an image."""
    if isinstance(part, str):
        return list(_split(part))
    if part is None:
        return []
    if not isinstance(part, dict):
        raise Unusable("a part of a turn that is neither text nor image")
    part = {key: value for key, value in part.items() if value is not None}  # as Parquet fills up missing keys
    kind = str(part.get("type", "text" if "text" in part else "image"))
    if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
        return [part["text"]]
    if kind not in ("image", "image_url", "input_image"):
        raise Unusable("a part of a turn that is neither text nor image")
    content = next((part[key] for key in ("image_url", "image", "url", "path", "source", "bytes") if key in part), None)
    if isinstance(content, dict) and not content.keys() & {"bytes", "path"}:
        content = content.get("url", content.get("data"))
        if content is None:
            raise Unusable("an image part without an image")
    return [_Image(content)]
