"""One run of a script: its configuration, record, tracker and console output. It computes nothing."""

from __future__ import annotations

import contextlib
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.record.directory import Record
from medvl.record.files import read_json
from medvl.tracking import Tracker
from medvl.tracking.tracker import effective

if TYPE_CHECKING:
    from medvl.data.prepare import Prepared
    from medvl.run.config import RunConfig
    from medvl.types import Choice

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class RunContext:
    """Shared by the parts of a run to record, print and send to the tracker."""

    config: RunConfig
    record: Record
    settings: dict[str, Any]
    """The composition as plain containers."""
    groups: dict[str, str]
    """The option chosen for each group."""
    main: bool
    """Whether this process writes the record: rank 0."""
    trained: Path | None = None
    """The folder of trained weights that the run starts from: of a resumed or an evaluated run, or of an adapter."""
    exported: Path | None = None
    """The folder of the export that artefact= names, once it is there."""
    script: str = "train"
    """The running script, or the verb of medvl."""
    sweep: str | None = None
    """The name that the runs of one sweep share."""
    typed: list[str] = field(default_factory=list)
    """The overrides of all sessions of the run."""
    tracker: Tracker = field(default_factory=Tracker)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Accounts of the prepared data, by the name of their file in the record."""

    until_end: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What ends with the run, such as a server that was started for it."""

    def open(self, text: str, typed: list[str]) -> None:
        """Start the record before anything slow.

        Args:
            text: config.yaml.
            typed: The overrides of this call.
        """
        before = read_json(self.record.path / "environment.json") or {}
        made = before.get("overrides", [])
        self.typed = made if made == typed else [*made, *typed]  # a resumed run keeps its first overrides
        self.record.open(text, overrides=self.typed, choices={"groups": self.groups})

    def close(self, *, failed: bool) -> None:
        """End what was started for the run, then the tracker.

        The exception being raised tells an interrupted run from a failed one.
        """
        self.until_end.close()
        stopped = isinstance(sys.exception(), KeyboardInterrupt | SystemExit)
        self.tracker.finish(128 if failed and stopped else int(failed))

    def say(self, text: str) -> None:
        """Print to the user, on rank 0 only."""
        if self.main:
            log.info("%s", text)

    def tell(self, choices: dict[str, Choice]) -> None:
        """Print and record automatic choices."""
        self.say("\n".join(f"{name:>14}: {choice}" for name, choice in choices.items()))
        if self.main:
            self.record.choices({name: {"value": str(c.value), "reason": c.reason} for name, c in choices.items()})
            self.tracker.settle(effective(choices))

    def account(self, name: str, prepared: Prepared, *heading: str) -> None:
        """Print and record the result of preparing some data."""
        self.say("\n".join([*heading, *prepared.lines(named=self.config.privacy.shows)]))
        if self.main:
            before = read_json(self.record.path / f"{name}.json") or {}
            if before.get("fingerprint", prepared.fingerprint) != prepared.fingerprint:
                log.warning(
                    "%s.json differs from the one this run began with: another version of medvl, or other files", name
                )
            self.accounts[name] = {"fingerprint": prepared.fingerprint, **prepared.account}
            self.record.result(self.accounts[name], name)

    def track_numbers(self, **values: float | None) -> None:
        """Send final numbers to the tracker."""
        self.tracker.metrics({key: value for key, value in values.items() if value is not None})

    def conclude(
        self, name: str, value: float | None, headline: dict[str, Any], *, higher_is_better: bool
    ) -> float | None:
        """Record the objective and the columns of the sweep's table; return the objective's value."""
        objective = {"name": name, "value": value, "higher_is_better": higher_is_better}
        self.record.status("running", objective=objective, headline=headline)
        return value
