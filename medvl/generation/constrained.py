"""Rows whose answers follow a grammar: which tokens may come next, and what need not be computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from medvl.generation.grammar import WORD
from medvl.generation.prefix import extend

if TYPE_CHECKING:
    from medvl.generation.decoder import Decoder
    from medvl.generation.ticket import Ticket


def restrict(decoder: Decoder, tickets: Sequence[Ticket], first: int) -> None:
    """Let the next choice for the rows from `first` on follow their grammars, if any of them has one."""
    decoder.constrained = any(ticket.constraint is not None for ticket in tickets)
    if decoder.constrained:
        words = np.full((len(tickets), -(-decoder.columns // WORD)), -1, np.int32)
        for ticket, row in zip(tickets, words, strict=True):
            if ticket.constraint is not None:
                ticket.constraint.allow(row)
        decoder.allow(torch.from_numpy(words), first)


def write_forced(decoder: Decoder, tickets: Sequence[Ticket]) -> None:
    """Compute keys and values of forced tokens in one pass, without choosing anything.

    Args:
        tickets: The answers in progress, by slot. The last token of each is what its row continues with.
    """
    rows = [row for row, ticket in enumerate(tickets) if ticket.unwritten]
    if not rows:
        return
    slots, asked = decoder.slots, [tickets[row] for row in rows]
    counts = [ticket.unwritten for ticket in asked]
    ids = [torch.tensor(ticket.ids[-count - 1 : -1]) for ticket, count in zip(asked, counts, strict=True)]
    starts = [ticket.prompt_tokens + len(ticket.ids) - 1 - count for ticket, count in zip(asked, counts, strict=True)]
    index, added = (torch.tensor(one, device=slots.keys.device) for one in (rows, counts))
    steps = torch.cat([torch.arange(count) for count in counts]).to(index.device)
    places = slots.positions[index].repeat_interleave(added) + steps
    extend(decoder, ids, places.expand(3, -1), rows, starts)
    slots.lengths[index] += added
    slots.positions[index] += added
    slots.tokens[index] = torch.tensor([ticket.ids[-1] for ticket in asked], device=index.device)
    for ticket in asked:
        ticket.unwritten = 0
