"""PathVQA: questions on pathology images (arXiv:2003.10286, MIT), `flaviagiammarino/path-vqa` on the hub.

A local folder in the hub's format works the same: parquet files with the columns image, question, answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medvl.data.source import Dropped, Source, hub_rows
from medvl.prompt import normalized
from medvl.types import Document

SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


@dataclass(kw_only=True)
class PathVQA(Source):
    """Images with questions and short answers. The official splits hold, image by image."""

    hub: str | None = "flaviagiammarino/path-vqa"

    def documents(self) -> Iterator[Document | Dropped]:
        # An image's questions stand on neighbouring rows; it may return under another split: the first holds.
        documents: dict[str, Document] = {}
        for number, row in enumerate(hub_rows(self.path or self.hub), 1):
            question, answer = (normalized(str(row.get(key) or "")).strip() for key in ("question", "answer"))
            image = _bytes(row.get("image"))
            if not (question and answer):
                yield Dropped(f"row {number}", "no question or no answer")
            elif not image:
                yield Dropped(f"row {number}", "no image")
            else:
                identity = "pvqa-" + hashlib.sha256(image).hexdigest()[:16]
                document = documents.setdefault(
                    identity, Document(id=identity, image=image, split=SPLITS.get(row["_split"]))
                )
                document.questions.append((question, answer))
        yield from documents.values()


def _bytes(image: Any) -> bytes | None:
    """Return the encoded bytes of an undecoded `datasets.Image`."""
    if not isinstance(image, dict):
        return None
    if image.get("bytes"):
        return image["bytes"]
    try:
        with open(image.get("path") or "", "rb") as file:
            return file.read()
    except OSError:
        return None
