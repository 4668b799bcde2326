"""Requests from many threads: each gets the answer that it would get alone, or its own error."""

import asyncio
import gc
import random
import threading
import time
import weakref
from dataclasses import replace

import pytest
import torch

from medvl.data.decoding import UnreadableImage
from medvl.generation import session
from medvl.generation.decoder import Decoder
from medvl.generation.front import Front
from medvl.generation.stream import Closed, Full, Spelling, Stream

WIDTH = 2048
MOST = 16


@pytest.fixture(scope="module")
def prompts(mixed):
    return mixed[::2]


@pytest.fixture(scope="module")
def alone(reader, prompts):
    """The answer to each prompt by itself."""
    return [reader.answers([one], max_new_tokens=MOST, batch=1)[0] for one in prompts]


@pytest.fixture
def front(reader):
    with Front(reader, rows=5, width=WIDTH, queue=1000) as opened:
        yield opened


@pytest.fixture
def opened(reader, monkeypatch):
    """The session that a front opens, to look into, once there is one."""
    seen, open_session = [], type(reader).session

    def watched(self, **options):
        made = open_session(self, **options)

        class Watched:
            def __enter__(self):
                seen.append(made.__enter__())
                return seen[-1]

            def __exit__(self, *raised):
                return made.__exit__(*raised)

        return Watched()

    monkeypatch.setattr(type(reader), "session", watched)
    return seen


def test_200_requests_at_random_times_get_the_answers_they_would_get_alone(reader, prompts, alone, tmp_path, opened):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    draw = random.Random(19)
    jobs = []
    with Front(reader, rows=5, width=WIDTH, queue=1000) as started:
        for _ in range(200):
            index, kind = draw.randrange(len(prompts)), draw.choice("wwwwbcclt")
            one, most, seconds = prompts[index], MOST, None
            if kind == "b":
                one = replace(one, images=[*one.images, str(damaged)])
            elif kind == "l":
                most = WIDTH
            elif kind == "t":
                seconds = 0.0
            jobs.append((kind, index, started.submit(one, most, seconds=seconds)))
            if kind == "c":
                threading.Timer(draw.random() * 0.3, jobs[-1][2].cancel).start()
            time.sleep(draw.expovariate(100))
    (used,) = opened
    assert not used.rows and not used.waiting and not used.features and not used.patches
    assert not int(used.slots.active.sum()) and not +used.uses
    reasons = set()
    for kind, index, stream in jobs:
        assert stream.ended
        if kind == "b":
            with pytest.raises(UnreadableImage, match=r"damaged\.png"):
                stream.result()
        elif kind == "l":
            with pytest.raises(ValueError, match="more than the 2048 of a slot"):
                stream.result()
        else:
            answer = stream.result()
            reasons.add((kind, answer.finish_reason))
            assert answer.ids == alone[index].ids[: len(answer.ids)]
            assert kind != "w" or answer.text == alone[index].text
            pieces = list(stream)
            assert "".join(piece.text for piece in pieces) == answer.text
            assert [token for piece in pieces for token in piece.ids] == answer.ids
            assert len([one for piece in pieces for one in piece.log_probabilities]) == len(answer.ids)
    assert {("w", "stop"), ("w", "length"), ("t", "deadline"), ("c", "cancelled")} <= reasons
    assert {reason for kind, reason in reasons if kind == "w"} == {"stop", "length"}


def test_an_ended_request_is_forgotten(front, prompts):
    stream = front.submit(prompts[0], 4)
    stream.result()
    ticket, gone = stream.ticket.example, weakref.ref(stream)
    del stream
    gc.collect()
    time.sleep(0.2)  # the thread's last turn
    assert gone() is None and ticket == replace(prompts[0], tokens=ticket.tokens, answer_tokens=0)


def test_asyncio_reads_streams_side_by_side(front, prompts, alone):
    async def read(one):
        stream = front.submit(one, MOST)
        return "".join([piece.text async for piece in stream]), (await stream.answer()).text

    async def all_of_them():
        return await asyncio.gather(*(read(one) for one in prompts[:9]))

    assert asyncio.run(all_of_them()) == [(one.text, one.text) for one in alone[:9]]


def test_a_client_that_leaves_ends_its_answer(front, prompts):
    with front.submit(prompts[0], 1000) as stream:
        next(iter(stream))
    answer = stream.result(10)
    assert answer.finish_reason == "cancelled" and 0 < len(answer.ids) < 1000


def test_a_bad_request_reaches_plain_and_async_readers_as_an_error(front, prompts):
    async def read(stream):
        return [piece async for piece in stream]

    stream = front.submit(replace(prompts[0], images=["missing.png"]), 4)
    with pytest.raises(UnreadableImage):
        list(stream)
    with pytest.raises(UnreadableImage):
        asyncio.run(read(stream))


def test_a_full_queue_says_when_to_come_back(reader, prompts, monkeypatch):
    hold = threading.Event()
    patches = reader.encoder.patches
    monkeypatch.setattr(reader.encoder, "patches", lambda image: hold.wait(30) and patches(image))
    with Front(reader, rows=1, width=WIDTH, queue=2) as small:
        streams = [small.submit(prompts[0], 3) for _ in range(2)]
        with pytest.raises(Full, match="2 requests wait already; try again in about 1 s") as full:
            small.submit(prompts[1], 3)
        assert full.value.seconds == 1
        with pytest.raises(TimeoutError):
            streams[0].result(0.05)
        hold.set()
        assert [len(stream.result(30).ids) for stream in streams] == [3, 3]
        assert 0 < small._seconds_an_answer() < 10 and small.stalled_s == 0
        assert small.submit(prompts[1], 3).result(30).ids
    assert small.stalled_s == float("inf")
    with pytest.raises(Closed):
        small.submit(prompts[1], 3)


