"""Leak check: evaluated documents that are in the training data, entirely or for the most part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from medvl.types import Example

LEAKED = 0.5  # share of a document's 5-word shingles found in one training document
COMMON = 50  # a shingle in this many training documents is boilerplate and ignored


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without numbers."""
    return re.findall(r"[^\W\d_]{2,}", text.lower())


def _shingles(text: str) -> set[int]:
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[at : at + 5])) for at in range(len(words) - 4)}


def leaked_documents(train: Sequence[Example], evaluated: Sequence[Example]) -> list[str]:
    """Return the evaluated documents that are in the training data or share most of their text with one document."""
    trained = dict.fromkeys(example.document for example in train)
    holders: dict[int, set[str]] = {}
    for document, text in dict.fromkeys((example.document, example.page_text) for example in train):
        for shingle in _shingles(text):
            holders.setdefault(shingle, set()).add(document)
    texts: dict[str, set[int]] = {}
    for example in evaluated:
        texts.setdefault(example.document, set()).update(_shingles(example.page_text))
    leaked = []
    for document, shingles in texts.items():
        shared = Counter(
            holder for shingle in shingles if len(found := holders.get(shingle, ())) < COMMON for holder in found
        )
        most = max(shared.values(), default=0)
        if document in trained or most > LEAKED * max(1, len(shingles)):
            leaked.append(document)
    return leaked
