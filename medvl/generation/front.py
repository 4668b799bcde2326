"""Requests one by one: a thread drives a session and streams every answer to whoever asked."""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medvl.generation.stream import Closed, Full, Spelling, Stream, TooLong
from medvl.geometry import MERGE

if TYPE_CHECKING:
    from torch import Tensor

    from medvl.generation.answer import Answer
    from medvl.generation.engine import Engine
    from medvl.generation.session import Session
    from medvl.generation.ticket import Ticket
    from medvl.types import Example

log = logging.getLogger(__name__)

READERS = 4  # threads that decode images
AHEAD = 16  # requests whose images are decoded before a slot is free
POLL_S = 0.02  # between two looks at deadlines while no answer goes on
ENDS = 64  # answers that an estimate of the waiting time rests on
PATIENCE_S = 30.0  # for the last step of a front that stops at once


class Front:
    """Answers requests from any thread, in the order in which their images are read.

    While it is open it alone uses the engine, and its thread alone the tokenizer, which is not safe for threads.

    Args:
        rows: The most answers in progress at a time.
        width: The most tokens of a prompt with its answer.
        queue: The most requests that wait.
        endless: Answers end at their token limit only, for timing.

    Raises:
        ValueError: The model cannot answer in slots.
    """

    def __init__(self, engine: Engine, *, rows: int, width: int, queue: int = 256, endless: bool = False) -> None:
        if why := engine.obstacle():
            raise ValueError(f"requests cannot be answered one by one: {why}. Set hardware.cpu_memory_gib=null.")
        self.engine, self.rows, self.width, self.queue, self.endless = engine, rows, width, queue, endless
        self.spelling = Spelling(engine.encoder.processor)
        self._turn = threading.Condition()
        self._waiting: deque[Stream] = deque()
        self._alone: deque[Stream] = deque()
        """Requests whose common prefill failed: each is tried by itself."""
        self._live: dict[Ticket, Stream] = {}
        self._accepts, self._hurries = True, False
        self._busy_s = 0.0
        self._ends = deque([0.0], ENDS)
        """Busy time at which each of the last answers ended."""
        self._turned_s = time.perf_counter()
        self._readers = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), "images")
        self._thread = threading.Thread(target=self._serve, name="answers", daemon=True)
        self._thread.start()

    def submit(
        self,
        example: Example,
        max_new_tokens: int,
        *,
        seconds: float | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Stream:
        """Queue a request.

        Args:
            example: Images and prompt; its token counts are made anew, and its response is not used.
            seconds: After these, the answer ends as far as it has come, with `finish_reason` deadline.
            schema: A JSON Schema that the answer follows.

        Raises:
            ValueError: The schema is not supported; the message names the keyword.
            Full: Too many requests wait.
            Closed: The front was stopped, or its engine failed.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be positive, got {max_new_tokens}.")
        constraint = self.engine.constraint(schema)
        with self._turn:
            if not self._accepts:
                raise Closed("no more requests are taken")
            if len(self._waiting) >= self.queue:
                raise Full(len(self._waiting), self._seconds_an_answer())
            stream = Stream(example, max_new_tokens, spelling=self.spelling, seconds=seconds, wake=self._wake)
            stream.ticket.constraint = constraint
            self._waiting.append(stream)
            self._turn.notify_all()
        return stream

    @property
    def load(self) -> tuple[int, int]:
        """How many requests wait, and how many answers go on."""
        return len(self._waiting) + len(self._alone), len(self._live)

    @property
    def stalled_s(self) -> float:
        """Seconds since the thread last made a step; 0 if nothing is asked, infinite if the thread has ended."""
        if not self._thread.is_alive():
            return math.inf
        return time.perf_counter() - self._turned_s if self._live or self._waiting or self._alone else 0.0

    def stop(self, seconds: float | None = None) -> None:
        """Refuse new requests, answer those that were taken, and end the thread.

        Args:
            seconds: After these, what is unfinished is cancelled; None: no limit.
        """
        with self._turn:
            self._accepts = False
            self._turn.notify_all()
        self._thread.join(seconds)
        if self._thread.is_alive():
            with self._turn:
                self._hurries = True
                self._turn.notify_all()
            self._thread.join(PATIENCE_S)

    def __enter__(self) -> Front:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self.stop(None if kind is None else 0)

    def _wake(self) -> None:
        with self._turn:
            self._turn.notify_all()

    def _seconds_an_answer(self) -> float:
        """Return the mean time between the last answers while there was something to do; 1 before any has ended."""
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1) if len(self._ends) > 1 else 1.0

    def _serve(self) -> None:
        import torch

        if self.engine.device.type == "cuda":
            torch.cuda.set_device(self.engine.device)  # each thread has its own
        error: BaseException = Closed("the front was stopped")
        try:
            # Gradient mode and autocast belong to a thread too: the session sets both where it computes.
            going_on = True
            while going_on:
                with self.engine.session(rows=self.rows, width=self.width, endless=self.endless) as session:
                    going_on = self._drive(session)
                del session  # its slots, before the next one takes as much memory
        except BaseException as broken:
            log.exception("no more requests are answered")
            error = broken
        finally:
            self._readers.shutdown(wait=False, cancel_futures=True)
            with self._turn:
                self._accepts = False
                for stream in (*self._live.values(), *self._alone, *self._waiting):
                    stream.fail(error)
                for left in (self._live, self._alone, self._waiting):
                    left.clear()

    def _drive(self, session: Session) -> bool:
        """Answer until the front is stopped; return True before that if the session cannot go on."""
        while self._has_work():
            started = time.perf_counter()
            self._end_unwanted()
            self._admit(session)
            try:
                session.step()
            except Exception as error:
                if not self._recovers(session, error):
                    return True
            self._deliver(session)
            self._turned_s = time.perf_counter()
            self._busy_s += self._turned_s - started
        return False

    def _has_work(self) -> bool:
        """Wait for something to do; return False when the front is stopped and all is answered."""
        with self._turn:
            if not (self._live or self._waiting or self._alone):
                self._turn.wait_for(lambda: self._waiting or not self._accepts)
                self._turned_s = time.perf_counter()
            elif not (self._live or self._alone or any(map(_is_read, self._waiting))):
                self._turn.wait(POLL_S)
            return bool(self._live or self._waiting or self._alone)

    def _end_unwanted(self) -> None:
        """End what was cancelled or has passed its deadline; running answers leave their slots at the next step."""
        now, ended = time.perf_counter(), []
        with self._turn:
            for stream in (*self._live.values(), *self._alone, *self._waiting):
                if stream.left or self._hurries:
                    stream.ticket.cancel()
                elif stream.deadline_s is not None and now > stream.deadline_s:
                    stream.ticket.finish_reason = stream.ticket.finish_reason or "deadline"
            for streams in (self._alone, self._waiting):
                for stream in [one for one in streams if one.ticket.finish_reason]:
                    streams.remove(stream)
                    ended.append(stream)
        for stream in ended:  # outside of the lock: closing one takes a while
            stream.end(self._answer(stream.ticket))

    def _admit(self, session: Session) -> None:
        """Hand requests whose images are decoded to the session, as far as slots are free."""
        free = min(self.rows, len(session.slots.tokens)) - len(session.rows) - len(session.waiting)
        if self._alone:
            if free > 0:
                self._enter(session, self._alone.popleft())
            return
        with self._turn:
            ahead = list(itertools.islice(self._waiting, AHEAD))
            for stream in ahead:
                if stream.read is None:
                    stream.read = self._readers.submit(self._patches, stream.ticket.example)
                    stream.read.add_done_callback(lambda _: self._wake())
            chosen = [stream for stream in ahead if _is_read(stream)][:free]
            for stream in chosen:
                self._waiting.remove(stream)
        for stream in chosen:
            self._enter(session, stream)

    def _patches(self, example: Example) -> dict[str, dict[str, Tensor]]:
        return {image: self.engine.encoder.patches(image) for image in dict.fromkeys(example.images)}

    def _enter(self, session: Session, stream: Stream) -> None:
        try:
            if stream.read is not None:  # else it is tried a second time
                self._offer(session, stream.ticket, stream.read.result())
        except Exception as error:
            stream.fail(error)
            return
        stream.read = None
        self._live[stream.ticket] = stream
        session.submit(stream.ticket)

    def _offer(self, session: Session, ticket: Ticket, patches: dict[str, dict[str, Tensor]]) -> None:
        """Count the tokens of a request and hand its images to the session.

        Raises:
            TooLong: It does not fit into a slot.
        """
        asked = ticket.example
        visual = [int(patches[image]["grid"].prod()) // MERGE**2 for image in asked.images]
        tokens = len(self.engine.encoder.prompt_ids(asked.prompt, visual))
        if tokens + ticket.max_new_tokens > self.width:
            raise TooLong(
                f"the prompt takes {tokens} tokens and its answer up to {ticket.max_new_tokens}, "
                f"more than the {self.width} of a slot."
            )
        ticket.example = replace(asked, visual_tokens=visual, tokens=tokens, answer_tokens=0)
        for image, read in patches.items():
            session.offer(image, read)

    def _recovers(self, session: Session, error: Exception) -> bool:
        """Find out whose request made a step fail; return False if it was not a prefill, which spoils the session."""
        known = {*session.rows, *session.waiting}
        lost = [ticket for ticket in self._live if ticket not in known and not ticket.finish_reason]
        streams = [self._live.pop(ticket) for ticket in lost]
        log.warning("a step failed for %d request(s)", len(lost) or len(known), exc_info=error)
        error.__traceback__ = None  # its frames hold the session
        if len(streams) == 1:
            streams[0].fail(error)
        else:
            self._alone.extend(streams)
        if streams:
            return True
        for ticket in session.waiting:  # not begun
            self._alone.append(self._live.pop(ticket))
        for stream in self._live.values():
            stream.fail(error)
        self._live.clear()
        return False

    def _deliver(self, session: Session) -> None:
        """Pass new tokens on, and whole answers."""
        for ticket, stream in list(self._live.items()):
            stream.take()
            if ticket.finish_reason and ticket not in session.rows and ticket not in session.waiting:
                del self._live[ticket]
                self._ends.append(self._busy_s)
                stream.end(self._answer(ticket))

    def _answer(self, ticket: Ticket) -> Answer:
        return self.engine.answer(ticket)


def _is_read(stream: Stream) -> bool:
    return stream.read is not None and stream.read.done()
