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


PASS_STEPS = 8  # captured steps in the time of one pass over forced tokens, which the host launches kernel by kernel


def restrict(decoder: Decoder, tickets: Sequence[Ticket], first: int) -> None:
    """Let the next choice for the rows from `first` on follow their grammars, if any of them has one.

    A row that has forced tokens to write can choose only the first of them.
    """
    decoder.constrained = any(ticket.constraint is not None for ticket in tickets)
    if decoder.constrained:
        words = np.full((len(tickets), -(-decoder.columns // WORD)), -1, np.int32)
        for ticket, row in zip(tickets, words, strict=True):
            if ticket.unwritten:
                token = ticket.ids[-ticket.unwritten]
                row[:] = 0
                row[token // WORD] = np.uint32(1 << token % WORD).astype(np.int32)
            elif ticket.constraint is not None:
                ticket.constraint.allow(row)
        decoder.allow(torch.from_numpy(words), first)


def write_forced(decoder: Decoder, tickets: Sequence[Ticket], spared: int) -> None:
    """Compute keys and values of forced tokens in one pass, without choosing anything, if that saves time.

    Otherwise the rows write theirs step by step, as `restrict` lets them.

    Args:
        spared: How many steps of every row, in the mean, are worth a pass.
        tickets: The answers in progress, by slot. The last token of each is what its row continues with.
    """
    rows = [row for row, ticket in enumerate(tickets) if ticket.unwritten]
    if sum(ticket.unwritten for ticket in tickets) < max(1, spared * len(tickets)):
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
