"""PubMedVision: questions on figures of PubMed papers (arXiv:2406.19280, Apache-2.0).

A record of its JSON files. Question and answer are the turns of its conversation; there is no answer field:

    {"id": "Alignment_VQA_0", "image": ["images/pmc_0_0.jpg"], "modality": "Computed Tomography", "body_part": "Chest",
     "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}

Besides the two files of 0.7 GB there are 20 archives of 2.9 GB, images_0.zip ... images_19.zip.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from medvl.data.sources import hub_rows
from medvl.data.sources.archives import Archives, json_values
from medvl.data.sources.csv_rows import open_text
from medvl.data.sources.paths import MOST_IMAGES, RECORD_BYTES, ImageMissing, files_inside, inside, stamps
from medvl.data.sources.source import Dropped, Source
from medvl.data.sources.visual import image_id
from medvl.model.prompt import normalized
from medvl.types import Document

ARCHIVE_COUNT = 20


class Subset(Enum):
    """The value is the name of a JSON file without its suffix."""

    alignment = "PubMedVision_Alignment_VQA"  # what a figure shows, in full sentences
    instruction = "PubMedVision_InstructionTuning_VQA"  # questions of ten kinds of conversation


@dataclass(kw_only=True)
class PubMedVision(Source):
    """Figures with the first question and answer of each conversation; later turns depend on it and are dropped.

    A local folder holds the JSON file of the subset, and the images in `images/`, in the folder itself, or in archives.
    """

    hub: str | None = "FreedomIntelligence/PubMedVision"
    subset: Subset = Subset.alignment
    """Which of its two sets of conversations."""
    archives: int = 1
    """Number of archives to download, 2.9 GB each, from the first on; 20 is all. Local archives are always all read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.archives <= ARCHIVE_COUNT:
            raise ValueError(f"data.archives must be from 1 to {ARCHIVE_COUNT}, got {self.archives}.")
        if self.path is None and self.hub is None:
            raise ValueError("no data set is named. Set data.path=<its folder>.")

    def documents(self) -> Iterator[Document | Dropped]:
        with ExitStack() as stack:
            images = stack.enter_context(self._images())
            for number, record in enumerate(itertools.islice(self._records(stack), self.records), 1):
                yield from self._read(record, f"record {number}", images)

    def content(self) -> str:
        """Return a hash of the files beside a single JSON file: those that lie there or in `images/` or are named.

        For a folder, `fingerprint` already covers them.
        """
        if self.path is None or not Path(self.path).is_file():
            return ""
        folder = Path(self.path).parent.resolve()
        beside = (file for file in folder.glob("*") if inside(folder, file.name))
        images = files_inside(folder / "images") if (folder / "images").resolve().is_relative_to(folder) else ()
        with ExitStack() as stack, self._images() as archives:
            try:
                named = {archives.file(name) for record in self._records(stack) for name in _names(record)}
            except ValueError:  # reported when the records are read
                named = set()
        listing = stamps(folder, itertools.chain(beside, images, filter(None, named)))
        return hashlib.sha256(repr(listing).encode()).hexdigest()

    def _read(self, record: Any, name: str, images: Archives) -> Iterator[Document | Dropped]:
        if isinstance(record, Dropped):
            yield record
            return
        if not isinstance(record, dict):
            yield Dropped(name, "not a JSON object")
            return
        name = str(record.get("id") or name)
        turns = _turns(record.get("conversations"))
        paths = _names(record)
        if not turns:
            yield Dropped(name, "no question or no answer")
        elif not paths:
            yield Dropped(name, "no image")
        elif len(paths) > MOST_IMAGES:
            yield Dropped(name, f"more than {MOST_IMAGES} images")
        else:
            try:
                stored, ids = _found(paths, images)
            except ImageMissing as error:
                yield Dropped(name, str(error))
                return
            yield _document(stored, ids, turns[0], record.get("modality"))
            yield from (Dropped(f"{name}, turn {turn}", "a later turn", records=0) for turn in range(2, len(turns) + 1))

    def _records(self, stack: ExitStack) -> Iterator[Any]:
        return itertools.chain.from_iterable(json_values(file, as_written=True) for file in self._files(stack))

    def _files(self, stack: ExitStack) -> Iterator[TextIO]:
        """Open the JSON files, one after the other."""
        if self.path is not None:
            for path in self._local_files():
                yield stack.enter_context(open_text(path))
            return
        yield stack.enter_context(io.TextIOWrapper(self._remote_file(), encoding="utf-8-sig"))

    def _local_files(self) -> list[Path]:
        path = Path(self.path or "")
        if path.is_file():
            return [path]
        if inside(path, f"{self.subset.value}.json"):
            return [path / f"{self.subset.value}.json"]
        files = sorted(
            file for file in path.glob("*") if file.suffix in (".json", ".jsonl") and inside(path, file.name)
        )
        if not files:
            raise ValueError(f"{path} holds no {self.subset.value}.json. Set data.path=<the folder that does>.")
        return files

    def _remote_file(self) -> Any:
        """Open the subset's file on the hub; with streaming, only the part that is read is transferred."""
        import huggingface_hub

        # Not load_dataset(streaming=True): for a JSON file that is one array it reads the whole file first.
        name = f"{self.subset.value}.json"
        if not self.streaming:
            return self._download(name).open("rb")
        try:
            return huggingface_hub.HfFileSystem().open(f"datasets/{self.hub}/{name}", "rb")
        except Exception as error:  # the hub raises many types; the user needs one sentence
            raise hub_rows.unreadable(str(self.hub), error) from error

    def _images(self) -> Archives:
        if self.path is None:
            return Archives(
                root=None,
                archives=(self._download(f"images_{number}.zip") for number in range(self.archives)),
                missing=f"its image is not in the first {self.archives} archives; set data.archives",
            )
        folder = Path(self.path) if Path(self.path).is_dir() else Path(self.path).parent
        return Archives(
            root=folder,
            archives=(
                file
                for place in ("*.zip", "images/*.zip")
                for file in sorted(folder.glob(place))
                if inside(folder, file.relative_to(folder))
            ),
            missing="its image is not there",
        )

    def _download(self, name: str) -> Path:
        import huggingface_hub

        try:
            return Path(huggingface_hub.hf_hub_download(str(self.hub), name, repo_type="dataset"))
        except Exception as error:
            raise hub_rows.unreadable(str(self.hub), error) from error


