"""The structures every layer shares, and the legend of their axes.

Axes, in shape comments and suffixes:
    T tokens of one packed row      P 14 x 14 px patches, all images of the row concatenated
    N images of the row             S examples (segments) of the row
    C = 3 colours * 2 frames * 14 * 14 px = 1176 values per patch
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IGNORE = -100  # torch.nn.functional.cross_entropy's default ignore_index


@dataclass(kw_only=True, slots=True)
class Field:
    """One fact that stands on a page, as it is written there."""

    path: str
    """Where it belongs in the document's structure: patient.name, medications.2.dose."""
    value: str
    type: str
    """name, value, unit, range, flag, dose, route, frequency, date, time, age, id, text ..."""
    critical: bool = False
    """A mistake here can harm: a dose, an allergy, a critical laboratory value."""

    @property
    def entry(self) -> str:
        """The entry of a list that the path leads into: drugs.0 of drugs.0.dose; empty where there is none."""
        keys = self.path.split(".")
        positions = [at for at, key in enumerate(keys) if key.isdigit()]
        return ".".join(keys[: positions[-1] + 1]) if positions else ""


@dataclass(slots=True)
class Heading:
    """A title (level 1) or the head of a section (level 2)."""

    text: str
    level: int = 2


@dataclass(slots=True)
class Text:
    """A paragraph: its line breaks stay, long lines wrap. The first `bold` characters are bold."""

    text: str
    bold: int = 0


@dataclass(slots=True)
class Pairs:
    """Labels with their values, in one or more columns, row by row."""

    pairs: list[tuple[str, str]]
    columns: int = 1


@dataclass(slots=True)
class Table:
    """Rows of cells under a header; with rules, every cell is framed."""

    header: list[str]
    rows: list[list[str]]
    rules: bool = False


@dataclass(slots=True)
class Columns:
    """Two stacks of blocks side by side; the left one is read first."""

    left: list[Block]
    right: list[Block]


@dataclass(slots=True)
class Rule:
    """A line across the page."""


Block = Heading | Text | Pairs | Table | Columns | Rule


@dataclass(kw_only=True, slots=True)
class Asking:
    """What is asked about the pages of a document."""

    prompt: str
    """For a page that is to be read as it is."""
    tasks: tuple[str, ...] = ("transcribe",)
    """transcribe, extract, json, question, list; the last four need fields."""
    per_page: int | None = None
    """Tasks drawn for a page; None: all that it allows."""
    min_chars: int = 1
    overlong: str = "split"
    """What becomes of a page whose example is longer than the budget: split, cut or drop."""


@dataclass(kw_only=True, slots=True)
class Document:
    """One source record: blocks or a text to be drawn as pages, or ready images with questions on them."""

    id: str
    """Identity of the content: equal documents have equal ids, whatever file they came from."""
    source: str = ""
    """The data set, as its account names it."""
    kind: str = "report"
    """laboratory panel, prescription, pathology image ..."""
    layout: str = "narrative"
    """How its content is arranged: narrative, key: value, table, ruled table, two columns, image."""
    text: str = ""
    """A narrative, where there are no blocks."""
    blocks: list[Block] = field(default_factory=list)
    """What is drawn; `mark` of medvl.documents.marks ties its words to `fields`."""
    fields: list[Field] = field(default_factory=list)
    images: list[bytes | str] = field(default_factory=list)
    """Encoded images (PNG, JPEG ...) or the paths of such files; `text` is what stands on them, where it is known."""
    questions: list[tuple[str, str]] = field(default_factory=list)
    """What is asked about the images, and the answers."""
    terms: list[str] = field(default_factory=list)
    """Medical terms of the record, as its source lists them."""
    values: list[str] | None = None
    """Clinical values that are expected; None: those found in the text."""
    groups: list[str] = field(default_factory=list)
    """What ties it to other documents that a split may not part from it: its patient, its images."""
    asking: Asking | None = None
    split: str | None = None
    """The split its source assigns; None when the split is ours to draw."""


@dataclass(kw_only=True, slots=True)
class Page:
    """One drawn page and what stands on it."""

    image: Image.Image
    text: str
    """Its lines in reading order; cells of a table are joined by ' | '."""
    lines: list[tuple[str, Box]]
    fields: list[tuple[int, Box]]
    """Indices into the document's fields, in reading order, each with the box of one line of it."""
    x_height_px: float
    """Of the smallest type on the page, as drawn."""


Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the finished page


@dataclass(kw_only=True, slots=True)
class Example:
    """One thing to learn or to be asked: page images, a prompt and the response expected."""

    id: str
    document: str
    split: str
    images: list[str]
    """Paths of the page images."""
    prompt: str
    response: str
    source: str = ""
    kind: str = "report"
    layout: str = "narrative"
    task: str = "transcribe"
    """transcribe, extract, json, question, list; on images vqa or caption."""
    page_text: str = ""
    """All that stands on the page; empty for images that were not drawn."""
    fields: list[Field] = field(default_factory=list)
    """The facts that the response states."""
    terms: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    x_height_px: float | None = None
    """Of the smallest type, after the image processor's resize; None for images that were not drawn."""
    visual_tokens: list[int] = field(default_factory=list)
    """Language-model tokens of each image."""
    answer_tokens: int = 0
    """Tokens that carry loss: the response and the end of the turn."""
    tokens: int = 0
    """Tokens in all: prompt, images and answer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Example:
        return cls(**{**row, "fields": [Field(**entry) for entry in row["fields"]]})


class Encoded(TypedDict):
    """One example as the model sees it; T and P are this example's own."""

    input_ids: Tensor  # (T,) int64
    labels: Tensor  # (T,) int64, IGNORE where no answer token is predicted
    positions: Tensor  # (4, T) int64: text row, then the three M-RoPE rows
    pixel_values: NotRequired[Tensor]  # (P, C) float32, normalised per channel
    features: NotRequired[Tensor]  # (visual tokens, H): what the tower made of them, in their place
    image_grid_thw: Tensor  # (N, 3) int64: frames, patch rows, patch columns


class Batch(TypedDict):
    """Several examples packed into one row without padding."""

    input_ids: Tensor  # (1, T) int64
    labels: Tensor  # (1, T) int64
    position_ids: Tensor  # (4, 1, T) int64; every example starts at 0 again
    bounds: Tensor  # (S + 1,) int32: cumulative example lengths, 0 ... T
    pixel_values: NotRequired[
        Tensor
    ]  # (P, C) float32; or (P, 14 * 14) uint8, the grey levels of pages that were just drawn
    image_grid_thw: Tensor  # (N, 3) int64
    tower: NotRequired[dict[str, Any]]  # where the tower's images and windows begin and end
    features: NotRequired[Tensor]  # (visual tokens, H), in the place of the two above
    image_keys: NotRequired[list[str]]  # of the features that are yet to be kept
    longest: int  # tokens of the longest example
    window_tokens: int  # answer tokens of the whole optimizer step, over all its rows and ranks
    examples: int  # S
    stage: NotRequired[int]  # of the curriculum
    glyphs: NotRequired[Tensor]  # (visual tokens, 8) int64: the letters under a visual token, IGNORE where none is


@dataclass(slots=True)
class Choice:
    """A value that was chosen automatically, and why."""

    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.value} ({self.reason})"
