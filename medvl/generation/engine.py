"""The engine: evaluation, benchmarks and replays during training get their answers here."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from medvl.data.encoding import Encoder
from medvl.generation import reference
from medvl.generation.answer import Answer
from medvl.generation.decoder import Decoder
from medvl.generation.grammar import Constraint, Grammars
from medvl.generation.seen import Heads
from medvl.generation.session import Session
from medvl.generation.sharing import shared
from medvl.generation.slots import Slots, slot_bytes
from medvl.generation.ticket import Ticket
from medvl.hardware.plan import GIB, free_bytes
from medvl.kernels import fused_ops as passes
from medvl.kernels.tower import fused
from medvl.model.parts import base_of, device_of, linear_parameters
from medvl.model.precision import SMALL, Precision
from medvl.types import Choice, Example

log = logging.getLogger(__name__)

PREFILL = 16384  # tokens of one prefill: enough to keep a device busy
SPARE = 4 * GIB  # of a GPU's memory, for the activations of a prefill
REFILL = 8  # a GPU's slots are refilled when this part of them is free
READERS = 8  # threads that decode images for a GPU
MOST = {"cuda": 64, "cpu": 24}  # answers together, unless configured
PADDED = 24  # answers that transformers generates together, unless configured


@dataclass(kw_only=True)
class Engine:
    """Generates answers with a model in its current state."""

    model: nn.Module
    encoder: Encoder
    precision: Precision
    compiled: bool | None = None
    """As `hardware.compile`."""
    unified_memory: bool = False
    """As `hardware.unified_memory`."""
    captures: bool = True
    """Replay steps as CUDA graphs where that works."""
    shares: bool = False
    """The ranks of a process group answer a part each; all of them must ask the same."""
    said: dict[str, Choice] = field(default_factory=dict)
    """The choices of the last session, with their reasons."""
    grammars: Grammars | None = None
    """Those of the schemas that were asked for; made when the first is."""
    heads: Heads = ()
    """Whose attention to the pages is kept, of answers that follow a schema."""

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

    def answers(
        self,
        examples: Sequence[Example],
        *,
        max_new_tokens: int,
        batch: int | None = None,
        tick: Callable[[int], Any] | None = None,
        schemas: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[Answer]:
        """Return the answers in the order of the examples.

        Args:
            schemas: The JSON Schema that each answer must follow, if any.
            batch: The most answers in progress at a time, fewer if the memory does not hold their keys and values;
                None: as many as are worth while.
            tick: Called with the number of answers that ended, after each step.
        """
        if not examples:
            return []
        if self.shares:
            asked = {id(example): schema for example, schema in zip(examples, schemas or [], strict=False)}

            def alone(own: Sequence[Example]) -> list[Answer]:
                kept = None if schemas is None else [asked[id(example)] for example in own]
                engine = replace(self, shares=False)
                return engine.answers(own, max_new_tokens=max_new_tokens, batch=batch, tick=tick, schemas=kept)

            return shared(examples, alone, tick)
        if (why := self.obstacle()) and schemas is not None:
            raise ValueError(f"answers cannot follow a schema: {why}. Set eval.constrained=false.")
        if why:
            log.info("transformers generates: %s", why)
            return self._by_transformers(examples, max_new_tokens=max_new_tokens, batch=batch or PADDED, tick=tick)
        width = max(example.tokens - example.answer_tokens for example in examples) + max_new_tokens
        starts = [self.constraint(schema) for schema in schemas or [None] * len(examples)]
        tickets = [
            Ticket(example, max_new_tokens, constraint=start) for example, start in zip(examples, starts, strict=True)
        ]
        rows = self._together(len(examples), batch)
        with self.session(rows=rows.value, width=width, bulk=True, why=rows.reason) as session:
            for index in _order(examples):
                session.submit(tickets[index])
            while session.busy:
                ended = session.step()
                if tick is not None and ended:
                    tick(len(ended))
        return [self.answer(ticket) for ticket in tickets]

    def constraint(self, schema: dict[str, Any] | None) -> Constraint | None:
        """Return the beginning of an answer that follows a JSON Schema; None for no schema.

        Raises:
            ValueError: The schema is not supported; the message names the keyword.
        """
        if schema is None:
            return None
        if self.grammars is None:
            columns = base_of(self.model).lm_head.weight.shape[0]
            self.grammars = Grammars(self.encoder.processor, self.encoder.ends, columns)
        return self.grammars.of_schema(schema).start()

    def obstacle(self) -> str:
        """Return why this model cannot answer in slots, or an empty string."""
        devices = {parameter.device for parameter in self.model.parameters()}
        return f"the weights lie on {len(devices)} devices" if len(devices) > 1 else ""

    @contextlib.contextmanager
    def session(
        self, *, rows: int, width: int, endless: bool = False, bulk: bool = False, why: str = "as asked"
    ) -> Iterator[Session]:
        """Hold slots for `rows` answers of `width` tokens, prompt included, and the weights in the form of decoding.

        There are fewer if the memory does not hold them.

        Args:
            why: Says why there are so many rows.
            endless: Answers end at their token limit only, for timing.
            bulk: All answers count, not how soon each of them begins.
        """
        base, device, dtype = base_of(self.model), self.device, self.precision.compute.torch
        text = base.config.text_config
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what an earlier session left would not count as free
        each = slot_bytes(text, width, dtype)
        held = self._held(rows, each)
        fitting = self._fitting(Choice(rows, why), each, self._held_bytes() if held.value else 0)
        compiled = passes.choose(self.compiled, device)
        fused_ops = passes.FusedOps(compiled=compiled.value)
        training = self.model.training
        self.model.eval()

        def autocast() -> torch.autocast:
            return self.precision.autocast(device)

        readers = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) if device.type == "cuda" else None
        try:
            with fused(base.model.visual, fused_ops), torch.no_grad():
                slots, together = _allocated(lambda rows: Slots(text, rows, width, dtype, device), fitting)
                decoder = Decoder(
                    self.model,
                    slots,
                    fused_ops,
                    dtype=dtype,
                    autocast=autocast,
                    held=held.value,
                    capture=self.captures,
                    forbidden=self.encoder.ends if endless else (),
                )
                self._say({"answers together": together, "held": held, **decoder.choices, "compiled": compiled})
                yield Session(
                    self.model,
                    self.encoder,
                    decoder,
                    ends=() if endless else self.encoder.ends,
                    budget=PREFILL,
                    autocast=autocast,
                    readers=readers,
                    heads=self.heads,
                    refill=max(1, together.value // REFILL) if bulk and device.type == "cuda" else 1,
                )
        finally:
            if readers is not None:
                readers.shutdown(cancel_futures=True)
            self.model.train(training)

    def _free(self) -> float:
        return free_bytes(self.device.type, unified=self.unified_memory)

    def _held_bytes(self) -> int:
        """Return the memory of the language layers' products in the compute type."""
        return linear_parameters(base_of(self.model).config.text_config) * self.precision.compute.torch.itemsize

    def _held(self, rows: int, each: int) -> Choice:
        """Choose whether stacked copies of the weights are kept in the compute type while answers go on."""
        size = self._held_bytes()
        sizes = f"{size / GIB:,.1f} GiB"
        if self.device.type == "cpu":
            return Choice(size <= SMALL, f"the layers take {sizes} in {self.precision.compute.name}")
        if self.precision.storage.bits > 4 or self.precision.resident:
            return Choice(False, f"the weights are not in 4 bits; stacking them would take {sizes} more")
        if rows == 1:
            return Choice(False, "one row reads 4-bit values faster")
        free = self._free() - SPARE - rows * each
        return Choice(size <= free, f"decoded 4-bit values take {sizes} of {free / GIB:,.1f} that are free")

    def _together(self, count: int, batch: int | None) -> Choice:
        """Choose how many of `count` answers are in progress at a time, if the memory holds them."""
        most = batch or MOST[self.device.type]
        if count <= most:
            return Choice(count, "all of them")
        if batch is not None:
            return Choice(batch, "as configured")
        gain = "more gain nothing on a CPU" if self.device.type == "cpu" else "more gain little"
        return Choice(most, gain)

    def _fitting(self, rows: Choice, each: int, held: int) -> Choice:
        """Choose how many slots the memory holds beside `held` bytes of weights, at most `rows`."""
        spare = SPARE / 2 if self.device.type == "cuda" else 0
        free = self._free() - held - spare
        most = max(1, int(free // each))
        if most >= rows.value:
            return rows
        sizes = f"keys and values of one take {each / GIB:.2f} of {max(0.0, free) / GIB:,.1f} GiB that are free"
        return Choice(most, sizes)

    def _say(self, choices: dict[str, Choice]) -> None:
        if choices != self.said:
            log.info("generation: %s", ", ".join(f"{name}={choice}" for name, choice in choices.items()))
        self.said = choices

    def answer(self, ticket: Ticket) -> Answer:
        """Return an answer that has ended."""
        ticket.close()
        answer = self._said(ticket.ids, ticket.finish_reason)
        kept = "log_probabilities", "masses", "forced", "stepped", "closed", "seen"
        return replace(answer, **{name: getattr(ticket, name) for name in kept})

    def _said(self, row: list[int], reason: str) -> Answer:
        """Return what a row of tokens says, up to the end of its turn."""
        at = next((at for at, token in enumerate(row) if token in self.encoder.ends), None)
        ids = row if at is None else row[: at + 1]
        text = self.encoder.answer_text(row[:at])
        return Answer(text=text, ids=ids, finish_reason=reason, log_probabilities=[])

    def _by_transformers(
        self, examples: Sequence[Example], *, max_new_tokens: int, batch: int, tick: Callable[[int], Any] | None
    ) -> list[Answer]:
        order = sorted(range(len(examples)), key=lambda index: examples[index].tokens)
        answers: dict[int, Answer] = {}
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            encoded = [self.encoder.encode(examples[index], answer=False) for index in part]
            rows = reference.generate(self.model, self.encoder, self.precision, encoded, max_new_tokens=max_new_tokens)
            for index, row in zip(part, rows, strict=True):
                ended = any(token in self.encoder.ends for token in row)
                answers[index] = self._said(row, "stop" if ended else "length")
            if tick is not None:
                tick(len(part))
        return [answers[index] for index in range(len(examples))]


def _allocated(make: Callable[[int], Slots], rows: Choice) -> tuple[Slots, Choice]:
    """Return slots, half as many as often as the memory does not hold them, and how many there are.

    What is free is known only roughly: another process may take it, and memory comes in pieces.
    """
    while True:
        try:
            return make(rows.value), rows
        except torch.OutOfMemoryError:
            if rows.value == 1:
                raise
            rows = Choice(rows.value // 2, f"the memory did not hold {rows.value}")
        torch.cuda.empty_cache()  # outside of the handler, which holds what is to be freed


def _order(examples: Sequence[Example]) -> list[int]:
    """Return the order of answering: the longest first, so that none is left alone at the end; a page's together."""
    longest: dict[tuple[str, ...], int] = defaultdict(int)
    for example in examples:
        longest[tuple(example.images)] = max(longest[tuple(example.images)], example.tokens)

    def place(index: int) -> tuple[int, tuple[str, ...], int]:
        images = tuple(examples[index].images)
        return -longest[images], images, -examples[index].tokens

    return sorted(range(len(examples)), key=place)
