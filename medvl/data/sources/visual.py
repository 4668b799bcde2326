"""Images with questions or captions: PathVQA, VQA-RAD, ROCOv2 and every hub data set built like them.

A local folder in the hub's format works the same: parquet files with an image column and text columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl.data.sources.asked import AskedImages, Part
from medvl.data.sources.asked import image_id as image_id
from medvl.data.sources.source import Dropped
from medvl.data.sources.tables import images_named
from medvl.data.sources.tables import split_named as split_named
from medvl.data.sources.tabular import CONVERSED, LOOKED_AT
from medvl.model.prompt import normalized


@dataclass(kw_only=True)
class ImageQuestions(AskedImages):
    """Images with a question and an answer, or a caption, in columns of these names."""

    image: str = "image"
    """Column of the image."""
    question: str | None = "question"
    """Column of the question; None: the set has captions, and `prompt` is used."""
    answer: str = "answer"
    """Column of the answer or the caption."""

    def read_parts(self) -> Iterator[Part | Dropped]:
        columns: dict[str, None] = {}
        for number, row in enumerate(self._rows(), 1):
            if isinstance(row, Dropped):
                yield row
                continue
            if number <= LOOKED_AT:  # a record of a JSON file may lack what others have
                columns |= dict.fromkeys(row)
            if number == LOOKED_AT:
                self._check(columns)
            yield self._part(number, row)
        if columns:
            self._check(columns)

    def _part(self, number: int, row: dict[str, Any]) -> Part | Dropped:
        question = self.prompt if self.question is None else text_of(row.get(self.question))
        answer = text_of(row.get(self.answer))
        if not (question and answer):
            return Dropped(f"row {number}", self._unanswered(row))
        try:
            split = self.split_of(row)
        except KeyError as error:
            return Dropped(f"row {number}", error.args[0])
        return Part(number, [row.get(self.image)], [(question, answer)], split, self.keys_of(row))

    def _rows(self) -> Iterator[dict[str, Any] | Dropped]:
        return self.rows(*filter(None, (self.image, self.question, self.answer, self.group, self.split_column)))

    def _unanswered(self, row: dict[str, Any]) -> str:
        caption = self.question is None
        held = [row.get(self.answer), None if self.question is None else row.get(self.question)]
        if any(value and isinstance(value, bytes | list | dict) for value in held):
            return f"{'a caption' if caption else 'a question or an answer'} that is no text or number"
        return "no caption" if caption else "no question or no answer"

    def _check(self, columns: dict[str, None]) -> None:
        missing = {name for name in (self.image, self.question, self.answer) if name} - columns.keys()
        if missing and CONVERSED & columns.keys():
            chat = min(CONVERSED & columns.keys())
            raise ValueError(
                f"data set {self.place} has conversations in its column {chat!r}, and this one reads a column for the "
                f"question and one for the answer. Set data=json data.path={self.place}."
            )
        self.check_columns(columns, "image", "question", "answer")

    def images_named(self, file: Path) -> Iterable[str]:
        return images_named(file, self.image)


def text_of(value: Any) -> str:
    """Return a text or number as text, without blanks around it; empty if there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float) or value != value:  # NaN: a number that is missing
        return ""
    return normalized(str(value)).strip()
