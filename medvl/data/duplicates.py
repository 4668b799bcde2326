"""Near-duplicate documents, which must be in the same split."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence

from medvl.types import Document

WORDS = 5  # per shingle
SIMILAR = 0.8  # Jaccard similarity of their shingles from which two documents count as near-duplicates
_CANDIDATE, _PERMUTATIONS = 0.7, 64  # MinHash is approximate: it only proposes candidates


def near_duplicates(documents: Sequence[Document]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of near-duplicate documents, by index, the earlier one first.

    Candidates come from locality-sensitive hashing of 5-word shingles (Broder 1997); their Jaccard similarity
    is then computed exactly. Documents without text (existing images) are skipped.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=_CANDIDATE, num_perm=_PERMUTATIONS)
    shingles: dict[int, set[str]] = {}
    for number, document in enumerate(documents):
        if not document.text:
            continue
        shingles[number] = _shingles(document.text)
        sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        sketch.update_batch([shingle.encode() for shingle in shingles[number]])
        for other in sorted(index.query(sketch)):
            if similarity(shingles[other], shingles[number]) >= SIMILAR:
                yield other, number
        index.insert(number, sketch)


def _shingles(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[at : at + WORDS]) for at in range(max(1, len(words) - WORDS + 1))}


def similarity(one: set[str], other: set[str]) -> float:
    """Return the Jaccard similarity of two sets, 1.0 for two empty ones."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def clusters(documents: Sequence[Document], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return the name of each document's cluster; documents that share a group or are a pair share a cluster.

    The name is the smallest document id of the cluster, so it does not depend on the order of the records.
    """
    parents = list(range(len(documents)))

    def root(at: int) -> int:
        while parents[at] != at:
            parents[at] = parents[parents[at]]
            at = parents[at]
        return at

    groups: dict[str, int] = {}
    joined = [(groups.setdefault(name, at), at) for at, document in enumerate(documents) for name in document.groups]
    for one, other in (*joined, *pairs):
        parents[root(one)] = root(other)
    names: dict[int, str] = {}
    for at, document in enumerate(documents):
        names[root(at)] = min(names.get(root(at), document.id), document.id)
    return [names[root(at)] for at in range(len(documents))]
