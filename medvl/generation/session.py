"""Answers in progress: waiting prompts take the slots that others leave, while the rest goes on."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import torch

from medvl.data.packing import tower_bounds
from medvl.generation.chosen import Chosen
from medvl.generation.constrained import PASS_STEPS, restrict, write_forced
from medvl.generation.decoder import Decoder
from medvl.generation.looks import grids_of, look
from medvl.generation.prefix import take_over
from medvl.generation.seen import Heads
from medvl.generation.ticket import SAID, Ticket
from medvl.geometry import FRAMES, MERGE
from medvl.model.packed_forward import both_frames, vision_features
from medvl.model.parts import base_of, on_device

if TYPE_CHECKING:
    from torch import Tensor, nn

    from medvl.data.encoding import Encoder
    from medvl.types import Encoded

log = logging.getLogger(__name__)

AHEAD = 16  # images decoded ahead of their prefill


class Session:
    """Slots and weights of a model while it answers; `Engine.session` makes one.

    Args:
        ends: Tokens that end a turn; none: answers end at their token limit only, for timing.
        budget: The most tokens of one prefill, unless a single prompt has more.
        autocast: The context in which the model computes.
        readers: Decodes images while the device works; None: images are decoded when they are needed.
        heads: Whose attention to the pages is kept, of answers that follow a grammar.
        refill: Free slots that a prefill waits for while answers go on: for a GPU, the host prepares one prompt as
            long as several.
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: Encoder,
        decoder: Decoder,
        *,
        ends: Sequence[int],
        budget: int,
        autocast: Callable[[], torch.autocast],
        readers: Executor | None = None,
        refill: int = 1,
        heads: Heads = (),
    ) -> None:
        self.encoder, self.decoder, self.slots = encoder, decoder, decoder.slots
        self.visual = base_of(model).model.visual
        self.ends, self.budget, self.autocast = frozenset(ends), budget, autocast
        self.readers, self.refill, self.heads = readers, refill, heads
        self.reads_late = self.slots.tokens.is_cuda
        self.spared = PASS_STEPS if decoder.captures.value else 0
        """How many steps of every row are worth a pass over forced tokens."""
        self.late: Chosen | None = None
        """The last step, not read yet."""
        self.waiting: deque[Ticket] = deque()
        self.rows: list[Ticket] = []
        """The answers in progress, by slot."""
        self.uses: Counter[str] = Counter()
        """How many waiting prompts show an image."""
        self.patches: dict[str, Future[dict[str, Tensor]]] = {}
        self.features: dict[str, dict[str, Tensor]] = {}
        """What the tower made of images that waiting prompts still need."""

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.rows)

    def submit(self, ticket: Ticket) -> Ticket:
        """Queue a prompt; `step` answers it."""
        ticket.begin()
        self.waiting.append(ticket)
        self.uses.update(ticket.example.images)
        return ticket

    def offer(self, image: str, patches: dict[str, Tensor]) -> None:
        """Take over an image of a prompt that is submitted next, decoded already as by `Encoder.patches`."""
        if image not in self.features:
            self.patches[image] = Future()
            self.patches[image].set_result(self._frame(patches))

    def step(self) -> list[Ticket]:
        """Fill free slots, generate one more token of every answer, and return the answers that ended."""
        return self.fill() + self.decode()

    @torch.no_grad()
    def fill(self) -> list[Ticket]:
        """Prefill waiting prompts, in their order, until no slot is free; return the answers that ended.

        If that raises, the prompts that were prefilled together are forgotten, and all others can go on.
        """
        ended = self._leave()
        free = len(self.slots.tokens) - len(self.rows)
        if self.rows and free < min(self.refill, len(self.waiting)):
            return ended
        while self.waiting and len(self.rows) < len(self.slots.tokens):
            first = len(self.rows)
            try:  # the device is busy with one prefill while the host prepares the next
                while self.waiting and len(self.rows) < len(self.slots.tokens):
                    if not self._prefilled(self._next()):
                        break
            finally:
                self._chosen(first).take(self.ends)
            ended += self._leave()  # answers of one token
        return ended

    def _next(self) -> list[Ticket]:
        """Take the prompts of one prefill from the queue."""
        chosen, tokens = [self.waiting.popleft()], 0
        while self.waiting and len(self.rows) + len(chosen) < len(self.slots.tokens):
            tokens += chosen[-1].example.tokens
            if tokens + self.waiting[0].example.tokens > self.budget:
                break
            chosen.append(self.waiting.popleft())
        return chosen

    def _prefilled(self, chosen: list[Ticket]) -> bool:
        """Prefill prompts together; if the memory does not hold them, let them wait for smaller turns."""
        first = len(self.rows)
        try:
            self._prefill(chosen)
            return True
        except torch.OutOfMemoryError:
            self._forget(first, chosen)
            if len(chosen) == 1:
                raise
        except Exception:
            self._forget(first, chosen)
            raise
        # Outside of the handlers, which hold what is to be freed.
        self.waiting.extendleft(reversed(chosen))
        self.uses.update(image for ticket in chosen for image in ticket.example.images)
        self.budget = sum(ticket.example.tokens for ticket in chosen) // 2
        log.warning("the memory does not hold a prefill of %d prompts: at most %d tokens now", len(chosen), self.budget)
        torch.cuda.empty_cache()
        return False

    def _forget(self, first: int, chosen: list[Ticket]) -> None:
        """Free the slots from `first` on that a failed prefill took, and the images that only its prompts show."""
        self.rows = self.rows[:first]
        for row in range(first, first + len(chosen)):
            self.slots.close(row)
        self.uses = Counter(image for ticket in self.waiting for image in ticket.example.images)
        for kept in (self.features, self.patches):
            for image in [image for image in kept if not self.uses[image]]:
                kept.pop(image)

    @torch.no_grad()
    def decode(self) -> list[Ticket]:
        """Generate one more token of every answer in progress; return the answers that ended.

        A GPU makes the next step while the host reads the last one: an answer that has ended takes part in one more,
        of which nothing is kept.
        """
        ended = []
        if self.late and any(len(ticket.ids) + 1 >= ticket.max_new_tokens for ticket in self.rows):
            ended = self._catch_up()  # the step that is not read yet is the last of an answer
        if any(ticket.constraint is not None for ticket in self.rows):
            ended += self._catch_up()  # what may come next depends on what was chosen
            write_forced(self.decoder, self.rows, self.spared)
        if not self.rows:
            return ended
        restrict(self.decoder, self.rows, 0)
        most = max(ticket.prompt_tokens + len(ticket.ids) for ticket in self.rows)
        self.decoder.step(len(self.rows), most + (self.late is not None))
        late, self.late = self.late, self._chosen(0)
        if late is not None:
            late.take(self.ends)
        return ended + (self._leave() if self.reads_late else self._catch_up())

    def _catch_up(self) -> list[Ticket]:
        """Read the last step; return the answers that ended with it."""
        late, self.late = self.late, None
        if late is not None:
            late.take(self.ends)
        return self._leave()

    def _prefill(self, chosen: list[Ticket]) -> None:
        first = len(self.rows)
        with self.autocast():
            self._see(chosen)
        encoded = [self._encoded(ticket) for ticket in chosen]
        lengths = [len(one["input_ids"]) for one in encoded]
        for ticket, one in zip(chosen, encoded, strict=True):
            ticket.input_ids = one["input_ids"][: len(one["input_ids"]) - len(ticket.ids)]
            ticket.grids = grids_of(one["image_grid_thw"])
            if ticket.prompt_tokens + ticket.max_new_tokens > self.slots.width:
                sizes = f"{ticket.prompt_tokens} + {ticket.max_new_tokens}"
                raise ValueError(f"{sizes} tokens exceed a slot of {self.slots.width}")
        slots = list(range(first, first + len(chosen)))
        self.slots.open(slots, lengths, [int(one["positions"][1:].max()) + 1 for one in encoded])
        restrict(self.decoder, chosen, first)
        held = {tuple(one.example.images): (row, one.input_ids) for row, one in enumerate(self.rows)}
        take_over(self.decoder, [tuple(one.example.images) for one in chosen], encoded, slots, held)
        self.rows += chosen

    def _see(self, chosen: list[Ticket]) -> None:
        """Compute the vision features of the images that the chosen prompts show for the first time."""
        images = [image for ticket in chosen for image in ticket.example.images]
        new = [image for image in dict.fromkeys(images) if image not in self.features]
        self._read_ahead(new)
        if new:
            device = self.slots.keys.device
            read = [self._patches(image) for image in new]
            grid_N3 = torch.stack([one["grid"] for one in read])
            pixels = torch.cat([on_device(one["pixel_values"], device) for one in read])  # (P, 3, 196)
            shown: Any = {
                "pixel_values": both_frames(pixels),
                **on_device({"image_grid_thw": grid_N3, "tower": tower_bounds(grid_N3)}, device),
            }
            features = vision_features(self.visual, shown)
            parts = features.split((grid_N3.prod(-1) // MERGE**2).tolist())
            for image, part, grid in zip(new, parts, grid_N3, strict=True):
                self.features[image] = {"features": part, "grid": grid}

    def _read_ahead(self, new: list[str]) -> None:
        """Begin to decode the images of these and the next prompts."""
        if self.readers is None:
            return
        ahead = [image for ticket in list(self.waiting)[:AHEAD] for image in ticket.example.images]
        for image in dict.fromkeys([*new, *ahead]):
            if image not in self.patches and image not in self.features:
                self.patches[image] = self.readers.submit(self._seen, image)

    def _patches(self, image: str) -> dict[str, Tensor]:
        started = self.patches.pop(image, None)
        return self._seen(image) if started is None else started.result()

    def _seen(self, image: str) -> dict[str, Tensor]:
        return self._frame(self.encoder.patches(image))

    def _frame(self, patches: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return one of the two equal frames of an image's patches, (P, 3, 196) in the tower's type, and the grid."""
        frame = patches["pixel_values"].unflatten(1, (3, FRAMES, -1))[:, :, 0].to(self.visual.dtype)
        return {"pixel_values": frame.contiguous(), "grid": patches["grid"]}

    def _encoded(self, ticket: Ticket) -> Encoded:
        images = ticket.example.images
        seen = [self.features[image] for image in images]
        encoded = self.encoder.encode_cached(ticket.example, seen, answer=False, begun=ticket.ids)
        self._done_with(images)
        return encoded

    def _done_with(self, images: Sequence[str]) -> None:
        """Forget images that no waiting prompt shows any more."""
        self.uses.subtract(images)
        for image in images:
            if not self.uses[image]:
                del self.uses[image]  # or a server would keep the names of all pages
                self.features.pop(image, None)
                self.patches.pop(image, None)

    def _chosen(self, first: int) -> Chosen:
        constrained = any(ticket.constraint is not None for ticket in self.rows[first:])
        return Chosen.of(self.slots, self.rows, first, constrained=constrained)

    def _leave(self) -> list[Ticket]:
        """Free the slots of answers that ended, so that those in use stay the first ones."""
        gone = [ticket for ticket in self.waiting if ticket.finish_reason]
        for ticket in gone:
            self.waiting.remove(ticket)
            self._done_with(ticket.example.images)
        for row in reversed(range(len(self.rows))):
            ticket = self.rows[row]
            if not ticket.finish_reason:
                continue
            if self.heads and ticket.constraint is not None and ticket.finish_reason in SAID:
                ticket.seen = look(self.decoder, ticket, row, self.heads)
            last = len(self.rows) - 1
            gone.append(ticket)
            self.slots.move(last, row)
            self.slots.close(last)
            self.rows[row] = self.rows[last]
            self.rows.pop()
        return gone
