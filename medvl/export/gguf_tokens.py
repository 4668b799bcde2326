"""A base's tokenizer as llama.cpp reads it: tokens, their types, merges, the rule that splits text, special tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medvl.model import prompt

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import ProcessorMixin

SPLIT = "qwen2"  # llama.cpp's name of the rule below
# How Qwen2 splits text before it merges bytes.
RULE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# llama.cpp wants a merge. Byte 255 is in no UTF-8 text, so that this one is never applied.
NO_MERGE = "ÿ ÿ"


def add_tokenizer(writer: GGUFWriter, processor: ProcessorMixin, size: int) -> None:
    """Add the tokenizer and the chat template of a base to a GGUF file.

    Args:
        size: Tokens of the model's embeddings; those beyond the tokenizer's are never written or read.

    Raises:
        ValueError: The tokenizer is not one of Qwen2, so that llama.cpp would split text otherwise.
    """
    processing: Any = processor
    tokenizer = processing.tokenizer
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    check_rule(told)
    tokens, types = _tokens(told, size)
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in told["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre(SPLIT)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges or [NO_MERGE])
    writer.add_eos_token_id(tokenizer.convert_tokens_to_ids(prompt.END_OF_TURN))
    writer.add_pad_token_id(tokenizer.convert_tokens_to_ids(prompt.END_OF_TEXT))
    writer.add_bos_token_id(tokenizer.convert_tokens_to_ids(prompt.END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(processing.chat_template)


def check_rule(told: dict[str, Any]) -> None:
    """Refuse a tokenizer.json that does not split and merge text as Qwen2 does.

    Raises:
        ValueError: It is another model's.
    """
    steps = (told.get("pre_tokenizer") or {}).get("pretokenizers") or []
    rules = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    if told["model"]["type"] != "BPE" or rules != [RULE]:
        raise ValueError(
            "the tokenizer does not split text as Qwen2's, and llama.cpp knows no other rule by that name. "
            "Set format=merged, or model.path=<a base with Qwen2's tokenizer>."
        )


def _tokens(told: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the text and the type of each token."""
    from gguf import TokenType

    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for token, index in told["model"]["vocab"].items():
        tokens[index], types[index] = token, int(TokenType.NORMAL)
    for added in told["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], int(kind)
    return tokens, types
