"""One model behind all endpoints: its state, its queue, and what a request waits for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import UnreadableImage
from medvl.generation.stream import Closed, Full, Stream, TooLong
from medvl.model.prompt import normalized
from medvl.serving.counts import Counts
from medvl.serving.refusals import Refused, full, loading, stopping, too_late
from medvl.serving.uploads import Unpacking, Upload
from medvl.types import Example

if TYPE_CHECKING:
    from medvl.evaluation.calibration import Calibration
    from medvl.evaluation.evidence import Evidence
    from medvl.generation.answer import Answer
    from medvl.generation.front import Front
    from medvl.generation.stream import Spelling
    from medvl.serving.options import Serve

log = logging.getLogger(__name__)

WATCH_S = 0.05  # between two looks at what goes on
DECODERS = 4  # uploads decoded, and PDFs drawn, at a time: each may take 40 million pixels, some 300 MB
WARM_PX = 112  # edge of the blank page that is read before the service is ready
ANY_OBJECT: dict[str, Any] = {"type": "object"}  # what response_format=json_object asks for


class State(Enum):
    """What the service does."""

    loading = "loading"
    ready = "ready"
    stopping = "stopping"


class Service:
    """Answers requests with one model.

    Args:
        prompt: Asks for the text of a page, as in training.
        secret: The key that clients send; None: none.
        records: What /benchmark answers; None: the model is not that of a run.
        calibration: Makes confidences of the values of fields; None: there are none.
        evidence: Tells where they stand, if the engine watches its heads; None: nothing does.
    """

    def __init__(
        self,
        options: Serve,
        *,
        prompt: str,
        secret: str | None = None,
        records: dict[str, Any] | None = None,
        calibration: Calibration | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        self.options, self.prompt, self.secret = options, prompt, secret
        self.records, self.calibration, self.evidence = records, calibration, evidence
        self.transcribes = calibration is not None and calibration.transcribed
        """Whether pages whose fields are asked for are read as texts, too."""
        if self.transcribes and options.pages >= options.queue:
            raise ValueError(
                f"the calibration needs the texts of pages too: the fields and texts of serve.pages={options.pages} "
                f"never fit into a queue of {options.queue}. Set serve.queue={options.pages + 1}."
            )
        self.state = State.loading
        self.front: Front | None = None
        self.started = int(time.time())
        self.inside = 0
        """Requests with a body that are not answered yet."""
        self.counts = Counts(lambda: (0, 0) if self.front is None else self.front.load)
        together = min(DECODERS, os.cpu_count() or 1)
        self.threads, self.drawing = ThreadPoolExecutor(together, "uploads"), asyncio.Semaphore(together)

    def open(self, front: Front) -> None:
        """Take over a model; the service is ready once it has read a page.

        Raises:
            Exception: It could not.
        """
        from PIL import Image

        page = front.engine.encoder.fitted(Image.new("RGB", (WARM_PX, WARM_PX), "white"))
        self.front = front
        held = front.engine.encoder.held
        held.hold({"warm": page})
        try:
            front.submit(_example(self.prompt, ["warm"]), 2, schema=ANY_OBJECT).result()  # makes the first grammar
        finally:
            held.release(["warm"])
        if self.state is State.loading:
            self.state = State.ready

    def close(self) -> None:
        """Refuse new requests and end those that go on, some by themselves and the others after a while."""
        self.state = State.stopping
        until = time.monotonic() + self.options.grace_s
        while self.inside and not self.stalled and time.monotonic() < until:  # also those that are unpacked still
            time.sleep(WATCH_S)
        if self.front is not None:
            self.front.stop(max(0.0, until - time.monotonic()))
        self.threads.shutdown(wait=False, cancel_futures=True)

    @property
    def spelling(self) -> Spelling:
        """The bytes of tokens."""
        return self.working().spelling

    @property
    def stalled(self) -> bool:
        """Whether the engine has died or hangs."""
        return self.front is not None and self.front.stalled_s > self.options.stall_s

    def check_ready(self) -> Front:
        """Return what answers.

        Raises:
            Refused: 503, with the reason.
        """
        if self.state is State.stopping:
            raise stopping()
        return self.working()

    def working(self) -> Front:
        """Return what answers a request that was taken, also while the service stops.

        Raises:
            Refused: 503, with the reason.
        """
        if self.front is None or self.state is State.loading:
            raise loading()
        if self.stalled:
            raise Refused(503, "The engine does not answer.", "stalled")
        return self.front

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request whose body may be read; more than can wait are refused before theirs is.

        Raises:
            Refused: 503 or 429.
        """
        self.check_ready()
        if self.inside >= self.options.queue + self.options.rows:
            raise full(1)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def unpack(self, files: Sequence[bytes]) -> list[Upload]:
        """Return the pages of files; refusals as of `Unpacking.pages`."""
        encoder, options = self.working().engine.encoder, self.options
        most = min(options.pixels, encoder.max_image_pixels)
        unpacking = Unpacking(encoder, self.threads, self.drawing, most, options.pages, options.dpi, options.seconds)
        return await unpacking.pages(files)

    async def compile(self, schema: dict[str, Any], param: str) -> None:
        """Make the grammar of a schema, which `asking` then finds made: it takes tens of milliseconds.

        Raises:
            Refused: 422, the schema is not supported; names the keyword.
        """
        engine = self.working().engine
        try:
            await asyncio.get_running_loop().run_in_executor(self.threads, engine.constraint, schema)
        except ValueError as error:
            raise Refused(422, f"{error}.", "bad_schema", param=param) from None

    @contextlib.contextmanager
    def asking(
        self,
        asked: Sequence[tuple[str, Sequence[Upload]]],
        tokens: int,
        seconds: float,
        schema: dict[str, Any] | None = None,
    ) -> Iterator[list[Stream]]:
        """Queue prompts, each about its pages: all or none. What is unfinished when the block ends is cancelled.

        Args:
            tokens: Most tokens of each answer.
            seconds: That are left.
            schema: That all answers follow.

        Raises:
            Refused: 429 or 503.
        """
        front = self.working()
        with contextlib.ExitStack() as left:
            streams = []
            for prompt, uploads in asked:
                held = {upload.name: upload.page for upload in uploads}
                front.engine.encoder.held.hold(held)
                left.callback(front.engine.encoder.held.release, tuple(held))
                try:
                    example = _example(prompt, [upload.name for upload in uploads])
                    stream = front.submit(example, tokens, seconds=seconds, schema=schema)
                    streams.append(left.enter_context(stream))
                except Full as error:
                    raise full(error.seconds) from None
                except Closed:
                    raise stopping() from None
            yield streams

    async def answers(self, streams: Sequence[Stream]) -> list[Answer]:
        """Wait for answers, and count them.

        Raises:
            Refused: What kept one from being answered.
        """
        found = [await answer_of(stream) for stream in streams]
        for stream, answer in zip(streams, found, strict=True):
            self.count(stream, answer)
        return found

    def count(self, stream: Stream, answer: Answer) -> None:
        """Add an answer to the metrics."""
        self.counts.pages.inc(len(stream.ticket.example.images))
        self.counts.prompt_tokens.inc(stream.ticket.prompt_tokens)
        self.counts.answer_tokens.inc(len(answer.ids))
        self.counts.ends.labels(answer.finish_reason).inc()
        if stream.first_s is not None:
            self.counts.first_token.observe(stream.first_s - stream.submitted_s)


