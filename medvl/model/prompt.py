"""Chat template, prompt and answer mask: the one place that training, evaluation and serving share.

A turn is tokenised in the pieces that generation sees: the prompt up to and including "assistant\\n", then
the response and the end of the turn. Text that comes from documents or users is tokenised as plain text:
a page that says "<|image_pad|>" cannot forge an image token.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import ProcessorMixin

END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"
IMAGE = "<|image_pad|>"
_SLOT = "\x00prompt\x00"  # stands for the user's text while the template is rendered


def normalized(text: str) -> str:
    """Return the text as the tokenizer would decode it: in NFC (Qwen2's normaliser), lone surrogates become ?."""
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())


def prompt_ids(processor: ProcessorMixin, prompt: str, visual_tokens: list[int]) -> list[int]:
    """Return the tokens of a user turn and of the start of the assistant's turn, ready for generation.

    Args:
        visual_tokens: Language-model tokens of each image; the images come before the text.
    """
    content: list[dict[str, Any]] = [{"type": "image"} for _ in visual_tokens]
    content.append({"type": "text", "text": _SLOT})
    turn: list[Any] = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    head, tail = text.split(_SLOT)
    pieces = head.split(IMAGE)
    assert len(pieces) == len(visual_tokens) + 1, "the chat template lost an image"
    head = pieces[0] + "".join(IMAGE * count + piece for count, piece in zip(visual_tokens, pieces[1:], strict=True))
    tokenizer = processor.tokenizer
    return [
        *tokenizer(head, add_special_tokens=False).input_ids,
        *plain_ids(processor, prompt),
        *tokenizer(tail, add_special_tokens=False).input_ids,
    ]


def answer_ids(processor: ProcessorMixin, response: str) -> list[int]:
    """Return the tokens with loss: the response and the end of the turn."""
    return [*plain_ids(processor, response), processor.tokenizer.convert_tokens_to_ids(END_OF_TURN)]


def plain_ids(processor: ProcessorMixin, text: str) -> list[int]:
    """Tokenise text without interpreting special tokens in it."""
    return processor.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


def answer_text(processor: ProcessorMixin, ids: list[int]) -> str:
    """Return the text of generated tokens, up to the end of the turn."""
    end = processor.tokenizer.convert_tokens_to_ids(END_OF_TURN)
    if end in ids:
        ids = ids[: ids.index(end)]
    return processor.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
