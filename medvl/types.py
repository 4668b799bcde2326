"""The structures every layer shares, and the legend of their axes.

Axes, in shape comments and suffixes:
    T tokens of one packed row      P 14 x 14 px patches, all images of the row concatenated
    N images of the row             S examples (segments) of the row
    C = 3 colours * 2 frames * 14 * 14 px = 1176 values per patch
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IGNORE = -100  # torch.nn.functional.cross_entropy's default ignore_index


@dataclass(kw_only=True, slots=True)
class Document:
    """One source record: a text to be drawn as pages, or one ready image with its questions."""

    id: str
    """Identity of the content: equal documents have equal ids, whatever file they came from."""
    text: str = ""
    image: bytes | None = None
    """An encoded image (PNG, JPEG ...); then `questions` hold its (question, answer) pairs."""
    questions: list[tuple[str, str]] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    """Medical terms of the record, as its source lists them."""
    split: str | None = None
    """The split its source assigns; None when the split is ours to draw."""


@dataclass(kw_only=True, slots=True)
class Page:
    """One drawn page and the text that stands on it, line by line."""

    image: Image.Image
    text: str


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
    terms: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    visual_tokens: list[int] = field(default_factory=list)
    """Language-model tokens of each image."""
    answer_tokens: int = 0
    """Tokens that carry loss: the response and the end of the turn."""
    tokens: int = 0
    """Tokens in all: prompt, images and answer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Encoded(TypedDict):
    """One example as the model sees it; T and P are this example's own."""

    input_ids: Tensor  # (T,) int64
    labels: Tensor  # (T,) int64, IGNORE where no answer token is predicted
    positions: Tensor  # (4, T) int64: text row, then the three M-RoPE rows
    pixel_values: Tensor  # (P, C) float32, normalised per channel
    image_grid_thw: Tensor  # (N, 3) int64: frames, patch rows, patch columns


class Batch(TypedDict):
    """Several examples packed into one row without padding."""

    input_ids: Tensor  # (1, T) int64
    labels: Tensor  # (1, T) int64
    position_ids: Tensor  # (4, 1, T) int64; every example starts at 0 again
    bounds: Tensor  # (S + 1,) int32: cumulative example lengths, 0 ... T
    pixel_values: Tensor  # (P, C) float32
    image_grid_thw: Tensor  # (N, 3) int64
    longest: int  # tokens of the longest example
    window_tokens: int  # answer tokens of the whole optimizer step, over all its rows and ranks
    examples: int  # S


@dataclass(slots=True)
class Choice:
    """A value that was chosen automatically, and why."""

    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.value} ({self.reason})"
