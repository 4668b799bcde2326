"""Splits that a source gives: what is in several of them, and what to do where one is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medvl.data.duplicates import clusters
from medvl.data.sources.dropped import Dropped
from medvl.types import Document

STRICTER = ("test", "val", "train", None)  # what is in several splits belongs to the first of these


def settled(documents: Sequence[Document], what: str) -> Iterator[Document | Dropped]:
    """Yield documents whose groups are each in one split: others of the group are dropped. Missing splits are drawn.

    Args:
        what: What a group is, for the reason.
    """
    names = clusters(documents, ())
    strictest: dict[str, str | None] = {}
    for document, name in zip(documents, names, strict=True):
        strictest[name] = min(strictest.get(name), document.split, key=STRICTER.index)
    kept = [one for one in zip(documents, names, strict=True) if one[0].split == strictest[one[1]]]
    draw_missing([document for document, _ in kept], [name for _, name in kept])
    held = {id(document) for document, _ in kept}
    for document, name in zip(documents, names, strict=True):
        if id(document) in held:
            yield document
        else:
            yield Dropped(
                document.file or document.id, f"its {what} is in the {strictest[name]} split", records=document.records
            )


def draw_missing(documents: Sequence[Document], names: Sequence[str]) -> None:
    """Draw the splits that the source lacks from its train images, every tenth by id and at least one.

    Args:
        names: Of each document's cluster, which stays together: the smallest id in it.
    """
    present = {document.split for document in documents}
    if present <= {"train", None}:
        for document in documents:
            document.split = None
        return
    for remainder, split in enumerate(("val", "test")):
        train = [one for one in zip(documents, names, strict=True) if one[0].split == "train"]
        held = {name for _, name in train}
        if split in present or len(held) < 2:
            continue
        drawn = {name for name in held if int(name.rpartition("-")[2], 16) % 10 == remainder} or {min(held)}
        for document, name in train:
            document.drawn = True
            document.split = split if name in drawn else "train"
