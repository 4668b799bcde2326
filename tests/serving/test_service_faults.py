"""What users of other servers met: each is a test against a running server."""

import asyncio
import contextlib
import gc
import json
import logging
import math
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image
from served import chat, encoded, free_port, refusal, serving, turn, upload, uri, wait_until, wait_until_idle

from medvl.documents.tasks import TRANSCRIBE
from medvl.generation import ticket
from medvl.generation.front import Front
from medvl.generation.session import Session
from medvl.serving import chat as chat_module
from medvl.serving import server
from medvl.serving.options import Serve
from medvl.serving.service import Service, State
from medvl.serving.uploads import Unpacking


@pytest.fixture
def slow(monkeypatch):
    """Every step takes 20 ms longer, or as long as the returned list says."""
    decode, seconds = Session.decode, [0.02]

    def decodes(self):
        time.sleep(seconds[0])
        return decode(self)

    monkeypatch.setattr(Session, "decode", decodes)
    return seconds


@pytest.fixture
def ends(monkeypatch):
    """The reasons for which answers end."""
    answer, seen = Front._answer, []

    def answers(self, ticket):
        seen.append(ticket.finish_reason)
        return answer(self, ticket)

    monkeypatch.setattr(Front, "_answer", answers)
    return seen


@pytest.mark.parametrize("kind", ["extract", "chat", "stream"])
def test_the_answer_of_a_client_that_left_ends(served, pages, slow, ends, kind):
    service, client = served
    page = encoded(pages[2])
    if kind == "extract":
        request = client.build_request("POST", "/extract", files=upload(page))
    else:
        body = {"model": "medvl", "messages": turn(uri(page)), "stream": kind == "stream"}
        request = client.build_request("POST", "/v1/chat/completions", json=body)
    content = request.read()
    head = f"POST {request.url.raw_path.decode()} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    head += f"Content-Type: {request.headers['content-type']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.options.port)) as own:
        own.sendall(head.encode() + content)
        wait_until(lambda: service.front.load[1])
        if kind == "stream":
            own.recv(100)
    wait_until_idle(service)
    assert ends == ["cancelled"]
    assert client.post("/extract", files=upload(page), data={"max_tokens": "1"}).status_code == 200


def test_a_client_that_leaves_while_it_waits_gives_its_place_up(served, pages, slow):
    service, client = served
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(chat, client, uri(encoded(pages[2])), max_tokens=100) for _ in range(2)]
        wait_until(lambda: service.front.load[1] == 2)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/extract", files=upload(encoded(pages[0])), timeout=0.5)
        wait_until(lambda: service.front.load[0] == 0, 1)
        assert not any(one.done() for one in busy)


def test_ten_times_what_fits_is_refused_in_part_and_none_is_lost_or_mixed(reader, pages, texts):
    with serving(reader, queue=4, rows=2) as (service, client), ThreadPoolExecutor(60) as pool:
        sent = [at % 4 for at in range(60)]
        limits = httpx.Limits(max_connections=60)
        with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False, limits=limits) as many:
            answers = list(pool.map(lambda at: many.post("/extract", files=upload(encoded(pages[at]))), sent))
        read = [(at, answer) for at, answer in zip(sent, answers, strict=True) if answer.status_code == 200]
        assert all(answer.json()["pages"][0]["text"] == texts[at] for at, answer in read) and len(read) >= 4
        refused = [answer for answer in answers if answer.status_code != 200]
        for answer in refused:
            assert int(answer.headers["retry-after"]) >= 1
            refusal(answer, 429, "queue_full")
        assert len(read) + len(refused) == 60 and refused
        wait_until_idle(service)
        told = client.get("/metrics").text
        assert f'medvl_requests_total{{endpoint="/extract",status="429"}} {len(refused)}.0' in told
        # Several pages are queued together or not at all.
        assert client.post("/extract", files=upload(*map(encoded, pages))).status_code == 200


