"""Images with questions or captions: PathVQA, VQA-RAD, ROCOv2 and every hub data set built like them.

A local folder in the hub's format works the same: parquet files with an image column and text columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvl.data.sources.csv_rows import columns_text
from medvl.data.sources.paths import IMAGE_BYTES, ImageMissing, image_at, inside, stamps
from medvl.data.sources.source import Dropped, Source
from medvl.data.sources.tables import images_named, split_named
from medvl.model.prompt import normalized
from medvl.types import Document

_LOOKED_AT = 100  # rows by which a column that is missing is told
_STRICTER = ("test", "val", "train", None)  # an image in several splits belongs to the first of these


@dataclass(slots=True)
class _Image:
    """One image and all that is asked about it, split by split."""

    row: int
    """Number of the first row with this image."""
    content: bytes | None
    """None: read again when the document is yielded."""
    asked: dict[str | None, list[tuple[int, str, str]]] = field(default_factory=dict)
    """Row number, question and answer, by split."""


@dataclass(kw_only=True)
class ImageQuestions(Source):
    """Images, each a document with all its questions or captions.

    Official splits are kept, per image: an image in two of them belongs to test before val before train, and its
    rows in the other are dropped. VQA-RAD needs this: it is split by question, and most of its test images are in
    train as well. A missing split is drawn from train, every tenth image by its id. If all rows read are of train,
    as in the first records of a streamed set, medvl draws all splits.

    The split of an image is known only after the last row, so the rows are read twice: for the questions, then for
    the images, one in memory at a time. A streamed set is read once with all images in memory; `records` limits them.
    """

    prompt: str = "Describe this image."
    """Prompt for captions; data sets with questions do not use it."""
    image: str = "image"
    """Column of the image."""
    question: str | None = "question"
    """Column of the question; None: the set has captions, and `prompt` is used."""
    answer: str = "answer"
    """Column of the answer or the caption."""
    kind: str = "medical image"
    """What the images are: pathology image, radiology image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None and self.hub is None:
            raise ValueError("no data set is named. Set data.path=<a folder in the hub's format> or data.hub=<an id>.")

    @property
    def name(self) -> str:
        return (self.hub or str(self.path)).rstrip("/").rpartition("/")[2]

    def documents(self) -> Iterator[Document | Dropped]:
        # An image's questions may be far apart and in two splits, so all rows are read before any is used.
        images = yield from self._asked()
        documents: dict[str, Document] = {}
        for identity, image in images.items():
            holder, *others = sorted(image.asked, key=_STRICTER.index)
            for number, _, _ in (row for other in others for row in image.asked[other]):
                yield Dropped(f"row {number}", f"its image is in the {holder} split")
            questions = list(dict.fromkeys((question, answer) for _, question, answer in image.asked[holder]))
            documents[identity] = Document(
                id=identity,
                kind=self.kind,
                layout="image",
                questions=questions,
                groups=[identity],
                split=holder,
                records=len(image.asked[holder]),
            )
        draw_missing(list(documents.values()))
        for identity, content in self._contents(images):
            document = documents.pop(identity)
            document.images = [content]
            yield document

    def _asked(self) -> Generator[Dropped, None, dict[str, _Image]]:
        """Read all questions; return them by image."""
        images: dict[str, _Image] = {}
        columns: dict[str, None] = {}
        for number, row in enumerate(self._rows(), 1):
            if isinstance(row, Dropped):
                yield row
                continue
            if number <= _LOOKED_AT:  # a record of a JSON file may lack what others have
                columns |= dict.fromkeys(row)
            if number == _LOOKED_AT:
                self._check_columns(columns)
            question = self.prompt if self.question is None else _text(row.get(self.question))
            answer = _text(row.get(self.answer))
            if not (question and answer):
                yield Dropped(f"row {number}", self._unanswered(row))
                continue
            try:
                content = self._encoded(row.get(self.image))
            except ImageMissing as error:
                yield Dropped(f"row {number}", str(error))
                continue
            known = images.setdefault(image_id(content), _Image(number, content if self.streaming else None))
            known.asked.setdefault(split_named(row["_split"]), []).append((number, question, answer))
        if columns:
            self._check_columns(columns)
        return images

    def _rows(self) -> Iterator[dict[str, Any] | Dropped]:
        return self.rows(*filter(None, (self.image, self.question, self.answer)))

    def _contents(self, images: dict[str, _Image]) -> Iterator[tuple[str, bytes]]:
        """Yield every image with its bytes, in the order of their first rows."""
        firsts = {image.row: identity for identity, image in images.items()}
        if self.streaming:
            for identity in firsts.values():
                yield identity, images.pop(identity).content or b""
            return
        for number, row in enumerate(self._rows(), 1):
            if number in firsts and isinstance(row, dict):
                try:
                    content = self._encoded(row.get(self.image))
                except ImageMissing:  # deleted since the first pass: dropped later, when opened
                    content = b""
                yield firsts[number], content

    def _unanswered(self, row: dict[str, Any]) -> str:
        caption = self.question is None
        held = [row.get(self.answer), None if self.question is None else row.get(self.question)]
        if any(value and isinstance(value, bytes | list | dict) for value in held):
            return f"{'a caption' if caption else 'a question or an answer'} that is no text or number"
        return "no caption" if caption else "no question or no answer"

    def _check_columns(self, columns: dict[str, None]) -> None:
        for name in ("image", "question", "answer"):
            column = getattr(self, name)
            if column is not None and column not in columns:
                found = columns_text(key for key in columns if not key.startswith("_"))
                raise ValueError(
                    f"data set {self.path or self.hub} has no column {column!r}; it has {found}. "
                    f"Set data.{name}=<one of them>."
                )

    def _encoded(self, image: Any) -> bytes:
        """Return the encoded bytes of an undecoded `datasets.Image`, or of the file that a column names.

        Raises:
            ImageMissing: There are none, or too many; or the file lies outside of the data folder.
        """
        name = image
        if isinstance(image, dict):
            name, image = image.get("path"), image.get("bytes")
        if isinstance(image, bytes) and image:
            if len(image) > IMAGE_BYTES:
                raise ImageMissing("its image is too large")
            return image
        if not (isinstance(name, str) and name):
            raise ImageMissing("no image")
        roots = self._roots()
        root = next((folder for folder in roots if inside(folder, name)), roots[0])
        return image_at(root, name)

    def _roots(self) -> list[Path]:
        """Return the folders whose files a row may name: of a local data set its own, of the hub its downloads."""
        place = self._local()
        if place is not None:
            return [place if place.is_dir() else place.parent]
        from datasets.config import HF_DATASETS_CACHE
        from huggingface_hub.constants import HF_HUB_CACHE

        return [Path(HF_HUB_CACHE), Path(HF_DATASETS_CACHE)]

    def content(self) -> str:
        """Return a hash of the image files that a single local file names; `fingerprint` covers those of a folder."""
        place = self._local()
        if place is None or not place.is_file():
            return ""
        root = place.parent.resolve()
        try:
            named = set(images_named(place, self.image))
        except ValueError:  # reported when the records are read
            return ""
        files = (file for name in named if (file := inside(root, name)) is not None)
        return hashlib.sha256(repr(stamps(root, files)).encode()).hexdigest()


def image_id(content: bytes) -> str:
    """Return the id of an image: a hash of its encoded bytes, the same in every data set."""
    return "image-" + hashlib.sha256(content).hexdigest()[:16]


def draw_missing(documents: list[Document]) -> None:
    """Draw the splits that the source lacks from its train images, every tenth by id and at least one."""
    present = {document.split for document in documents}
    if present <= {"train", None}:
        for document in documents:
            document.split = None
        return
    for remainder, name in enumerate(("val", "test")):
        train = [document for document in documents if document.split == "train"]
        if name in present or len(train) < 2:
            continue
        tenth = [document for document in train if int(document.id.rpartition("-")[2], 16) % 10 == remainder]
        for document in tenth or [min(train, key=lambda document: document.id)]:
            document.split = name


def _text(value: Any) -> str:
    """Return a text or number as text, without blanks around it; empty if there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float) or value != value:  # NaN: a number that is missing
        return ""
    return normalized(str(value)).strip()
