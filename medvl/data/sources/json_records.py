"""Records of one's own about images, in the three forms that people have: rows, ShareGPT's turns, OpenAI's messages.

A row: {"image_path": "images/0.png", "prompt": "Total?", "response": "9.00"}, as `medvl prepare export=` writes them.
The other two are in conversations.py. Files are JSON, JSON lines, CSV or Parquet.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, ClassVar

from medvl.data.json_text import json_in
from medvl.data.sources.asked import AskedImages, Part
from medvl.data.sources.conversations import PLACEHOLDER, Conversation, Exchange, Unusable, conversation
from medvl.data.sources.csv_rows import columns_text
from medvl.data.sources.page_files import PAGES
from medvl.data.sources.paths import ImageMissing
from medvl.data.sources.source import Dropped
from medvl.data.sources.tabular import CONVERSED, LOOKED_AT
from medvl.data.sources.visual import text_of
from medvl.documents.tasks import TRANSCRIBE

log = logging.getLogger(__name__)

_IMAGES = (
    "image", "images", "image_path", "image_paths", "image_file", "file_name", "filename", "img", "img_path",
    "picture", "page", "pages", "path", "file",
)  # fmt: skip
_QUESTIONS = ("question", "prompt", "instruction", "query", "input", "prefix")
_ANSWERS = (
    "answer", "response", "answers", "output", "completion", "target", "label", "labels", "ground_truth", "suffix",
    "transcription", "transcript", "text", "caption", "description",
)  # fmt: skip
_TRANSCRIBED = ("transcription", "transcript", "text")  # answers that need no question


class Turns(Enum):
    """How a question is asked that is not the first of its conversation."""

    apart = "apart"  # on its own, so that no answer can be read from the prompt
    history = "history"  # after the questions and answers before it, for those that refer to them


@dataclass(slots=True)
class _Columns:
    """Where a record holds what."""

    image: str | None
    question: str | None
    answer: str | None
    conversation: str | None


@dataclass(kw_only=True)
class JsonRecords(AskedImages):
    """Images with questions and answers, or with conversations; the columns are found by their names.

    Each answered turn is a question of its own. An answer that is an object is written as JSON.
    """

    prompt: str = TRANSCRIBE
    """What is asked where there is no column for the question."""
    kind: str = "page"
    """What its documents are called."""
    image: str | None = None
    """Column of the image or the images; None: found by its name."""
    question: str | None = None
    """Column of the question; None: found by its name, or there is none."""
    answer: str | None = None
    """Column of the answer; None: found by its name."""
    conversation: str | None = None
    """Column of the turns; None: found by its name, or there is none."""
    turns: Turns = Turns.apart
    """How the turns of a conversation become questions."""
    missing: ClassVar[str] = "the image that it names is not in the data folder"

    def text_on(self, turns: Sequence[tuple[str, str]]) -> str:
        return next((answer for question, answer in turns if question == TRANSCRIBE), "")

    def read_parts(self) -> Iterator[Part | Dropped]:
        columns = self._columns()
        if columns is None:  # no row is whole
            yield from (row for row in self.rows() if isinstance(row, Dropped))
            return
        for number, row in enumerate(self.rows(*_named(columns)), 1):
            if isinstance(row, Dropped):
                yield row
                continue
            try:
                yield from self._parts(number, row, columns)
            except Unusable as error:
                yield Dropped(f"row {number}", str(error))
            except KeyError as error:
                yield Dropped(f"row {number}", error.args[0])

    def _parts(self, number: int, row: dict[str, Any], columns: _Columns) -> Iterator[Part | Dropped]:
        """Yield a part for each number of images that the questions of a record are about."""
        images = _images(row.get(columns.image)) if columns.image else []
        turns = row.get(columns.conversation) if columns.conversation else None
        said = self._row(row, images, columns) if turns is None else conversation(turns, images)
        split, keys = self.split_of(row), self.keys_of(row)
        if not said.exchanges:
            raise Unusable(said.lost[0] if said.lost else "no question or no answer")
        asked: dict[int, list[tuple[str, str]]] = {}
        for at, one in enumerate(said.exchanges):
            asked.setdefault(one.shown, []).append((self._asked_after(said.exchanges[:at], one), one.answer))
        for at, (shown, pairs) in enumerate(asked.items()):
            yield Part(number, said.images[:shown], pairs, split, keys, records=int(not at))
        yield from (Dropped(f"row {number}", reason, records=0) for reason in said.lost)

    def _asked_after(self, earlier: Sequence[Exchange], one: Exchange) -> str:
        if self.turns is Turns.apart:
            return one.question
        told = (f"Question: {before.question}\nAnswer: {before.answer}\n" for before in earlier)
        return "\n".join((*told, one.question))

    def _row(self, row: dict[str, Any], images: list[Any], columns: _Columns) -> Conversation:
        """Return a record with one question as a conversation."""
        question = self.prompt if columns.question is None else text_of(row.get(columns.question))
        if columns.question == "instruction" and columns.answer != "input":  # Alpaca's form
            question = "\n".join(filter(None, (question, text_of(row.get("input")))))
        if question.count(PLACEHOLDER) == len(images):
            question = question.replace(PLACEHOLDER, "").strip()
        answer, further = _answer(row.get(columns.answer or ""))
        if not (question and answer):
            raise Unusable("no question or no answer")
        return Conversation(images, [Exchange(question, answer, len(images))], ["a further accepted answer"] * further)

    def _columns(self) -> _Columns | None:
        """Find the columns by the first rows; None if there is no row.

        Raises:
            ValueError: One is unclear, or there is no column of the name that is set.
        """
        self.check_table()
        held: dict[str, bool] = {}
        for row in self._first_rows():
            for name in (name for name in row if not name.startswith("_")):
                held[name] = held.get(name, False) or _shows(row[name])
        if not held:
            return None
        self.check_columns(held, "image", "question", "answer", "conversation")
        found = _Columns(
            self.image or _first(_IMAGES, held),
            self.question or _first(_QUESTIONS, held, self.answer, self.image),
            self.answer or _first(_ANSWERS, held, self.question, self.image),
            self.conversation or _first(tuple(sorted(CONVERSED)), held, self.answer, self.question),
        )
        if found.conversation is None:
            self._check_found(found, held)
        return found

    def _check_found(self, found: _Columns, held: dict[str, bool]) -> None:
        """Refuse columns of rows that are unclear.

        Args:
            held: Whether the values of a column look like images.

        Raises:
            ValueError: Names an override that can work.
        """
        what, known = f"data set {self.place}", columns_text(held)
        if found.image is None and not any(held.values()):
            raise ValueError(
                f"{what}: no column holds images; it has {known}. Write the names of the image files into a column "
                f"image, or set data=text data.path={self.place} if it holds notes."
            )
        for name in ("image", "answer"):
            if getattr(found, name) is None:
                likely = [column for column in held if held[column] and column in known.split(", ")]
                one = likely[0] if name == "image" and likely else "<one of them>"
                raise ValueError(f"{what}: no column has a known name for the {name}: {known}. Set data.{name}={one}.")
        named = self.answer is not None or self.prompt != TRANSCRIBE or found.answer in _TRANSCRIBED
        if found.question is None and not named:
            prompt = "'Describe this image.'" if found.answer in ("caption", "description") else "<what it answers>"
            raise ValueError(
                f"{what}: column {found.answer!r} has the answers, and no column is known to hold the question. "
                f'Set data.question=<a column>, or data.prompt="{prompt}".'
            )

    def _first_rows(self) -> Iterator[dict[str, Any]]:
        for at, row in enumerate(self.rows()):
            if at >= LOOKED_AT:
                return
            if isinstance(row, dict):
                yield row

    def _encoded(self, image: Any) -> bytes:
        if isinstance(image, str) and image.startswith(("http://", "https://")):
            raise ImageMissing("its image is on the network: download it and name the file")
        return super()._encoded(image.removeprefix("file://") if isinstance(image, str) else image)


def _shows(value: Any) -> bool:
    """Whether a value looks like an image or the name of one, or like several."""
    one = next(iter(_images(value)), None)
    if isinstance(one, dict):
        return bool(one.keys() & {"bytes", "path"})
    if not isinstance(one, str):
        return isinstance(one, bytes)
    return one.startswith("data:image/") or PurePosixPath(one).suffix.lower() in PAGES


def _named(columns: _Columns) -> Iterable[str]:
    return filter(None, (columns.image, columns.question, columns.answer, columns.conversation))


def _first(names: Sequence[str], held: Iterable[str], *taken: str | None) -> str | None:
    """Return the first of these names that is a column and not taken for something else."""
    there = {name.lower(): name for name in held}
    return next((there[name] for name in names if name in there and there[name] not in taken), None)


def _images(value: Any) -> list[Any]:
    """Return the images of a record as a list; a text may be the JSON of one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        said = json_in(value)
        value = value if said is None else said
    if isinstance(value, list):
        return [image for image in value if image is not None]
    return [] if value is None or value == "" else [value]


def _answer(value: Any) -> tuple[str, int]:
    """Return an answer as text, and how many further ones would be accepted."""
    if isinstance(value, list) and value and not any(isinstance(one, dict | list) for one in value):
        answers = list(dict.fromkeys(filter(None, map(text_of, value))))
        return (answers[0], len(answers) - 1) if answers else ("", 0)
    if isinstance(value, dict | list) and value:
        return text_of(json.dumps(value, ensure_ascii=False)), 0
    return text_of(value), 0
