"""The W&B report: sent to a fake server that answers like W&B's, or written to a file without one."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ROOT
from reports import make_sweep
from wandb_files import only_run

from medvl.record.files import read_json
from medvl.reporting.wandb_report import CURVES

VIEWER = {"id": "u", "entity": "clinic", "username": "clinic", "email": "", "flags": "{}", "teams": {"edges": []}}
PROJECT = {
    "id": "p",
    "name": "medvl",
    "entityName": "clinic",
    "createdAt": "2026-11-23T10:00:00",
    "isBenchmark": False,
    "user": None,
}


def answer(query, variables):
    if "upsertView" in query:
        names = {"name": variables["projectName"], "entityName": variables["entityName"], "id": "p"}
        user = {"name": "clinic", "username": "clinic", "photoUrl": "", "id": "u"}
        kept = {key: variables[key] for key in ("name", "displayName", "description", "spec")}
        times = {"createdAt": "2026-11-23T10:00:00", "updatedAt": "2026-11-23T10:00:00"}
        view = {"id": "Vmlldzox", "type": "runs", "project": names, "user": user, **kept, **times}
        return {"upsertView": {"view": view, "inserted": True}}
    if "internalId" in query:
        return {"project": {"id": "p", "internalId": "cA=="}}
    if "models(" in query:
        pages = {"endCursor": None, "hasNextPage": False}
        return {"models": {"edges": [{"node": PROJECT, "cursor": "c"}], "pageInfo": pages}}
    return {"viewer": VIEWER}


@pytest.fixture
def server():
    """Yield the address of a server and the reports it received; it rejects a report named `refused`."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"])).strip()
            asked = json.loads(text) if text.startswith(b"{") else {}
            query, variables = asked.get("query", ""), asked.get("variables") or {}
            reply = {"data": answer(query, variables)}
            if "upsertView" in query:
                sent.append(variables)
                if "refused" in variables["displayName"]:
                    reply = {"data": None, "errors": [{"message": "permission denied"}]}
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}", sent
    service.shutdown()
    service.server_close()


def report(*words, cwd, **environment):
    command = [sys.executable, "-m", "medvl.cli", "report", *map(str, words), "out=out", "--wandb"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd / "home"), **environment}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", ["lora_rank-3f2a9c", "refused-3f2a9c"])
def test_the_report_is_saved_in_wandb_or_left_as_a_file(trained, server, tmp_path, name):
    address, sent = server
    sweep = make_sweep(trained[0], tmp_path / name)
    done = report(sweep, cwd=tmp_path, WANDB_MODE="online", WANDB_API_KEY="a" * 40, WANDB_BASE_URL=address)
    assert done.returncode == 0, done.stderr
    (first, *_) = sent
    assert first["entityName"] == "clinic" and first["projectName"] == "medvl" and name in first["displayName"]
    spec = json.loads(first["spec"])["blocks"]
    if name.startswith("refused"):
        assert "permission denied" in done.stdout and "the specification of the report is in out/" in done.stdout
        kept = read_json(tmp_path / "out/wandb_report.json")["spec"]["blocks"]
        assert [block["type"] for block in kept] == [block["type"] for block in spec]
    else:
        assert f"{address}/clinic/medvl/reports/" in done.stdout and not (tmp_path / "out/wandb_report.json").exists()


def test_without_an_account_the_specification_holds_run_sets_panels_and_tables(trained, tmp_path):
    sweep = make_sweep(trained[0], tmp_path / "lora_rank-3f2a9c")
    environment = {"WANDB_MODE": "online", "WANDB_API_KEY": ""}
    done = report(sweep, trained[0], cwd=tmp_path, **environment)
    assert done.returncode == 0 and "no W&B account is known here" in done.stdout, done.stderr
    spec = read_json(tmp_path / "out/wandb_report.json")["spec"]["blocks"]
    (grid,) = (block for block in spec if block["type"] == "panel-grid")
    sets = {one["name"]: one["filters"]["filters"][0] for one in grid["metadata"]["runSets"]}
    identity = read_json(trained[0] / "status.json")["wandb"]
    assert sets["Runs"]["key"]["name"] == "name" and sets["Runs"]["value"] == [identity]
    assert sets[sweep.name]["value"] == [identity] * 6
    panels = {panel["viewType"]: panel["config"] for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]}
    told = only_run(trained[0])
    line, bars = panels["Run History Line Plot"], panels["Bar Chart"]
    usual, earlier = line["metrics"]  # the second one as earlier versions of medvl sent it
    assert line["xAxis"] == "trainer/global_step" and {line["xAxis"], usual} <= told.history
    assert earlier in CURVES
    columns = [column["accessor"] for column in panels["Parallel Coordinates Plot"]["columns"]]
    assert columns == ["config:optimizer.lr.value", "config:lora.r.value", "summary:after/cer_text.last"]
    assert {"optimizer.lr", "lora.r"} <= told.config.keys()  # flat: nested keys would be lora.value.r
    assert told.metrics["after/cer_text"].last and told.metrics["after/cer_text"].min  # two numbers, two names
    assert bars["metrics"] == ["after/cer_text.last"]
    assert panels["Parameter Importance"]["targetKey"] == "after/cer_text.last"
    texts = [block["content"] for block in spec if block["type"] == "markdown-block"]
    assert any("| layout-free character error rate |" in text for text in texts)
