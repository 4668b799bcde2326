"""`medvl show`: one page with every answer of a run, worst first: page image, reference, answer, what differs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from medvl.data.facts import fields_of
from medvl.data.schema import LabelFault
from medvl.evaluation.answer_diff import Piece, sides
from medvl.metrics import METRICS
from medvl.metrics.extraction import facts_in_json, facts_in_text, json_object
from medvl.record.directory import load_run
from medvl.record.files import shortened, write_text
from medvl.record.shape import tidy
from medvl.reporting.gallery import page_file, picture
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import counted
from medvl.types import DateOrder, Field

PAGE = "answers.html"
MOST = 200  # examples on a page unless `limit=` says otherwise: with letters about 20 MB
PAGES = 4  # images shown of an example
LABELLED = re.compile(r"^\s*([^\W\d][^:|]{1,40}?)\s*:\s*(\S.*?)\s*$")  # "Dose: 81 mg", one cell of a line
USAGE = "medvl show <run> [<example>] [set=replay] [limit=200] [out=<file>]"


@dataclass(kw_only=True)
class Shown:
    """One example of the page."""

    place: int
    """From 1, the worst."""
    title: str
    about: str
    scores: dict[str, float]
    """Shares of the metrics that apply to it."""
    wrong: list[str] = field(default_factory=list)
    """Names of the fields that the answer does not state in their place."""
    kind: str = ""
    prompt: str = ""
    images: list[int] = field(default_factory=list)
    """Positions in the page's list of pictures; -1: the file is gone."""
    reference: list[Piece] = field(default_factory=list)
    answer: list[Piece] = field(default_factory=list)
    before: list[Piece] = field(default_factory=list)
    """The answer before training, if it is known."""


def show(words: Sequence[str]) -> Path:
    """Write the page of a run's answers, or of one of them; return its path.

    Args:
        words: The run, perhaps an example (its id, a part of it, or its place from the worst), and options.

    Raises:
        ValueError: There is no such run, set or example, or the page cannot be written.
    """
    folder, example, options = _parsed(words)
    run = ReportedRun(path=folder, name=tidy(folder.name))
    load_run(folder)
    name = "predictions" + (f"_{options['set']}" if options.get("set") else "")
    rows = run.rows(name)
    if not rows:
        raise ValueError(_nothing(run, name))
    measure = _measure(run, rows)
    ranked = sorted(enumerate(rows), key=lambda pair: _rank(pair[1], measure))
    chosen = list(enumerate((row for _, row in ranked), 1))
    if example is not None:
        chosen = [_named(chosen, example, private=run.private)]
    limit = options.get("limit", MOST)
    before = {row["id"]: row["prediction"] for row in run.rows(f"{name}_before")} if not run.private else {}
    pictures = Pictures(folder)
    shown = [_shown(place, row, before, pictures, private=run.private) for place, row in chosen[:limit]]
    out = options.get("out") or folder / "report" / PAGE
    _write(out, _page(run, name, measure, shown, pictures, len(chosen)), own="out" not in options)
    return out


@dataclass
class Pictures:
    """The page images of a run, each embedded once."""

    folder: Path
    uris: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """Return the position of a page image; -1 if it is gone or no image."""
        if name not in self.places:
            file = page_file(self.folder, name)
            uri = picture(file)[0] if file is not None else ""
            self.places[name] = len(self.uris) if uri else -1
            self.uris += [uri] if uri else []
        return self.places[name]


def wrong_fields(row: dict[str, Any]) -> list[str]:
    """Return the names of the reference's fields that an answer does not state in their place.

    Fields are the values of a JSON reference, else what stands behind a label and a colon. Positions in lists are left
    out of their names.

    >>> wrong_fields({"reference": '{"drugs": [{"name": "aspirin", "dose": "81 mg"}]}',
    ...     "prediction": '{"drugs": [{"name": "aspirin", "dose": "8 mg"}]}'})
    ['drugs.dose']
    >>> wrong_fields({"reference": "Name: Ada | Dose: 81 mg", "prediction": "Name: Ada"})
    ['Dose']
    """
    written = str(row.get("dates", "mdy"))
    dates = DateOrder(written) if written in DateOrder.__members__ else DateOrder.mdy
    reference, answer = row["reference"], row["prediction"]
    expected = json_object(reference) if reference.lstrip().startswith("{") else None
    if expected is not None:
        try:
            fields = fields_of(expected)
        except LabelFault:  # a stranger's reference may be nested without end
            return []
        said = json_object(answer)
        found = facts_in_json(fields, said, dates) if said is not None else facts_in_text(fields, answer, (), dates)
    else:
        cells = (cell for line in reference.splitlines() for cell in line.split("|"))
        labelled = [match for cell in cells if (match := LABELLED.match(cell))]
        fields = [Field(path=f"{match[1]}.{at}", value=match[2], type="text") for at, match in enumerate(labelled)]
        found = facts_in_text(fields, answer, (reference,), dates)
    right = {one.path for one in found.right}
    return sorted({_named_field(one.path) for one in fields if one.path not in right})


def _named_field(path: str) -> str:
    return ".".join(part for part in path.split(".") if not part.isdigit())


