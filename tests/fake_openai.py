"""A server with OpenAI's interface that answers by what is on the page, and misbehaves as it is told."""

import base64
import contextlib
import hashlib
import io
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


def pixels_of(data_uri):
    """Return the image of a data URI, in RGB."""
    head, _, encoded = data_uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")


def fingerprint(image):
    return hashlib.sha256(repr(image.size).encode() + image.convert("RGB").tobytes()).hexdigest()


def completion(text, reason="stop", **more):
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason, **more}]}


class FakeServer:
    """Counts what it is asked; `texts` says what is on a page, `plan` what happens to the n-th completion, from 0.

    A plan returns None for the usual answer, an object for another one, (status, headers, object) for an error, "drop"
    to close the connection, or a number of seconds to hang before the usual answer.
    """

    def __init__(self, texts=None, plan=None, models=({"id": "medvl", "owned_by": "fake"},), key=None):
        self.texts, self.plan, self.models, self.key = texts or {}, plan or (lambda number, asked: None), models, key
        self.usage = {"completion_tokens": 20}
        self.asked, self.times, self.now, self.most = [], [], 0, 0
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def running(self):
        """Serve while the block runs; yield the address."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.reply(self, owner.listing(self))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.reply(self, owner.complete(self, body))

            def log_message(self, *words):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 64

            def handle_error(self, *about):
                pass  # a client that left

        with Quiet(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/v1"
            finally:
                server.shutdown()
                thread.join()

    def listing(self, handler):
        if handler.path != "/v1/models" or self.models is None:
            return 404, {}, {"detail": "Not Found"}
        return self.allowed(handler) or {"data": list(self.models)}

    def allowed(self, handler):
        if self.key is not None and handler.headers.get("Authorization") != f"Bearer {self.key}":
            return 401, {}, {"error": {"message": "Incorrect API key provided."}}
        return None

    def complete(self, handler, body):
        with self.lock:
            number = len(self.asked)
            self.asked.append(body)
            self.times.append(time.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            planned = self.plan(number, body)
            if isinstance(planned, float):
                time.sleep(planned)
                planned = None
            time.sleep(0.002 * (7 * number % 5))  # answers overtake each other
            if (refused := self.allowed(handler)) is not None:
                return refused
            return self.usual(body) if planned is None else planned
        finally:
            with self.lock:
                self.now -= 1

    def usual(self, body):
        *pages, text = body["messages"][0]["content"]
        assert text["type"] == "text" and all(page["type"] == "image_url" for page in pages)
        said = [self.texts.get(fingerprint(pixels_of(page["image_url"]["url"])), "") for page in pages]
        if body.get("stream"):
            pieces = [{"choices": [{"delta": {"content": piece}}]} for piece in "\n".join(said).split()]
            return [{"choices": [{"delta": {"role": "assistant"}}]}, *pieces, {"choices": [], "usage": self.usage}]
        told = {"logprobs": {"content": [{"token": "a", "logprob": -0.25}]}} if body.get("logprobs") else {}
        return completion("\n".join(said), **told)

    def stream(self, handler, events):
        """Send events 20 ms apart, the first of them after 20 ms."""
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in [*map(json.dumps, events), "[DONE]"]:
            time.sleep(0.02)
            handler.wfile.write(f"data: {event}\n\n".encode())
            handler.wfile.flush()

    def reply(self, handler, answer):
        if answer == "drop":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, content = answer if isinstance(answer, tuple) else (200, {}, answer)
        encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
        if isinstance(content, list):
            self.stream(handler, content)
            return
        handler.send_response(status)
        for name, value in {"Content-Length": len(encoded), **headers}.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        handler.wfile.write(encoded)
