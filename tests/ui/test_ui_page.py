"""The page in a real browser, over a real service that nano answers; Gradio has an environment of its own."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from browsing import CHROMIUM, PHONE, browser
from conftest import ROOT
from served import encoded, free_port, serving

from medvl.ui.__main__ import USER

PYTHON = os.environ.get("MEDVL_UI_PYTHON") or (sys.executable if importlib.util.find_spec("gradio") else None)
SECRET = "k" * 20
HOSTILE = "<img src=x onerror=alert(1)>${1 + 1}"
RECORDS = {
    "run": "forms",
    "status": {"state": "done"},
    "metrics": {
        "before": {"cer": 0.2, "examples": 9},
        "after": {"cer": 0.1, "examples": 9},
        "intervals": {"before": {"cer": [0.15, 0.25]}, "after": {"cer": [0.05, 0.15]}},
        "verdict": "The trained model is better.",
    },
    "benchmark": None,
    "calibration": None,
}
pytestmark = pytest.mark.skipif(PYTHON is None or CHROMIUM is None, reason="no Gradio (MEDVL_UI_PYTHON) or no Chromium")


class Relay(ThreadingHTTPServer):
    """Hands requests on to a service, and changes the answers of some paths."""

    def __init__(self, url):
        super().__init__(("127.0.0.1", 0), Handing)
        self.service, self.changes = httpx.Client(base_url=url, timeout=60, trust_env=False), {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error):
        self.shutdown()
        self.service.close()
        super().__exit__(*error)


class Handing(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: self.headers.get(name, "") for name in ("content-type", "authorization")}
        answer = self.server.service.request(self.command, self.path, content=content, headers=headers)
        change = self.server.changes.get(self.path, lambda answer: answer)
        if not isinstance(changed := change(answer), httpx.Response):
            changed = httpx.Response(200, json=changed)
        self.send_response(changed.status_code)
        for name in ("content-type", "retry-after"):
            self.send_header(name, changed.headers.get(name, ""))
        self.send_header("content-length", str(len(changed.content)))
        self.end_headers()
        self.wfile.write(changed.content)

    do_POST = do_GET

    def log_message(self, *words):
        pass


@contextmanager
def started(folder, *words, root=ROOT, **environment):
    """The page in its own environment; yields its address and its process."""
    port = free_port()
    command = [PYTHON, "-m", "medvl.ui", "--port", str(port), *words]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    known |= {"TMPDIR": str(folder), "PYTHONPATH": str(root), **environment}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            until = time.monotonic() + 60
            while True:
                assert process.poll() is None and time.monotonic() < until, process.stdout.read()
                try:
                    httpx.get(url, trust_env=False)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield url, process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def relay(reader):
    with serving(reader, records=RECORDS, secret=SECRET) as (_, client), Relay(str(client.base_url)) as relay:
        yield relay


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def site(relay, folder):
    words = ("--url", relay.url, "--key", "MEDVL_UI_KEY", "--base-key", "MEDVL_UI_KEY")
    with Relay(relay.url) as base:
        base.changes["/analyze"] = lambda answer: {**answer.json(), "text": "aspirin 81 mg " + answer.json()["text"]}
        with started(folder, *words, "--base-url", base.url, MEDVL_UI_KEY=SECRET) as found:
            yield found


@pytest.fixture(scope="module")
def tab(site, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        tab.open(site[0], 1280, 900)
        tab.wait("document.body && document.body.innerText.includes('is ready')")
        yield tab
        outside = [url for url in tab.asked if not url.startswith((site[0], "data:", "blob:", "about:"))]
        assert not outside and not tab.faults, (outside, tab.faults)


@pytest.fixture(scope="module")
def sheet(pages, tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "page.png"
    path.write_bytes(encoded(pages[2]))
    return path


def press(tab, words):
    shown = f"[...document.querySelectorAll('button')].filter(one => one.innerText.trim() == '{words}')"
    tab.wait(f"{shown}.some(one => one.checkVisibility({{visibilityProperty: true}}))")
    tab.run(f"{shown}.filter(one => one.checkVisibility({{visibilityProperty: true}})).pop().click()")


def read(tab, selector="#extracted"):
    """Press the button; return the text of what comes."""
    tab.run(f"document.querySelector('{selector} .mv-page, {selector} .mv-notice')?.setAttribute('data-old', 1)")
    press(tab, "Read" if selector == "#extracted" else "Ask")
    new = f"{selector} :is(.mv-page, .mv-notice, .mv-pair)"
    tab.wait(f"document.querySelector('{new}') && !document.querySelector('{selector} [data-old]')")
    return tab.run(f"document.querySelector('{selector}').innerText")


def narrow(tab):
    """Check that nothing is wider than a phone."""
    tab.size(*PHONE)
    tab.wait("innerWidth == 390")
    wide = "[...document.querySelectorAll('main [class^=mv-]')].filter(one => one.getBoundingClientRect().right > 391)"
    assert tab.run("document.documentElement.scrollWidth") <= 390
    assert tab.run(f"{wide}.map(one => one.className)") == []
    tab.size(1280, 900)


def test_text_of_an_upload(tab, sheet, folder, texts):
    assert "Upload a page first" in read(tab)
    tab.upload("input[type=file]", sheet)
    tab.wait("/[0-9]\\s*K?B/.test(document.body.innerText)")  # its size: it has arrived
    (uploads,) = folder.glob("medvl-ui-*")
    assert uploads.stat().st_mode & 0o077 == 0 and len(list(uploads.rglob("*.png"))) == 1
    said = read(tab)
    assert "File 1, page 1" in said and all(line in said for line in texts[2].splitlines())
    assert tab.run("document.querySelector('#extracted img').naturalWidth") > 0
    narrow(tab)


def test_fields_are_drawn_where_they_stand(tab, relay):
    def change(answer):
        body = answer.json()
        first = {**body["values"][0], "evidence": {"file": 1, "page": 1, "box": [0.1, 0.2, 0.5, 0.6]}}
        kinds = [("Ada", 0.98, True), (HOSTILE, 0.4, False), ("5", None, None)]
        said = [{**first, "value": value, "confidence": sure, "accepted": well} for value, sure, well in kinds]
        return {**body, "calibration": "forms", "pointing": 0.9, "values": [*said, {**said[0], "evidence": None}]}

    relay.changes["/extract"] = change
    tab.run("document.querySelector('.label-wrap').click()")
    press(tab, "Insert an example")
    tab.wait("document.querySelector('#schema').innerText.includes('medication')")
    said = read(tab)
    assert "98.0 %" in said and "check it" in said and HOSTILE in said
    assert tab.run("document.querySelectorAll('#extracted [src=x]').length") == 0
    place = "one.offsetLeft / one.parentNode.clientWidth, one.clientHeight / one.parentNode.clientHeight"
    places = tab.run(f"[...document.querySelectorAll('.mv-box')].map(one => [one.className, {place}])")
    assert [name for name, _, _ in places] == ["mv-box mv-accepted", "mv-box mv-below", "mv-box mv-unknown"]
    assert all(abs(left - 0.1) < 0.02 and abs(high - 0.4) < 0.02 for _, left, high in places)
    lines = tab.run("[...document.querySelectorAll('.mv-box')].map(one => getComputedStyle(one).border)")
    assert len(set(lines)) == 3 and [line.split()[1] for line in lines] == ["solid", "dashed", "dotted"]
    narrow(tab)


def test_refusals_are_told_on_the_page(tab, relay):
    busy = {"error": {"message": "Too many requests wait already.", "code": "queue_full"}}
    relay.changes["/extract"] = lambda answer: httpx.Response(429, json=busy, headers={"Retry-After": "7"})
    assert read(tab) == "The service is busy. Too many requests wait already. Try again in 7 s."
    relay.changes["/extract"] = lambda answer: {"pages": None}
    assert "cannot be shown" in read(tab)
    del relay.changes["/extract"]


def test_both_models_answer_beside_each_other(tab, sheet):
    press(tab, "Own prompt")
    tab.wait("document.querySelector('#prompt textarea')")
    tab.run("document.querySelectorAll('input[type=file]').forEach((one, at) => one.setAttribute('data-at', at))")
    last = tab.run("document.querySelectorAll('input[type=file]').length") - 1
    tab.upload(f"[data-at='{last}']", sheet)
    tab.wait("document.querySelector('#prompt').closest('[role=tabpanel]').innerText.match(/[0-9]\\s*K?B/)")
    assert read(tab, "#answers") == "Write a prompt first."
    tab.run("document.querySelector('#prompt textarea').focus()")
    tab.send("Input.insertText", text="What is the dose?")
    read(tab, "#answers")
    heads = tab.run("[...document.querySelectorAll('#answers h3')].map(one => one.innerText.trim())")
    assert [head.split(" cut")[0] for head in heads] == ["Base model", "Trained model"]
    assert "aspirin" in tab.run("document.querySelector('#answers mark').innerText")
    narrow(tab)


def test_scores_of_the_run(tab):
    press(tab, "Benchmarks")
    tab.wait("document.querySelector('#benchmarks .mv-bar')")
    said = tab.run("document.querySelector('#benchmarks').innerText")
    assert all(part in said for part in ("character error rate", "[5.0, 15.0]", "-10.00", "/extract, mean", "better"))
    assert json.loads(
        tab.run("JSON.stringify([...document.querySelectorAll('.mv-track b')].map(one => one.style.width))")
    )
    narrow(tab)


def test_strangers_are_refused_and_nothing_is_left(site, folder, tab):
    url, process = site
    assert httpx.get(url, headers={"Host": "evil.example"}, trust_env=False).status_code == 403
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 0 and "Traceback" not in output and SECRET not in output
    assert not list(folder.glob("medvl-ui-*"))


def test_other_machines_log_in(tmp_path):
    """What the container holds, started as it starts it."""
    lines = (ROOT / "Dockerfile.ui").read_text().splitlines()
    for source, place in (line.split()[1:] for line in lines if line.startswith("COPY ")):
        source, target = ROOT / source, tmp_path / "opt" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    words = next(json.loads(line.removeprefix("ENTRYPOINT ")) for line in lines if line.startswith("ENTRYPOINT "))
    assert words[:3] == ["python", "-m", "medvl.ui"]
    with (
        started(tmp_path, *words[3:], root=tmp_path / "opt", MEDVL_KEY=SECRET) as (url, _),
        httpx.Client(trust_env=False) as client,
    ):
        assert client.get(url).status_code == 200  # the page to log in, which the health check sees
        assert client.get(f"{url}/config").status_code == 401
        assert client.post(f"{url}/login", data={"username": USER, "password": "x"}).status_code == 400
        assert client.post(f"{url}/login", data={"username": USER, "password": SECRET}).status_code == 200
        assert client.get(f"{url}/config").status_code == 200


def test_a_port_that_is_taken_is_said(relay, tmp_path):
    words = [PYTHON, "-m", "medvl.ui", "--port", str(relay.server_port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.endswith(f"Set --port {relay.server_port + 1}.\n")
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
