"""What a tracker is told of an export: its card and scores, and the trained adapter that it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.export.card import CARD
from medvl.model.adapters import EXPORTED, FILES, holds_adapter
from medvl.record.files import read_json
from medvl.tracking.sendable import sendable

if TYPE_CHECKING:
    from medvl.run.context import RunContext


def track_export(context: RunContext, folder: Path, facts: dict[str, Any]) -> None:
    """Send card, export.json and scores of an export to the tracker, with its adapter as the input; no weights of it.

    Args:
        folder: The export.
        facts: Its export.json.
    """
    config, trained, answers = context.config, context.trained, facts["parity"]["answers"] or {}
    scores = {f"export/{key}": value for key, value in facts["scores"]["summary"].items()}
    told = {
        **{name: facts[name] for name in ("format", "merged_into", "engine", "bytes", "publishable", "adapter")},
        **{f"base/{name}": facts["base"][name] for name in ("name", "licence")},
        **{f"answers/{name}": answers[name] for name in ("equal", "of", "verdict") if name in answers},
        **scores,
    }
    run = facts["run"] or {}
    after = {f"after/{key}": value for key, value in (run.get("scores") or {}).get("after", {}).items()}
    adapter = [] if trained is None or not holds_adapter(trained) else [trained / name for name in FILES]
    files = [file for file in adapter if file.is_file()]  # one of peft has no metadata of medvl's
    with sendable(files, config.privacy) as sent:
        context.tracker.exported(_source(context, facts), sent, [folder / CARD, folder / EXPORTED], told, after)
    context.track_numbers(**scores)
    context.tracker.note(format=facts["format"], publishable=str(facts["publishable"]).lower())


def _source(context: RunContext, facts: dict[str, Any]) -> str:
    """Return W&B's id of the training run; another name of the adapter, or of the base, where there is none."""
    run = context.config.run
    if run is not None and facts["run"]:
        return str((read_json(Path(run) / "status.json") or {}).get("wandb") or facts["run"]["name"])
    return str(facts["adapter"] or facts["base"]["name"])[:32]
