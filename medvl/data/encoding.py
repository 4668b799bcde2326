"""Examples to tensors: pixels are budgeted first, then text; no image token is ever cut."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from medvl import prompt
from medvl.geometry import MERGE, fit, positions, visual_tokens
from medvl.types import IGNORE, Encoded, Example

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from transformers import ProcessorMixin


class UnreadableImage(ValueError):
    """An image file that is missing, empty or not an image."""


def open_image(data: str | bytes) -> Image.Image:
    """Decode an image file or its bytes to RGB; transparency becomes white paper.

    Raises:
        UnreadableImage: Names the file and what is wrong with it.
    """
    from PIL import Image, UnidentifiedImageError
    from qwen_vl_utils.vision_process import to_rgb

    name = data if isinstance(data, str) else f"an image of {len(data)} bytes"
    try:
        with Image.open(data if isinstance(data, str) else io.BytesIO(data)) as image:
            return to_rgb(image)
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{name} is not an image, or cut off") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{name} cannot be read: {error}") from error


class Encoder:
    """Turns examples into model inputs; the same one in training, evaluation, benchmark and serving."""

    def __init__(self, processor: ProcessorMixin) -> None:
        self.processor = processor
        size = processor.image_processor.size
        self.min_pixels, self.max_pixels = size["shortest_edge"], size["longest_edge"]
        self.image_token = processor.tokenizer.convert_tokens_to_ids(prompt.IMAGE)

    def measure(self, example: Example, sizes_px: list[tuple[int, int]]) -> None:
        """Fill in an example's token counts from the (height, width) of its images."""
        example.visual_tokens = [
            visual_tokens(*fit(*size, min_pixels=self.min_pixels, max_pixels=self.max_pixels)) for size in sizes_px
        ]
        asked = prompt.prompt_ids(self.processor, example.prompt, example.visual_tokens)
        example.answer_tokens = len(prompt.answer_ids(self.processor, example.response))
        example.tokens = len(asked) + example.answer_tokens

    def cut(self, example: Example, budget: int) -> bool:
        """Cut an example's response to a budget of tokens, if its prompt leaves room; returns whether it did."""
        tokenizer = self.processor.tokenizer
        room = budget - (example.tokens - example.answer_tokens) - 1  # the end of the turn stays
        if room < 1:
            return False
        ids = prompt.plain_ids(self.processor, example.response)[:room]
        example.response = tokenizer.decode(ids, clean_up_tokenization_spaces=False).rstrip("\ufffd")
        answer_tokens = len(prompt.answer_ids(self.processor, example.response))
        example.tokens += answer_tokens - example.answer_tokens
        example.answer_tokens = answer_tokens
        return example.tokens <= budget

    def encode(self, example: Example, *, answer: bool = True) -> Encoded:
        """Return the tensors of one example, with its answer to learn from or without it to generate from.

        Raises:
            UnreadableImage: An image file vanished or broke since it was prepared.
        """
        return self.encode_images(
            [open_image(path) for path in example.images], example.prompt, example.response if answer else None
        )

    def encode_images(self, images: list[Image.Image], text: str, response: str | None) -> Encoded:
        """Return the tensors of one prompt on decoded images, with the response to learn or without any."""
        vision = self.processor.image_processor(images=images, return_tensors="pt")
        counts = (vision["image_grid_thw"].prod(-1) // MERGE**2).tolist()
        asked = prompt.prompt_ids(self.processor, text, counts)
        pixels = {"pixel_values": vision["pixel_values"]}
        return self.laid_out(pixels, vision["image_grid_thw"], asked, response)

    def encode_seen(self, example: Example, seen: list[dict[str, Tensor]]) -> Encoded:
        """Return the tensors of an example to learn from whose images the tower has seen.

        Args:
            seen: `features` and `grid` of each image, as medvl.features keeps them.
        """
        import torch

        grid_N3 = torch.stack([one["grid"] for one in seen])
        counts = (grid_N3.prod(-1) // MERGE**2).tolist()
        asked = prompt.prompt_ids(self.processor, example.prompt, counts)
        features = torch.cat([one["features"] for one in seen])
        return self.laid_out({"features": features}, grid_N3, asked, example.response)

    def laid_out(self, vision: dict[str, Tensor], grid_N3: Tensor, asked: list[int], response: str | None) -> Encoded:
        """Return the tensors of patches and a tokenised prompt that has room for them, with the response if any.

        Args:
            vision: `pixel_values`, or the `features` in their place.
        """
        import torch

        answered = [] if response is None else prompt.answer_ids(self.processor, response)
        input_ids = torch.tensor(asked + answered)
        labels = torch.full_like(input_ids, IGNORE)
        labels[len(asked) :] = input_ids[len(asked) :]
        is_image = input_ids == self.image_token
        features = int(grid_N3.prod(-1).sum()) // MERGE**2
        if int(is_image.sum()) != features:
            raise AssertionError(f"{int(is_image.sum())} image tokens for {features} visual features")
        return Encoded(
            input_ids=input_ids,
            labels=labels,
            positions=positions(is_image, grid_N3),
            image_grid_thw=grid_N3,
            **vision,  # type: ignore[typeddict-item]
        )
