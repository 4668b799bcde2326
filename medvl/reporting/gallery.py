"""The worst and the median pages of a run: the page, what the model missed and what it invented."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medvl.data.decoding import shown_image
from medvl.data.sources.paths import inside
from medvl.evaluation.answer_diff import Piece, compared, without_layout
from medvl.metrics import METRICS
from medvl.reporting.collection import Collection
from medvl.reporting.overview import title_of
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import ReportText, Section, counted

WORST, MEDIAN = 3, 2  # numbers of pages shown
RUNS = 4  # most runs whose pages are shown
WIDTH_PX = 760  # maximum width of an inline page: legible on a phone, about 100 KB
CHARS = 4000  # maximum length of a comparison
_PAGE = re.compile(r"([0-9a-f]{24}|blank-\d+x\d+)\.\w+")


@dataclass(kw_only=True)
class GalleryPage:
    """One example of the gallery."""

    kind: ClassVar[str] = "page"

    title: str
    note: str
    prompt: str
    uri: str
    """The page as a data URI; empty if its file is gone or is no page."""
    size: tuple[int, int]
    answers: list[tuple[str, list[Piece]]]
    """(heading, the answer compared with its reference)."""


def gallery(collection: Collection) -> Section | None:
    """Show the worst and the median pages of the runs shown in detail, unless their privacy is strict."""
    runs = [run for run in collection.focus if (run.path / "predictions.jsonl").is_file()]
    if not runs:
        return None
    section = Section(anchor="gallery", title="Pages")
    for run in runs[:RUNS]:
        section.blocks += _of_run(run)
    if len(runs) > RUNS:
        section.blocks.append(ReportText(text=f"The pages of {len(runs) - RUNS} more runs are left out.", tone="note"))
    return section if section.blocks else None


def _of_run(run: ReportedRun) -> list[Any]:
    if run.private:
        return [
            ReportText(text=f"{run.name} was run with privacy=strict: no page and no text of it is shown.", tone="note")
        ]
    answers = run.rows()
    known = (run.objective, "cer_text", "cer")  # the last one is all that earlier versions scored
    measure = next((name for name in known if name in METRICS and any(name in row["scores"] for row in answers)), "cer")
    rows = [row for row in answers if measure in row["scores"]]
    if not rows:
        return []
    ranked = sorted(rows, key=lambda row: _share(row, measure), reverse=not METRICS[measure].higher_is_better)
    middle = max(WORST, len(ranked) // 2 - MEDIAN // 2)
    chosen = [
        *((f"worst {at + 1}", row) for at, row in enumerate(ranked[:WORST])),
        *(("median", row) for row in ranked[middle : middle + MEDIAN]),
    ]
    before = {row["id"]: row for row in run.rows("predictions_before")}
    text = f"{run.name}: the worst and the median of {counted(len(ranked), 'example')} by {title_of(measure)}."
    pages = (_page(run.path, place, row, before.get(row["id"]), measure) for place, row in chosen)
    return [ReportText(text=text), *pages]


def _share(row: dict[str, Any], measure: str) -> float:
    above, below = row["scores"][measure]
    return above / below


def _page(folder: Path, place: str, row: dict[str, Any], before: dict[str, Any] | None, measure: str) -> GalleryPage:
    page = page_file(folder, row["images"][0]) if row.get("images") else None
    uri, size = picture(page) if page is not None else ("", (0, 0))
    sides = {"after training": row, "before training": before} if before else {"answer": row}
    answers = [
        (
            f"{heading}: {title_of(measure)} {100 * _share(side, measure):.1f} %",
            _cut(without_layout(compared(side["reference"], side["prediction"]))),
        )
        for heading, side in sides.items()
        if side and measure in side["scores"]
    ]
    note = f"{row['task']}, {row['id']}"
    return GalleryPage(
        title=f"{place}: {row['kind']}", note=note, prompt=row["prompt"], uri=uri, size=size, answers=answers
    )


def _cut(pieces: list[Piece]) -> list[Piece]:
    """Keep the first characters of a comparison, and say how many are left out."""
    kept: list[Piece] = []
    room = CHARS
    for piece in pieces:
        if room <= 0:
            left = sum(len(one.text) for one in pieces[len(kept) :])
            return [*kept, Piece("same", f" ... {left:,} more characters")]
        kept.append(Piece(piece.kind, piece.text[:room]))
        room -= len(piece.text)
    return kept


def page_file(folder: Path, name: str) -> Path | None:
    """Return the page that a run names: a file in its directory, or a page of a cache, named by its content.

    A run directory may come from anyone, and a report must not show other files of this machine.
    """
    path, found = Path(name), inside(folder, name)
    if found is None and path.parent.name == "pages" and _PAGE.fullmatch(path.name):
        return inside(path.parent, path.name)  # as runs named theirs before they kept their pages
    return found


def picture(path: Path) -> tuple[str, tuple[int, int]]:
    """Return a page as a data URI at most WIDTH_PX wide, and its size; empty if it is no image that can be read."""
    from PIL import Image

    page = shown_image(path)
    if page is None:
        return "", (0, 0)
    if _grey(page):
        page = page.convert("L")
    page.thumbnail((WIDTH_PX, 4 * WIDTH_PX), Image.Resampling.LANCZOS)
    drawn: dict[str, bytes] = {}
    for form, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 72})):
        encoded = io.BytesIO()
        page.save(encoded, format=form, **options)
        drawn[form.lower()] = encoded.getvalue()
    form = "png" if len(drawn["png"]) <= 1.5 * len(drawn["jpeg"]) else "jpeg"  # PNG keeps letters sharp
    return f"data:image/{form};base64,{base64.b64encode(drawn[form]).decode()}", page.size


def _grey(page: Any) -> bool:
    from PIL import ImageChops

    red, green, blue = page.split()
    return not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(green, blue).getbbox())
