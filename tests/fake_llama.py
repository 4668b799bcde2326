"""Fixture: a program that takes llama-server's arguments and answers as it does, always the same."""

import sys

import pytest

TEXT = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

if "--version" in sys.argv:
    sys.exit("version: 7")
with open(__file__ + ".json", "w") as file:
    json.dump(sys.argv[1:], file)
ANSWER = {"choices": [{"message": {"content": "Name: Ada"}, "finish_reason": "stop"}]}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.tell({"data": [{"id": "medvl", "owned_by": "llamacpp"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert asked["temperature"] == 0 and asked["messages"][0]["content"][0]["type"] == "image_url"
        self.tell(ANSWER)

    def tell(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *words):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def fake_llama(tmp_path_factory):
    """The program; what it was called with is in a file of JSON beside it."""
    file = tmp_path_factory.mktemp("llama") / "llama-server"
    file.write_text(f"#!{sys.executable}\n{TEXT}")
    file.chmod(0o755)
    return str(file)
