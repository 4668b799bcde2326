"""Writes the report of runs and sweeps from their directories alone: a page, its numbers, its tables in Markdown."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from medvl.record.directory import claim
from medvl.record.files import shortened, write_json, write_text
from medvl.reporting import audits, deployment, gallery, limits, overview, scores, sweeps, trust
from medvl.reporting.collection import Collection, collect
from medvl.reporting.headlines import cards
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import Listing, Number, ReportTable, Section, escaped

log = logging.getLogger(__name__)

FORMAT = 1
PAGE, NUMBERS, TABLES = "report.html", "FINAL_REPORT.json", "BENCHMARK_REPORT.md"
SAMPLES = ("samples", "train_samples")  # keys of benchmark.json with the single measurements


def write(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write the three files of a report; return the path of the page.

    Args:
        paths: Run directories and sweep folders.
        out: Folder to write to, created if needed; None: that of the only run or sweep, else a new one below outputs/.

    Raises:
        ValueError: No path has results, or the folder cannot be written to; then nothing is written.
    """
    new = out is None and len(paths) > 1
    own = default_folder(paths)
    out = own if out is None else out
    if os.path.islink(out) and out == own:
        raise ValueError(f"{out} is a link, which would be written through. Set out=<a folder>.")
    collection = collect(paths)
    parts, title = sections(collection), title_of(collection)
    for fault in collection.faults:
        log.warning("left out: %s", fault)
    made = time.strftime("%Y-%m-%d %H:%M")
    page = (
        templates()
        .get_template("report.html.j2")
        .render(title=title, made=made, sections=parts, cards=cards(collection))
    )
    place = shortened(str(out))
    try:
        if new:
            out = claim(out)
        out.mkdir(parents=True, exist_ok=True)
        if taken := [name for name in (NUMBERS, TABLES, PAGE) if (out / name).is_dir()]:
            raise ValueError(f"{place}/{taken[0]} is a folder, and would be a file. Set out=<a folder without it>.")
        write_json(out / NUMBERS, numbers(collection, parts, made))
        write_text(out / TABLES, markdown(title, made, parts))
        write_text(out / PAGE, page)
    except FileExistsError as error:
        raise ValueError(f"out={place} is a file. Set out=<a folder>.") from error
    except OSError as error:
        raise ValueError(f"the report cannot be written to {place}: {error.strerror}. Set out=<a folder>.") from error
    return out / PAGE


def report_line(folder: Path) -> str:
    """Write the report of a finished run or sweep; return one line: where it is, or why there is none.

    The results are saved by then, so an error in the report must not make the script fail.
    """
    try:
        return f"report: {write([folder])}"
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return f"no report: {kind}{' '.join(str(error).split())}"


def default_folder(paths: Sequence[Path]) -> Path:
    """Return a report's default folder: that of its only run or sweep, else one below outputs/."""
    if len(paths) == 1:
        return Path(paths[0]) / "report"
    return Path("outputs", "reports", time.strftime("%Y-%m-%d_%H-%M-%S"))


def title_of(collection: Collection) -> str:
    names = [*(sweep.name for sweep in collection.sweeps), *(run.name for run in collection.runs)]
    return f"medvl report: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def sections(collection: Collection) -> list[Section]:
    """Return the sections for which there is data, in order."""
    parts = [
        overview.headline(collection),
        deployment.deployment(collection),
        scores.training(collection),
        scores.evaluations(collection),
        trust.trust(collection),
        *(sweeps.of_sweep(sweep, number) for number, sweep in enumerate(collection.sweeps, 1)),
        overview.learning(collection),
        gallery.gallery(collection),
        audits.audits(collection),
        overview.composition(collection),
        sweeps.failures(collection.sweeps),
        overview.costs(collection),
        limits.limits(collection),
    ]
    known = [part for part in parts if part is not None]
    faults = collection.faults  # complete only now that all files are read
    return [Section(anchor="faults", title="Left out", blocks=[Listing(items=faults)]), *known] if faults else known


def numbers(collection: Collection, parts: Sequence[Section], made: str) -> dict[str, Any]:
    """Return every number, unrounded, with the run, file and key that it comes from."""
    runs = {
        run.name: {
            "script": run.script,
            "state": run.state,
            "device": {key: _json(value) for key, value in run.device.items()},
            "overrides": run.overrides,
            "commit": run.environment.get("commit"),
            "started": run.status.get("started"),
        }
        for run in collection.every
    }
    tables = {
        part.anchor: {"title": part.title, **{table.name: table.to_json() for table in part.tables}} for part in parts
    }
    every = [number.to_json() for run in collection.every for number in measurements(run)]
    return {"format": FORMAT, "made": made, "runs": runs, "tables": tables, "measurements": every}


def measurements(run: ReportedRun) -> Iterator[Number]:
    """Yield all numbers of a run's metrics.json and benchmark.json, except single samples."""
    for file, tree in (("metrics", run.metrics), ("benchmark", run.bench)):
        for key, value in _leaves({key: value for key, value in tree.items() if key not in SAMPLES}):
            yield Number(value=value, unit="", run=run.name, file=f"{file}.json", key=key)


def _json(value: Any) -> Any:
    """Return a plain value, or what stands for it in JSON: null for numbers that are none, text for containers."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, dict | list) else value


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(node, dict | list):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for name, value in pairs:
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield key, node


def markdown(title: str, made: str, parts: Sequence[Section]) -> str:
    """Return the tables and their accompanying sentences in Markdown, without page images."""
    lines = [f"# {escaped(title)}", f"{made}. Every number with its place: {NUMBERS}. Not for clinical use."]
    for part in parts:
        if part.tables or any(block.kind == "list" for block in part.blocks):
            lines += [f"## {escaped(part.title)}", *part.markdown()]
    return "\n\n".join(lines) + "\n"


def templates() -> Environment:
    """Return the environment of the templates, which escapes every value."""
    made = Environment(
        loader=PackageLoader("medvl.reporting", "templates"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["number"] = lambda cell: isinstance(cell, Number)
    made.tests["table"] = lambda block: isinstance(block, ReportTable)
    return made