def test_an_engine_that_hangs_is_seen(reader, pages, monkeypatch):
    step, going = Session.step, threading.Event()
    going.set()

    def hangs(self):
        going.wait(20)
        return step(self)

    monkeypatch.setattr(Session, "step", hangs)
    with serving(reader, stall_s=0.3) as (_, client), ThreadPoolExecutor(1) as pool:
        assert client.get("/health").json() == client.get("/ready").json() == {"status": "ready"}
        going.clear()
        asked = pool.submit(client.post, "/extract", files=upload(encoded(pages[0])))
        wait_until(lambda: client.get("/health").status_code == 503)
        assert client.get("/health").json() == {"status": "stalled"}
        refusal(client.get("/ready"), 503, "stalled")
        refusal(client.post("/extract", files=upload(encoded(pages[1]))), 503, "stalled")
        going.set()
        assert asked.result().status_code == 200 and client.get("/ready").status_code == 200


def test_a_connection_that_stood_idle_longer_than_clients_keep_it_still_answers(served):
    """httpx keeps one for 5 s; a server that closes it after as many resets some of the next requests."""
    with socket.create_connection(("127.0.0.1", served[0].options.port), timeout=10) as own:
        for wait_s in (5.5, 0):
            own.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert own.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(wait_s)


def test_endless_repetition_ends(served, pages, monkeypatch):
    monkeypatch.setattr(ticket, "repeats", lambda ids: True)
    client = served[1]
    found = client.post("/extract", files=upload(encoded(pages[2]))).json()
    assert found["finish_reason"] == "repetition" and found["usage"]["completion_tokens"] == ticket.CHECKED
    (choice,) = chat(client, uri(encoded(pages[2]))).json()["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "repetition")


def test_work_ends_at_the_deadline_with_what_there_is(reader, pages, slow):
    with serving(reader, seconds=1) as (service, client):
        found = client.post("/extract", files=upload(encoded(pages[2]))).json()
        assert found["finish_reason"] == "deadline" and found["pages"][0]["text"]
        (choice,) = chat(client, uri(encoded(pages[2]))).json()["choices"]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "deadline")
        slow[0] = 0.3  # both rows are taken until the third request is too late
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: chat(client, uri(encoded(pages[2]))), range(3)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 1 and refusal(refused[0], 504, "deadline")
        with socket.create_connection(("127.0.0.1", service.options.port)) as own:
            own.sendall(b"POST /extract HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n")
            own.sendall(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
            assert b" 408 " in own.recv(1000)


def test_nothing_of_a_request_is_logged(served, pages, texts, caplog):
    client = served[1]
    page, schema = encoded(pages[2]), '{"type": "object", "properties": {"secretive": {"type": "string"}}}'
    with caplog.at_level(logging.DEBUG):
        client.post("/extract", files=upload(page), data={"schema": schema})
        client.post("/extract", files=upload(page))
        client.post("/analyze", files=upload(page), data={"prompt": "the secretive prompt"})
        chat(client, uri(page), text="the secretive prompt")
        chat(client, "http://secretive/x.png")
        chat(client, uri(page[:200]))
        client.post("/v1/chat/completions", json={"secretive": uri(page)})
        client.get("/secretive?secretive=1")
    own = [line for line in caplog.records if line.name.partition(".")[0] not in ("httpx", "httpcore")]  # the client
    said = "\n".join(f"{line.getMessage()} {line.exc_text}" for line in own)
    assert "/extract 200" in said and "other 404" in said
    shown = uri(page)[-300:]
    for text in ("secretive", shown[:60], texts[2][:12], TRANSCRIBE):
        assert text not in said


def test_memory_stays_flat(served):
    """Pages that all differ, whole and refused requests: nothing of them stays."""
    service, client = served

    def send(number):
        page = encoded(Image.new("RGB", (112, 112), (number % 255, number // 255, 77)))
        client.post("/extract", files=upload(page), data={"max_tokens": "1"})
        chat(client, uri(page[:-9]), max_tokens=1)
        schema = json.dumps({"type": "object", "properties": {f"key{number}": {"type": "string"}}})
        if number % 4 == 0:
            client.post("/extract", files=upload(page), data={"max_tokens": "1", "schema": schema})

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    for number in range(8):
        send(number)
    before = resident()
    for number in range(8, 28):
        send(number)
    assert resident() - before < 25 * 2**20
    wait_until_idle(service)
    assert len(service.front.engine.grammars.known) <= 64


def test_one_key_opens_all_but_what_watches(reader, pages):
    key = "k" * 20
    with serving(reader, secret=key) as (_, client):
        for path in ("/metrics", "/benchmark", "/v1/models", "/openapi.json", "/nowhere"):
            for sent in ({}, {"Authorization": f"Bearer {key}x"}, {"Authorization": key}):
                answer = client.get(path, headers=sent)
                refusal(answer, 401, "bad_key")
                assert answer.headers["www-authenticate"] == "Bearer" and key not in answer.text
        refusal(client.post("/extract", files=upload(encoded(pages[0]))), 401, "bad_key")
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        sent = {"Authorization": f"bearer {key}"}
        assert client.get("/v1/models", headers=sent).json()["data"][0]["id"] == "medvl"
        assert client.get("/v1/models", headers={**sent, "Host": "example.org"}).status_code == 200


def test_a_web_page_cannot_ask_by_a_name_of_its_own(served):
    service, client = served
    for host in ("example.org", "example.org:8000", "localhost.example.org", ""):
        refusal(client.get("/v1/models", headers={"Host": host}), 403, "foreign_host")
    for host in ("localhost", f"LOCALHOST:{service.options.port}", "127.0.0.1:1", "[::1]:8000"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200
    answer = client.options("/extract", headers={"Origin": "http://example.org"})
    assert answer.status_code == 405 and not [name for name in answer.headers if name.startswith("access-control")]


def test_what_is_loading_says_so_and_what_stops_ends_what_goes_on(reader, pages, texts, slow):
    with serving(None) as (service, client):
        assert client.get("/health").json() == {"status": "loading"}
        assert int(client.get("/ready").headers["retry-after"]) > 0
        refusal(client.get("/ready"), 503, "loading")
        refusal(client.post("/extract", files=upload(encoded(pages[0]))), 503, "loading")
        service.open(Front(reader, rows=2, width=2048, queue=8))
        assert client.get("/ready").json() == {"status": "ready"}
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(client.post, "/extract", files=upload(encoded(pages[0])))
            wait_until(lambda: service.front.load[1])
            stopping = pool.submit(service.close)
            wait_until(lambda: service.state is State.stopping)
            refusal(client.get("/ready"), 503, "stopping")
            refusal(client.post("/extract", files=upload(encoded(pages[1]))), 503, "stopping")
            assert asked.result().json()["pages"][0]["text"] == texts[0]
            stopping.result()


def test_a_model_that_cannot_read_a_page_is_never_ready(reader, monkeypatch):
    def fails(*given):
        raise RuntimeError("simulated")

    service = Service(Serve(port=free_port(), grace_s=1), prompt=TRANSCRIBE)
    with monkeypatch.context() as patched:
        patched.setattr(Session, "_prefill", fails)
        with pytest.raises(RuntimeError, match="simulated"):
            service.open(Front(reader, rows=1, width=512))
    assert service.state is State.loading and len(reader.encoder.held) == 0
    service.close()


def test_an_engine_that_ended_ends_the_process(reader, monkeypatch):
    monkeypatch.setattr(server, "LOOK_S", 0.05)
    with serving(reader) as (service, client):
        service.front.stop(0)
        assert client.get("/health").status_code == client.get("/ready").status_code == 503
        with pytest.raises(RuntimeError, match="the engine has ended by itself"):
            server.wait(service, threading.Event())
    ended = threading.Event()
    ended.set()
    with pytest.raises(RuntimeError, match="the server has ended by itself"):
        server.wait(service, ended)


def test_an_engine_that_fails_on_a_request_says_so_and_answers_the_next(served, pages, texts, monkeypatch):
    client, prefill = served[1], Session._prefill

    def fails(self, chosen):
        if any(one.example.prompt == "odd" for one in chosen):
            raise RuntimeError("simulated secret")
        return prefill(self, chosen)

    monkeypatch.setattr(Session, "_prefill", fails)
    page = encoded(pages[0])
    for answer in (
        client.post("/analyze", files=upload(page), data={"prompt": "odd"}),
        chat(client, uri(page), text="odd"),
        chat(client, uri(page), text="odd", stream=True),
    ):
        assert "secret" not in refusal(answer, 500, "failed")
    assert client.post("/extract", files=upload(page)).json()["pages"][0]["text"] == texts[0]


def test_a_fault_of_ours_is_no_traceback(served, pages, monkeypatch):
    async def fails(self, files):
        raise KeyError("simulated secret")

    monkeypatch.setattr(Service, "unpack", fails)
    client = served[1]
    assert "secret" not in refusal(client.post("/extract", files=upload(encoded(pages[0]))), 500, "failed")
    assert client.get("/health").status_code == 200


def test_records_of_a_run_and_the_openapi(reader, served):
    refusal(served[1].get("/benchmark"), 404, "no_run")
    records = {"run": "r", "status": {"state": "done"}, "metrics": {"cer": math.nan}, "benchmark": None}
    records |= {"calibration": {"fitted_on": "made values"}, "evidence": {"heads": [[5, 1]]}}
    with serving(None, records=records) as (_, client):
        assert client.get("/benchmark").json() == {**records, "metrics": {"cer": None}}
    told = served[1].get("/openapi.json").json()
    paths = "/health /ready /metrics /benchmark /extract /analyze /v1/models /v1/chat/completions"
    assert set(told["paths"]) == set(paths.split())
    extract = told["paths"]["/extract"]["post"]
    assert extract["requestBody"]["content"]["multipart/form-data"]["schema"]["required"] == ["files"]
    assert extract["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Extraction")
    assert extract["responses"]["429"]["content"]["application/json"]["schema"]["$ref"].endswith("/ProblemBody")


def test_a_process_that_draws_a_pdf_is_killed_when_it_takes_too_long(pages):
    from medvl.serving.drawing import drawn_pages
    from medvl.serving.refusals import Refused

    content = encoded(pages[0].convert("RGB"), "PDF")

    async def draw():
        started = time.monotonic()
        with pytest.raises(Refused, match="takes too long"):
            async for _ in drawn_pages(content, 150, 10**7, 4, 0.01, "File 1"):
                pass
        assert time.monotonic() - started < 5

    asyncio.run(draw())


def test_what_is_unpacked_when_the_service_stops_is_answered(reader, pages, texts, monkeypatch):
    unpacking, go_on = threading.Event(), threading.Event()
    fitted = Unpacking._fitted

    def held(self, page, named):
        unpacking.set()
        assert go_on.wait(20)
        return fitted(self, page, named)

    monkeypatch.setattr(Unpacking, "_fitted", held)
    with serving(reader) as (service, client), ThreadPoolExecutor(2) as pool:
        asked = pool.submit(client.post, "/extract", files=upload(encoded(pages[0])))
        assert unpacking.wait(20)
        stopping = pool.submit(service.close)
        wait_until(lambda: service.state is State.stopping)
        go_on.set()
        assert asked.result().json()["pages"][0]["text"] == texts[0]
        stopping.result()


def test_a_client_that_stops_reading_gives_its_place_up(monkeypatch):
    monkeypatch.setattr(chat_module, "LATE_S", 0.1)
    left = []

    async def events():
        yield "data: 1\n\n"

    async def blocked(*message):
        await asyncio.sleep(60)

    places = contextlib.ExitStack()
    places.callback(left.append, "place")
    started = time.monotonic()
    asyncio.run(chat_module._Events(events(), places)({"medvl.until": started + 0.2}, blocked, blocked))
    assert left == ["place"] and time.monotonic() - started < 10
