"""Fixtures: nano behind a real server in this process, and what clients send to it."""

import base64
import io
import socket
import time
from contextlib import contextmanager

import httpx
import pytest
from PIL import Image

from medvl.documents.reading import Stage, drawn
from medvl.documents.tasks import TRANSCRIBE
from medvl.generation.front import Front
from medvl.serving.options import Serve
from medvl.serving.server import listening
from medvl.serving.service import Service

LIMITS = {"rows": 2, "queue": 8, "pages": 4, "width": 2048, "tokens": 400, "bytes": 3_000_000, "seconds": 60}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def serving(engine, records=None, secret=None, calibration=None, evidence=None, **limits):
    """Serve an engine; yield its service and a client."""
    options = Serve(port=free_port(), **{**LIMITS, **limits})
    known = {"records": records, "calibration": calibration, "evidence": evidence}
    service = Service(options, prompt=TRANSCRIBE, secret=secret, **known)
    with (
        listening(service, options.bind()),
        httpx.Client(base_url=f"http://127.0.0.1:{options.port}", timeout=60, trust_env=False) as client,
    ):
        if engine is not None:
            service.open(Front(engine, rows=options.rows, width=options.width, queue=options.queue))
        yield service, client


@pytest.fixture(scope="module")
def served(reader):
    with serving(reader) as (service, client):
        yield service, client


@pytest.fixture(scope="module")
def client(served):
    return served[1]


@pytest.fixture(scope="module")
def pages():
    """Four pages that differ, of three sizes, with little text, so that answers are short."""
    stages = [Stage(plain=0.5, prose=0.5, height_px=28 + 28 * (number % 3)) for number in range(4)]
    return [Image.fromarray(drawn(stage, f"served/{at}", None).pixels) for at, stage in enumerate(stages)]


@pytest.fixture(scope="module")
def texts(reader, pages, tmp_path_factory):
    """What the model says of each page by itself, read from a file."""
    from asking import about

    folder = tmp_path_factory.mktemp("alone")
    asked = [about([page], reader.encoder, folder) for page in pages]
    return [answer.text for answer in reader.answers(asked, max_new_tokens=LIMITS["tokens"])]


def encoded(image, form="PNG", **options):
    written = io.BytesIO()
    image.save(written, format=form, **options)
    return written.getvalue()


def upload(*contents, name="files"):
    return [(name, (f"{at}.png", content, "image/png")) for at, content in enumerate(contents)]


def uri(content, head="data:image/png;base64,"):
    return head + base64.b64encode(content).decode()


def turn(*urls, text=TRANSCRIBE):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def chat(client, *urls, text=TRANSCRIBE, **more):
    body = {"model": "medvl", "messages": turn(*urls, text=text), **more}
    return client.post("/v1/chat/completions", json=body)


def refusal(answer, status, code):
    """Check an error; return its message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code and error["type"] and answer.headers["x-request-id"]
    return error["message"]


def wait_until(true, seconds=20):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.02)


def wait_until_idle(service, seconds=3):
    """Wait until nothing is kept of any request: an answer is sent before its place is free."""
    engine = service.front.engine
    wait_until(lambda: service.inside == 0 and service.front.load == (0, 0) and len(engine.encoder.held) == 0, seconds)
