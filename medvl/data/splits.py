"""Train, val and test splits: drawn by document and patient, never by row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from medvl.types import Document

SPLITS = ("train", "val", "test")  # learn from; tune on; report final numbers on
MINITRAIN = "minitrain"  # as many training documents as val has, to measure memorisation
SHARES = (0.8, 0.1, 0.1)


def assign(documents: Sequence[Document], seed: int, clusters: Sequence[str] | None = None) -> None:
    """Assign every document without a split to train, val or test, 80/10/10.

    The draw depends only on the ids and the seed, not on the order of the records, so the JSON-lines, CSV and hub
    forms of a data set are split alike. With three or more clusters to draw, no split is empty.

    Args:
        clusters: The cluster name of every document; a cluster goes to one split, the one its source assigned to
            one of its documents, if any. None: each document is a cluster of its own.
    """
    names = [document.id for document in documents] if clusters is None else clusters
    members: dict[str, list[Document]] = {}
    for document, name in sorted(zip(documents, names, strict=True), key=lambda pair: pair[0].id):
        members.setdefault(name, []).append(document)
    for cluster in members.values():
        given = next((document.split for document in cluster if document.split is not None), None)
        drawn = next((document.split for document in cluster if document.drawn and document.split != "train"), "train")
        for document in cluster:
            document.split = drawn if document.drawn else document.split or given
    # By hash, not by shuffling: adding or removing a document hardly changes the split of any other.
    ranked = sorted(members, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    free = [members[name] for name in ranked if members[name][0].split is None]
    total = sum(map(len, free))
    held = {name: max(round(share * total), len(free) >= 3) for name, share in zip(SPLITS, SHARES, strict=True)}
    taken = dict.fromkeys(SPLITS, 0)
    for cluster in free:
        split = next((name for name in ("val", "test") if taken[name] < held[name]), "train")
        taken[split] += len(cluster)
        for document in cluster:
            document.split = split


def take(documents: list[Document], limit: int | None) -> list[Document]:
    """Return `limit` documents: the first of each split, in proportion, and at least one of each non-empty split.

    Applied after the split is drawn, so that a test document is never a training document under another limit.
    """
    if limit is None or limit >= len(documents):
        return documents
    parts = {name: [document for document in documents if document.split == name] for name in SPLITS}
    kept = {name: max(min(1, len(part)), round(limit * len(part) / len(documents))) for name, part in parts.items()}
    kept["train"] = max(min(1, len(parts["train"])), limit - kept["val"] - kept["test"])
    chosen = {id(document) for name, part in parts.items() for document in part[: kept[name]]}
    return [document for document in documents if id(document) in chosen]
