"""Grammars that answers must follow: those of JSON Schemas, by llguidance (github.com/guidance-ai/llguidance)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from numpy.typing import NDArray
    from transformers import ProcessorMixin

WORD = 32  # tokens in one word of a mask
# What ends what an answer has begun, in the order of trying: within a text, and outside.
_ENDS_TEXT = ('"',)
_ENDS_OTHERS = ("}", "]", "null", '"')
MOST_KNOWN = 64  # grammars kept: clients may send a new schema with every request
MOST_CLOSED = 2000  # tokens after which closing is given up
# Written as `json.dumps` does, and so as answers are trained.
_WRITTEN: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_SAYS_NOTHING = {
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
    "readOnly", "writeOnly", "x-critical", "x-dates", "x-unit",
}  # fmt: skip
# llguidance would take others too, and not keep all of them (patternProperties, contentEncoding).
_KEPT = {
    "type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "enum",
    "const", "anyOf", "oneOf", "allOf", "$ref", "pattern", "format", "minLength", "maxLength", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
}  # fmt: skip
_OF_SCHEMAS = ("properties", "$defs", "definitions")  # name -> schema
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


class Grammars:
    """Makes grammars for the vocabulary of a processor.

    Args:
        ends: Tokens that end a turn.
        columns: Of the model's output, which may be more than there are tokens.
    """

    def __init__(self, processor: ProcessorMixin, ends: Collection[int], columns: int) -> None:
        from llguidance.hf import from_tokenizer

        tokenizer: Any = processor.tokenizer
        self.tokenizer = from_tokenizer(tokenizer, n_vocab=columns, eos_token=list(ends))
        self.known: dict[str, Grammar] = {}
        self.turn = threading.Lock()

    def of_schema(self, schema: dict[str, Any]) -> Grammar:
        """Return the grammar of a JSON Schema.

        Raises:
            ValueError: It is none, or holds a keyword that could not be kept.
        """
        from llguidance import LLMatcher

        written = json.dumps(schema)
        found = self.known.get(written)
        if found is not None:
            return found
        unkept = next(_unkept(schema, "the top"), None)
        if unkept is not None:
            raise ValueError(f"the JSON Schema has {unkept[0]!r} at {unkept[1]}, which is not supported")
        try:
            made = LLMatcher.grammar_from_json_schema(schema, overrides=_WRITTEN)
        except ValueError as error:
            raise ValueError(f"the JSON Schema is not one: {error}") from error
        found = Grammar(self.tokenizer, made)
        with self.turn:
            while len(self.known) >= MOST_KNOWN:
                self.known.pop(next(iter(self.known)))
            self.known[written] = found
        return found


class Grammar:
    """What an answer may say; its first use compiles it.

    Raises:
        ValueError: It cannot be compiled.
    """

    def __init__(self, tokenizer: LLTokenizer, written: str) -> None:
        from llguidance import LLMatcher

        self.tokenizer, self._start = tokenizer, LLMatcher(tokenizer, written)
        if self._start.is_error():
            why = self._start.get_error().strip().splitlines()[0]
            raise ValueError(f"the JSON Schema is not supported: {why}")

    def start(self) -> Constraint:
        """Return a state at the beginning of an answer."""
        return Constraint(self.tokenizer, self._start.deep_copy())


class Constraint:
    """How far an answer has come in its grammar."""

    def __init__(self, tokenizer: LLTokenizer, matcher: LLMatcher) -> None:
        self._tokenizer, self._matcher = tokenizer, matcher

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, so that nothing can follow."""
        return self._matcher.is_stopped() and not self.broken

    @property
    def broken(self) -> bool:
        """Whether the grammar became too complex to go on."""
        return self._matcher.is_error()

    def take(self, token: int) -> None:
        """Add a token."""
        self._matcher.consume_token(token)

    def forced(self) -> list[int]:
        """Add the tokens that can only come now, and return them."""
        tokens = [] if self._matcher.is_stopped() else self._matcher.compute_ff_tokens()
        if tokens:
            self._matcher.consume_tokens(tokens)
        return tokens

    def allow(self, words: NDArray[np.int32]) -> None:
        """Write which tokens may come next, a bit each, (columns / 32)."""
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)

    def closing(self, said: Sequence[int]) -> list[int]:
        """Add the tokens that make an answer whole that was cut off: what is open ends, what is missing is null.

        Where the grammar has no null, it is the first value that the grammar allows.

        Args:
            said: The tokens of the answer so far.
        """
        added: list[int] = []
        words = np.zeros(-(-self._tokenizer.vocab_size // WORD), np.int32)
        within, outside = (
            [self._tokenizer.tokenize_str(one)[0] for one in closers] for closers in (_ENDS_TEXT, _ENDS_OTHERS)
        )
        text = self._tokenizer.decode_bytes(list(said))
        while not self._matcher.is_stopped() and len(added) < MOST_CLOSED:
            tokens = self.forced()
            if not tokens and not self._matcher.is_stopped():
                self.allow(words)
                tokens = [_first(words, within if _is_within_text(text) else outside)]
                self._matcher.consume_tokens(tokens)
            added += tokens
            text += self._tokenizer.decode_bytes(tokens)
        return added


def _is_within_text(written: bytes) -> bool:
    """Return whether JSON that was cut off ends within a text.

    >>> _is_within_text(b'{"a": "b'), _is_within_text(b'{"a": "b\\\\"'), _is_within_text(b'{"a": "b\\\\""')
    (True, True, False)
    """
    return re.sub(rb"\\.", b"", written, flags=re.DOTALL).count(b'"') % 2 == 1


def _first(words: NDArray[np.int32], preferred: Sequence[int]) -> int:
    """Return the first preferred token that a mask allows, else the first that it allows."""
    allowed = np.unpackbits(words.view(np.uint8), bitorder="little")
    return next((token for token in preferred if allowed[token]), int(allowed.argmax()))


def _unkept(schema: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield keywords that would not be kept, with their places."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key in _OF_SCHEMAS and isinstance(value, dict):
            for name, child in value.items():
                yield from _unkept(child, f"{place}.{name}".removeprefix("the top."))
        elif key in _LISTS and isinstance(value, list):
            for child in value:
                yield from _unkept(child, place)
        elif key in ("items", "additionalProperties"):
            yield from _unkept(value, f"{place}[]".removeprefix("the top"))
        elif key not in _KEPT | _SAYS_NOTHING:
            yield key, place
