"""From source records to examples on disk: read, split, draw pages, count tokens, fit the budget. Cached by content.

    <cache>/pages/<hash>.png            page images, shared between preparations, written once
    <cache>/pages/<hash>.json           boxes of every line and field on the page
    <cache>/prepared/<hash>/examples.jsonl, prepared.json

A killed preparation resumes: existing pages are not drawn again.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medvl.data.account import ACCOUNT, Read, accounted
from medvl.data.decoding import DECODER
from medvl.data.duplicates import clusters, near_duplicates
from medvl.data.encoding import Encoder
from medvl.data.examples import ExampleBuilder, build_all
from medvl.data.likeness import look_alikes
from medvl.data.pages import VERSION, PageFolder, digest, is_damaged
from medvl.data.sources.source import Dropped, NearDuplicates, Source
from medvl.data.splits import MINITRAIN, SPLITS, assign, take
from medvl.documents.render import Render
from medvl.metrics.text import VALUE
from medvl.record.files import PRIVATE, read_json, read_jsonl, write_json, write_text
from medvl.record.text_table import grid
from medvl.record.timetable import told_every_minute
from medvl.types import Example

log = logging.getLogger(__name__)

_MEND = "Lower its min_chars, give it more tokens, or name other data."


@dataclass(kw_only=True)
class Prepared:
    """Examples by split (minitrain is a part of train), and the account: the counts and reasons in prepared.json."""

    examples: dict[str, list[Example]]
    account: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of all examples, pages included: equal hashes mean equal data, wherever it was prepared."""
        rows = [row | {"images": [Path(name).name for name in row["images"]]} for row in self._rows()]
        return digest("\n".join(json.dumps(row, sort_keys=True) for row in rows))

    def _rows(self) -> Iterator[dict[str, Any]]:
        return (example.to_json() for split in SPLITS for example in self.examples[split])

    def lines(self, *, named: bool = True) -> list[str]:
        """Return the account as readable lines.

        Args:
            named: Whether to show the names of facts and the reasons for drops, which quote records.
        """
        facts = self.account
        kept = ", ".join(f"{facts['documents'][name]} {name}" for name in SPLITS)
        columns = ("raw", "kept", "dropped", "pages", "examples", "tokens")
        rows = [["source", *columns]]
        rows += [[name, *(f"{part[key]:,}" for key in columns)] for name, part in facts["sources"].items()]
        lines = [grid(rows), f"split by document: {kept}"]
        if facts["x_height_px"] is not None:
            lines.append(f"smallest type: an x is {facts['x_height_px']:.1f} px high after the processor's resize")
        for name, part in facts["sources"].items() if named else ():
            lines += [f"dropped {count:,} of {name}: {reason}" for reason, count in part["reasons"].items()]
            lines += [f"lost {count:,} parts of records of {name}: {reason}" for reason, count in part["parts"].items()]
        if facts["split_pages"]:
            lines.append(f"{facts['split_pages']:,} pages were too long for the budget and became two or more")
        if shrunk := facts["shrunk"]:
            lines.append(_shrunk_line(shrunk, facts["ready_pages"]))
        cut = sum(cut for cut, _ in facts["overlong"].values())
        if cut:
            lines.append(f"{cut:,} responses lost their end to the budget")
        if facts["facts"]:
            largest = sorted(facts["facts"].items(), key=lambda item: -item[1][1])[:6]
            most = ", ".join(f"{name} {values:,}" for name, (_, values) in largest)
            total = sum(count for count, _ in facts["facts"].values())
            distinct = f"; distinct values: {most}" if named else ""
            lines.append(f"{total:,} facts under {len(facts['facts'])} names{distinct}")
        twins = facts["near_duplicates"]
        if twins["pairs"]:
            lines.append(
                f"{twins['pairs']:,} pairs of documents nearly repeat each other; "
                f"{twins['across_splits']:,} lie in different splits"
            )
        if facts["one_template"]:
            lines.append(
                f"{facts['one_template']:,} documents look like forms of one template, so two scans of one page cannot "
                "be told; data.group=<column of the patient> keeps them together"
            )
        return lines


def _shrunk_line(shrunk: dict[str, Any], ready: int) -> str:
    """Say what shrinking cost the ready pages, and what would avoid it."""
    by = " and ".join(f"{count:,} by {limit}" for limit, count in shrunk["pages"].items())
    mends = {"batch.tokens": f"batch.tokens={shrunk['tokens_needed']}", "model.max_pixels": "a higher model.max_pixels"}
    mend = " and ".join(mends[limit] for limit in shrunk["pages"])
    return (
        f"of {ready:,} ready pages the model sees smaller ones: {by}. Letters keep {shrunk['median']:.0%} of their "
        f"height in the median, {shrunk['least']:.0%} at worst; {mend} would keep all of it"
    )


