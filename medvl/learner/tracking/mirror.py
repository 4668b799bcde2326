"""What a run tells a tracking service, whichever it is."""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

from medvl.measures import MEASURES
from medvl.record import Record, leaves

log = logging.getLogger(__name__)

STEP = "trainer/global_step"
TRIES = 3  # failures in a row after which a service is not told any more: each may have waited for a time limit


@dataclass(kw_only=True, slots=True)
class Subject:
    """The run that is mirrored."""

    record: Record
    columns: dict[str, Any]
    """Its composition and data, flat: one scalar a name."""
    group: str | None
    """Runs of one sweep share it."""
    job_type: str
    private: bool
    """Nothing that is printed or typed may be captured either."""


class Mirror:
    """Told everything, this one tells nobody: `logger=none`. The services override what they can show.

    Whoever calls decides what may be shown (`privacy`).
    """

    @classmethod
    def check(cls, **options: Any) -> None:
        """Refuse options that cannot be, or a package that is missing, before a model is loaded.

        Raises:
            ValueError: Names the override or the pip line that mends it.
        """

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Send numbers; without a step they are final ones."""

    def note(self, **words: str) -> None:
        """Put words beside the final numbers."""

    def pages(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Show some of the rows of an evaluation, always the same ones, with image, texts and differences."""

    def picture(self, name: str, path: Path) -> None:
        """Show a PNG."""

    def data(self, name: str, account: dict[str, Any]) -> None:
        """Note which data the run used: their account with its fingerprint, never a page."""

    def adapter(self, files: Sequence[Path], aliases: Sequence[str], facts: dict[str, Any]) -> None:
        """Keep the files of an adapter under names such as last and best."""

    def export(self, files: Sequence[Path], facts: dict[str, Any]) -> None:
        """Keep what was exported, with its measures."""

    def finish(self, code: int) -> None:
        """End the mirror with the exit code of the run; `ending` says what it means."""


class Guarded(Mirror):
    """Another mirror, whose failures cost a warning and never the run: the record is whole without it."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.failures: Counter[str] = Counter()
        self.warned: set[str] = set()

    def _tell(self, what: str, *words: Any, **options: Any) -> None:
        if self.failures[what] == TRIES:
            return
        try:
            getattr(self.mirror, what)(*words, **options)
            self.failures[what] = 0
        except Exception as error:
            self.failures[what] += 1
            if what not in self.warned:
                self.warned.add(what)
                log.warning("the run goes on without its mirror: %s.%s failed, %s: %s",
                            type(self.mirror).__name__, what, type(error).__name__, error)  # fmt: skip

    metrics = partialmethod(_tell, "metrics")
    note = partialmethod(_tell, "note")
    pages = partialmethod(_tell, "pages")
    picture = partialmethod(_tell, "picture")
    data = partialmethod(_tell, "data")
    adapter = partialmethod(_tell, "adapter")
    export = partialmethod(_tell, "export")
    finish = partialmethod(_tell, "finish")


def ending(code: int) -> str:
    """Name what an exit code says of a run.

    >>> ending(0), ending(1), ending(143)
    ('done', 'failed', 'interrupted')
    """
    return "done" if code == 0 else "interrupted" if code >= 128 else "failed"


def require(option: str, *packages: str) -> None:
    """Refuse an option whose packages are missing.

    Raises:
        ValueError: Names them and the pip line.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"logger={option} needs {' and '.join(missing)}, not installed here. "
            f'pip install -e ".[{option}]", or set logger=wandb.'
        )


def columns(settings: dict[str, Any]) -> dict[str, Any]:
    """Flatten a composition into columns that can be sorted by: dotted names, lists as text, nothing unset.

    >>> columns({"lora": {"r": 8, "init": None}, "tags": ["a", "b"]})
    {'lora.r': 8, 'tags': 'a, b'}
    """
    told = {name: value for name, value in leaves(settings) if value is not None and not name.endswith("_partial_")}
    texts = {name: ", ".join(map(str, value)) for name, value in told.items() if isinstance(value, list)}
    return {name: value for name, value in (told | texts).items() if value != ""}


def best_is(metric: str) -> str | None:
    """Return whether the least or the greatest value of a metric is the good one: min, max or None.

    >>> best_is("after/cer"), best_is("replay_after/field_f1"), best_is("train/nats_per_token"), best_is("train/lr")
    ('min', 'max', 'min', None)
    >>> best_is("speed/tokens_per_s"), best_is("bench/latency_p95_ms")
    ('max', 'min')
    """
    name = metric.rpartition("/")[2]
    if name in MEASURES:
        return "max" if MEASURES[name].higher_is_better else "min"
    if name.endswith("_per_s"):
        return "max"
    return "min" if name.endswith(("nats_per_token", "wait_share", "_ms", "_mib", "_s")) else None
