"""Questions about the same pages: what their prompts begin with alike is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from medvl.data.packing import pack
from medvl.kernels.layers import angles
from medvl.model.parts import on_device

if TYPE_CHECKING:
    from medvl.generation.decoder import Decoder
    from medvl.types import Encoded

Pages = tuple[str, ...]


def take_over(
    decoder: Decoder,
    pages: Sequence[Pages],
    encoded: Sequence[Encoded],
    rows: Sequence[int],
    held: dict[Pages, tuple[int, Tensor | None]],
) -> None:
    """Take over prompts, and choose the first token of their answers; the start of a prompt is copied if a slot has it.

    Args:
        pages: The images of each prompt.
        rows: The slots that are opened for them.
        held: Slots in use and their prompts' tokens, by the images; those of the first prompts are added.
    """
    new: list[int] = []
    more: list[int] = []
    for at, (page, one) in enumerate(zip(pages, encoded, strict=True)):
        (more if page in held else new).append(at)
        held.setdefault(page, (rows[at], one["input_ids"]))
    if new:
        batch = on_device(pack([encoded[at] for at in new]), decoder.slots.keys.device)
        decoder.prefill(batch, [rows[at] for at in new])
    if more:
        starts = []
        for at in more:
            source, begun = held[pages[at]]
            assert begun is not None
            starts.append(common_tokens(begun, encoded[at]["input_ids"]))
            decoder.slots.copy(source, rows[at], starts[-1])
        _continue(decoder, [encoded[at] for at in more], [rows[at] for at in more], starts)


def common_tokens(first: Tensor, second: Tensor) -> int:
    """Return how many tokens two prompts, (T,) each, begin with alike; the last of the second does not count.

    >>> common_tokens(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4, 5])), common_tokens(torch.ones(3), torch.ones(3))
    (2, 2)
    """
    most = min(len(first), len(second) - 1)
    different = (first[:most] != second[:most]).nonzero()
    return int(different[0]) if len(different) else most


def _continue(decoder: Decoder, encoded: Sequence[Encoded], rows: Sequence[int], starts: Sequence[int]) -> None:
    """Take over the rest of prompts whose first `starts` tokens, all images among them, the slots have."""
    device = decoder.slots.keys.device
    pairs = list(zip(encoded, starts, strict=True))
    ids = [one["input_ids"][start:] for one, start in pairs]
    places = torch.cat([one["positions"][1:, start:] for one, start in pairs], dim=1)
    longest, width = max(map(len, ids)), max(len(one["input_ids"]) for one in encoded)
    index, first, counts = (torch.tensor(one, device=device) for one in (rows, starts, [len(part) for part in ids]))
    # Of each token: its prompt, its place in the rest of it, and its place in the slot.
    which = torch.arange(len(rows), device=device).repeat_interleave(counts)
    place = torch.arange(len(which), device=device) - (counts.cumsum(0) - counts)[which]
    row, at = index[which], first[which] + place
    hidden = decoder.embed(torch.cat(ids).to(device))
    cos, sin = angles(
        decoder.base.config.text_config,
        *decoder.base.model.language_model.rotary_emb(hidden, places[:, None].to(device)),
    )
    # A token attends to those up to itself, (prompts, longest, width).
    seen = torch.arange(width, device=device) <= (first[:, None] + torch.arange(longest, device=device))[..., None]

    def attended(layer: Any, states: Sequence[Tensor], keys: Tensor, values: Tensor) -> Tensor:
        query, _ = decoder.keep(states, cos, sin, row, at, keys, values)
        groups = keys.shape[2]
        each = query.shape[1] // groups
        wide = query.new_zeros(len(rows), longest, *query.shape[1:])
        wide[which, place] = query
        # The queries that share a key become rows, so that keys are not copied: (prompts, groups, each * longest, D).
        out = scaled_dot_product_attention(
            wide.unflatten(2, (groups, each)).permute(0, 2, 3, 1, 4).flatten(2, 3).to(values.dtype),
            keys[index, :width].transpose(1, 2),
            values[index, :width].transpose(1, 2),
            attn_mask=seen.repeat(1, each, 1)[:, None],
            scale=layer.scale,
        )
        return out.unflatten(2, (each, longest)).permute(0, 3, 1, 2, 4)[which, place].flatten(1)

    states = decoder.states(hidden, attended)
    decoder.choose(states[counts.cumsum(0) - 1], index)
