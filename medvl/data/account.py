"""What became of the records of a data set: the content of prepared.json.

A record is what the source is made of: a report, a row, a conversation, a generated form, a FHIR resource. It counts
once: as kept if the first document that shows it has an example, otherwise as dropped with a reason. So for every
source raw = kept + dropped. Parts of records that are lost (an observation, a question, an example) are counted apart.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from medvl.data.examples import DocumentResult
from medvl.data.sources.dropped import Dropped
from medvl.data.splits import SPLITS
from medvl.types import Document, Example

ACCOUNT = 5  # part of the cache key; increase it when the same input would give another prepared.json
_LISTED = 10_000  # drops to list of each reason; an export of a hospital holds millions of records of other kinds


@dataclass(slots=True)
class Read:
    """What was read from a source."""

    documents: list[Document] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    raw: Counter[str] = field(default_factory=Counter)
    """Records by source."""


def accounted(
    read: Read, documents: list[Document], results: list[DocumentResult], examples: list[Example]
) -> dict[str, Any]:
    """Return the account of a preparation.

    Args:
        documents: Those of `read` that were prepared.
        results: One for each of them.
    """
    lost = [*read.dropped, *_beyond(read.documents, documents), *_unused(documents, results)]
    sources: dict[str, dict[str, Any]] = {}
    for name, raw in read.raw.items():
        mine = [example for example in examples if example.source == name]
        made = [(doc, one) for doc, one in zip(documents, results, strict=True) if doc.source == name]
        reasons, parts = _by_reason([item for item in lost if item.source == name])
        sources[name] = {
            "raw": raw,
            "kept": sum(doc.records for doc, one in made if one.examples),
            "dropped": sum(reasons.values()),
            "reasons": reasons,
            "parts": parts,
            "pages": sum(one.pages for _, one in made),
            "examples": len(mine),
            "tokens": sum(example.tokens for example in mine),
        }
    reasons, parts = _by_reason(lost)
    return {
        "records": read.raw.total(),
        "sources": sources,
        "documents": {name: sum(document.split == name for document in documents) for name in SPLITS},
        "examples": {name: sum(example.split == name for example in examples) for name in SPLITS},
        "tasks": dict(Counter(example.task for example in examples).most_common()),
        "kinds": dict(Counter(example.kind for example in examples).most_common()),
        "facts": _facts(documents),
        "pages": sum(made.pages for made in results),
        "ready_pages": sum(made.ready for made in results),
        "shrunk": _shrunk(results),
        "split_pages": sum(made.split_pages for made in results),
        "overlong": {
            name: [
                sum(getattr(made, fate) for doc, made in zip(documents, results, strict=True) if doc.split == name)
                for fate in ("cut", "lost")
            ]
            for name in SPLITS
        },
        "files": {document.id: document.file for document in documents if document.file},
        "tokens": sum(example.tokens for example in examples),
        "visual_tokens": sum(sum(example.visual_tokens) for example in examples),
        "x_height_px": min((one.x_height_px for one in examples if one.x_height_px is not None), default=None),
        "longest": max(example.tokens for example in examples),
        "dropped": reasons,
        "parts": parts,
        "dropped_records": _listed(lost),
    }


def _shrunk(results: list[DocumentResult]) -> dict[str, Any]:
    """Return how many ready pages the model sees smaller than they are, and what is left of the height of letters."""
    found = [one for made in results for one in made.shrunk]
    if not found:
        return {}
    scales = [one.scale for one in found]
    limits = Counter(one.limit for one in found)
    needed = max(made.whole_tokens for made in results)
    return {"pages": dict(limits), "median": median(scales), "least": min(scales), "tokens_needed": needed}


def _beyond(read: list[Document], documents: list[Document]) -> list[Dropped]:
    used = {document.id for document in documents}
    left = Counter[str]()
    for document in read:
        if document.id not in used:
            left[document.source] += document.records
    return [Dropped("", "beyond data.limit", name, records) for name, records in left.items() if records]


def _unused(documents: list[Document], results: list[DocumentResult]) -> list[Dropped]:
    """Return what was lost while examples were made: parts of a document, or all that it shows."""
    lost = []
    for document, made in zip(documents, results, strict=True):
        nothing = [] if made.examples else [Dropped(document.id, "nothing can be asked about it", document.source)]
        for at, item in enumerate(made.dropped or nothing):
            lost.append(replace(item, records=0 if made.examples or at else document.records))
    return lost


def _by_reason(lost: list[Dropped]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many records, and how many parts of records, were lost for each reason."""
    records, parts = Counter[str](), Counter[str]()
    for item in lost:
        (records if item.records else parts)[item.reason] += item.records or 1
    return dict(records.most_common()), dict(parts.most_common())


def _listed(lost: list[Dropped]) -> list[dict[str, Any]]:
    counts, listed = Counter[str](), []
    for item in lost:
        counts[item.reason] += 1
        if counts[item.reason] <= _LISTED:
            listed.append(asdict(item))
    return listed


def _facts(documents: list[Document]) -> dict[str, list[int]]:
    """Return for each fact name how often it occurs and how many distinct values it has."""
    values: dict[str, list[str]] = {}
    for entry in (entry for document in documents for entry in document.fields):
        values.setdefault(re.sub(r"\.\d+(?=\.|$)", "", entry.path), []).append(entry.value)
    return {name: [len(stated), len(set(stated))] for name, stated in sorted(values.items())}
