"""The time of each token of answers that are generated together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medvl.model.parts import synchronize

if TYPE_CHECKING:
    from medvl.generation.session import Session
    from medvl.types import Example


def answer_ticks(session: Session, asked: Sequence[Example], new_tokens: int) -> list[float]:
    """Answer prompts that all have a slot; return when each token of all of them was there.

    Returns:
        Seconds since the images were decoded and the device was idle; the first entry includes the prefill.
    """
    from medvl.generation.ticket import Ticket

    for image in {image for one in asked for image in one.images}:
        session.offer(image, session.encoder.patches(image))
    for one in asked:
        session.submit(Ticket(one, new_tokens))
    synchronize(session.slots.keys.device)
    started = time.perf_counter()
    session.fill()
    ticks = [time.perf_counter() - started]
    while session.busy:
        session.decode()  # which reads the tokens, and so waits for the device
        ticks.append(time.perf_counter() - started)
    return ticks
