"""`medvl download` from a small hub on this machine, which cuts a connection and serves a damaged file."""

import functools
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import huggingface_hub
import pytest

from medvl.model import fetching
from medvl.model.fetching import offer
from medvl.record.directory import Record
from medvl.record.files import read_json
from medvl.run import downloading

COMMIT = "a" * 40
FILES = {"config.json": b'{"model_type": "qwen2_5_vl"}', "model.safetensors": bytes(range(256)) * 800, "notes.md": b"#"}


class Hub(BaseHTTPRequestHandler):
    """Answers like huggingface.co."""

    ranges: list
    cut: set
    damaged: set

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        if self.path.startswith("/api/models/clinic/base"):
            return self.send(json.dumps(self.about()).encode(), body, {"Content-Type": "application/json"})
        name = self.path.rpartition("/")[2]
        if name not in FILES:
            self.send_response(404)
            self.end_headers()
            return None
        data = FILES[name]
        etag = hashlib.sha256(data).hexdigest()
        if name in self.damaged and body:
            self.damaged.discard(name)
            data = bytes(len(data))
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)
        if body:
            self.ranges.append((name, start))
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        return self.send(data, body, headers, start=start, cut=name in self.cut and body)

    def send(self, data, body, headers, start=0, cut=False):
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body and cut:
            self.cut.clear()
            self.wfile.write(data[start : len(data) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(data[start:])

    def about(self):
        told = []
        for name, data in FILES.items():
            one = {"rfilename": name, "size": len(data)}
            one["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if name.endswith("safetensors"):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                one["lfs"]["oid"] = one["lfs"]["sha256"]
            told.append(one | {"type": "file", "path": name, "oid": one["blobId"]})
        if "/tree/" in self.path:
            return told
        card = {"license": "other", "license_name": "clinic-research", "license_link": "LICENSE"}
        return {"id": "clinic/base", "sha": COMMIT, "siblings": told, "cardData": card, "gated": False, "tags": []}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    Hub.ranges, Hub.cut, Hub.damaged = [], set(), set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_licence_and_size_are_told_first_and_every_file_is_checked(hub, tmp_path):
    told = offer("clinic/base", None, tmp_path / "cache", hub)
    assert "licence clinic-research (LICENSE)" in str(told) and "2 files" in str(told) and COMMIT[:12] in str(told)
    assert told.missing == sum(len(FILES[name]) for name in ("config.json", "model.safetensors"))
    folder = told.fetch()
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    record = told.to_json(folder)
    assert record["files"]["model.safetensors"]["sha256"] == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert record["revision"] == COMMIT and record["licence"].startswith("clinic-research")
    assert offer("clinic/base", None, tmp_path / "cache", hub).missing == 0


def test_a_cut_download_goes_on_and_a_damaged_file_is_fetched_again(hub, tmp_path):
    Hub.cut, Hub.damaged = {"model.safetensors"}, {"config.json"}
    told = offer("clinic/base", None, tmp_path, hub)
    try:
        folder = told.fetch()
    except ValueError as error:
        assert "Run the same command again; it goes on" in str(error)
        folder = told.fetch()
    assert all((folder / name).read_bytes() == FILES[name] for name in ("config.json", "model.safetensors"))
    starts = [start for name, start in Hub.ranges if name == "model.safetensors"]
    assert len(starts) == 2 and starts[1] > 0  # not from its beginning
    assert [name for name, _ in Hub.ranges].count("config.json") == 2


def test_what_cannot_be_downloaded_is_refused_first(hub, tmp_path, monkeypatch):
    told = offer("clinic/base", None, tmp_path, hub)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 2**29})())
    with pytest.raises(ValueError, match=r"needs 1\.0 GiB, 0\.5 GiB are free in .*Set HF_HUB_CACHE="):
        told.check_room()
    with pytest.raises(ValueError, match="the hub does not tell of clinic/none"):
        offer("clinic/none", None, tmp_path, hub)


def test_the_verb_tells_downloads_and_records(hub, tmp_path, monkeypatch):
    said, here = [], functools.partial(offer, cache=tmp_path / "cache", endpoint=hub)
    monkeypatch.setattr(downloading, "offer", here)
    model = SimpleNamespace(path="clinic/base", revision=None, is_local=False)
    context = SimpleNamespace(config=SimpleNamespace(model=model), record=Record(tmp_path / "run"), say=said.append)
    downloading.download(context)
    assert "licence clinic-research" in said[0] and "the hashes of all 2 files are those of the hub" in said[1]
    assert read_json(tmp_path / "run/download.json")["revision"] == COMMIT
    model.is_local = True
    with pytest.raises(ValueError, match="is a folder of this machine"):
        downloading.download(context)
