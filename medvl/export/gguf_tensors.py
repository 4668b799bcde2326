"""The tensors of a Qwen2.5-VL as llama.cpp wants them: its names, queries, keys and values apart, frames apart.

llama.cpp keeps a model in two GGUF files, the language model and the vision tower with its merger ("mmproj").
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

VISION = "visual."
BLOCK = re.compile(r"visual\.blocks\.(\d+)\.")
PATCHES = "visual.patch_embed.proj.weight"
SUFFIXES = (".weight", ".bias")


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Which blocks of the vision tower attend to the whole page, as llama.cpp can say it: each `every`-th one."""

    every: int
    ahead: int
    """Blocks that change nothing, put before the first one so that this is so."""

    @classmethod
    def of(cls, config: PretrainedConfig) -> Windows:
        """Return those of an architecture, with as few blocks ahead as can be.

        Raises:
            ValueError: No number of blocks ahead makes it so.
        """
        vision = config.vision_config
        depth, full = vision.depth, set(vision.fullatt_block_indexes)
        for ahead in range(depth):
            for every in range(1, depth + ahead + 1):
                if all(((block + ahead + 1) % every == 0) == (block in full) for block in range(depth)):
                    return cls(every=every, ahead=ahead)
        raise ValueError(
            f"the vision tower attends to whole pages in blocks {sorted(full)} of {depth}, and a GGUF file can only "
            "say that each n-th block does. Set format=merged."
        )


def widened(states: Mapping[str, Tensor], ahead: int) -> dict[str, Tensor]:
    """Return weights under their published names with blocks that change nothing before those of the vision tower.

    What such a block adds to its input is zero, by a projection and a feed-forward output of zeros.
    """
    if not ahead:
        return dict(states)
    import torch

    moved = {
        BLOCK.sub(lambda found: f"visual.blocks.{int(found[1]) + ahead}.", name): tensor
        for name, tensor in states.items()
    }
    first = {name: tensor for name, tensor in states.items() if name.startswith("visual.blocks.0.")}
    for name, tensor in first.items():
        fill = torch.ones_like if ".norm" in name else torch.zeros_like
        for block in range(ahead):
            moved[name.replace(".0.", f".{block}.", 1)] = fill(tensor)
    return moved


def gguf_tensors(states: Mapping[str, Tensor], *, vision: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one of the two files, by llama.cpp's names.

    Args:
        states: Weights under their published names.
        vision: Those of the vision tower; otherwise those of the language model.

    Raises:
        ValueError: llama.cpp has no name for one.
    """
    for name, tensor in states.items():
        if name.startswith(VISION) is not vision:
            continue
        for part, rows in split(name):
            yield part, tensor if rows is None else rows(tensor)


def split(name: str) -> list[tuple[str, Any]]:
    """Return llama.cpp's names of what a tensor holds, each with how to take it out; None: it is all of the tensor.

    Args:
        name: Its published name.

    Raises:
        ValueError: llama.cpp has no name for it.

    >>> [part for part, _ in split("visual.blocks.3.attn.qkv.bias")]
    ['v.blk.3.attn_q.bias', 'v.blk.3.attn_k.bias', 'v.blk.3.attn_v.bias']
    """
    if name == PATCHES:  # a still image counts as two frames, each with its weights
        first = _named(name)
        return [(f"{first}{suffix}", functools.partial(_frame, index=index)) for index, suffix in enumerate(("", ".1"))]
    if ".attn.qkv." in name:
        parts = [_named(name.replace(".qkv.", f".{part}.")) for part in "qkv"]
        return [(part, functools.partial(_third, index=index)) for index, part in enumerate(parts)]
    return [(_named(name), None)]


def _frame(weight: Tensor, index: int) -> Tensor:
    return weight[:, :, index]


def _third(stacked: Tensor, index: int) -> Tensor:
    return stacked.chunk(3)[index]


def _named(name: str) -> str:
    """Return llama.cpp's name of a tensor."""
    found = _names(vision=name.startswith(VISION)).get_name(name, try_suffixes=SUFFIXES)
    if found is None:
        raise ValueError(f"llama.cpp has no name for the tensor {name} of a Qwen2.5-VL.")
    return found


@functools.cache
def _names(*, vision: bool) -> Any:
    import gguf

    most = 256  # blocks; more than any base has
    return gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ if vision else gguf.MODEL_ARCH.QWEN2VL, most)
