"""The data structures that all packages share, and the legend of the tensor axes.

Axes, in shape comments and variable suffixes:
    T tokens of one packed row      P 14 x 14 px patches, all images of the row concatenated
    N images of the row             S examples (segments) of the row
    C = 3 colours * 2 frames * 14 * 14 px = 1176 values per patch
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IGNORE = -100  # torch.nn.functional.cross_entropy's default ignore_index


class DateOrder(Enum):
    """Which number of 03/04/2024 is the month."""

    mdy = "mdy"  # the first, as in the United States
    dmy = "dmy"  # the second
    iso = "iso"  # unknown: such a date equals only itself, 2024-03-04 is read


@dataclass(kw_only=True, slots=True)
class Field:
    """One fact on a page, as it is printed there."""

    path: str
    """Its place in the document's structure: patient.name, medications.2.dose."""
    value: str
    type: str
    """name, value, unit, range, flag, dose, route, frequency, date, time, age, id, text ..."""
    critical: bool = False
    """A mistake here can harm a patient: a dose, an allergy, a critical laboratory value."""

    @property
    def entry(self) -> str:
        """The list entry that the path leads through: drugs.0 for drugs.0.dose; empty if the path has no list."""
        keys = self.path.split(".")
        positions = [at for at, key in enumerate(keys) if key.isdigit()]
        return ".".join(keys[: positions[-1] + 1]) if positions else ""


@dataclass(slots=True)
class Heading:
    """A title (level 1) or a section heading (level 2)."""

    text: str
    level: int = 2


@dataclass(slots=True)
class Text:
    """A paragraph: line breaks are kept, long lines wrap. The first `bold` characters are bold."""

    text: str
    bold: int = 0


@dataclass(slots=True)
class Pairs:
    """Labels with their values, in one or more columns, row by row."""

    pairs: list[tuple[str, str]]
    columns: int = 1


@dataclass(slots=True)
class Table:
    """Rows of cells under a header; `rules` draws a frame around every cell."""

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
class TaskSpec:
    """What is asked about the pages of a document."""

    prompt: str
    """Prompt for transcribing a page."""
    tasks: tuple[str, ...] = ("transcribe",)
    """transcribe, extract, json, question, list; the last four need fields."""
    per_page: int | None = None
    """Number of tasks to draw at random per page; None: all that the page supports."""
    min_chars: int = 1
    overlong: str = "split"
    """What happens to a page whose example exceeds the token budget: split, cut or drop."""
    dates: str = "mdy"
    """How the documents write dates: the name of a `DateOrder`."""


@dataclass(frozen=True, slots=True)
class PageOf:
    """One page of a file that is no plain image: of a PDF, a DICOM file, a TIFF with several pages."""

    path: str
    content: str
    """Hash of the file's content."""
    number: int = 0
    dpi: int = 0
    """At which a page without pixels is drawn."""


@dataclass(kw_only=True, slots=True)
class Document:
    """One source record: blocks or text to be drawn as pages, or existing images with questions about them."""

    id: str
    """Derived from the content: equal documents have equal ids, whichever file they came from."""
    source: str = ""
    """Name of the data set in prepared.json."""
    kind: str = "report"
    """laboratory panel, prescription, pathology image ..."""
    layout: str = "narrative"
    """How its content is arranged: narrative, key: value, table, ruled table, two columns, image."""
    text: str = ""
    """Text to draw if there are no blocks."""
    blocks: list[Block] = field(default_factory=list)
    """Content to draw; `mark` in medvl.documents.marks links its words to `fields`."""
    fields: list[Field] = field(default_factory=list)
    images: list[bytes | str | PageOf] = field(default_factory=list)
    """Encoded images (PNG, JPEG ...) or paths of such files; `text` is then the text on them, if known."""
    texts: list[str] = field(default_factory=list, repr=False)
    """What is on each image, to be transcribed; empty for an image whose text is unknown, and if all are."""
    shape: dict[str, Any] | None = field(default=None, repr=False)
    """The keys that a JSON answer about its images has, with empty values; None: those of its fields."""
    schema: dict[str, Any] | None = field(default=None, repr=False)
    """The JSON Schema of such an answer; None: that of its shape."""
    answer: dict[str, Any] | None = field(default=None, repr=False)
    """The JSON answer of that shape: its fields, and null for what its images do not show."""
    file: str = field(default="", repr=False)
    """The file that it was read from, if it is a file of its own."""
    open: bool = field(default=False, repr=False)
    """Whether nothing is known about its images, which are only asked about for the model's answers."""
    questions: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of question and answer about the images."""
    terms: list[str] = field(default_factory=list)
    """Medical terms of the record, as its source lists them."""
    values: list[str] | None = None
    """Clinical values expected in a transcription; None: those found in the text."""
    groups: list[str] = field(default_factory=list)
    """Keys shared with documents that must be in the same split: its patient, its images."""
    records: int = 1
    """Source records that no document before it counts; 0 if it only shows records of other documents again."""
    asking: TaskSpec | None = None
    split: str | None = None
    """The split assigned by the source; None if medvl draws it."""
    drawn: bool = field(default=False, repr=False)
    """Whether `split` was drawn from a split that is given, so that a near-duplicate may decide otherwise."""


@dataclass(kw_only=True, slots=True)
class Page:
    """One drawn page and its content."""

    image: Image.Image
    text: str
    """Its lines in reading order; table cells are joined by ' | '."""
    lines: list[tuple[str, Box]]
    fields: list[tuple[int, Box]]
    """In reading order: an index into the document's fields, and the box of one line of that field."""
    x_height_px: float
    """x-height of the smallest type on the page, as drawn."""


Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the finished page