def test_stopping_finishes_what_was_taken_or_cancels_it(reader, prompts, alone):
    patient = Front(reader, rows=2, width=WIDTH)
    streams = [patient.submit(one, MOST) for one in prompts[:6]]
    patient.stop()
    assert [stream.result(0).ids for stream in streams] == [one.ids for one in alone[:6]]
    hasty = Front(reader, rows=2, width=WIDTH)
    streams = [hasty.submit(one, 1000) for one in prompts[:6]]
    hasty.stop(0)
    reasons = {stream.result(0).finish_reason for stream in streams}
    assert reasons == {"cancelled"} and patient.stalled_s == hasty.stalled_s == float("inf")


@pytest.mark.parametrize("culprits", [1, 2])
def test_a_failed_prefill_costs_only_the_request_that_causes_it(front, prompts, alone, monkeypatch, culprits):
    prefill, taken, odd = session.Session._prefill, Decoder.prefill, []

    def watches(self, chosen):
        odd[:] = [ticket for ticket in chosen if ticket.example.prompt == "odd"]
        prefill(self, chosen)

    def fails(*given):
        if odd:
            raise torch.OutOfMemoryError("simulated")
        return taken(*given)

    monkeypatch.setattr(session.Session, "_prefill", watches)
    monkeypatch.setattr(Decoder, "prefill", fails)
    changed = [replace(one, prompt="odd") if at < culprits else one for at, one in enumerate(prompts[:12])]
    streams = [front.submit(one, MOST) for one in changed]
    for stream, one, ours in zip(streams, changed, alone, strict=False):
        if one.prompt == "odd":
            with pytest.raises(torch.OutOfMemoryError, match="simulated"):
                stream.result(60)
        else:
            assert stream.result(60).ids == ours.ids


def test_a_failed_step_costs_the_answers_in_progress_and_no_later_ones(reader, prompts, alone, monkeypatch):
    decode, failing = session.Session.decode, threading.Event()
    failing.set()

    def fails(self):
        if failing.is_set() and self.rows:
            failing.clear()
            raise RuntimeError("simulated")
        return decode(self)

    monkeypatch.setattr(session.Session, "decode", fails)
    with Front(reader, rows=2, width=WIDTH) as started:
        first = started.submit(prompts[0], MOST)
        with pytest.raises(RuntimeError, match="simulated"):
            first.result(60)
        assert started.submit(prompts[1], MOST).result(60).ids == alone[1].ids


def test_an_engine_that_cannot_start_answers_every_request_with_its_error(reader, prompts, monkeypatch):
    def refuses(self, **options):
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(type(reader), "session", refuses)
    started = Front(reader, rows=2, width=WIDTH)
    with pytest.raises((torch.OutOfMemoryError, Closed)):
        started.submit(prompts[0], MOST).result(30)
    started.stop()
    assert started.stalled_s == float("inf")


def test_weights_on_several_devices_are_refused(reader, monkeypatch):
    monkeypatch.setattr(type(reader), "obstacle", lambda self: "the weights lie on 2 devices")
    with pytest.raises(ValueError, match="lie on 2 devices"):
        Front(reader, rows=1, width=64)


def test_the_callers_modes_stay_as_they_are(front, prompts):
    """Gradient mode belongs to a thread: the front's must not leak into the caller's, nor lack in its own."""
    assert torch.is_grad_enabled()
    stream = front.submit(prompts[0], 4)
    with torch.enable_grad():
        weight = torch.ones(1, requires_grad=True)
        (2 * weight).backward()
    assert stream.result(30).ids and weight.grad.item() == 2


def test_pieces_hold_whole_characters(reader, prompts):
    """Any tokens: the pieces join to what the tokenizer makes of them all, special tokens and broken bytes included."""
    tokenizer, spelling = reader.encoder.processor.tokenizer, Spelling(reader.encoder.processor)
    draw = random.Random(1)
    texts = ["naïve Ωμέγα 漢字 😀", "e\u0301 \ufffd end", ""]
    rows = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    rows += [[draw.randrange(len(tokenizer)) for _ in range(40)] for _ in range(50)]
    for row in rows:
        stream = Stream(prompts[0], 99, spelling=spelling)
        for token in row:
            stream.ticket.ids.append(token)
            stream.ticket.log_probabilities.append(0.0)
            stream.take()
        stream.ticket.finish_reason = "length"
        stream.end(reader.answer(stream.ticket))
        pieces = list(stream)
        assert "".join(piece.text for piece in pieces) == tokenizer.decode(row, skip_special_tokens=True)
        assert [token for piece in pieces for token in piece.ids] == row
    first = Stream(prompts[0], 99, spelling=spelling)
    for token in rows[0]:
        first.ticket.ids.append(token)
        first.ticket.log_probabilities.append(0.0)
        first.take()
    assert not any("\ufffd" in piece.text for piece in first._pieces) and len(first._pieces) > 5
