"""What a launcher makes of a job's files that are damaged."""

import json
import signal

import pytest

from medvl.record.directory import Record
from medvl.record.files import read_json
from medvl.sweeping.local import note_end
from medvl.sweeping.plan import Planned, State, SweepPlan, numbers_of, state_of, value_of
from medvl.sweeping.progress import rows_of

DAMAGED = ["", "[]", "7", '{"state": []}', '{"state": "done", "objective": 3}', '{"state": "won"}', "[" * 10_000, "\0"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_status_counts_as_none(tmp_path, text):
    run = tmp_path / "0123456789"
    run.mkdir()
    (run / "status.json").write_text(text)
    (run / "metrics.json").write_text(text)
    assert state_of(run) is State.pending and value_of(run) is None and numbers_of(run).keys() <= {"objective"}
    (row,) = rows_of(SweepPlan(folder=tmp_path, script="train", jobs=[Planned(run.name, [])]))
    assert row.state is State.pending and row.error.startswith("status.json is damaged: ")


@pytest.mark.parametrize("text", DAMAGED)
def test_the_end_of_a_job_is_recorded_over_a_damaged_status(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    (tmp_path / "output.log").mkdir()
    note_end(tmp_path, -signal.SIGKILL)
    assert read_json(tmp_path / "status.json")["state"] == "failed"
    (tmp_path / "status.json").write_text(text)
    Record(tmp_path).open("seed: 1\n")
    assert state_of(tmp_path) is State.killed  # its process holds no lock


def test_a_running_job_without_a_time_has_lasted_as_long_as_it_worked(tmp_path):
    from medvl.sweeping.progress import _seconds

    assert _seconds({"state": "running", "worked_s": 7.0}, State.running) == 7.0
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", "updated": 3}))
    assert state_of(tmp_path) is State.pending
