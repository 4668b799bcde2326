"""Tokenizer, image processor and chat template of a base, checked: the rest of medvl relies on what Qwen2.5-VL does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvl.geometry import DEVIATION, FRAMES, LARGEST_IMAGE_PIXELS, MAX_IMAGE_PIXELS, MEAN, MERGE, PATCH_PX
from medvl.model import prompt

if TYPE_CHECKING:
    from transformers import PretrainedConfig, ProcessorMixin

PROBE_PX = 4000  # edge of the blank image on which the pixel budget is checked
BICUBIC = 3
IMAGE_SETTINGS: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "rescale_factor": 1 / 255,
    "resample": BICUBIC,
    "image_mean": MEAN,
    "image_std": DEVIATION,
    "patch_size": PATCH_PX,
    "merge_size": MERGE,
    "temporal_patch_size": FRAMES,
}
TOKENS = (prompt.IMAGE, prompt.END_OF_TURN, prompt.END_OF_TEXT)


def check_processor(processor: ProcessorMixin, folder: str) -> None:
    """Refuse a processor that draws images or writes prompts otherwise than medvl counts on.

    Raises:
        ValueError: Names the setting and its file.
    """
    images: Any = processor.image_processor
    for name, wanted in IMAGE_SETTINGS.items():
        found = getattr(images, name, wanted)
        if not _alike(found, wanted):
            shown = list(wanted) if isinstance(wanted, tuple) else wanted
            raise ValueError(
                f"{folder} sets {name}={found!r} for images, Qwen2.5-VL wants {shown}. "
                "Mend its preprocessor_config.json, or set model.path=<another folder>."
            )
    known = processor.tokenizer.get_vocab()
    for token in TOKENS:
        if token not in known:
            raise ValueError(
                f"the tokenizer of {folder} does not know {token}. Set model.path=<a folder with its own tokenizer>."
            )
    _check_template(processor, folder)


def _check_template(processor: ProcessorMixin, folder: str) -> None:
    """Write a prompt about one image, as every example does."""
    mend = "Add chat_template.jinja of Qwen2.5-VL to it, or set model.path=<another folder>."
    if not processor.chat_template:
        raise ValueError(f"{folder} holds no chat template. {mend}")
    try:
        prompt.prompt_ids(processor, "What does the page say?", [4])
    except Exception as error:  # a template may raise anything; one that loses the image or the text ends here too
        raise ValueError(f"the chat template of {folder} does not take a question about an image. {mend}") from error


def check_vocabulary(processor: ProcessorMixin, config: PretrainedConfig, folder: str) -> None:
    """Refuse a tokenizer that is another model's.

    Raises:
        ValueError: Names what differs.
    """
    tokenizer: Any = processor.tokenizer
    mend = "Set model.path=<a folder with its own tokenizer>."
    image, highest = tokenizer.convert_tokens_to_ids(prompt.IMAGE), max(tokenizer.get_vocab().values())
    if image != config.image_token_id:
        raise ValueError(
            f"the tokenizer of {folder} writes {prompt.IMAGE} as {image}, its config.json as {config.image_token_id}. "
            f"{mend}"
        )
    if highest >= config.text_config.vocab_size:
        raise ValueError(
            f"the tokenizer of {folder} has tokens up to {highest}, its model only {config.text_config.vocab_size}. "
            f"{mend}"
        )


def _alike(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return found is wanted
    try:
        pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
        return all(abs(float(one) - float(other)) < 1e-4 for one, other in pairs)
    except (TypeError, ValueError):
        return False


def check_image_limit(max_image_pixels: int) -> None:
    """Refuse a limit of an image file that would leave no image, or that Pillow would not keep.

    Raises:
        ValueError: It is out of range.
    """
    if not 0 < max_image_pixels <= LARGEST_IMAGE_PIXELS:
        raise ValueError(
            f"model.max_image_pixels must be from 1 to {LARGEST_IMAGE_PIXELS}, got {max_image_pixels}. "
            f"Set model.max_image_pixels={MAX_IMAGE_PIXELS}."
        )


def budget_pixels(processor: ProcessorMixin, min_pixels: int, max_pixels: int) -> None:
    """Set the pixel budget where the image processor reads it, and check that it takes effect.

    Several versions ignore `max_pixels` alone and use `size` (Qwen3-VL threads 1052, 1264).
    """
    from PIL import Image

    images = processor.image_processor
    images.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    for name, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)):
        if hasattr(images, name):
            setattr(images, name, value)
    grid = images(images=[Image.new("RGB", (PROBE_PX, PROBE_PX))], return_tensors="pt")["image_grid_thw"]
    pixels = int(grid.prod()) * images.patch_size**2
    if pixels > max_pixels:
        raise AssertionError(f"the image processor ignores max_pixels={max_pixels}: {pixels} pixels came out")
