"""The headline numbers of a report, each with its interval and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from medvl.metrics import METRICS
from medvl.reporting import deployment
from medvl.reporting.collection import Collection
from medvl.reporting.overview import labels, own_overrides, title_of
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import counted

MOST = 3  # numbers besides those of benchmarks
TONES = {"better": "good", "worse": "bad", "cannot tell": "note"}


@dataclass(kw_only=True, slots=True)
class Card:
    """One number."""

    what: str
    value: str
    of: str
    range: str = ""
    """The 95 % interval as text."""
    verdict: str = ""
    """Of the comparison with the base: better, worse or cannot tell."""

    @property
    def tone(self) -> str:
        return TONES.get(self.verdict, "")


def cards(collection: Collection) -> list[Card]:
    """Return the headline numbers of the runs shown in detail."""
    found, runs = [], deployment.benches(collection)
    for label, run in runs.items() if len(runs) > 1 else ():
        words = [run.score(accuracy) if (accuracy := deployment.accuracy_name([run])) else None]
        words += [run.number("benchmark", "peak_mib", "MiB"), run.number("benchmark", "latency_p50_ms", "ms")]
        value = ", ".join(word.alone for word in words if word)
        found.append(Card(what=label, value=value, of="accuracy, peak memory, latency p50"))
    shown = [run for run in collection.focus if not found or run not in runs.values()][:MOST]
    told = labels(collection.focus)
    names = {run.name: told[run.name] for run in shown}
    if len(shown) == 1 and (differs := own_overrides(shown[0])):
        names = {shown[0].name: "the default composition" if differs == "nothing" else differs}
    return [*found, *(card for run in shown if (card := _card(run, names[run.name])) is not None)]


def _card(run: ReportedRun, name: str) -> Card | None:
    title = title_of(run.objective)
    of = f"{counted(run.scored['documents'], 'document')}, {name}" if run.scored else name
    before = run.score(run.objective, "before") if "before" in run.metrics else None
    after = run.score(run.objective, "after") if before is not None else None
    if before is not None and after is not None:
        value = f"{100 * before.value:.1f} \u2192 {100 * after.value:.1f} %"
        verdict = verdict_of(run.metrics.get("verdict"), run.objective)
        return Card(what=f"{title}, before \u2192 after", value=value, range=after.range, verdict=verdict, of=of)
    number = run.optimised()
    return None if number is None else Card(what=title, value=number.alone, range=number.range, of=of)


def verdict_of(sentence: str | None, objective: str) -> str:
    """Return the verdict in the sentence of a comparison: better, worse, cannot tell; empty if it has none.

    >>> verdict_of("The trained model is better than the base: character error rate 2 % against 3 %, ...", "cer")
    'better'
    """
    head = (sentence or "").partition(":")[0].lower() if objective in METRICS else ""
    return next((word for word in TONES if word in head), "")
