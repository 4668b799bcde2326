"""What a step chose, on its way from the device to the answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvl.generation.slots import Slots
from medvl.generation.ticket import Ticket


@dataclass(slots=True)
class Chosen:
    """Tokens, log-probabilities and masses of one step, (rows,) each."""

    tickets: list[Ticket]
    states: list[Tensor]
    ready: torch.cuda.Event | None

    @classmethod
    def of(cls, slots: Slots, rows: Sequence[Ticket], first: int, *, constrained: bool) -> Chosen:
        """Begin to copy what was chosen for the rows from `first` on.

        Args:
            constrained: Whether grammars took part, so that there are masses.
        """
        states = [slots.tokens, slots.log_probabilities, *([slots.masses] if constrained else [])]
        copied = [state[first : len(rows)].to("cpu", non_blocking=True, copy=True) for state in states]
        ready = None
        if slots.tokens.is_cuda:
            ready = torch.cuda.Event()
            ready.record()
        return cls(list(rows[first:]), copied, ready)

    def take(self, ends: Collection[int]) -> None:
        """Add the tokens to their answers, and see which answers end with them."""
        if self.ready is not None:
            self.ready.synchronize()
        for ticket, *state in zip(self.tickets, *(state.tolist() for state in self.states), strict=True):
            ticket.take(*state, ends=ends)
