"""Where on its pages a value stands: boxes from the attention of a few heads, and how often they point right.

The heads are those that look most often at a fact's box while they write it, on pages that medvl drew, where the boxes
are known. How many invented values they look nowhere for is counted, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from medvl.evaluation.calibration import stored
from medvl.metrics.normalize import normal, states, value
from medvl.record.files import read_json, write_json
from medvl.types import DateOrder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medvl.generation.seen import Seen
    from medvl.generation.values import SaidValue
    from medvl.types import Example

FILE = "evidence.json"
HEADS = 4  # whose attention is averaged
NEAR = 0.3  # of the largest attention: what else belongs to the place
MISSED = 0.05  # of right values may be left without evidence
FEWEST = 20  # values

Region = tuple[float, float, float, float]  # left, top, right, bottom as fractions of a page's width and height


@dataclass(frozen=True, slots=True)
class Spot:
    """Where heads looked for one value."""

    image: int
    """Counted from 0."""
    box: Region
    peak: int
    """The image token with most attention, of all images."""
    share: float
    """Of all attention, what lies in the box."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """The values of one answer, each with whether it is right, and where the model looked."""

    example: Example
    values: list[tuple[SaidValue, bool]]
    seen: Seen | None
    transcript: str | None = None


@dataclass(slots=True)
class Evidence:
    """The heads that look at what they write, and how well they point."""

    heads: list[list[int]]
    """Layer and head."""
    least: float
    """Values whose spot has a smaller share of attention have no evidence."""
    fitted_on: str
    documents: int
    checkpoint: str = ""
    """Name of the checkpoint whose heads they are."""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The heads, as an engine takes them."""
        return [(layer, head) for layer, head in self.heads]

    def of_model(self, text: Any) -> list[tuple[int, int]]:
        """Return the heads; raise ValueError if the language model of a configuration has fewer."""
        if any(layer >= text.num_hidden_layers or head >= text.num_attention_heads for layer, head in self.heads):
            raise ValueError(f"{FILE} names heads that the model does not have. Run medvl calibrate again.")
        return self.pairs

    def of(self, said: SaidValue, seen: Seen | None) -> Spot | None:
        """Return where a value stands; None: the heads look nowhere in particular, or that cannot be told."""
        found = spot(said, seen) if said.tells else None
        return found if found is not None and found.share >= self.least else None

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Evidence | None:
        """Return the evidence of a run; None if it has none.

        Raises:
            ValueError: The file is damaged.
        """

        def made(content: dict[str, Any]) -> Evidence:
            found = cls(**content)
            if not found.heads or found.least < 0 or any(len(head) != 2 or min(head) < 0 for head in found.heads):
                raise ValueError(found)
            return found

        return stored(folder, FILE, made)


def fact_boxes(example: Example) -> dict[str, list[Region]]:
    """Return the boxes of an example's facts by their paths, one for each line of a fact; empty if none are known.

    They are stored beside the pages that medvl drew, by the facts' places in their document, of which the example's
    are a part in the same order.
    """
    if len(example.images) != 1:
        return {}
    page = Path(example.images[0])
    stored = read_json(page.with_suffix(".json"))
    if stored is None:
        return {}
    with Image.open(page) as image:  # one of our own
        width, height = image.size
    lines: dict[int, str] = {}
    boxes: dict[int, list[Region]] = {}
    for index, (left, top, right, bottom) in sorted(stored["fields"], key=lambda entry: entry[0]):
        boxes.setdefault(index, []).append((left / width, top / height, right / width, bottom / height))
        inside = [text for text, line in stored["lines"] if line[1] < bottom and top < line[3]]
        lines[index] = lines.get(index, "") + "".join("".join(inside).split())
    found, waiting = {}, iter(boxes)
    for fact in example.fields:
        start = fact.value.split()[:1]
        for index in waiting:
            if all(word in lines[index] for word in start):
                found[fact.path] = boxes[index]
                break
    return found


def spot(said: SaidValue, seen: Seen | None) -> Spot | None:
    """Return where the heads looked for a value; None if they were not watched."""
    if seen is None or seen.attention is None:
        return None
    attention = seen.attention[list(inner(said))].mean(0)
    peak = int(attention.argmax())
    image, row, column = seen.place(peak)
    rows, columns = seen.grids[image]
    begin = sum(high * wide for high, wide in seen.grids[:image])
    own = attention[begin : begin + rows * columns].reshape(rows, columns)
    near = _connected(own >= NEAR * own[row, column], row, column)
    ys, xs = np.nonzero(near)
    box = xs.min() / columns, ys.min() / rows, (xs.max() + 1) / columns, (ys.max() + 1) / rows
    left, top, right, bottom = map(float, box)
    return Spot(image, (left, top, right, bottom), peak, float(own[near].sum()))


