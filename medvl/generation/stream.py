"""One request and its answer as it comes, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvl.generation.ticket import Ticket

if TYPE_CHECKING:
    from concurrent.futures import Future

    from transformers import ProcessorMixin

    from medvl.generation.answer import Answer
    from medvl.types import Example


class Full(RuntimeError):
    """As many requests wait as may."""

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} requests wait already; try again in about {seconds:.0f} s")
        self.seconds = seconds
        """An estimate of the time until there is room."""


class Closed(RuntimeError):
    """No more requests are taken."""


class TooLong(ValueError):
    """A prompt does not fit into a slot with its answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next tokens of an answer."""

    text: str
    """Whole characters; the bytes of one that is incomplete wait for the next piece."""
    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    """Of each token, in nats."""


class Spelling:
    """The bytes of each token of a byte-level vocabulary; special tokens have none."""

    def __init__(self, processor: ProcessorMixin) -> None:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        tokenizer: Any = processor.tokenizer
        self.special, self.token_of = set(tokenizer.all_special_ids), tokenizer.convert_ids_to_tokens
        self.bytes_of = {character: byte for byte, character in bytes_to_unicode().items()}
        self.known: dict[int, bytes] = {}

    def __getitem__(self, token: int) -> bytes:
        if token not in self.known:
            self.known[token] = self._spelled(token)
        return self.known[token]

    def _spelled(self, token: int) -> bytes:
        text = None if token in self.special else self.token_of(token)
        if text is None:  # the vocabulary is padded to a round size
            return b""
        known = all(character in self.bytes_of for character in text)
        return bytes(self.bytes_of[character] for character in text) if known else text.encode()


class Stream:
    """An answer in progress; `Front.submit` makes it.

    Iterate over its pieces with `for` or `async for`, any number of times, or wait for the whole answer. A `with` block
    cancels what is unfinished when it is left, as by a client that hangs up.
    """

    def __init__(
        self,
        example: Example,
        max_new_tokens: int,
        *,
        spelling: Spelling,
        seconds: float | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.ticket = Ticket(example, max_new_tokens)
        self.read: Future[Any] | None = None
        """The decoded images, until the session has them."""
        self.submitted_s = time.perf_counter()
        self.first_s: float | None = None
        self.ended_s: float | None = None
        self.deadline_s = None if seconds is None else self.submitted_s + seconds
        self.left = False
        """Whether nobody waits for the answer any more."""
        self._spelling, self._wake = spelling, wake
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._spelled = 0  # tokens whose bytes the decoder has
        self._pieces: list[Piece] = []
        self._begun = 0  # the first token of the next piece
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._change = threading.Condition()
        self._watchers: list[Callable[[], None]] = []

    @property
    def ended(self) -> bool:
        return self._answer is not None or self._error is not None

    def cancel(self) -> None:
        """End the answer; what there is of it remains."""
        self.left = True
        self._wake()

    def result(self, timeout_s: float | None = None) -> Answer:
        """Wait for the whole answer.

        Raises:
            TimeoutError: It has not ended within `timeout_s`; it goes on.
            Exception: What kept the request from being answered.
        """
        with self._change:
            if not self._change.wait_for(lambda: self.ended, timeout_s):
                raise TimeoutError(f"no answer within {timeout_s:g} s")
        return self._outcome()

    async def answer(self) -> Answer:
        """Wait for the whole answer; errors as in `result`."""
        async for _ in self:
            pass
        return self._outcome()

    def __iter__(self) -> Iterator[Piece]:
        at = 0
        while True:
            with self._change:
                while not self.ended and len(self._pieces) == at:
                    self._change.wait()
                pieces, ended = self._pieces[at:], self.ended
            yield from pieces
            at += len(pieces)
            if ended:
                self._outcome()  # raises what went wrong
                return

    async def __aiter__(self) -> AsyncIterator[Piece]:
        loop, changed, at = asyncio.get_running_loop(), asyncio.Event(), 0

        def watch() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed.set)

        with self._change:
            self._watchers.append(watch)
        try:
            while True:
                changed.clear()
                with self._change:
                    pieces, ended = self._pieces[at:], self.ended
                for piece in pieces:
                    yield piece
                at += len(pieces)
                if ended:
                    self._outcome()  # raises what went wrong
                    return
                await changed.wait()
        finally:
            with self._change:
                self._watchers.remove(watch)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *raised: object) -> None:
        if not self.ended:
            self.cancel()

    def _outcome(self) -> Answer:
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    def take(self) -> None:
        """Take over the ticket's new tokens; called in the front's thread."""
        ids = self.ticket.ids
        if len(ids) == self._spelled:
            return
        if self.first_s is None:
            self.first_s = time.perf_counter()
        text = self._decoder.decode(b"".join(self._spelling[token] for token in ids[self._spelled :]))
        self._spelled = len(ids)
        if text:
            with self._change:
                self._add(text)
                self._tell()

    def end(self, answer: Answer) -> None:
        """Take over the whole answer; called in the front's thread."""
        self.take()
        text = self._decoder.decode(b"", final=True)
        with self._change:
            if text or self._begun < len(self.ticket.ids):
                self._add(text)
            self._answer, self.ended_s = answer, time.perf_counter()
            self._tell()

    def fail(self, error: BaseException) -> None:
        """End without an answer; called in the front's thread."""
        with self._change:
            self._error, self.ended_s = error, time.perf_counter()
            self._tell()

    def _add(self, text: str) -> None:
        span = slice(self._begun, self._spelled)
        chosen = self.ticket.log_probabilities[span]
        self._pieces.append(Piece(text, tuple(self.ticket.ids[span]), tuple(chosen)))
        self._begun = self._spelled

    def _tell(self) -> None:
        self._change.notify_all()
        for watcher in self._watchers:
            watcher()
