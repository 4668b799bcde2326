"""A served model in the place of the engine: the same pages, prompts and limits, sent to a server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import open_image
from medvl.generation.answer import Answer
from medvl.generation.attempts import Attempts, Failed, Refused
from medvl.model import prompt

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from medvl.data.encoding import Encoder
    from medvl.generation.endpoint import Endpoint, Served
    from medvl.types import Example

log = logging.getLogger(__name__)

ENDS = ("stop", "length")
CUTS = ("repetition", "deadline")  # medvl's own server tells them as the `stop_reason` of length


@dataclass(kw_only=True, slots=True)
class RemoteEngine:
    """Generates answers by asking a server."""

    endpoint: Endpoint
    served: Served
    encoder: Encoder
    seconds: list[float] = field(default_factory=list)
    """What each of the last answers took, waits and repetitions included."""

    def answers(
        self,
        examples: Sequence[Example],
        *,
        max_new_tokens: int,
        batch: int | None = None,
        tick: Callable[[int], Any] | None = None,
        schemas: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[Answer]:
        """Return the answers in the order of the examples.

        A request that finally fails counts as an empty answer, with a warning.

        Args:
            schemas: The JSON Schema that each answer must follow, if any; the server sees to it.
            batch: The most requests in progress at a time, if the endpoint's option is not lower.

        Raises:
            ValueError: The first request is refused or not answered, or all requests fail.
        """
        if not examples:
            return []
        self.seconds = []
        shapes = [_format(schema) for schema in schemas or [None] * len(examples)]
        asked = list(zip(examples, shapes, strict=True))
        with _signals_alone():
            return asyncio.run(self._answers(asked, max_new_tokens, batch, tick or _nothing))

    async def _answers(
        self, asked: list[tuple[Example, dict[str, Any]]], most: int, batch: int | None, tick: Callable[[int], Any]
    ) -> list[Answer]:
        asyncio.get_running_loop().set_exception_handler(_unless_stopped)
        answers: dict[int, Answer] = {}
        faults: list[str] = []
        waiting = iter(range(len(asked)))

        async def work(client: AsyncClient) -> None:
            for index in waiting:
                await answer(client, index)

        async def answer(client: AsyncClient, index: int) -> None:
            try:
                answers[index] = await self._answer(client, *asked[index], most)
            except (Refused, Failed) as error:
                if not index and isinstance(error, Refused):
                    raise self.endpoint.refusal(error) from None
                if not index and isinstance(error, Failed) and not error.reached:
                    raise self._silent("did not answer the first request", str(error)) from None
                faults.append(str(error))
                answers[index] = _empty()
            tick(1)

        async with self.endpoint.client() as client:
            await answer(client, next(waiting))  # alone: what it is refused for holds for all
            together = min(self.endpoint.concurrency, batch or self.endpoint.concurrency)
            await asyncio.gather(*(work(client) for _ in range(together)))
        self._warn(faults, len(asked))
        return [answers[index] for index in range(len(asked))]

    def _warn(self, faults: list[str], count: int) -> None:
        why = "; ".join(f"{number} x {fault}" for fault, number in Counter(faults).most_common(3))
        if len(faults) == count:
            raise self._silent(f"answered none of {count} requests", why)
        if faults:
            log.warning(
                "%d of %d requests to %s failed and count as empty answers: %s",
                len(faults),
                count,
                self.endpoint.place,
                why,
            )

    def _silent(self, what: str, why: str) -> ValueError:
        mend = f"Look at its log, or set engine.seconds={2 * self.endpoint.seconds:g}"
        return ValueError(f"{self.endpoint.place} {what} ({why}). {mend}.")

    async def _answer(self, client: AsyncClient, example: Example, shape: dict[str, Any], most: int) -> Answer:
        started = time.perf_counter()
        body = await asyncio.to_thread(self.request, example, most, **shape)
        attempts = Attempts(seconds=self.endpoint.seconds, retries=self.endpoint.retries)
        told = await attempts.send(client, "chat/completions", body, prompt=example.prompt)
        answer = self._read(told)
        self.seconds.append(time.perf_counter() - started)
        return answer

    def request(self, example: Example, most: int, **more: Any) -> bytes:
        """Return the request for an example, in JSON: the pages that the local engine sees, then the prompt.

        Args:
            most: Tokens of the answer.
            more: Further fields.
        """
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": self._page(image)}} for image in example.images
        ]
        content.append({"type": "text", "text": prompt.normalized(self.encoder.asked(example.prompt))})
        message = {"role": "user", "content": content}
        fields = {**self.served.request, "max_tokens": most, "messages": [message], **more}
        if self.endpoint.logprobs:
            fields["logprobs"] = True
        return json.dumps(fields).encode()

    def _page(self, image: str) -> str:
        encoder, encoded = self.encoder, io.BytesIO()
        page = encoder.fitted(open_image(image, encoder.max_image_pixels))
        page.save(encoded, format="PNG", compress_level=1)
        return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"

    def _read(self, told: Any) -> Answer:
        """Return the answer in a response.

        Its ids are those that our tokenizer gives its text; a server tells only texts of tokens.

        Raises:
            Failed: There is none in it.
        """
        try:
            choice = told["choices"][0]
            text, reason = choice["message"].get("content") or "", choice.get("finish_reason")
            said = text.encode("utf-8", "replace").decode()  # JSON can hold halves of characters
        except (KeyError, IndexError, TypeError, AttributeError):
            raise Failed("an answer without a text", reached=True) from None
        if reason not in ENDS:
            raise Failed("an answer that ended for another reason than stop or length", reached=True)
        reason = choice["stop_reason"] if choice.get("stop_reason") in CUTS else reason
        processor = self.encoder.processor
        ids = prompt.answer_ids(processor, said) if reason == "stop" else prompt.plain_ids(processor, said)
        text = self.encoder.answers.text(said)
        return Answer(text=text, ids=ids, finish_reason=reason, log_probabilities=_log_probabilities(choice))

    def latency(self) -> dict[str, float]:
        """Return the milliseconds that answers took, at the 50th, 95th and 99th percentile."""
        import numpy as np

        taken = self.seconds or [0.0]
        return {f"latency_p{p}_ms": 1e3 * float(np.percentile(taken, p)) for p in (50, 95, 99)}


@contextlib.contextmanager
def _signals_alone() -> Iterator[None]:
    """Raise a signal's own exception, which may have met a group of tasks that wraps it in theirs."""
    try:
        yield
    except BaseExceptionGroup as group:
        stopped = group.subgroup(lambda error: isinstance(error, SystemExit | KeyboardInterrupt))
        if stopped is None:
            raise
        found: BaseException = stopped
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from None


def _unless_stopped(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave out what a signal ended: asyncio would print a traceback of every request under way."""
    if isinstance(context.get("exception"), Exception | None):
        loop.default_exception_handler(context)


def _format(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the field of a request that asks for JSON by a schema; none without one."""
    if schema is None:
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


def _log_probabilities(choice: dict[str, Any]) -> list[float]:
    """Return the log-probability of each token that the server tells, in nats; none if it tells them otherwise."""
    try:
        return [float(token["logprob"]) for token in choice["logprobs"]["content"]]
    except (KeyError, TypeError, ValueError):
        return []


def _empty() -> Answer:
    return Answer(text="", ids=[], finish_reason="failed", log_probabilities=[])


def _nothing(count: int) -> None:
    """Stand for a tick that nobody wants."""
