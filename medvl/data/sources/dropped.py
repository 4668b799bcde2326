"""A record, or a part of one, that is not used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Dropped:
    """A record, or a part of one, that cannot be used, and why; counted and listed, never fatal."""

    record: str
    reason: str
    source: str = ""
    records: int = 1
    """Records that are lost with it; 0 for a part of a record: an observation, a question, an example."""
