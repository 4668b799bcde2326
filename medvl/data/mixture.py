"""Several sources in given proportions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from typing import Any

from medvl.data.source import Dropped, Source
from medvl.types import Document

# A part reads and asks for itself; what is drawn from all of them is the mixture's.
_OF_PARTS = ("path", "hub", "records", "streaming", "prompt", "tasks", "per_page", "min_chars", "overlong")
_OF_MIXTURE = ("limit", "near_duplicates", "seed")


@dataclass(kw_only=True)
class Mixture(Source):
    """Draws from its parts by weight.

    A weight is a share of the documents. The part that is scarcest for its weight gives all it has, the others
    what keeps the proportions; nothing is repeated, and what is left out is counted. What is read and asked, a
    part's records, tasks and prompt, is the part's own; splits and limit are the mixture's. What does nothing
    is refused.
    """

    parts: dict[str, Source] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    """By part; a part without one weighs 1, and 0 leaves it out."""

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(f"a mixture has two parts or more, this one {list(self.parts)}. Set data=forms_and_notes.")
        for name in _changed(self, _OF_PARTS):
            value = getattr(self, name)
            mended = " or ".join(_override(f"data.parts.{part}.{name}", value) for part in self.parts)
            raise ValueError(f"data.{name} does nothing in a mixture: its parts read and ask. Set {mended}.")
        for part, source in self.parts.items():
            for name in _changed(source, _OF_MIXTURE):
                mended = _override(f"data.{name}", getattr(source, name))
                raise ValueError(f"data.parts.{part}.{name} does nothing: splits are the mixture's. Set {mended}.")
        super().__post_init__()
        unknown = set(self.weights) - set(self.parts)
        if unknown:
            raise ValueError(f"data.weights names {sorted(unknown)}; the parts are {sorted(self.parts)}.")
        if min(map(self.weight, self.parts)) < 0 or not any(map(self.weight, self.parts)):
            raise ValueError(f"data.weights must not be negative, nor all zero, got {self.weights}.")

    def weight(self, part: str) -> float:
        return self.weights.get(part, 1.0)

    def documents(self) -> Iterator[Document | Dropped]:
        kept: dict[str, list[Document]] = {}
        seen: set[str] = set()
        for name, part in self.parts.items():
            if not self.weight(name):
                continue
            kept[name] = []
            repeated = 0
            for item in part.read():
                item.source = name
                if isinstance(item, Dropped):
                    yield item
                elif item.id in seen:  # what two parts give is the first one's
                    repeated += 1
                    yield Dropped(item.id, "repeats an earlier record", name)
                else:
                    seen.add(item.id)
                    kept[name].append(item)
            if repeated and not kept[name]:  # it adds nothing, so it has no share
                del kept[name]
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


def _changed(source: Source, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the options that are away from what every source has by default."""
    for entry in fields(Source):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if entry.name in names and getattr(source, entry.name) != default:
            yield entry.name


def _override(key: str, value: Any) -> str:
    """Return what to type in a shell."""
    written = _written(value)
    return f'"{key}={written}"' if "'" in written else f"{key}={written}"


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./-]+", value) else "'" + value.replace("'", "\\'") + "'"
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