def inner(said: SaidValue) -> tuple[int, ...]:
    """Return the places of a value's tokens in its answer, without those of the quotes if it has others."""
    return said.inside[1:-1] or said.inside


def choose(known: Iterable[Extraction], name: str) -> Evidence | None:
    """Return the heads whose peaks lie on the boxes of right values most often; None: too few boxes are known.

    Args:
        known: Answers whose attention was watched at all heads.
        name: What they were extracted from, in words.
    """
    hits: NDArray[np.int64] | None = None
    documents, count = set(), 0
    for one in known:
        for said, boxes in _placed(one):
            if one.seen is None or one.seen.peaks is None:
                continue
            on = _under(boxes, one.seen)
            here = on[one.seen.peaks[:, :, list(inner(said))]].sum(-1)
            hits = here if hits is None else hits + here
            documents.add(one.example.document)
            count += 1
    if hits is None or count < FEWEST:
        return None
    order = np.argsort(-hits, axis=None, kind="stable")[:HEADS]
    heads = [[int(at) for at in np.unravel_index(index, hits.shape)] for index in order]
    return Evidence(heads, 0.0, name, len(documents))


def fit(evidence: Evidence, known: Iterable[Extraction]) -> None:
    """Set the share of attention below which a value has no evidence, by right values of other documents."""
    shares = [found.share for one in known for said, _ in _placed(one) if (found := spot(said, one.seen)) is not None]
    evidence.least = float(np.quantile(shares, MISSED)) if len(shares) >= FEWEST else 0.0


def measure(evidence: Evidence, test: Sequence[Extraction]) -> None:
    """Count on held-out pages how often evidence points right, and what it leaves out."""
    pointed, chance, missed = [], [], []
    for one in test:
        for said, boxes in _placed(one):
            found = spot(said, one.seen)
            assert found is not None and one.seen is not None
            on = _under(boxes, one.seen)
            pointed.append(on[found.peak])
            chance.append(on.mean())
            missed.append(evidence.of(said, one.seen) is None)
    invented = [evidence.of(said, one.seen) is None for one in test for said in _invented(one)]
    evidence.measured = {
        "values": len(pointed),
        "pointing": _mean(pointed),
        "chance": _mean(chance),
        "missed": _mean(missed),
        "invented": len(invented),
        "flagged": _mean(invented),
    }


def _placed(one: Extraction) -> list[tuple[SaidValue, list[Region]]]:
    """Return the right values of which the boxes are known: those of the fact, or of facts with the same value."""
    boxes, dates = fact_boxes(one.example), DateOrder[one.example.dates]
    by_value: dict[str, list[Region]] = {}
    for fact in one.example.fields:
        by_value.setdefault(value(fact.value, dates), []).extend(boxes.get(fact.path, []))
    found = []
    for said, right in one.values:
        places = by_value.get(value(said.value, dates)) if right and said.inside else None
        if places:
            found.append((said, places))
    return found


def _invented(one: Extraction) -> list[SaidValue]:
    """Return the values that stand nowhere on the page."""
    dates = DateOrder[one.example.dates]
    page = normal(one.example.page_text, dates)
    return [said for said, right in one.values if page and not right and not states(page, value(said.value, dates))]


def _under(boxes: Sequence[Region], seen: Seen) -> NDArray[np.bool_]:
    """Return which tokens of the only image touch a box, (image tokens,)."""
    rows, columns = seen.grids[0]
    left, top = np.arange(columns) / columns, np.arange(rows)[:, None] / rows
    on = np.zeros((rows, columns), bool)
    for box in boxes:
        on |= (box[0] < left + 1 / columns) & (left < box[2]) & (box[1] < top + 1 / rows) & (top < box[3])
    return on.ravel()


def _connected(cells: NDArray[np.bool_], row: int, column: int) -> NDArray[np.bool_]:
    """Return the cells that hang together with one, also by corners."""
    from scipy.ndimage import label

    parts, _ = label(cells, np.ones((3, 3), int))
    return np.asarray(parts == parts[row, column])


def _mean(of: Sequence[Any]) -> float | None:
    return float(np.mean(of)) if len(of) else None
