"""What a run is expected to take: rates of earlier runs alike, kept in the cache as numbers under a hash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.hardware.ranks import is_main
from medvl.record.files import read_json, write_json
from medvl.record.timetable import Part, Timetable
from medvl.sweeping.plan import digest

if TYPE_CHECKING:
    from medvl.run.context import RunContext

FILE, MOST = "rates.json", 200  # most compositions whose rates are kept
# What decides how long a step or an answer takes, besides the device
KEYS = ("model", "precision", "lora", "render", "hardware", "batch", "reader", "engine", "optimizer")
DATA = ("_target_", "tasks", "path", "hub", "kinds")


def timetable(context: RunContext, parts: list[Part]) -> Timetable:
    """Make the timetable of a run, with the rates of earlier runs alike; its record says what is left."""
    made = Timetable(parts, _stored(context).get(_key(context)), note=lambda: context.record.status("running"))
    context.record.timetable = made
    return made


def remember(context: RunContext) -> None:
    """Keep the rates that a run has measured."""
    measured = context.record.timetable.rates()
    if not measured or not is_main():
        return
    stored, key = _stored(context), _key(context)
    before = stored.pop(key, {})
    kept = dict(list(stored.items())[-MOST + 1 :]) | {key: {**before, **measured}}
    try:
        write_json(_file(context), kept)
    except OSError:
        return  # a cache that cannot be written to has stopped the run, or will


def _file(context: RunContext) -> Path:
    return Path(context.config.cache).expanduser() / FILE


def _stored(context: RunContext) -> dict[str, dict[str, float]]:
    stored = read_json(_file(context)) or {}
    return {
        key: rates for key, rates in stored.items() if isinstance(rates, dict) and all(map(_is_rate, rates.values()))
    }


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e6


def _key(context: RunContext) -> str:
    """Return a hash of what decides the speed: nothing of the data but their kind is in it, and no text is kept."""
    settings, environment = context.settings, read_json(context.record.path / "environment.json") or {}
    data = settings.get("data") or {}
    evaluated = {name: (settings.get("eval") or {}).get(name) for name in ("max_new_tokens", "batch", "constrained")}
    trainer = {name: settings["trainer"].get(name) for name in ("accumulate", "devices", "nodes", "strategy")}
    machine = [environment.get("device"), environment.get("cores"), context.script]
    parts = [{name: settings.get(name) for name in KEYS}, {name: data.get(name) for name in DATA}, evaluated, trainer]
    return digest([parts, context.groups.get("data"), machine], 16)