def prepare(
    source: Source,
    render: Render,
    encoder: Encoder,
    *,
    budget: int,
    cache: Path,
    workers: int,
    bar: bool = True,
    named: bool = True,
) -> Prepared:
    """Prepare a source, or return its cached preparation.

    Args:
        budget: Maximum tokens per example; `source.overlong` says what happens to longer ones.
        workers: Processes that draw pages.
        named: Whether an error may show reasons that quote records.

    Raises:
        ValueError: The source cannot be read, or has no usable record.
    """
    folder = cache / "prepared" / _key(source, render, encoder, budget)
    account = read_json(folder / "prepared.json")
    if account is None or not _is_whole(account, folder, cache):
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        builder = ExampleBuilder(PageFolder(render, cache / "pages", encoder.max_image_pixels), encoder, budget)
        account = _prepare(source, builder, folder, workers, bar, named)
    rows = [
        row | {"images": [str(cache / "pages" / name) for name in row["images"]]}
        for row in read_jsonl(folder / "examples.jsonl")
    ]
    examples = {name: [Example.from_json(row) for row in rows if row["split"] == name] for name in SPLITS}
    return Prepared(examples={**examples, MINITRAIN: _minitrain(examples)}, account=account)


def _prepare(
    source: Source, builder: ExampleBuilder, folder: Path, workers: int, bar: bool, named: bool
) -> dict[str, Any]:
    builder.pages.folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    read = Read()
    for item in _progress(_unquoted(source.read(), named), None, bar, "reading", "record"):
        read.raw[item.source] += item.records
        if isinstance(item, Dropped):
            read.dropped.append(item)
            continue
        item.images = [builder.pages.spill(image) for image in item.images]
        read.documents.append(item)
    scans, templates = look_alikes(read.documents, builder.pages, workers)
    pairs = [*near_duplicates(read.documents), *scans]
    sets = clusters(read.documents, pairs if source.near_duplicates is NearDuplicates.together else ())
    assign(read.documents, source.seed, sets)
    across = [pair for pair in pairs if read.documents[pair[0]].split != read.documents[pair[1]].split]
    documents = take(read.documents, source.limit)
    if not documents:
        reasons = _reasons(read.dropped, named)
        raise ValueError(f"nothing of the {read.raw.total()} records can be used: {reasons}. {_MEND}")
    results = list(
        _progress(
            _unquoted(build_all(builder, documents, workers), named), len(documents), bar, "preparing", "document"
        )
    )
    examples = list(itertools.chain.from_iterable(made.examples for made in results))
    if not examples:
        lost = [*read.dropped, *itertools.chain.from_iterable(made.dropped for made in results)]
        raise ValueError(f"no example of {len(documents)} documents can be used: {_reasons(lost, named)}. {_MEND}")
    account = accounted(read, documents, results, examples)
    account["near_duplicates"] = {
        "pairs": len(pairs),
        "across_splits": len(across),
        "examples": [[read.documents[at].id for at in pair] for pair in (across or pairs)[:20]],
    }
    account["one_template"] = templates
    text = "".join(json.dumps(example.to_json(), ensure_ascii=False) + "\n" for example in examples)
    write_text(folder / "examples.jsonl", text)
    write_json(folder / "prepared.json", account)  # written last: marks the preparation as complete
    return account


def _unquoted(items: Iterator[Any], named: bool) -> Iterator[Any]:
    """Yield items; unless records may be shown, an error does not give its reason, which may quote one."""
    try:
        yield from items
    except ValueError as error:
        if named:
            raise
        reason = "the reason may quote them, privacy=open shows it"
        raise ValueError(f"the records cannot be read ({type(error.__cause__ or error).__name__}): {reason}") from None


def _minitrain(examples: dict[str, list[Example]]) -> list[Example]:
    """Return the examples of the first training documents, as many documents as val has."""
    count = len({example.document for example in examples["val"]})
    chosen = set(itertools.islice(dict.fromkeys(example.document for example in examples["train"]), count))
    return [example for example in examples["train"] if example.document in chosen]


def _is_whole(account: dict[str, Any], folder: Path, cache: Path) -> bool:
    """Return whether all examples and pages of a preparation are there and readable."""
    try:
        rows = read_jsonl(folder / "examples.jsonl")
        examples = [Example.from_json(row) for row in rows]
        names = {name for example in examples for name in example.images}
        if len(examples) != sum(account["examples"].values()) or not names <= set(os.listdir(cache / "pages")):
            return False
        return not any(is_damaged(cache / "pages" / name) for name in names)
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return False


def _progress(items: Iterator[Any], total: int | None, bar: bool, what: str, unit: str) -> Iterator[Any]:
    from tqdm.auto import tqdm

    told = told_every_minute(items, what, total, unit)
    return iter(tqdm(told, total=total, desc=what, unit=unit, disable=None if bar else True, leave=False))


def _reasons(dropped: list[Dropped], named: bool) -> str:
    if dropped and not named:
        return "the reasons may quote them, privacy=open shows them"
    counts = Counter(item.reason for item in dropped)
    return "; ".join(f"{count} {reason}" for reason, count in counts.most_common(3)) or "it holds none"


def _key(source: Source, render: Render, encoder: Encoder, budget: int) -> str:
    tokenizer = encoder.processor.tokenizer
    facts = [
        VERSION,
        ACCOUNT,
        DECODER,
        VALUE.pattern,  # finds the values of a page
        source.fingerprint(),
        asdict(render),
        budget,
        encoder.min_pixels,
        encoder.max_pixels,
        encoder.max_image_pixels,
        len(tokenizer),
        digest(str(encoder.processor.chat_template)),
        digest(" ".join(sorted(tokenizer.get_vocab())[:5000])),
        *([] if encoder.ask is None else [encoder.ask]),
    ]
    return digest(str(facts))
