"""Several sources in given proportions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from typing import Any

from medvl.data.sources.source import Dropped, Source
from medvl.types import Document

# Options of reading and prompting belong to the parts, options of the draw to the mixture.
_OF_PARTS = ("path", "hub", "records", "streaming", "prompt", "tasks", "per_page", "min_chars", "overlong", "dates")
_OF_MIXTURE = ("limit", "near_duplicates", "seed")


@dataclass(kw_only=True)
class Mixture(Source):
    """Draws from its parts by weight.

    A weight is a share of the documents. The part with the fewest documents for its weight gives all of them, the
    others as many as the proportions allow; no document is repeated, and those left out are counted. Records, tasks
    and prompt are options of the parts; splits and limit are options of the mixture. An option that would have no
    effect is refused.
    """

    parts: dict[str, Source] = field(default_factory=dict)
    """The data sets, by their names."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight by part: 1 if not given; 0 leaves a part out."""

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
                elif item.id in seen:  # a document of two parts belongs to the first
                    repeated += 1
                    yield Dropped(item.id, "repeats an earlier record", name, item.records)
                else:
                    seen.add(item.id)
                    kept[name].append(item)
            if repeated and not kept[name]:  # the part has only repeats, so it gets no share
                del kept[name]
        scale = min(len(documents) / self.weight(name) for name, documents in kept.items())
        for name, documents in kept.items():
            # By hash, not the first ones: sources list similar documents together.
            ranked = sorted(documents, key=lambda document: hashlib.sha256(document.id.encode()).digest())
            count = round(scale * self.weight(name))
            yield from ranked[:count]
            for document in ranked[count:]:
                yield Dropped(document.id, "beyond its share of the mixture", name, document.records)

    def fingerprint(self) -> str:
        parts = [(name, self.weight(name), part.fingerprint()) for name, part in self.parts.items()]
        return f"Mixture:{self.seed}:{self.limit}:{self.near_duplicates}:{parts}"


def _changed(source: Source, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the options that differ from the defaults of `Source`."""
    for entry in fields(Source):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if entry.name in names and getattr(source, entry.name) != default:
            yield entry.name


def _override(key: str, value: Any) -> str:
    """Return an override as it is typed in a shell."""
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
