"""What may leave the run directory: the `privacy` setting.

Trained weights are sent in either case, though they may have memorised text; with logger=none they stay too.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

# Columns that strict withholds, by the last part of their name: prompts and file paths.
WITHHELD = ("prompt", "path", "run", "adapter", "cache", "export", "schema", "run_dir")


class Privacy(Enum):
    """Whether pages and texts may leave the cache and the run directory."""

    open = "open"  # tracking services, console and log show examples
    strict = "strict"  # they show numbers; pages, texts, prompts and paths stay in the cache and the run directory

    @property
    def shows(self) -> bool:
        return self is Privacy.open

    def columns(self, flat: dict[str, Any]) -> dict[str, Any]:
        """Return what may be shared of a flat composition; the base model's name always is."""
        if self.shows:
            return flat
        kept = (name for name in flat if name == "model.path" or name.rpartition(".")[2] not in WITHHELD)
        return {name: flat[name] for name in kept}

    def account(self, account: dict[str, Any]) -> dict[str, Any]:
        """Return what may be shared of a preparation's account: never a record, and with strict only counts."""
        kept = {name: value for name, value in account.items() if name not in ("dropped_records", "files")}
        twins = kept.get("near_duplicates", {})
        kept["near_duplicates"] = {name: twins[name] for name in ("pairs", "across_splits") if name in twins}
        if self.shows:
            return kept
        # Left out: names of facts, and drop reasons, which quote unreadable records.
        kept = {name: value for name, value in kept.items() if name not in ("facts", "dropped", "parts")}
        kept["sources"] = {
            name: {key: count for key, count in part.items() if key not in ("reasons", "parts")}
            for name, part in account["sources"].items()
        }
        return kept
