"""What cannot be concluded from a report's numbers, depending on what was run."""

from __future__ import annotations

from collections.abc import Iterator

from medvl.metrics import METRICS
from medvl.reporting.collection import Collection
from medvl.reporting.deployment import benches
from medvl.reporting.tables import Listing, Section, counted

FEW = 30  # below this many documents the report warns that intervals are too narrow
DRAWN = {"clinical_forms", "transcribed_forms", "synthea", "reading_pages", "evaluation_pages", "benchmark_pages"}
QUANTISED = {"nf4", "fp4", "int8"}


def limits(collection: Collection) -> Section:
    """Return the limitations that apply to these runs."""
    sentences = [*_data(collection), *_model(collection), *_choice(collection), *_machine(collection)]
    first = "Not for clinical use: nothing here was checked by a clinician, and no score is a promise about a patient."
    return Section(anchor="limits", title="Limits", blocks=[Listing(items=[first, *sentences])])


def _data(collection: Collection) -> Iterator[str]:
    counts = [count for run in collection.focus if (count := run.scored.get("documents"))]
    if counts and min(counts) < FEW:
        least = counted(min(counts), "document")
        yield f"Few documents: the smallest set scored holds {least}. Wide as its intervals are, they are too narrow."
    invented = sorted(DRAWN & {run.groups.get("data", "") for run in collection.finished})
    if invented:
        yield f"The documents of {', '.join(invented)} are drawn by a program, not scanned from a clinic."


def _model(collection: Collection) -> Iterator[str]:
    runs = collection.finished
    if any(run.config.get("model.init") == "random" for run in runs):
        yield "Random weights: memory and speed are those of the shape, its scores mean nothing."
    if any(run.config.get("model.shape") == "nano" for run in runs):
        yield "nano has 8.2 million parameters: it shows that a recipe works, not how well a model of billions reads."
    stored = {str(run.config.get("precision.storage")) for run in runs if "after" in run.metrics} & QUANTISED
    if stored:
        yield (
            f"After training the adapter was scored beside its base in {' and '.join(sorted(stored))}. A merged or "
            "requantised model is another one: python evaluate.py -m run=<run> artefact=adapter,merged,requantised."
        )


def _choice(collection: Collection) -> Iterator[str]:
    trained = [run for run in collection.finished if "after" in run.metrics]
    seeds = {run.config.get("seed") for run in trained}
    if trained and len(seeds) == 1:
        yield "One seed: the intervals are over documents, and how much another seed would change is not known."
    elif trained:
        yield f"{len(seeds)} seeds were run; no interval here covers the spread between them."
    for sweep in collection.sweeps:
        if len(sweep.ranked) > 1 and len(sweep.leaders) == 1 and sweep.objectives[0][0].rpartition("/")[2] in METRICS:
            yield (
                f"The best of the {len(sweep.ranked)} runs of {sweep.name} was chosen by the score shown for it, which "
                "is therefore too good. Choose with eval.split=val, then score the choice with eval.split=test."
            )


def _machine(collection: Collection) -> Iterator[str]:
    runs = collection.finished
    if any(run.device.get("type") == "cpu" for run in benches(collection).values()):
        yield "Benchmarks ran on a CPU: memory is that of the whole process, and nothing follows for a GPU."
    if any(run.environment.get("dirty") for run in runs):
        yield "Some runs come from a checkout with uncommitted changes: their commit alone does not repeat them."
    if any(run.environment.get("commit") is None for run in runs):
        yield "Some runs do not know their commit."
