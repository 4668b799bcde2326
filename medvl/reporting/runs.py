"""Run directories as a report reads them, using only files that the runs wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from medvl.metrics import METRICS
from medvl.record.files import leaves, read_json, read_jsonl
from medvl.reporting.tables import Number
from medvl.sweeping.plan import ASIDE, state_in

BOOKKEEPING = (*ASIDE, "trainer.bar", "force", "export")  # keys that do not affect results
REPEATING = ("seed",)  # keys that only repeat an experiment


@dataclass(kw_only=True)
class ReportedRun:
    """One run directory; missing files read as empty."""

    path: Path
    name: str
    overrides: list[str] = field(default_factory=list)
    wary: bool = False
    """Another run of its sweep is private; then so is this one unless its composition says otherwise."""

    @cached_property
    def status(self) -> dict[str, Any]:
        return self._json("status")

    @cached_property
    def environment(self) -> dict[str, Any]:
        return self._json("environment")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self._json("metrics")

    @cached_property
    def bench(self) -> dict[str, Any]:
        return self._json("benchmark")

    @cached_property
    def audit(self) -> dict[str, Any]:
        return self._json("audit")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The composition, flattened to dotted keys."""
        path = self.path / "config.yaml"
        return dict(leaves(yaml.safe_load(path.read_text(encoding="utf-8")) or {})) if path.is_file() else {}

    @cached_property
    def curve(self) -> list[dict[str, Any]]:
        return self.rows("metrics")

    def rows(self, name: str = "predictions") -> list[dict[str, Any]]:
        path = self.path / f"{name}.jsonl"
        return read_jsonl(path) if path.is_file() else []

    def _json(self, name: str) -> dict[str, Any]:
        found = read_json(self.path / f"{name}.json")
        return found if isinstance(found, dict) else {}

    @property
    def groups(self) -> dict[str, str]:
        """The option of each config group."""
        return (self.environment.get("choices") or {}).get("groups") or {}

    @property
    def script(self) -> str:
        return Path((self.environment.get("command") or ["a script of medvl"])[0]).stem

    @property
    def state(self) -> str:
        return state_in(self.status, self.path).value if self.status else "not started"

    @property
    def finished(self) -> bool:
        return self.state == "done" and bool(self.metrics or self.bench)

    @property
    def private(self) -> bool:
        """Whether pages and texts must stay in the directory.

        A refused job has no composition; then its overrides and its sweep decide.
        """
        stated = self.config.get("privacy") or settings(self).get("privacy")
        return stated == "strict" if stated else self.wary

    @property
    def device(self) -> dict[str, Any]:
        return self.environment.get("device") or {}

    @property
    def column(self) -> str:
        """The key of metrics.json's intervals under which the run's main scores are."""
        if "after" in self.metrics:
            return "after"
        return next(iter(self.metrics.get("scores") or {}), "")

    @property
    def scored(self) -> dict[str, Any]:
        """The run's main scores: shares, examples, documents."""
        if "after" in self.metrics:
            return self.metrics["after"]
        return (self.metrics.get("scores") or {}).get(self.column) or self.bench.get("scores") or {}

    @property
    def objective(self) -> str:
        """The name of the run's objective."""
        return (self.status.get("objective") or {}).get("name") or ""

    @property
    def higher_is_better(self) -> bool:
        return bool((self.status.get("objective") or {}).get("higher_is_better"))

    def score(self, measure: str, column: str = "", part: str = "") -> Number | None:
        """Return a metric of the target set, or of metrics.json's `part`, with its interval; None if missing."""
        file, tree, prefix = "metrics.json", self.metrics, ""
        if not tree and self.bench.get("scores"):
            file, tree = "benchmark.json", self.bench
            values, ranges, keys = tree["scores"], tree.get("intervals") or {}, ("scores", "intervals")
        else:
            column = column or self.column
            if part:
                tree, prefix = tree.get(part) or {}, f"{part}."
            inner = "" if "after" in tree else "scores."
            values = (tree if "after" in tree else tree.get("scores") or {}).get(column) or {}
            ranges = (tree.get("intervals") or {}).get(column) or {}
            keys = (f"{prefix}{inner}{column}", f"{prefix}intervals.{column}")
        if values.get(measure) is None:
            return None
        interval = tuple(ranges[measure]) if ranges.get(measure) else None
        return Number(
            value=values[measure],
            unit="%",
            run=self.name,
            file=file,
            key=f"{keys[0]}.{measure}",
            interval=interval,
            interval_key=f"{keys[1]}.{measure}" if interval else None,
        )

    def number(self, file: str, key: str, unit: str = "") -> Number | None:
        """Return the number at a dotted key of a JSON file; None if missing."""
        node: Any = {"metrics": self.metrics, "benchmark": self.bench, "status": self.status}[file]
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, bool) or not isinstance(node, int | float):
            return None
        return Number(value=node, unit=unit, run=self.name, file=f"{file}.json", key=key)

    def optimised(self, name: str = "") -> Number | None:
        """Return the run's objective, or its sweep's, which has a name such as after/cer."""
        *place, measure = (name or self.objective).split("/")
        key = ".".join([*place, measure])
        part = "replay" if place[:1] == ["replay"] else ""
        found = self.score(measure, place[-1] if place else "", part) if measure in METRICS else None
        found = found or self.number("metrics", key, unit_of(key)) or self.number("benchmark", key, unit_of(key))
        if found is None and measure == self.objective:
            found = self.number("status", "objective.value", unit_of(measure))
        return found


def settings(run: ReportedRun) -> dict[str, str]:
    """Return a run's overrides as a mapping from key to value."""
    pairs = (word.lstrip("+~").partition("=") for word in run.overrides)
    return {key: value_text(key, value) for key, _, value in pairs}


def unit_of(key: str) -> str:
    """Return the unit in a key's suffix, for `Number`."""
    ends = {"_mib": "MiB", "_ms": "ms", "_j": "J"}
    plain = key.endswith("_s") and not key.endswith("per_s")
    return "s" if plain else next((unit for end, unit in ends.items() if key.endswith(end)), "")


def short(key: str) -> str:
    """Return the last part of a dotted key, which is the most specific."""
    return key.rpartition(".")[2]


def number_of(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def value_text(key: str, value: Any) -> str:
    """Return a value as text; a path is cut to its name, as its location means nothing on other machines."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    number = number_of(text)
    if number is not None and not text.lstrip("-").isdigit():
        return f"{number:g}"
    return Path(text).name if key in ("run", "adapter", "model.path", "data.path") and "/" in text else text


def natural(text: str) -> tuple[bool, float, str]:
    number = number_of(text)
    return (number is None, number or 0.0, text)
