"""Answers by several processes: each rank answers a part of the examples, and all of them get all answers."""

from __future__ import annotations

import datetime
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed as dist

if TYPE_CHECKING:
    from medvl.types import Example

Answer = TypeVar("Answer")

PATIENCE = datetime.timedelta(days=1)  # parts take as long as they take; a rank that fails tells the others


def join() -> bool:
    """Join the process group of ranks that torchrun started; return whether there are several."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "RANK" not in os.environ:
        return False
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=PATIENCE)
    return True


@functools.cache
def _group() -> Any:
    """Return a group that sends Python objects; the one of training may be NCCL's, and loses patience sooner."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def parts(examples: Sequence[Example], ranks: int) -> list[list[int]]:
    """Return the indices that each rank answers: questions about the same pages together, tokens spread evenly."""
    pages: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        pages[tuple(example.images)].append(index)
    found: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks

    def tokens(together: list[int]) -> int:
        return sum(examples[index].tokens for index in together)

    for together in sorted(pages.values(), key=tokens, reverse=True):
        least = loads.index(min(loads))
        found[least] += together
        loads[least] += tokens(together)
    return [sorted(part) for part in found]


def shared(
    examples: Sequence[Example], answers: Callable[[Sequence[Example]], list[Answer]], tick: Callable[[int], Any] | None
) -> list[Answer]:
    """Return the answers to all examples, each from one rank; all ranks must call this with the same examples.

    Args:
        answers: Answers this rank's part.
        tick: Called with the number of answers that the other ranks gave.

    Raises:
        RuntimeError: Another rank failed.
    """
    own = parts(examples, dist.get_world_size(_group()))[dist.get_rank(_group())]
    told: list[tuple[dict[int, Answer], str]] = [({}, "")] * dist.get_world_size(_group())
    failure: Exception | None = None
    mine: dict[int, Answer] = {}
    try:
        mine = dict(zip(own, answers([examples[index] for index in own]), strict=True))
    except Exception as error:  # raised below, when the others know
        failure = error
    dist.all_gather_object(told, (mine, "" if failure is None else f"{type(failure).__name__}: {failure}"), _group())
    if failure is not None:
        raise failure
    for rank, (_, fault) in enumerate(told):
        if fault:
            raise RuntimeError(f"rank {rank} could not answer: {fault}")
    if tick is not None:
        tick(len(examples) - len(own))
    given = {index: answer for part, _ in told for index, answer in part.items()}
    return [given[index] for index in range(len(examples))]
