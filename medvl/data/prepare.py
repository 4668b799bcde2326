"""From source records to examples on disk: read, split, draw, measure, budget. Cached by content.

    <cache>/pages/<hash>.png            page images, shared between preparations, written once
    <cache>/prepared/<hash>/examples.jsonl, prepared.json

A preparation that was killed goes on where it was: pages that are there are not drawn again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from medvl import record
from medvl.data.encoding import Encoder, UnreadableImage, open_image
from medvl.data.source import Dropped, Source
from medvl.data.splits import SPLITS, assign, take
from medvl.documents.render import Render
from medvl.measures import terms_in, values_in
from medvl.types import Document, Example

log = logging.getLogger(__name__)

VERSION = 1  # of the preparation; raised when the same input would give other examples


@dataclass(kw_only=True)
class Prepared:
    """Examples by split, and the account of how they came about."""

    examples: dict[str, list[Example]]
    account: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the account as lines for people."""
        facts = self.account
        kept = ", ".join(f"{facts['documents'][name]} {name}" for name in SPLITS)
        lines = [
            f"{facts['records']} records, {sum(facts['documents'].values())} documents ({kept}), "
            f"{sum(facts['examples'].values())} examples, {facts['tokens']:,} tokens"
        ]
        lines += [f"dropped {count}: {reason}" for reason, count in facts["dropped"].items()]
        return lines


def prepare(
    source: Source, render: Render, encoder: Encoder, *, budget: int, cache: Path, workers: int, bar: bool = True
) -> Prepared:
    """Prepare a source, or return its cached preparation.

    Args:
        budget: Tokens an example may have; longer ones are dropped and counted.
        workers: Processes that draw pages.

    Raises:
        ValueError: The source cannot be read, or nothing of it can be used.
    """
    folder = cache / "prepared" / _key(source, render, encoder, budget)
    account = record.read_json(folder / "prepared.json")
    if account is None or not _pages_are_there(folder, cache):
        folder.mkdir(parents=True, exist_ok=True)
        account = _prepare(source, render, encoder, budget, cache, folder, workers, bar)
    rows = record.read_jsonl(folder / "examples.jsonl")
    examples = {name: [Example(**row) for row in rows if row["split"] == name] for name in SPLITS}
    for example in (example for part in examples.values() for example in part):
        example.images = [str(cache / "pages" / name) for name in example.images]
    return Prepared(examples=examples, account=account)


def _prepare(
    source: Source,
    render: Render,
    encoder: Encoder,
    budget: int,
    cache: Path,
    folder: Path,
    workers: int,
    bar: bool,
) -> dict[str, Any]:
    documents, dropped, records = _read(source)
    assign(documents, source.seed)
    documents = take(documents, source.limit)
    if not documents:
        raise ValueError(f"nothing of the {records} records can be used: {_reasons(dropped)}")
    pages = cache / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    draw = partial(_document_examples, render=render, prompt=source.prompt, pages=pages)
    examples: list[Example] = []
    for made, sizes_px in _progress(_each(draw, documents, workers), len(documents), bar):
        for example, size in zip(made, sizes_px, strict=True):
            verdict = _admit(encoder, example, size, budget)
            (dropped if isinstance(verdict, Dropped) else examples).append(verdict)  # type: ignore[arg-type]
    if not examples:
        raise ValueError(f"no example of {len(documents)} documents can be used: {_reasons(dropped)}")
    account = _account(records, documents, examples, dropped)
    text = "".join(json.dumps(example.to_json(), ensure_ascii=False) + "\n" for example in examples)
    record.write_text(folder / "examples.jsonl", text)
    record.write_json(folder / "prepared.json", account)  # last: its presence says the rest is whole
    return account


def _pages_are_there(folder: Path, cache: Path) -> bool:
    names = {name for row in record.read_jsonl(folder / "examples.jsonl") for name in row["images"]}
    return names <= {entry.name for entry in os.scandir(cache / "pages")}


def _admit(encoder: Encoder, example: Example | Dropped, size_px: tuple[int, int], budget: int) -> Example | Dropped:
    """Measure an example; return it, or why it cannot be used."""
    if isinstance(example, Dropped):
        return example
    try:
        encoder.measure(example, [size_px])
    except ValueError as error:
        return Dropped(example.id, str(error))
    if example.tokens > budget:
        return Dropped(example.id, f"longer than {budget} tokens")
    return example


