"""POST /v1/chat/completions: OpenAI's API over the same queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from medvl.serving.data_uris import content_of
from medvl.serving.service import ANY_OBJECT, answer_of, limit, new_id, refusal_of, total
from medvl.serving.uploads import too_many_pages
from medvl.serving.waiting import LATE_S, seconds_left

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Send

    from medvl.generation.answer import Answer
    from medvl.generation.stream import Spelling, Stream
    from medvl.serving.chat_request import ChatRequest
    from medvl.serving.service import Service
    from medvl.serving.uploads import Upload


LEAST = -9999.0  # stands for a probability of 0, as in OpenAI's API: JSON has no infinity


class Chat:
    """One request and its answer in OpenAI's form."""

    def __init__(self, service: Service, request: Request, asked: ChatRequest) -> None:
        asked.check(service.options.name)
        self.service, self.request, self.asked = service, request, asked
        self.tokens = limit(asked.tokens, service.options, 400)
        self.turn = asked.asked()
        if len(self.turn.urls) > service.options.pages:
            raise too_many_pages(service.options.pages)
        self.head = {"id": new_id("chatcmpl"), "created": int(time.time()), "model": service.options.name}

    async def schema(self) -> dict[str, Any] | None:
        """Return the schema that the answer must follow; its grammar is made, and the prompt stays as it is."""
        wanted = self.asked.response_format
        if wanted is None or wanted.type == "text":
            return None
        schema = ANY_OBJECT if wanted.json_schema is None else wanted.json_schema.content
        await self.service.compile(schema, "response_format")
        return schema

    async def pages(self) -> list[Upload]:
        """Return the images of the request."""
        urls, self.turn.urls[:] = list(self.turn.urls), []
        self.asked.messages.clear()
        loop = asyncio.get_running_loop()
        files = [await loop.run_in_executor(self.service.threads, content_of, url, "messages") for url in urls]
        return await self.service.unpack(files)

    async def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        schema, uploads = await self.schema(), await self.pages()
        left = seconds_left(self.request, self.service.options)
        with self.service.asking([(self.turn.text, uploads)], self.tokens, left, schema) as streams:
            (answer,) = await self.service.answers(streams)
        choice = {"index": 0, "message": {"role": "assistant", "content": answer.text}, **ending(answer)}
        if self.asked.logprobs:
            told = spelled(self.service.spelling, answer.ids, answer.log_probabilities)
            choice["logprobs"] = {"content": told}
        return {**self.head, "choices": [choice], "usage": total(streams, [answer])}

    async def streamed(self) -> StreamingResponse:
        """Return the answer as events, once its first tokens are there: before that an error still has a status."""
        schema, uploads = await self.schema(), await self.pages()
        left = contextlib.ExitStack()
        try:
            seconds = seconds_left(self.request, self.service.options)
            asking = self.service.asking([(self.turn.text, uploads)], self.tokens, seconds, schema)
            (stream,) = left.enter_context(asking)
            pieces = stream.__aiter__()
            try:
                first = await anext(pieces, None)
            except Exception as error:
                raise refusal_of(error) from error
            if first is None:
                await answer_of(stream)  # perhaps it was too late
        except BaseException:
            left.close()
            raise
        return _Events(self._events(stream, first, pieces), left)

    async def _events(self, stream: Stream, first: Any, pieces: AsyncIterator[Any]) -> AsyncIterator[str]:
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            piece = first
            while piece is not None:
                logprobs = None
                if self.asked.logprobs:
                    logprobs = {"content": spelled(self.service.spelling, piece.ids, piece.log_probabilities)}
                yield self._chunk({"content": piece.text}, logprobs=logprobs)
                piece = await anext(pieces, None)
            answer = await answer_of(stream)
            self.service.count(stream, answer)
            yield self._chunk({}, **ending(answer))
            if self.asked.stream_options is not None and self.asked.stream_options.include_usage:
                usage = total([stream], [answer])
                yield _event({**self.head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        except Exception as error:
            yield _event(refusal_of(error).body())
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
        return _event({**self.head, "object": "chat.completion.chunk", "choices": [choice]})


class _Events(StreamingResponse):
    """Server-sent events; a client that leaves, even while nothing is sent, ends the answer."""

    def __init__(self, events: AsyncIterator[str], left: contextlib.ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._left = left

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        with self._left:
            sending = asyncio.ensure_future(self.stream_response(send))
            leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
            try:
                # A client that stops reading would keep its place.
                late = max(0.0, scope["medvl.until"] - time.monotonic()) + LATE_S
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED, timeout=late)
                if sending.done():
                    sending.result()
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)


def ending(answer: Answer) -> dict[str, Any]:
    """Return what ended an answer in OpenAI's words; where it has none, a limit, with the reason beside it."""
    if answer.finish_reason in ("stop", "length"):
        return {"finish_reason": answer.finish_reason, "stop_reason": None}
    return {"finish_reason": "length", "stop_reason": answer.finish_reason}


def spelled(spelling: Spelling, ids: Any, log_probabilities: Any) -> list[dict[str, Any]]:
    """Return tokens with their log-probabilities; special ones, as the end of the turn, are no text and left out."""
    found = []
    for token, value in zip(ids, log_probabilities, strict=True):
        if letters := spelling[token]:
            text = letters.decode("utf-8", "replace")
            logprob = max(value, LEAST)
            found.append({"token": text, "bytes": list(letters), "logprob": logprob, "top_logprobs": []})
    return found


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
