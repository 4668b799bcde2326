"""PP-OCR (Cui et al., PaddleOCR 3.0, arXiv:2507.05595) by RapidOCR, whose package ships its networks."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.readers.reader import Reader
from medvl.types import Choice

if TYPE_CHECKING:
    from PIL import Image

PACKAGES = ("rapidocr", "onnxruntime")
Box = Sequence[Sequence[float]]  # its corners, (x, y) each


@dataclass(kw_only=True, slots=True)
class RapidOcr(Reader):
    """The packages rapidocr and onnxruntime, on the CPU."""

    name: ClassVar[str] = "rapidocr"

    def check(self) -> None:
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(
                f"reader=rapidocr needs the package {missing[0]}. "
                'Run pip install -e ".[rapidocr]", or set reader=model.'
            )

    def engine(self) -> Choice:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
        files = importlib.metadata.files(PACKAGES[0]) or []
        names = sorted(file.stem for file in files if file.suffix == ".onnx")
        return Choice(versions[0], f"{versions[1]}; the networks of the package: {', '.join(names)}")

    def read(self, page: Image.Image) -> str:
        import numpy as np

        found = _networks()(np.asarray(page.convert("RGB"))[:, :, ::-1])  # blue first, as OpenCV has it
        if found.txts is None:
            return ""
        return in_lines(found.boxes.tolist(), found.txts)


@functools.cache
def _networks() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "critical"})


def in_lines(boxes: Sequence[Box], texts: Sequence[str]) -> str:
    """Return the texts of boxes as lines: boxes that overlap by half of the lower one's height share a line.

    Args:
        boxes: Upper left, upper right, lower right and lower left corner of each, in px. The median slope of their
            upper edges is that of the page.

    >>> in_lines([[(80, 1), (99, 1), (99, 11), (80, 11)], [(0, 0), (50, 0), (50, 10), (0, 10)]], ["81 mg", "Dose"])
    'Dose 81 mg'
    """
    wide = [(right[1] - left[1]) / (right[0] - left[0]) for left, right, *_ in boxes if right[0] > left[0]]
    slope = median(wide) if wide else 0.0
    placed: list[tuple[float, float, float, str]] = []  # top, bottom and left of the page turned upright
    for corners, text in zip(boxes, texts, strict=True):
        heights = sorted(y - slope * x for x, y in corners)
        placed.append((sum(heights[:2]) / 2, sum(heights[2:]) / 2, min(x for x, _ in corners), text))
    lines: list[list[tuple[float, float, float, str]]] = []
    for box in sorted(placed, key=lambda box: box[0] + box[1]):
        first = lines[-1][0] if lines else box
        shared = min(box[1], first[1]) - max(box[0], first[0])
        if lines and shared > min(box[1] - box[0], first[1] - first[0]) / 2:
            lines[-1].append(box)
        else:
            lines.append([box])
    return "\n".join(" ".join(box[3] for box in sorted(line, key=lambda box: box[2])) for line in lines)
