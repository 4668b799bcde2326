"""Where a model looked on its pages for each token of an answer: the attention of its heads to the pages' tokens.

Some heads of vision-language models look at what they write about (Kang et al., Your large vision-language model only
needs a few attention heads for visual grounding, 2025); `medvl calibrate` finds which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medvl.generation.prefix import extend
from medvl.generation.seen import Heads, Seen
from medvl.geometry import MERGE

if TYPE_CHECKING:
    from medvl.generation.decoder import Decoder, Layer
    from medvl.generation.ticket import Ticket


@torch.no_grad()
def look(decoder: Decoder, ticket: Ticket, row: int, heads: Heads) -> Seen:
    """Compute the attention that chose an answer's tokens, from the keys in its slot; one pass over the answer alone.

    Keys and values of the answer are written again, those of its prompt are read.

    Args:
        row: Its slot.
    """
    slots, prompt = decoder.slots, ticket.input_ids
    assert prompt is not None
    device = slots.keys.device
    images = (prompt == decoder.base.config.image_token_id).nonzero().flatten().to(device)
    ids = torch.cat([prompt[-1:], torch.tensor(ticket.ids[:-1], dtype=prompt.dtype)])
    start = len(prompt) - 1
    at = torch.arange(start, start + len(ids), device=device)
    places = at + slots.positions[row] - slots.lengths[row]  # behind a prompt both advance together
    found: dict[int, Tensor] = {}

    def watch(layer: Layer, query: Tensor, keys: Tensor) -> None:
        index = decoder.layers.index(layer)
        wanted = range(query.shape[1]) if heads == "all" else [head for one, head in heads if one == index]
        if not wanted:
            return
        chosen = torch.tensor(list(wanted), device=device)
        group = chosen // (query.shape[1] // keys.shape[2])
        keyed = keys[row, : start + len(ids)].float()[:, group]  # (tokens, heads, D)
        scores = torch.einsum("nhd,thd->hnt", query.float()[:, chosen], keyed) * layer.scale
        later = torch.arange(len(keyed), device=device) > at[:, None]
        seen = scores.masked_fill(later, -torch.inf).softmax(-1)[..., images]
        found[index] = seen.argmax(-1) if heads == "all" else seen.sum(0)

    extend(decoder, [ids], places.expand(3, -1), [row], [start], watch)
    parts = [found[index].cpu() for index in sorted(found)]
    if heads == "all":
        return Seen(ticket.grids, peaks=torch.stack(parts).int().numpy())
    return Seen(ticket.grids, attention=(torch.stack(parts).sum(0) / len(heads)).numpy())


def grids_of(image_grid_thw: Tensor) -> list[tuple[int, int]]:
    """Return rows and columns of the tokens of images, from the patches of the tower, (N, 3)."""
    return [(rows // MERGE, columns // MERGE) for _, rows, columns in image_grid_thw.tolist()]
