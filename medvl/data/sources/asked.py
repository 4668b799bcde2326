"""Images with all that is asked about them: one document for each image, or for images that are shown together."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from medvl.data.duplicates import clusters
from medvl.data.sources.given_splits import STRICTER, draw_missing
from medvl.data.sources.inline import inline_image
from medvl.data.sources.paths import IMAGE_BYTES, MOST_IMAGES, RECORD_BYTES, ImageMissing, image_at, inside, stamps
from medvl.data.sources.source import Dropped
from medvl.data.sources.tabular import Tabular
from medvl.types import Document


@dataclass(slots=True)
class Part:
    """A record, or the part of one that asks about the same images."""

    number: int
    """Of its record, from 1 on."""
    images: list[Any]
    """As the record holds them: bytes, names of files, data URIs, or a dictionary of `bytes` and `path`."""
    turns: list[tuple[str, str]]
    """Questions with their answers."""
    split: str | None = None
    keys: list[str] = field(default_factory=list)
    """Shared with what must be in the same split."""
    records: int = 1
    """0 for a further part of a record."""


@dataclass(slots=True)
class _Images:
    """Images that are shown together, with all that is asked about them."""

    first: int
    """Place of the first part that shows them."""
    ids: list[str]
    contents: list[bytes]
    """Empty: read again when the document is yielded."""
    asked: dict[str | None, list[Part]] = field(default_factory=dict)
    """By split; without images."""


@dataclass(kw_only=True)
class AskedImages(Tabular):
    """Images, each a document with all its questions or captions.

    Official splits are kept, per image: an image in two of them belongs to test before val before train, and its
    rows in the other are dropped; so does all that shares a group. VQA-RAD needs this: it is split by question, and
    most of its test images are in train as well. A missing split is drawn from train, every tenth image by its id.
    If all rows read are of train, as in the first records of a streamed set, medvl draws all splits.

    The split of an image is known only after the last row, so the rows are read twice: for the questions, then for
    the images, those of one document in memory at a time. A streamed set is read once with all images in memory;
    `records` limits them.
    """

    prompt: str = "Describe this image."
    """Prompt for captions; data sets with questions do not use it."""
    kind: str = "medical image"
    """What the images are: pathology image, radiology image."""

    missing: ClassVar[str] = "no image"
    """Why a record is dropped that names an image that is not there."""

    def read_parts(self) -> Iterator[Part | Dropped]:
        """Yield what the records ask, in their order; the same every time.

        Raises:
            ValueError: A column is missing.
        """
        raise NotImplementedError

    def text_on(self, turns: Sequence[tuple[str, str]]) -> str:
        """Return the text on the images, if their questions and answers tell it."""
        return ""

    def documents(self) -> Iterator[Document | Dropped]:
        # An image's questions may be far apart and in two splits, so all rows are read before any is used.
        shown = yield from self._asked()
        documents = {ids: self._document(images) for ids, images in shown.items()}
        names = dict(zip(documents, clusters(list(documents.values()), ()), strict=True))
        strictest: dict[str, str | None] = {}
        for ids, images in shown.items():
            found = [*images.asked, strictest.get(names[ids])]
            strictest[names[ids]] = min(found, key=STRICTER.index)
        for ids, images in shown.items():
            holder = strictest[names[ids]]
            what = "image" if holder in images.asked or self.group is None else self.group
            for part in (part for split, parts in images.asked.items() if split != holder for part in parts):
                yield Dropped(f"row {part.number}", f"its {what} is in the {holder} split", records=part.records)
            kept = images.asked.get(holder, [])
            if not kept:
                del documents[ids]
                continue
            document = documents[ids]
            document.questions = list(dict.fromkeys(turn for part in kept for turn in part.turns))
            document.split, document.records = holder, sum(part.records for part in kept)
            document.text = self.text_on(document.questions)
        draw_missing(list(documents.values()), [names[ids] for ids in documents])
        for ids, contents in self._contents({ids: shown[ids] for ids in documents}):
            document = documents.pop(ids)  # whoever takes it keeps its images
            document.images = list(contents)
            yield document

    def _document(self, images: _Images) -> Document:
        keys = (key for parts in images.asked.values() for part in parts for key in part.keys)
        groups = list(dict.fromkeys((*images.ids, *keys)))
        return Document(id=set_id(images.ids), kind=self.kind, layout="image", groups=groups)

    def _asked(self) -> Generator[Dropped, None, dict[tuple[str, ...], _Images]]:
        """Read all questions; return them by the ids of their images."""
        shown: dict[tuple[str, ...], _Images] = {}
        for place, part in enumerate(self.read_parts()):
            if isinstance(part, Dropped):
                yield part
                continue
            try:
                contents = self._read_all(part.images)
            except ImageMissing as error:
                yield Dropped(f"row {part.number}", str(error), records=part.records)
                continue
            ids = [image_id(content) for content in contents]
            known = shown.setdefault(tuple(ids), _Images(place, ids, contents if self.streaming else []))
            part.images = []
            known.asked.setdefault(part.split, []).append(part)
        return shown

    def _contents(self, shown: dict[tuple[str, ...], _Images]) -> Iterator[tuple[tuple[str, ...], list[bytes]]]:
        """Yield the ids of images with their bytes, in the order of their first rows."""
        if self.streaming:
            for ids, images in shown.items():
                yield ids, images.contents
                images.contents = []
            return
        firsts = {images.first: ids for ids, images in shown.items()}
        for place, part in enumerate(self.read_parts()):
            if place in firsts and isinstance(part, Part):
                try:
                    contents = self._read_all(part.images)
                except ImageMissing:  # deleted since the first pass: dropped later, when opened
                    contents = [b""]
                yield firsts[place], contents

    def _read_all(self, images: Sequence[Any]) -> list[bytes]:
        """Return the encoded bytes of the images of a record.

        Raises:
            ImageMissing: There is none, one cannot be read, or they are too large together.
        """
        if not images:
            raise ImageMissing("no image")
        if len(images) > MOST_IMAGES:
            raise ImageMissing(f"more than {MOST_IMAGES} images")
        contents: list[bytes] = []
        for image in images:
            contents.append(self._encoded(image))
            if len(images) > 1 and sum(map(len, contents)) > RECORD_BYTES:
                raise ImageMissing("its images are too large")
        return contents

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
        name = image if isinstance(image, str) and image else name  # JSON has no bytes: they are base64
        if not (isinstance(name, str) and name):
            raise ImageMissing("no image")
        held = inline_image(name)
        if held is not None:
            return held
        roots = self._roots()
        root = next((folder for folder in roots if inside(folder, name)), roots[0])
        return image_at(root, name, self.missing)

    def _roots(self) -> list[Path]:
        """Return the folders whose files a row may name: of a local data set its own, of the hub its downloads."""
        place = self._local()
        if place is not None:
            return [place if place.is_dir() else place.parent]
        from datasets.config import HF_DATASETS_CACHE
        from huggingface_hub.constants import HF_HUB_CACHE

        return [Path(HF_HUB_CACHE), Path(HF_DATASETS_CACHE)]

    def images_named(self, file: Path) -> Iterable[str]:
        """Return what the records of a table name as files.

        Raises:
            ValueError: It cannot be read.
        """
        for part in self.read_parts():
            for image in part.images if isinstance(part, Part) else ():
                name = image.get("path") if isinstance(image, dict) else image
                if isinstance(name, str):
                    yield name

    def content(self) -> str:
        """Return a hash of the image files that a single local file names; `fingerprint` covers those of a folder."""
        place = self._local()
        if place is None or not place.is_file():
            return ""
        root = place.parent.resolve()
        try:
            named = set(self.images_named(place))
        except ValueError:  # reported when the records are read
            return ""
        files = (file for name in named if (file := inside(root, name)) is not None)
        return hashlib.sha256(repr(stamps(root, files)).encode()).hexdigest()


def image_id(content: bytes) -> str:
    """Return the id of an image: a hash of its encoded bytes, the same in every data set."""
    return "image-" + hashlib.sha256(content).hexdigest()[:16]


def set_id(ids: Sequence[str]) -> str:
    """Return the id of images that are shown together: that of the image if it is alone."""
    return ids[0] if len(ids) == 1 else "images-" + hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]
