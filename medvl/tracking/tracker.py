"""The interface between a run and a tracking service."""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

from medvl.metrics import METRICS
from medvl.record.directory import Record
from medvl.record.files import leaves
from medvl.tracking.names import usual
from medvl.types import Choice

log = logging.getLogger(__name__)

STEP = "trainer/global_step"
TRIES = 3  # consecutive failures after which a method is not called again: each may wait for a timeout


@dataclass(kw_only=True, slots=True)
class Subject:
    """The run to track."""

    record: Record
    columns: dict[str, Any]
    """The run's composition and data, flattened: one scalar per name."""
    name: str
    """Its name, unless the user gives another."""
    group: str | None
    """The group, shared by the runs of a sweep."""
    job_type: str
    private: bool
    """Whether the tracker must also not capture console output and the command line."""


class Tracker:
    """A tracker that does nothing: `logger=none`. Services override the methods that they support.

    Callers decide what may be shown (`privacy`).
    """

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse invalid options or a missing package before a model is loaded.

        Raises:
            ValueError: The message names the override or the pip command that fixes it.
        """

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Send numbers; without a step they are final results."""

    def note(self, **words: str) -> None:
        """Add texts to the final results."""

    def settle(self, columns: Mapping[str, Any]) -> None:
        """Add to the composition what became known after the start, as by an automatic choice."""

    def pages(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Show a fixed selection of an evaluation's rows, with image, texts and differences."""

    def comparison(self, name: str, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> None:
        """Show the same selection of two evaluations side by side, joined by example."""

    def picture(self, name: str, path: Path) -> None:
        """Show a PNG."""

    def data(self, name: str, account: dict[str, Any]) -> None:
        """Record which data the run used: their account with its fingerprint, never a page."""

    def adapter(self, files: Sequence[Path], aliases: Sequence[str], facts: dict[str, Any]) -> None:
        """Store the files of an adapter under names such as last and best."""

    def export(self, files: Sequence[Path], facts: dict[str, Any]) -> None:
        """Store the export with its metrics."""

    def exported(
        self,
        source: str,
        adapter: Sequence[Path],
        files: Sequence[Path],
        facts: dict[str, Any],
        scores: dict[str, Any],
    ) -> None:
        """Store what medvl export says of a model, as made from an adapter that a training run has sent.

        Args:
            source: The service's id of the training run, or another name of the adapter.
            adapter: Its files, as they were sent; none: a base was exported as it is.
            scores: Of the adapter.
        """

    def finish(self, code: int) -> None:
        """End the tracker with the exit code of the run, which `ending` interprets."""


class Guarded(Tracker):
    """Wraps a tracker so that its failures only cause warnings: the record is complete without it.

    Numbers get the names that trackers show (`names`).
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.failures: Counter[str] = Counter()
        self.warned: set[str] = set()

    def _tell(self, what: str, *words: Any, **options: Any) -> None:
        if self.failures[what] == TRIES:
            return
        try:
            getattr(self.tracker, what)(*words, **options)
            self.failures[what] = 0
        except Exception as error:
            self.failures[what] += 1
            if what not in self.warned:
                self.warned.add(what)
                log.warning(
                    "the run goes on without its tracker: %s.%s failed, %s: %s",
                    type(self.tracker).__name__,
                    what,
                    type(error).__name__,
                    error,
                )

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self._tell("metrics", usual(values), step=step)

    note = partialmethod(_tell, "note")
    settle = partialmethod(_tell, "settle")
    pages = partialmethod(_tell, "pages")
    comparison = partialmethod(_tell, "comparison")
    picture = partialmethod(_tell, "picture")
    data = partialmethod(_tell, "data")
    adapter = partialmethod(_tell, "adapter")
    export = partialmethod(_tell, "export")
    exported = partialmethod(_tell, "exported")
    finish = partialmethod(_tell, "finish")


def ending(code: int) -> str:
    """Return the state of a run that ended with an exit code.

    >>> ending(0), ending(1), ending(143)
    ('done', 'failed', 'interrupted')
    """
    return "done" if code == 0 else "interrupted" if code >= 128 else "failed"


def require(option: str, *packages: str) -> None:
    """Refuse an option whose packages are missing.

    Raises:
        ValueError: The message names them and the pip command.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"logger={option} needs {' and '.join(missing)}, not installed here. "
            f'pip install -e ".[{option}]", or set logger=wandb.'
        )


def columns(settings: dict[str, Any]) -> dict[str, Any]:
    """Flatten a composition into sortable columns: dotted names, lists as text, unset values left out.

    >>> columns({"lora": {"r": 8, "init": None}, "tags": ["a", "b"]})
    {'lora.r': 8, 'tags': 'a, b'}
    """
    told = {name: value for name, value in leaves(settings) if value is not None and not name.endswith("_partial_")}
    texts = {name: ", ".join(map(str, value)) for name, value in told.items() if isinstance(value, list)}
    return {name: value for name, value in (told | texts).items() if value != ""}


def effective(choices: Mapping[str, Choice]) -> dict[str, Any]:
    """Return the columns of automatic choices.

    >>> effective({"device": Choice("cpu", "as configured")})
    {'effective.device': 'cpu'}
    """
    return {f"effective.{name}": str(one.value) for name, one in choices.items()}


def best_is(metric: str) -> str | None:
    """Return whether the lowest or the highest value of a metric is best: min, max or None.

    >>> best_is("after/cer"), best_is("replay_after/field_f1"), best_is("train/loss"), best_is("lr")
    ('min', 'max', 'min', None)
    >>> best_is("speed/tokens_per_s"), best_is("bench/latency_p95_ms")
    ('max', 'min')
    """
    name = metric.rpartition("/")[2]
    if name in METRICS:
        return "max" if METRICS[name].higher_is_better else "min"
    if name.endswith("_per_s"):
        return "max"
    return "min" if name.endswith(("loss", "nats_per_token", "wait_share", "_ms", "_mib", "_s")) else None
