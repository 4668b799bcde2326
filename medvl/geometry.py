"""Image geometry of Qwen2.5-VL: pixels to patches to tokens to positions (arXiv:2502.13923, sec. 2.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PATCH_PX = 14  # edge of one patch of the vision tower
MERGE = 2  # patches merged into one token, along each axis
TOKEN_PX = PATCH_PX * MERGE
MAX_ASPECT = 200
MAX_IMAGE_PIXELS = 50_000_000  # of an image file, unless configured: 17 x 22 inches at 350 dpi; 150 MB decoded
LARGEST_IMAGE_PIXELS = 178_956_970  # Pillow itself refuses more
WINDOW_PX = 112  # edge of the windows in which most layers of the tower attend
FRAMES = 2  # a still image counts as two: the tower takes frames in pairs
MEAN = (0.48145466, 0.4578275, 0.40821073)  # per colour channel, as Qwen2.5-VL's image processor subtracts it
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def fit(height_px: int, width_px: int, *, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return the size to which the image processor resizes an image: multiples of 28 px within the budget.

    Raises:
        ValueError: One side is more than 200 times the other, or the image is empty.

    Source:
        `smart_resize` of transformers and qwen-vl-utils; a test checks that all three agree.

    >>> fit(1650, 1275, min_pixels=3136, max_pixels=12845056)
    (1652, 1288)
    """
    short_px, long_px = sorted((height_px, width_px))
    if short_px < 1 or long_px > MAX_ASPECT * short_px:
        raise ValueError(f"an image of {width_px} x {height_px} px is empty or longer than {MAX_ASPECT}:1")
    # A side of less than 14 px rounds to none, which counts as too few pixels: the image is enlarged.
    rows, columns = (round(side / TOKEN_PX) for side in (height_px, width_px))
    if rows * columns * TOKEN_PX**2 > max_pixels:
        shrink = math.sqrt(height_px * width_px / max_pixels)
        rows, columns = (max(1, math.floor(side / shrink / TOKEN_PX)) for side in (height_px, width_px))
    elif rows * columns * TOKEN_PX**2 < min_pixels:
        grow = math.sqrt(min_pixels / (height_px * width_px))
        rows, columns = (math.ceil(side * grow / TOKEN_PX) for side in (height_px, width_px))
    return rows * TOKEN_PX, columns * TOKEN_PX


def visual_tokens(height_px: int, width_px: int) -> int:
    """Count the language-model tokens of an image whose sides are multiples of 28 px.

    The two tokens that mark the image's start and end are not counted.

    >>> visual_tokens(1652, 1288)
    2714
    """
    for name, side_px in (("height_px", height_px), ("width_px", width_px)):
        if side_px <= 0 or side_px % TOKEN_PX:
            raise ValueError(f"{name} must be a positive multiple of {TOKEN_PX}, got {side_px}")
    return (height_px // TOKEN_PX) * (width_px // TOKEN_PX)


def positions(is_image: Tensor, image_grid_thw: Tensor) -> Tensor:
    """Return the positions of one example, (4, T): its text row, then the three M-RoPE rows.

    A text token advances all rows by one. An image of h x w tokens takes start + (0, row, column) and advances all
    rows by max(h, w). Equal to transformers' `get_rope_index` on still images (tested).

    Args:
        is_image: (T,) bool, True on image tokens.
        image_grid_thw: (N, 3) int, patches of each image in order.
    """
    import torch

    out = torch.empty(3, len(is_image), dtype=torch.long)
    start = at = 0
    for frames, rows, columns in image_grid_thw.tolist():
        rows, columns = rows // MERGE, columns // MERGE
        first = at + int(is_image[at:].int().argmax())
        out[:, at:first] = torch.arange(start, start + first - at)
        start += first - at
        at = first + frames * rows * columns
        if not bool(is_image[first:at].all()) or at > len(is_image):
            raise ValueError(f"an image of {rows} x {columns} tokens is cut at token {first}")
        grid = torch.cartesian_prod(torch.arange(frames), torch.arange(rows), torch.arange(columns))
        out[:, first:at] = grid.T + start
        start += max(rows, columns)
    out[:, at:] = torch.arange(start, start + len(is_image) - at)
    return torch.cat([torch.arange(len(is_image))[None], out])
