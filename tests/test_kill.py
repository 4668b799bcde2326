"""`medvl prepare`, killed at any moment and started again, ends with the same files."""

import hashlib
import os
import subprocess
import sys
import time

from conftest import ROOT

COMMAND = [sys.executable, "-m", "medvl.cli", "prepare", "data=forms_and_notes", "data.parts.forms.count=60"]


def files(cache):
    found = sorted(path for path in cache.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def start(cwd, cache):
    environment = {**os.environ, "MEDVL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(COMMAND, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_killed_preparation_resumes_to_the_same_files(tmp_path):
    undisturbed = start(tmp_path, tmp_path / "one")
    assert undisturbed.wait(300) == 0
    whole = files(tmp_path / "one")
    pages = sum(name.endswith(".png") for name in whole)
    assert pages > 100
    for share in (0.1, 0.6, 0.95):
        process = start(tmp_path, tmp_path / "two")
        deadline = time.time() + 120
        while len(list((tmp_path / "two").glob("pages/*.png"))) < share * pages and time.time() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait()
        partial = files(tmp_path / "two")
        assert not [name for name in partial if name.startswith("prepared") and name.endswith("prepared.json")]
        assert {name: whole[name] for name in partial} == partial  # what is there is whole
    assert start(tmp_path, tmp_path / "two").wait(300) == 0
    assert files(tmp_path / "two") == whole