def _example(prompt: str, images: list[str]) -> Example:
    asked = normalized(prompt)  # half a character has no tokens
    return Example(id="request", document="request", split="request", images=images, prompt=asked, response="")


async def answer_of(stream: Stream) -> Answer:
    """Wait for an answer.

    Raises:
        Refused: It did not begin in time, or something kept it from being answered.
    """
    try:
        answer = await stream.answer()
    except Exception as error:
        raise refusal_of(error) from error
    if answer.finish_reason == "deadline" and all(answer.forced):  # nothing was computed
        raise too_late()
    if answer.finish_reason == "cancelled":  # nobody else cancels what somebody waits for
        raise stopping()
    return answer


def refusal_of(error: Exception) -> Refused:
    """Say what kept a request from being answered."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, TooLong):
        return Refused(400, f"Too long: {error}", "context_length_exceeded")
    if isinstance(error, UnreadableImage):
        return Refused(422, "An image cannot be read.", "damaged_image")
    if isinstance(error, Closed):
        return stopping()
    log.error("a request failed: %s", type(error).__name__)
    return Refused(500, "The model could not answer this request.", "failed")


def new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def total(streams: Sequence[Stream], answers: Sequence[Answer]) -> dict[str, int]:
    """Return the tokens that prompts and answers took."""
    asked = sum(stream.ticket.prompt_tokens for stream in streams)
    answered = sum(len(answer.ids) for answer in answers)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def limit(tokens: int | None, options: Serve, status: int) -> int:
    """Return the most tokens of an answer.

    Args:
        status: Of the refusal.

    Raises:
        Refused: More were asked for than the service generates.
    """
    if tokens is None:
        return options.tokens
    if not 1 <= tokens <= options.tokens:
        message = f"max_tokens must lie in [1, {options.tokens}]."
        raise Refused(status, message, "bad_field", param="max_tokens")
    return tokens
