"""`medvl prepare`, killed at any moment and restarted, produces the same files and leaves no processes behind."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT

# Enough documents that worker processes start.
COMMAND = [
    sys.executable,
    "-m",
    "medvl.cli",
    "prepare",
    "data=forms_and_notes",
    "data.parts.forms.count=260",
    "data.weights.notes=0.1",
]


def files(cache):
    found = sorted(path for path in cache.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def start(cwd, cache):
    environment = {**os.environ, "MEDVL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(COMMAND, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def left_running(cache):
    """Return the processes that use this cache, found by their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(cache).encode() in entry.read_bytes():
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


def test_a_killed_preparation_resumes_to_the_same_files(tmp_path):
    undisturbed = start(tmp_path, tmp_path / "one")
    assert undisturbed.wait(300) == 0
    whole = files(tmp_path / "one")
    pages = sum(name.endswith(".png") for name in whole)
    assert pages > 600
    for share in (0.2, 0.9):
        process = start(tmp_path, tmp_path / "two")
        deadline = time.time() + 120
        while len(list((tmp_path / "two").glob("pages/*.png"))) < share * pages and time.time() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait()
        deadline = time.time() + 30
        while left_running(tmp_path / "two") and time.time() < deadline:
            time.sleep(0.1)
        assert not left_running(tmp_path / "two")
        partial = files(tmp_path / "two")
        assert not [name for name in partial if name.endswith("prepared.json")]
        assert {name: whole[name] for name in partial} == partial  # existing files are complete
    assert start(tmp_path, tmp_path / "two").wait(300) == 0
    assert files(tmp_path / "two") == whole