@dataclass(kw_only=True, slots=True)
class Example:
    """One training or evaluation sample: page images, a prompt and the expected response."""

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
    """transcribe, extract, json, question, list; for images without known text, vqa or caption."""
    page_text: str = ""
    """The full text of the page; empty for images without known text."""
    fields: list[Field] = field(default_factory=list)
    """The facts that the response states."""
    schema: dict[str, Any] | None = None
    """The JSON Schema of a JSON answer, where the source has one; None: that of the shape that the prompt shows."""
    terms: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    dates: str = "mdy"
    """How the document writes dates: the name of a `DateOrder`."""
    x_height_px: float | None = None
    """x-height of the smallest type after the image processor's resize; None if the source supplied the image."""
    visual_tokens: list[int] = field(default_factory=list)
    """Language-model tokens of each image."""
    answer_tokens: int = 0
    """Tokens with loss: the response and the end-of-turn token."""
    tokens: int = 0
    """Total tokens: prompt, images and answer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Example:
        return cls(**{**row, "fields": [Field(**entry) for entry in row["fields"]]})


class TokenCounts(TypedDict):
    """Token counts of an example, named as in `Example`."""

    visual_tokens: list[int]
    answer_tokens: int
    tokens: int


class Encoded(TypedDict):
    """One example as the model sees it; T and P count this example alone."""

    input_ids: Tensor  # (T,) int64
    labels: Tensor  # (T,) int64, IGNORE where no answer token is predicted
    positions: Tensor  # (4, T) int64: text row, then the three M-RoPE rows
    pixel_values: NotRequired[Tensor]  # (P, C) float32, normalised per channel
    features: NotRequired[Tensor]  # (visual tokens, H): cached vision-tower output, replaces pixel_values
    image_grid_thw: Tensor  # (N, 3) int64: frames, patch rows, patch columns


class Batch(TypedDict):
    """Several examples packed into one row without padding."""

    input_ids: Tensor  # (1, T) int64
    labels: Tensor  # (1, T) int64
    position_ids: Tensor  # (4, 1, T) int64; every example starts at 0 again
    bounds: Tensor  # (S + 1,) int32: cumulative example lengths, 0 ... T
    pixel_values: NotRequired[Tensor]  # (P, C) float32, or (P, 14 * 14) uint8 grey levels of live-drawn pages
    image_grid_thw: Tensor  # (N, 3) int64
    tower: NotRequired[dict[str, Any]]  # precomputed bounds of images and windows for the vision tower
    features: NotRequired[Tensor]  # (visual tokens, H): cached tower output, replaces pixel_values and tower
    image_keys: NotRequired[list[str]]  # cache keys of the features still to be written
    longest: int  # tokens of the longest example
    window_tokens: int  # answer tokens of the whole optimizer step, over all its rows and ranks
    examples: int  # S
    stage: NotRequired[int]  # curriculum stage
    glyphs: NotRequired[Tensor]  # (visual tokens, 8) int64: letters under each visual token, IGNORE for none


@dataclass(slots=True)
class Choice:
    """A value that was chosen automatically, and why."""

    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.value} ({self.reason})"
