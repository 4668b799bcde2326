"""What the tracker is told of a run besides its composition: name, effective values, sizes of data, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medvl.evaluation.gate import TARGET
from medvl.model.lora import Lora
from medvl.record.files import read_json
from medvl.sweeping.plan import ASIDE
from medvl.tracking import Subject
from medvl.tracking.names import run_name
from medvl.tracking.tracker import Guarded, columns

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from medvl.evaluation.gate import BeforeAfter
    from medvl.metrics.confidence import Interval
    from medvl.model.lora import Adapter
    from medvl.run.context import RunContext

UNSORTABLE = (*ASIDE, "export", "format", "serve")  # not useful for sorting runs
SIZES = ("records", "documents", "examples", "pages", "tokens", "visual_tokens", "longest")  # of prepared data


def start_tracker(context: RunContext) -> None:
    """Start the tracker with the composition and the data that the run uses; on rank 0 only."""
    if not context.main:
        return
    privacy, record = context.config.privacy, context.record
    if not privacy.shows:
        context.say(
            f"privacy=strict: pages, texts and prompts stay in {record.display_path()} and in the cache; "
            "they are neither printed nor sent"
        )
    context.tracker = Guarded(context.config.make_tracker(_subject(context)))
    for name, account in context.accounts.items():
        context.tracker.data(name, privacy.account(account))
    report, figure = read_json(record.path / "audit.json"), record.path / "audit.png"
    if report is not None and privacy.shows:
        context.tracker.note(audit=str(report.get("verdict")))
        if figure.is_file():
            context.tracker.picture("audit", figure)


def _subject(context: RunContext) -> Subject:
    """Return a run as its tracker first sees it."""
    from medvl.reporting.differences import differing

    record, privacy = context.record, context.config.privacy
    environment = read_json(record.path / "environment.json") or {}
    settings = {name: value for name, value in context.settings.items() if name not in UNSORTABLE}
    hashes = {f"hash.{name}": account["fingerprint"] for name, account in context.accounts.items()}
    about = {"group": context.groups, "commit": environment.get("commit"), "run_dir": record.display_path(), **hashes}
    chosen = {name: one["value"] for name, one in environment.get("choices", {}).items() if name != "groups"}
    told = columns({**settings, **about, **_sizes(context.accounts), "effective": chosen})
    shown = privacy.columns({word.partition("=")[0]: word for word in differing(context.typed, context.script)})
    return Subject(
        record=record,
        columns=privacy.columns(told),
        name=run_name(list(shown.values()), record.path.name),
        group=context.sweep,
        job_type=context.script,
        private=not privacy.shows,
    )


def parameter_counts(base: PretrainedConfig, trained: Mapping[str, int], lora: Adapter) -> dict[str, Any]:
    """Return the columns of a model's parameters, and the scale of its adapters.

    Args:
        trained: Trainable parameters by part of the model.
    """
    from medvl.model.names import parameter_shapes

    total = sum(math.prod(shape) for shape in parameter_shapes(base).values())
    counts = {
        "base": total,
        "trainable": sum(trained.values()),
        **{f"trainable_{part}": n for part, n in trained.items()},
    }
    scale = {"effective": {"lora.alpha": lora.scale_numerator}} if isinstance(lora, Lora) else {}
    return columns({"parameters": counts, **scale})


def scored_numbers(summary: Mapping[str, float], intervals: Mapping[str, Interval | None]) -> dict[str, float]:
    """Return the numbers of an evaluation under their names in trackers: eval/cer, eval/cer_low, eval/cer_high."""
    return {f"eval/{name}": value for name, value in summary.items()} | bounds("eval", intervals)


def before_and_after(sets: Mapping[str, BeforeAfter]) -> dict[str, float]:
    """Return all numbers under unique names: before/cer, after/cer_low, change/cer, replay_after/cer."""
    found: dict[str, float] = {}
    for name, one in sets.items():
        place = "" if name == TARGET else f"{name}_"
        for when, summary in one.summaries.items():
            found |= {f"{place}{when}/{key}": value for key, value in summary.items()}
            found |= bounds(f"{place}{when}", one.intervals[when])
        if one.difference is not None:
            change = one.difference
            ends = {"": change.difference, "_low": change.low, "_high": change.high}
            found |= {f"{place}change/{one.objective}{end}": value for end, value in ends.items() if value is not None}
    return found


def bounds(prefix: str, intervals: Mapping[str, Interval | None]) -> dict[str, float]:
    """Return the ends of 95 % intervals as numbers: after/cer_low, after/cer_high."""
    return {
        f"{prefix}/{name}_{end}": value
        for name, interval in intervals.items()
        if interval is not None
        for end, value in zip(("low", "high"), interval, strict=True)
    }


def compare_pages(context: RunContext, sets: Mapping[str, BeforeAfter]) -> None:
    """Show the tracker the answers before and after training, joined by example, if texts may be shown."""
    for name, one in sets.items():
        if one.before is not None and context.config.privacy.shows:
            table = "before_after" if name == TARGET else f"before_after_{name}"
            context.tracker.comparison(table, one.before[0], one.after[0])


def _sizes(accounts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sizes of prepared data: prepared.examples.train, prepared.pages, prepared_replay.dropped."""
    found: dict[str, Any] = {}
    for name, account in accounts.items():
        sizes = {key: account[key] for key in SIZES if key in account}
        found[name] = sizes | {"dropped": sum(account.get("dropped", {}).values())}
    return found
