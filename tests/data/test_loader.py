"""The data loader's workers: they neither hang a run nor outlive it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from torch.utils.data import Dataset

from medvl.data import datamodule
from medvl.data.datamodule import DocumentData, Loader
from medvl.data.prepare import Prepared


class Stuck(Dataset):
    def __init__(self, folder, end=time.sleep):
        self.folder, self.end = folder, end

    def __getitem__(self, index):
        (self.folder / str(os.getpid())).touch()
        self.end(1000)


def fall(code):
    os.kill(os.getpid(), signal.SIGKILL)


def wrong(code):
    raise RuntimeError("the data are wrong")


def loader(folder, end=time.sleep):
    options = dict.fromkeys(("budget", "seed", "accumulate", "steps", "epochs", "val_rows"))
    data = DocumentData(Prepared(examples={}), None, **options, workers=2, pin=False)
    return Loader(Stuck(folder, end), sampler=range(4), **data.loading)


def alive(folder):
    """Return the workers that have not ended; one that nobody has waited for yet has."""
    states = [Path(f"/proc/{path.name}/stat") for path in folder.iterdir()]
    return [path for path in states if path.exists() and path.read_text().rpartition(") ")[2][0] != "Z"]


def gone(folder, patience_s=20):
    until = time.monotonic() + patience_s
    while alive(folder) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(folder)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (time.sleep, r"^DataLoader timed out after 1 seconds\. Set hardware\.workers=0"),
        (fall, r"^DataLoader worker .*(exited|killed).*\. Set hardware\.workers=0"),
    ],
)
def test_workers_that_hang_or_die_end_the_run_with_a_sentence(tmp_path, monkeypatch, end, said):
    monkeypatch.setattr(datamodule, "PATIENCE_S", 1)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    with pytest.raises(ValueError, match=said):
        next(iter(loader(tmp_path, end)))
    assert list(tmp_path.iterdir()) and gone(tmp_path)


def test_what_the_data_raise_in_a_worker_stays_as_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="the data are wrong"):
        next(iter(loader(tmp_path, wrong)))
    assert gone(tmp_path)


def test_workers_that_hang_end_with_a_parent_that_is_killed(tmp_path):
    code = f"from pathlib import Path; import test_loader; next(iter(test_loader.loader(Path({str(tmp_path)!r}))))"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/data")])
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(alive(tmp_path)) == 2
    parent.kill()
    parent.wait()
    assert gone(tmp_path)
