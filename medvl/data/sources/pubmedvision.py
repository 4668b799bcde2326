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
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from medvl.data.sources.archives import Archives, ImageMissing, json_values
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
            records = itertools.chain.from_iterable(json_values(file) for file in self._files(stack))
            for number, record in enumerate(itertools.islice(records, self.records), 1):
                yield from self._read(record, f"record {number}", images)

    def content(self) -> str:
        """Return a hash of the files beside a single JSON file; for a folder, `fingerprint` already covers them."""
        if self.path is None or not Path(self.path).is_file():
            return ""
        folder = Path(self.path).parent
        files = sorted(file for part in (folder.glob("*"), folder.glob("images/**/*")) for file in part)
        stats = ((file, file.stat()) for file in files if file.is_file())
        listing = [(file.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
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
        paths = record.get("image")
        paths = [paths] if isinstance(paths, str) else paths
        if not turns:
            yield Dropped(name, "no question or no answer")
        elif not (isinstance(paths, list) and paths and all(isinstance(path, str) and path for path in paths)):
            yield Dropped(name, "no image")
        else:
            try:
                found = [images.read(path) for path in paths]
            except ImageMissing as error:
                yield Dropped(name, str(error))
                return
            yield _document(found, turns[0], record.get("modality"))
            yield from (Dropped(f"{name}, turn {turn}", "a later turn") for turn in range(2, len(turns) + 1))

    def _files(self, stack: ExitStack) -> Iterator[TextIO]:
        """Open the JSON files, one after the other."""
        if self.path is not None:
            for path in self._local_files():
                yield stack.enter_context(path.open(encoding="utf-8-sig"))
            return
        yield stack.enter_context(io.TextIOWrapper(self._remote_file(), encoding="utf-8-sig"))

    def _local_files(self) -> list[Path]:
        path = Path(self.path or "")
        if path.is_file():
            return [path]
        if (path / f"{self.subset.value}.json").is_file():
            return [path / f"{self.subset.value}.json"]
        files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
        if not files:
            raise ValueError(f"{path} holds no {self.subset.value}.json. Set data.path=<the folder that does>.")
        return files

    def _remote_file(self) -> Any:
        """Open the subset's file on the hub; with streaming, only the part that is read is transferred."""
        import huggingface_hub

        # Not load_dataset(streaming=True): for a JSON file that is one array it reads the whole file first.
        name = f"{self.subset.value}.json"
        try:
            if self.streaming:
                return huggingface_hub.HfFileSystem().open(f"datasets/{self.hub}/{name}", "rb")
            return Path(huggingface_hub.hf_hub_download(str(self.hub), name, repo_type="dataset")).open("rb")
        except Exception as error:  # the hub raises many types; the user needs one sentence
            raise self._unreadable(error) from error

    def _images(self) -> Archives:
        if self.path is None:
            return Archives(
                folders=[],
                archives=(self._download(f"images_{number}.zip") for number in range(self.archives)),
                missing=f"its image is not in the first {self.archives} archives; set data.archives",
            )
        folder = Path(self.path) if Path(self.path).is_dir() else Path(self.path).parent
        return Archives(
            folders=[folder, folder / "images"],
            archives=iter([*sorted(folder.glob("*.zip")), *sorted(folder.glob("images/*.zip"))]),
            missing="its image is not there",
        )

    def _download(self, name: str) -> Path:
        import huggingface_hub

        try:
            return Path(huggingface_hub.hf_hub_download(str(self.hub), name, repo_type="dataset"))
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ValueError:
        return ValueError(
            f"data set {self.hub} cannot be read: {type(error).__name__}: {error}. "
            f"Set data.path=<a folder with its files>."
        )


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


def _document(images: list[tuple[bytes | str, bytes]], asked: tuple[str, str], modality: Any) -> Document:
    known = isinstance(modality, str) and modality.strip()
    ids = [image_id(content) for _, content in images]
    identity = hashlib.sha256("\n".join((*ids, *asked)).encode()).hexdigest()[:16]
    return Document(
        id=f"pmv-{identity}",
        kind=modality.strip().lower() if known else "biomedical figure",
        layout="image",
        images=[image for image, _ in images],
        questions=[asked],
        groups=ids,  # both subsets, and other data sets, ask about the same figures
    )
