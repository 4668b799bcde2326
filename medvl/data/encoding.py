"""From examples to tensors. Images are resized to the pixel budget and never cut; only text is truncated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medvl.data.decoding import UnreadableImage as UnreadableImage
from medvl.data.decoding import open_image
from medvl.data.held import HeldPages
from medvl.data.pages import fitted
from medvl.documents.tasks import TRANSCRIBE
from medvl.geometry import MAX_IMAGE_PIXELS, MERGE, fit, positions, visual_tokens
from medvl.model import prompt
from medvl.model.answer_form import AnswerForm
from medvl.types import IGNORE, Encoded, Example, TokenCounts

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from transformers import ProcessorMixin


class Encoder:
    """Turns examples into model inputs; the same one in training, evaluation, benchmark and serving.

    Args:
        max_image_pixels: Image files with more pixels are refused.
        ask: What stands for the usual prompt about the text of a page; None: that prompt itself.
        answers: How the model writes answers.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
        ask: str | None = None,
        answers: AnswerForm = AnswerForm.plain,
    ) -> None:
        self.processor, self.max_image_pixels, self.ask, self.answers = processor, max_image_pixels, ask, answers
        size = processor.image_processor.size
        self.min_pixels, self.max_pixels = size["shortest_edge"], size["longest_edge"]
        ids = processor.tokenizer.convert_tokens_to_ids
        self.image_token = ids(prompt.IMAGE)
        self.ends: list[int] = [ids(prompt.END_OF_TURN), ids(prompt.END_OF_TEXT)]
        """The tokens that end an answer; the last also pads."""
        self.held = HeldPages()
        """Pages that are nowhere but in memory, by the names that stand for them in examples."""

    def asked(self, text: str) -> str:
        """Return a prompt in the words that the base was taught."""
        return self.ask if self.ask is not None and text == TRANSCRIBE else text

    def prompt_ids(self, text: str, visual_tokens: list[int]) -> list[int]:
        """Return the tokens of a prompt about images, as `prompt.prompt_ids` does."""
        return prompt.prompt_ids(self.processor, self.asked(text), visual_tokens)

    def answer_text(self, ids: list[int]) -> str:
        """Return what generated tokens say of the page, up to the end of the turn."""
        return self.answers.text(prompt.answer_text(self.processor, ids))

    def counts(self, asked: str, response: str, sizes_px: list[tuple[int, int]]) -> TokenCounts:
        """Count the tokens of an example whose images have these (height, width).

        Raises:
            ValueError: The aspect ratio of an image is too extreme.
        """
        visual = [
            visual_tokens(*fit(*size, min_pixels=self.min_pixels, max_pixels=self.max_pixels)) for size in sizes_px
        ]
        answer_tokens = len(prompt.answer_ids(self.processor, response))
        tokens = len(self.prompt_ids(asked, visual)) + answer_tokens
        return {"visual_tokens": visual, "answer_tokens": answer_tokens, "tokens": tokens}

    def cut(self, example: Example, budget: int) -> Example:
        """Truncate an example's response to a token budget; the example is unchanged if its prompt leaves no room."""
        tokenizer = self.processor.tokenizer
        room = budget - (example.tokens - example.answer_tokens) - 1  # for the end-of-turn token
        if room < 1:
            return example
        ids = prompt.plain_ids(self.processor, example.response)[:room]
        response = tokenizer.decode(ids, clean_up_tokenization_spaces=False).rstrip("\ufffd")
        answer_tokens = len(prompt.answer_ids(self.processor, response))
        tokens = example.tokens + answer_tokens - example.answer_tokens
        return replace(example, response=response, answer_tokens=answer_tokens, tokens=tokens)

    def encode(self, example: Example, *, answer: bool = True) -> Encoded:
        """Return the tensors of one example: with its answer for training, without it for generation.

        Raises:
            UnreadableImage: An image file was deleted or damaged after preparation.
        """
        images = [open_image(path, self.max_image_pixels) for path in example.images]
        return self.encode_images(images, example.prompt, example.response if answer else None)

    def encode_images(self, images: list[Image.Image], text: str, response: str | None) -> Encoded:
        """Return the tensors of one prompt on decoded images, and of the response if there is one."""
        vision = self._vision(images)
        counts = (vision["image_grid_thw"].prod(-1) // MERGE**2).tolist()
        asked = self.prompt_ids(text, counts)
        pixels = {"pixel_values": vision["pixel_values"]}
        return self.assemble(pixels, vision["image_grid_thw"], asked, response)

    def patches(self, image: str) -> dict[str, Tensor]:
        """Return `pixel_values` (P, C) and `grid` (3,) of an image file, or of a page that is held.

        Raises:
            UnreadableImage: The file was deleted or damaged after preparation.
        """
        page = self.held.get(image) or self.fitted(open_image(image, self.max_image_pixels))
        vision = self._patched([page])
        return {"pixel_values": vision["pixel_values"], "grid": vision["image_grid_thw"][0]}

    def fitted(self, image: Image.Image) -> Image.Image:
        """Return a page as the model sees it.

        Raises:
            ValueError: The aspect ratio is too extreme.
        """
        return fitted(image, self.min_pixels, self.max_pixels)

    def _vision(self, images: list[Image.Image]) -> dict[str, Tensor]:
        """Return `pixel_values` (P, C) and `image_grid_thw` (N, 3)."""
        return self._patched([self.fitted(image) for image in images])

    def _patched(self, pages: list[Image.Image]) -> dict[str, Tensor]:
        # The processor itself resizes nothing.
        return self.processor.image_processor(images=pages, do_resize=False, return_tensors="pt")

    def encode_cached(
        self, example: Example, seen: list[dict[str, Tensor]], *, answer: bool = True, begun: Sequence[int] = ()
    ) -> Encoded:
        """Return the tensors of an example from outputs of the vision tower.

        Args:
            seen: `features` and `grid` of each image, as medvl.data.features stores them.
            begun: Tokens of an answer that go on after the prompt.
        """
        import torch

        grid_N3 = torch.stack([one["grid"] for one in seen])
        counts = (grid_N3.prod(-1) // MERGE**2).tolist()
        asked = self.prompt_ids(example.prompt, counts)
        features = torch.cat([one["features"] for one in seen])
        asked += begun
        return self.assemble({"features": features}, grid_N3, asked, example.response if answer else None)

    def assemble(self, vision: dict[str, Tensor], grid_N3: Tensor, asked: list[int], response: str | None) -> Encoded:
        """Combine patches with a tokenised prompt that contains their image tokens, and with the response if any.

        Args:
            vision: `pixel_values`, or `features` instead.
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
