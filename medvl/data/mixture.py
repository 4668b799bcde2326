"""Several sources in given proportions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from medvl.data.source import Dropped, Source
from medvl.types import Document


@dataclass(kw_only=True)
class Mixture(Source):
    """Draws from its parts by weight.

    A weight is a share of the documents. The part that is scarcest for its weight gives all it has, the others
    what keeps the proportions; nothing is repeated, and what is left out is counted. What is asked, a part's
    tasks and prompt, is the part's own; splits and limit are the mixture's.
    """

    parts: dict[str, Source] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    """By part; a part without one weighs 1, and 0 leaves it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.parts) < 2:
            raise ValueError(f"a mixture has two parts or more, this one {list(self.parts)}. Set data=forms_and_notes.")
        unknown = set(self.weights) - set(self.parts)
        if unknown:
            raise ValueError(f"data.weights names {sorted(unknown)}; the parts are {sorted(self.parts)}.")
        if min(map(self.weight, self.parts)) < 0 or not any(map(self.weight, self.parts)):
            raise ValueError(f"data.weights must not be negative, nor all zero, got {self.weights}.")

    def weight(self, part: str) -> float:
        return self.weights.get(part, 1.0)

    def documents(self) -> Iterator[Document | Dropped]:
        kept: dict[str, list[Document]] = {}
        for name, part in self.parts.items():
            if not self.weight(name):
                continue
            kept[name] = []
            for item in part.read():
                item.source = name
                if isinstance(item, Dropped):
                    yield item
                else:
                    kept[name].append(item)
        scale = min(len(documents) / self.weight(name) for name, documents in kept.items())
        for name, documents in kept.items():
            # By hash, not the first ones: sources list like things together.
            ranked = sorted(documents, key=lambda document: hashlib.sha256(document.id.encode()).digest())
            count = round(scale * self.weight(name))
            yield from ranked[:count]
            for document in ranked[count:]:
                yield Dropped(document.id, "beyond its share of the mixture", name)

    def fingerprint(self) -> str:
        parts = [(name, self.weight(name), part.fingerprint()) for name, part in self.parts.items()]
        return f"Mixture:{self.seed}:{self.limit}:{self.near_duplicates}:{parts}"
