"""Questions about the same pages: what their prompts begin with alike is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from medvl.data.packing import pack
from medvl.kernels.layers import angles
from medvl.model.parts import on_device

if TYPE_CHECKING:
    from medvl.generation.decoder import Decoder, Layer
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
        pairs = [(encoded[at], start) for at, start in zip(more, starts, strict=True)]
        ids = [one["input_ids"][start:] for one, start in pairs]
        places = torch.cat([one["positions"][1:, start:] for one, start in pairs], dim=1)
        index = [rows[at] for at in more]
        states = extend(decoder, ids, places.to(decoder.slots.keys.device), index, starts)
        decoder.choose(states, torch.tensor(index, device=states.device))


def common_tokens(first: Tensor, second: Tensor) -> int:
    """Return how many tokens two prompts, (T,) each, begin with alike; the last of the second does not count.

    >>> common_tokens(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4, 5])), common_tokens(torch.ones(3), torch.ones(3))
    (2, 2)
    """
    most = min(len(first), len(second) - 1)
    different = (first[:most] != second[:most]).nonzero()
    return int(different[0]) if len(different) else most


def extend(
    decoder: Decoder,
    ids: list[Tensor],
    places: Tensor,
    rows: Sequence[int],
    starts: Sequence[int],
    watch: Callable[[Layer, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Take over tokens that go on after the first `starts` tokens, all images among them, of slots.

    Args:
        ids: Of each row of `rows`, (T,).
        places: M-RoPE positions of all of them, (3, sum of T), on the device.
        watch: Called with each layer, its rotated queries, (sum of T, heads, D), and the keys of all slots.

    Returns:
        The state behind the last norm of each row's last token, (rows, H).
    """
    device = decoder.slots.keys.device
    longest, width = max(map(len, ids)), max(start + len(part) for part, start in zip(ids, starts, strict=True))
    index, first, counts = (torch.tensor(one, device=device) for one in (rows, starts, [len(part) for part in ids]))
    # Of each token: its prompt, its place in the rest of it, and its place in the slot.
    which = torch.arange(len(rows), device=device).repeat_interleave(counts)
    place = torch.arange(len(which), device=device) - (counts.cumsum(0) - counts)[which]
    row, at = index[which], first[which] + place
    hidden = decoder.embed(torch.cat(ids).to(device))
    cos, sin = angles(
        decoder.base.config.text_config,
        *decoder.base.model.language_model.rotary_emb(hidden, places[:, None]),
    )
    # A token attends to those up to itself, (prompts, longest, width).
    seen = torch.arange(width, device=device) <= (first[:, None] + torch.arange(longest, device=device))[..., None]

    def attended(layer: Layer, states: Sequence[Tensor], keys: Tensor, values: Tensor) -> Tensor:
        query, _ = decoder.keep(states, cos, sin, row, at, keys, values)
        if watch is not None:
            watch(layer, query, keys)
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

    return decoder.states(hidden, attended)[counts.cumsum(0) - 1]