def _turns(conversation: Any) -> list[tuple[str, str]]:
    """Return the questions with their answers; empty if the first pair is incomplete."""
    if not isinstance(conversation, list):
        return []
    said = [(turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None) for turn in conversation]
    pairs = [
        (_text(question), _text(answer))
        for (asker, question), (answerer, answer) in itertools.pairwise(said)
        if (asker, answerer) == ("human", "gpt")
    ]
    return pairs if pairs and all(pairs[0]) else []


def _text(value: Any) -> str:
    """Return the text of a turn without its image placeholders."""
    return normalized(value.replace("<image>", "")).strip() if isinstance(value, str) else ""


def _names(record: Any) -> list[str]:
    """Return the names of a record's images; empty if one is none."""
    paths = record.get("image") if isinstance(record, dict) else None
    paths = [paths] if isinstance(paths, str) else paths
    return paths if isinstance(paths, list) and all(isinstance(path, str) and path for path in paths) else []


def _found(paths: list[str], images: Archives) -> tuple[list[bytes | str], list[str]]:
    """Return the images of a record as a `Document` stores them, and their ids.

    Raises:
        ImageMissing: One cannot be read, or all are too large together.
    """
    stored, ids, size = [], [], 0
    for path in paths:
        image, content = images.read(path)
        size += len(content)
        if size > RECORD_BYTES:
            raise ImageMissing("its images are too large")
        stored.append(image)
        ids.append(image_id(content))
    return stored, ids


def _document(images: Sequence[bytes | str], ids: list[str], asked: tuple[str, str], modality: Any) -> Document:
    known = isinstance(modality, str) and modality.strip()
    identity = hashlib.sha256("\n".join((*ids, *asked)).encode()).hexdigest()[:16]
    return Document(
        id=f"pmv-{identity}",
        kind=modality.strip().lower() if known else "biomedical figure",
        layout="image",
        images=list(images),
        questions=[asked],
        groups=ids,  # both subsets, and other data sets, ask about the same figures
    )
