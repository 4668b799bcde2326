"""`medvl calibrate`: how far the values that a trained model extracts can be trusted, on its held-out pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvl.evaluation import calibration, evidence
from medvl.evaluation.calibration import Calibration
from medvl.evaluation.constrained import schemas_of
from medvl.evaluation.evidence import Evidence, Extraction
from medvl.evaluation.judged import Judged, KnownValue
from medvl.generation.stream import Spelling
from medvl.generation.values import SaidValue, said_values
from medvl.metrics.extraction import LISTED, facts_in_json, nested
from medvl.metrics.registry import WANTED_ERRORS
from medvl.record.text_table import grid
from medvl.types import DateOrder, Example, Field, TokenCounts

if TYPE_CHECKING:
    from medvl.generation.engine import Engine
    from medvl.run.context import RunContext

FITTED, MEASURED = "val", "test"


def calibrate(context: RunContext) -> None:
    """Fit the confidence of a run's values on its val split, measure it on its test split, and store it with the run.

    Raises:
        ValueError: No run is named, it asks for no JSON, or there are too few values.
    """
    from medvl.run.datasets import prepare_training
    from medvl.run.loading import load_trained

    config = context.config
    if config.run is None:
        raise ValueError("no run is named. Set run=<the directory of a run>.")
    engine = load_trained(context).engine
    prepared = prepare_training(context, engine.encoder)
    asked = {}
    for split in (FITTED, MEASURED):
        asked[split] = [one for one in prepared.examples[split] if one.task == "json" and one.response]
        if not asked[split]:
            raise ValueError(f"no example of the {split} split asks for JSON. Set data.tasks=[json].")
        asked[split] = list(config.eval.chosen(asked[split]))
    most, name = config.eval.max_new_tokens, f"{config.data.__class__.__name__}, val split"
    context.say(" and ".join(f"{len(asked[split])} examples of the {split} split" for split in asked) + " are read ...")
    known, test, places = extractions(engine, asked[FITTED], asked[MEASURED], most, name)
    pages = transcripts(engine, [*asked[FITTED], *asked[MEASURED]], config.data.prompt, config.eval.max_new_tokens)
    known, test = (with_transcripts(some, pages) for some in (known, test))
    found, said = calibrated(judged(known), judged(test), name)
    store(Path(config.run), found, places, context.trained.name if context.trained is not None else "")
    context.record.result(asdict(found) | {"evidence": places and asdict(places)}, "calibration")
    context.say(f"{said}\n{evidence_text(places)}\nstored in {Path(config.run) / calibration.FILE}")


def store(run: Path, found: Calibration, places: Evidence | None, checkpoint: str) -> None:
    """Store with a run what was found of a checkpoint; evidence that an earlier call found ends with this one."""
    if places is None:
        (run / evidence.FILE).unlink(missing_ok=True)
    for one in (found, places):
        if one is not None:
            one.checkpoint = checkpoint
            one.write(run)


def extractions(
    engine: Engine, val: Sequence[Example], test: Sequence[Example], most: int | None, name: str
) -> tuple[list[Extraction], list[Extraction], Evidence | None]:
    """Read val and test; every other document of val chooses the heads that point, the others what is too little.

    Args:
        most: Maximum tokens of an answer; None: twice the longest reference.
        name: Val in words.

    Returns:
        What was extracted from val and from test, and what tells where it stands; None: no boxes are known.
    """
    documents = {document: at for at, document in enumerate(dict.fromkeys(one.document for one in val))}
    choosing = [one for one in val if documents[one.document] % 2 == 0]
    others = [one for one in val if documents[one.document] % 2]
    first = extracted(replace(engine, heads="all"), choosing, most)
    places = evidence.choose(first, name)
    pointing = replace(engine, heads=() if places is None else places.pairs)
    second, last = (extracted(pointing, some, most) for some in (others, test))
    if places is not None:
        evidence.fit(places, second)
        evidence.measure(places, last)
    return first + second, last, places


def evidence_text(places: Evidence | None) -> str:
    """Say how well values are found on their pages."""
    if places is None:
        return "no evidence: too few boxes of right values are known, which needs pages that medvl draws"
    known = places.measured
    heads = ", ".join(f"{layer}.{head}" for layer, head in places.heads)
    lines = [f"heads that look at what they write (layer.head): {heads}"]
    if known["values"]:
        lines.append(
            f"of {known['values']} right values of the test split they point at {known['pointing']:.1%} "
            f"({known['chance']:.1%} by chance), and leave {known['missed']:.1%} without evidence"
        )
    if known["invented"]:
        lines.append(f"of {known['invented']} values that stand nowhere, {known['flagged']:.1%} have no evidence")
    return "\n".join(lines)


def extracted(engine: Engine, examples: Sequence[Example], most: int | None) -> list[Extraction]:
    """Return the values that a model states on pages whose facts are known."""
    longest = max(example.answer_tokens for example in examples)
    answers = engine.answers(examples, max_new_tokens=most or 2 * longest, schemas=schemas_of(examples))
    spelling = Spelling(engine.encoder.processor)
    found = []
    for example, answer in zip(examples, answers, strict=True):
        values = [value for value in said_values(answer, spelling) if value.tells]
        right = right_paths(example, values)
        found.append(Extraction(example, [(value, value.path in right) for value in values], answer.seen))
    return found


def transcripts(engine: Engine, examples: Sequence[Example], prompt: str, most: int | None) -> dict[str, str]:
    """Return what the model reads on each page when it is asked for its text, by the page's file.

    Args:
        most: Maximum tokens of a page; None: the longest answer of the examples, twice.
    """

    def asked(one: Example, image: str, visual: int) -> Example:
        tokens = len(engine.encoder.prompt_ids(prompt, [visual]))
        counts: TokenCounts = {"visual_tokens": [visual], "answer_tokens": 0, "tokens": tokens}
        return replace(one, images=[image], prompt=prompt, response="", **counts)

    seen = {
        image: (one, visual) for one in examples for image, visual in zip(one.images, one.visual_tokens, strict=True)
    }
    pages = {image: asked(one, image, visual) for image, (one, visual) in seen.items()}
    longest = max(example.answer_tokens for example in examples)
    answers = engine.answers(list(pages.values()), max_new_tokens=most or 2 * longest)
    return {image: answer.text for image, answer in zip(pages, answers, strict=True)}


def with_transcripts(known: Sequence[Extraction], pages: dict[str, str]) -> list[Extraction]:
    """Return extractions with what the model read on their pages."""
    return [replace(one, transcript="\n".join(pages[image] for image in one.example.images)) for one in known]


def judged(known: Sequence[Extraction]) -> list[KnownValue]:
    """Return the values, whether each is right, its document and the transcript of its pages."""
    return [
        KnownValue(value, right, one.example.document, one.transcript) for one in known for value, right in one.values
    ]


def right_paths(example: Example, values: Sequence[SaidValue]) -> set[str]:
    """Return the paths of the values that are facts of the page, in their place."""
    paths = {value.path: f"{LISTED}.{value.path}" if value.path[:1].isdigit() else value.path for value in values}
    said = [Field(path=paths[value.path], value=str(value.value), type="text") for value in values]
    facts = facts_in_json(said, nested(example.fields) if example.fields else {}, DateOrder[example.dates])
    right = {field.path for field in facts.right}
    return {path for path, place in paths.items() if place in right}


def calibrated(known: Sequence[KnownValue], held_out: Sequence[KnownValue], name: str) -> tuple[Calibration, str]:
    """Fit on half of the documents, choose thresholds on the others, and measure on held-out ones.

    Where transcripts are known, agreement with them is used if that is surely better on the other documents: a service
    has to transcribe every page then.

    Returns:
        The calibration, and a text about it.
    """
    every, test = Judged.of(known), Judged.of(held_out)
    if not len(test.right):
        raise ValueError("the model states no value on the test split. Train it further, or set eval.limit=null.")
    first, others = every.of_documents(0, 2), every.of_documents(1, 2)
    found, rejected = calibration.fit(first, name), None
    if every.transcribed:
        rejected = calibration.fit(first, name, transcribed=True)
        if calibration.surely_better(rejected, found, others):
            found, rejected = rejected, found
    confidence = found.of(test.features)
    raw = np.exp(test.features[:, 0])
    found.measured = {
        "raw": calibration.measure(raw, test.right),
        "calibrated": calibration.measure(confidence, test.right),
    }
    if rejected is not None:
        title = "with transcripts" if rejected.transcribed else "without transcripts"
        found.measured[title] = calibration.measure(rejected.of(test.features), test.right)
    lines: list[list[Any]] = [["wanted error", "accepted from", "bound", "accepted in test", "wrong of them"]]
    for error in WANTED_ERRORS:
        chosen = calibration.threshold(found.of(others.features), others, error)
        found.thresholds[f"{error:g}"] = chosen
        row = [f"{error:.0%}", "never", "", "", ""]
        if chosen is not None:
            accepted = confidence >= chosen["confidence"]
            wrong = (~test.right[accepted]).mean() if accepted.any() else 0.0
            row = [
                row[0],
                *(f"{share:.1%}" for share in (chosen["confidence"], chosen["bound"], accepted.mean(), wrong)),
            ]
        lines.append(row)
    return found, f"{_measures(found)}\n{grid(lines)}"


def _measures(found: Calibration) -> str:
    rows: list[list[Any]] = [["of values", "wrong", "ECE", "Brier", "AUROC"]]
    for name, one in found.measured.items():
        auroc = "n/a" if one["auroc"] is None else f"{one['auroc']:.3f}"
        rows.append([name, f"{one['wrong']:.1%}", f"{one['ece']:.3f}", f"{one['brier']:.3f}", auroc])
    head = f"fitted on {found.values} values of {found.documents} documents ({found.fitted_on})"
    if found.transcribed:
        head += ", with the transcripts of their pages"
    return f"{head}, measured on {found.measured['raw']['values']} values of the test split\n{grid(rows)}"
