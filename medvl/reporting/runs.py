"""Run directories as a report reads them, using only files that the runs wrote."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medvl.metrics import METRICS
from medvl.record.files import leaves
from medvl.record.reading import Damaged, Status, StepRow, read_bytes, read_object, read_rows
from medvl.record.saved_config import read_config
from medvl.record.shape import checked, tidy
from medvl.reporting.shapes import Answer, Audit, Benchmark, Calibrated, Environment, Metrics, Pointed
from medvl.reporting.tables import Number
from medvl.sweeping.plan import ASIDE, state_in

BOOKKEEPING = (*ASIDE, "trainer.bar", "force", "export", "serve")  # keys that do not affect results
PNG, IMAGE_BYTES = b"\x89PNG\r\n\x1a\n", 2**25  # the first bytes of a file, and the most that a page takes in
REPEATING = ("seed",)  # keys that only repeat an experiment


@dataclass(kw_only=True)
class ReportedRun:
    """One run directory, its files in the shapes of `shapes`; those that are missing or damaged read as empty."""

    path: Path
    name: str
    overrides: list[str] = field(default_factory=list)
    wary: bool = False
    """Another run of its sweep is private; then so is this one unless its composition says otherwise."""
    faults: dict[str, str] = field(default_factory=dict)
    """What is wrong with a file, by its name, of the files read so far."""

    @cached_property
    def status(self) -> dict[str, Any]:
        return self._read("status.json", Status)

    @cached_property
    def environment(self) -> dict[str, Any]:
        return self._read("environment.json", Environment)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self._read("metrics.json", Metrics)

    @cached_property
    def bench(self) -> dict[str, Any]:
        return self._read("benchmark.json", Benchmark)

    @cached_property
    def audit(self) -> dict[str, Any]:
        return self._read("audit.json", Audit)

    @cached_property
    def calibration(self) -> dict[str, Any]:
        return self._read("calibration.json", Calibrated)

    @cached_property
    def evidence(self) -> dict[str, Any]:
        return self._read("evidence.json", Pointed)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The composition, flattened to dotted keys; whatever is no plain value is its text."""
        path = self.path / "config.yaml"
        if not os.path.isfile(path):  # False also where it may not be looked for
            return {}
        try:
            values = checked(dict(leaves(read_config(path))), dict[str, Any])
        except ValueError as error:
            why = str(error).removeprefix(f"{path} ").removesuffix(" Name another run directory.").rstrip(".")
            self.faults[path.name] = why
            return {}
        plain = (str, int, float, bool, type(None))
        return {key: value if isinstance(value, plain) else tidy(str(value)) for key, value in values.items()}

    @cached_property
    def curve(self) -> list[dict[str, Any]]:
        return self._rows("metrics", StepRow)

    def rows(self, name: str = "predictions") -> list[dict[str, Any]]:
        return self._rows(name, Answer)

    def image(self, name: str) -> bytes | None:
        """Return a PNG file; None if it is missing or damaged."""
        try:
            data = read_bytes(self.path / name, IMAGE_BYTES)
            if data is None or data.startswith(PNG):
                return data
            self.faults[name] = "it is no PNG image"
        except Damaged as damage:
            self.faults[name] = damage.why
        return None

    def _read(self, name: str, shape: Any) -> Any:
        try:
            return read_object(self.path / name, shape) or {}
        except Damaged as damage:
            self.faults[name] = damage.why
            return {}

    def _rows(self, name: str, shape: Any) -> list[Any]:
        left_out: list[str] = []
        try:
            rows = read_rows(self.path / f"{name}.jsonl", shape, left_out)
        except Damaged as damage:
            rows, left_out = [], [damage.why]
        self.faults |= {f"{name}.jsonl": why for why in left_out}
        return rows

    @property
    def groups(self) -> dict[str, str]:
        """The option of each config group."""
        return (self.environment.get("choices") or {}).get("groups") or {}

    @property
    def script(self) -> str:
        return Path((self.environment.get("command") or ["a script of medvl"])[0]).stem

    @property
    def state(self) -> str:
        if not self.status:
            return "damaged" if "status.json" in self.faults else "not started"
        return state_in(self.status, self.path).value

    @property
    def finished(self) -> bool:
        return self.state == "done" and bool(self.metrics or self.bench)

    @property
    def private(self) -> bool:
        """Whether pages and texts must stay in the directory.

        A refused job has no composition; then its overrides and its sweep decide. Of a damaged one it is not known.
        """
        stated = self.config.get("privacy") or settings(self).get("privacy")
        if "config.yaml" in self.faults:
            return True
        return stated == "strict" if stated else self.wary

    @property
    def device(self) -> dict[str, Any]:
        return self.environment.get("device") or {}

    @property
    def devices(self) -> int:
        """How many devices were asked for, on all nodes."""
        counts = (self.config.get(f"trainer.{key}") for key in ("devices", "nodes"))
        return math.prod(count for count in counts if type(count) is int and 0 < count < 10**6)

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
            sets: dict[str, Any] = {name: tree[name] for name in ("before", "after") if name in tree}
            sets = sets or tree.get("scores") or {}
            values = sets.get(column) or {}
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
    with contextlib.suppress(ValueError):
        return number if math.isfinite(number := float(text)) else None
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