def _parsed(words: Sequence[str]) -> tuple[Path, str | None, dict[str, Any]]:
    named, options = list[str](), dict[str, Any]()
    for word in words:
        key, equals, value = word.partition("=")
        if word.startswith("-"):
            raise ValueError(f"there is no option {word}; usage: {USAGE}")
        if not equals or key not in ("set", "limit", "out"):
            named.append(word)
        elif key == "limit":
            if not value.isdecimal() or not int(value):
                raise ValueError(f"limit={value} is no number of examples. Set limit=200.")
            options[key] = int(value)
        elif not value or (key == "set" and not re.fullmatch(r"\w+", value)):
            raise ValueError(f"{key}={value} names nothing; usage: {USAGE}")
        else:
            options[key] = Path(value) if key == "out" else value
    if not 1 <= len(named) <= 2 or not named[0]:
        raise ValueError(f"name one run, and perhaps one of its examples; usage: {USAGE}")
    return Path(named[0]), named[1] if len(named) == 2 else None, options


def _nothing(run: ReportedRun, name: str) -> str:
    sets = sorted(path.stem.removeprefix("predictions_") for path in run.path.glob("predictions_*.jsonl"))
    other = f" It has set={', set='.join(map(tidy, sets))}." if sets else " Name a run that has been evaluated."
    why = run.faults.get(f"{name}.jsonl")
    return f"{run.path} has no answers to show: {name}.jsonl is {f'damaged ({why})' if why else 'missing'}.{other}"


def _measure(run: ReportedRun, rows: Sequence[dict[str, Any]]) -> str:
    """Return the metric by which examples are ranked: the objective, else the first that any has."""
    present = {name for row in rows for name in row["scores"] if name in METRICS}
    known = (run.objective, "cer_text", "field_f1", "answer", "cer", *METRICS)
    return next((name for name in known if name in present), "")


def _rank(row: dict[str, Any], measure: str) -> tuple[bool, float]:
    if measure not in row["scores"]:
        return True, 0.0
    above, below = row["scores"][measure]
    return False, above / below * (1 if METRICS[measure].higher_is_better else -1)


def _named(chosen: list[tuple[int, dict[str, Any]]], example: str, *, private: bool) -> tuple[int, dict[str, Any]]:
    """Return the example of an id, of a part of one, or at a place."""
    same = [pair for pair in chosen if pair[1]["id"] == example]
    if not same and example.isdecimal() and 1 <= int(example) <= len(chosen):
        same = [chosen[int(example) - 1]]
    same = same or [pair for pair in chosen if example in pair[1]["id"]]
    if len(same) == 1:
        return same[0]
    ids = "" if private else ": " + ", ".join(tidy(row["id"]) for _, row in (same or chosen)[:5])
    count = f"{len(same)} examples fit {example}" if same else f"there is no example {shortened(tidy(example))}"
    raise ValueError(f"{count}. Name one of the {len(same or chosen)}{ids}, or its place: 1 is the worst.")


def _shown(place: int, row: dict[str, Any], before: dict[str, str], pictures: Pictures, *, private: bool) -> Shown:
    scores = {name: above / below for name, (above, below) in row["scores"].items() if name in METRICS}
    if private:  # ids and kinds may be names of files, names of fields are of the records
        return Shown(place=place, title=f"example {place}", about=row["task"], scores=scores)
    reference, answer = sides(row["reference"], row["prediction"])
    return Shown(
        place=place,
        title=row["kind"] or row["task"],
        about=", ".join(part for part in (row["task"], row.get("layout"), row["id"]) if part),
        scores=scores,
        wrong=wrong_fields(row) if row["reference"] else [],
        kind=row["kind"],
        prompt=row["prompt"],
        images=[pictures.place(image) for image in row["images"][:PAGES]],
        reference=reference,
        answer=answer,
        before=sides(row["reference"], before[row["id"]])[1] if row["id"] in before else [],
    )


def _page(run: ReportedRun, name: str, measure: str, shown: Sequence[Shown], pictures: Pictures, count: int) -> str:
    from medvl.reporting.report import templates

    script = files("medvl.reporting").joinpath("templates/answers.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = [one for one in METRICS if any(one in example.scores for example in shown)]
    fields = Counter(wrong for example in shown for wrong in example.wrong)
    values = {
        "title": f"Answers of {run.name}" + (f", {name.removeprefix('predictions_')}" if "_" in name else ""),
        "run": run,
        "private": run.private,
        "measure": measure,
        "metrics": {one: METRICS[one] for one in names},
        "headline": run.optimised() if run.objective and name == "predictions" else None,
        "fields": sorted(fields.items(), key=lambda pair: (-pair[1], pair[0])),
        "kinds": sorted({example.kind for example in shown if example.kind}),
        "shown": shown,
        "scores": [json.dumps(example.scores) for example in shown],
        "count": counted(count, "example"),
        "left_out": count - len(shown),
        "faults": list(run.faults.items()),
        "script": script,
        "digest": digest,
        "pictures": json.dumps(pictures.uris),
    }
    return templates().get_template("answers.html.j2").render(**values)


def _write(out: Path, page: str, *, own: bool) -> None:
    """Write the page; its default place may be in a stranger's run, and is not written through a link."""
    links = [path for path in (out.parent, out) if os.path.islink(path)] if own else []
    if links:
        raise ValueError(f"{links[0]} is a link, which would be written through. Set out=<a file>.")
    if out.is_dir():
        raise ValueError(f"out={shortened(str(out))} is a folder. Set out=<a file>.")
    try:
        out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(out, page)
    except OSError as error:
        raise ValueError(f"{shortened(str(out))} cannot be written: {error.strerror}. Set out=<a file>.") from error
