"""What may leave the run directory: the `privacy` value.

Trained weights are no text and are sent in either case, though they may know some by heart: logger=none keeps them too.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

# Columns that strict withholds, by the last part of their name: what is asked, and where files lie.
WITHHELD = ("prompt", "path", "run", "adapter", "cache", "export")


class Privacy(Enum):
    """Who may see pages and texts."""

    open = "open"  # tracking services, the console and the log show examples
    strict = "strict"  # they show numbers; pages, texts, prompts and paths stay in the cache and the run directory

    @property
    def shows(self) -> bool:
        return self is Privacy.open

    def columns(self, flat: dict[str, Any]) -> dict[str, Any]:
        """Return what may be shared of a flat composition; the base model is named in either case."""
        if self.shows:
            return flat
        kept = (name for name in flat if name == "model.path" or name.rpartition(".")[2] not in WITHHELD)
        return {name: flat[name] for name in kept}

    def account(self, account: dict[str, Any]) -> dict[str, Any]:
        """Return what may be shared of a preparation's account: never a record, in strict nothing but counts."""
        kept = {name: value for name, value in account.items() if name != "dropped_records"}
        twins = kept.get("near_duplicates", {})
        kept["near_duplicates"] = {name: twins[name] for name in ("pairs", "across_splits") if name in twins}
        if self.shows:
            return kept
        # Names of facts, and reasons that quote what could not be read.
        kept = {name: value for name, value in kept.items() if name not in ("facts", "dropped")}
        kept["sources"] = {
            name: {key: count for key, count in part.items() if key != "reasons"}
            for name, part in account["sources"].items()
        }
        return kept
