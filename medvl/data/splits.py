"""Which documents train, tune and test: drawn by document, never by row."""

from __future__ import annotations

import random

from medvl.types import Document

SPLITS = ("train", "val", "test")  # learn from; tune on; report final numbers on
SHARES = (0.8, 0.1, 0.1)


def assign(documents: list[Document], seed: int) -> None:
    """Give every document without a split one of train, val and test, 80/10/10.

    The draw depends on the set of ids and the seed alone, not on the order of the records: the JSON lines,
    the CSV and the hub form of one data set split alike. Sets of three or more documents leave no split empty.
    """
    free = sorted((document for document in documents if document.split is None), key=lambda d: d.id)
    random.Random(seed).shuffle(free)
    held = {name: max(round(share * len(free)), len(free) >= 3) for name, share in zip(SPLITS, SHARES, strict=True)}
    for number, document in enumerate(free):
        document.split = (
            "val" if number < held["val"]
            else "test" if number < held["val"] + held["test"]
            else "train"
        )  # fmt: skip


def take(documents: list[Document], limit: int | None) -> list[Document]:
    """Return `limit` documents, the first of each split in proportion and at least one of each that there is.

    Taken after the split is drawn: a document that tests here never trains there.
    """
    if limit is None or limit >= len(documents):
        return documents
    parts = {name: [document for document in documents if document.split == name] for name in SPLITS}
    kept = {name: max(min(1, len(part)), round(limit * len(part) / len(documents))) for name, part in parts.items()}
    kept["train"] = max(min(1, len(parts["train"])), limit - kept["val"] - kept["test"])
    chosen = {id(document) for name, part in parts.items() for document in part[: kept[name]]}
    return [document for document in documents if id(document) in chosen]