def _read(source: Source) -> tuple[list[Document], list[Dropped], int]:
    documents: list[Document] = []
    dropped: list[Dropped] = []
    records = 0
    for item in source.documents():
        records += 1
        if isinstance(item, Dropped):
            dropped.append(item)
            continue
        documents.append(item)
    return documents, dropped, records


def _document_examples(
    document: Document, *, render: Render, prompt: str, pages: Path
) -> tuple[list[Example | Dropped], list[tuple[int, int]]]:
    """Return the examples of one document and the (height, width) of each one's image."""
    if document.image is not None:
        return _questions(document, pages)
    made: list[Example | Dropped] = []
    for number, page in enumerate(render.pages(document.text), 1):
        name = _save(page.image, pages, _digest(f"{asdict(render)}{page.text}"))
        made.append(
            Example(
                id=f"{document.id}/{number}",
                document=document.id,
                split=str(document.split),
                images=[name],
                prompt=prompt,
                response=page.text,
                terms=terms_in(page.text, document.terms),
                values=values_in(page.text),
            )
        )
    return made, [render.size_px] * len(made)


def _questions(document: Document, pages: Path) -> tuple[list[Example | Dropped], list[tuple[int, int]]]:
    assert document.image is not None
    try:
        image = open_image(document.image)
    except UnreadableImage as error:
        return [Dropped(document.id, str(error).replace(f"{len(document.image)} bytes", "some bytes"))], [(0, 0)]
    name = _save(image, pages, document.id)
    made: list[Example | Dropped] = [
        Example(
            id=f"{document.id}/{number}",
            document=document.id,
            split=str(document.split),
            images=[name],
            prompt=question,
            response=answer,
        )
        for number, (question, answer) in enumerate(document.questions, 1)
    ]
    return made, [(image.height, image.width)] * len(made)


def _save(image: Any, pages: Path, name: str) -> str:
    """Write a page once; a kill never leaves half a file under its name."""
    path = pages / f"{name}.png"
    if not path.exists():
        draft = pages / f".{name}.{os.getpid()}"
        image.save(draft, format="PNG", compress_level=1)
        draft.replace(path)
    return path.name


def _each(draw: Any, documents: Sequence[Document], workers: int) -> Iterator[Any]:
    if workers < 2 or len(documents) < 64:
        yield from map(draw, documents)
        return
    # Not forked: the parent already runs torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(draw, documents, chunksize=8)


def _progress(items: Iterator[Any], total: int, bar: bool) -> Iterator[Any]:
    from tqdm.auto import tqdm

    return iter(tqdm(items, total=total, desc="preparing", unit="document", disable=None if bar else True, leave=False))


def _account(
    records: int, documents: list[Document], examples: list[Example], dropped: list[Dropped]
) -> dict[str, Any]:
    return {
        "records": records,
        "documents": {name: sum(document.split == name for document in documents) for name in SPLITS},
        "examples": {name: sum(example.split == name for example in examples) for name in SPLITS},
        "tokens": sum(example.tokens for example in examples),
        "visual_tokens": sum(sum(example.visual_tokens) for example in examples),
        "longest": max(example.tokens for example in examples),
        "dropped": dict(Counter(item.reason for item in dropped)),
        "dropped_records": [asdict(item) for item in dropped],
    }


def _reasons(dropped: list[Dropped]) -> str:
    counts = Counter(item.reason for item in dropped)
    return "; ".join(f"{count} {reason}" for reason, count in counts.most_common(3)) or "it holds none"


def _key(source: Source, render: Render, encoder: Encoder, budget: int) -> str:
    tokenizer = encoder.processor.tokenizer
    facts = [
        VERSION, source.fingerprint(), {k: v for k, v in asdict(source).items() if k != "path"}, asdict(render),
        budget, encoder.min_pixels, encoder.max_pixels, len(tokenizer),
        _digest(encoder.processor.chat_template), _digest(" ".join(sorted(tokenizer.get_vocab())[:5000])),
    ]  # fmt: skip
    return _digest(str(facts))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
