"""Failing trackers: the run continues, and the environment is left unchanged."""

import doctest
import os

import pytest
import wandb
from test_tracking import subject_of
from wandb_files import only_run

from medvl.tracking import Tracker, Wandb, names, tracker
from medvl.tracking.inputs import MOST_FACTS, within


def test_examples_in_the_docstrings():
    for module in (tracker, names):
        outcome = doctest.testmod(module)
        assert outcome.attempted and not outcome.failed


class Broken(Tracker):
    """A service that does not respond."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), 0

    def metrics(self, values, step=None):
        self.calls += 1
        if not (self.answers and self.answers.pop(0)):
            raise ConnectionError("no route to host")

    def finish(self, code):
        raise RuntimeError(f"cannot end with {code}")


def test_a_mirror_that_fails_costs_a_warning_a_kind(caplog):
    broken = Broken(False, False, True)
    guarded = tracker.Guarded(broken)
    for step in range(9):
        guarded.metrics({"train/lr": 1.0}, step=step)
    guarded.note(gate="not worse")
    guarded.finish(0)
    lines = [entry.getMessage() for entry in caplog.records]
    assert len(lines) == 2 and "Broken.metrics failed, ConnectionError: no route" in lines[0] and "finish" in lines[1]
    assert broken.calls == 6  # three failures in a row end the calls; a success resets the count
    for name, method in vars(Tracker).items():  # every method is guarded
        assert (
            name == "check_options" or not callable(method) or name.startswith("__") or name in vars(tracker.Guarded)
        ), name


def test_wandb_without_its_private_name_still_keeps_the_data(tmp_path, monkeypatch, caplog):
    log_artifact = wandb.Run._log_artifact

    def another(self, artifact, name=None, type=None, aliases=None, tags=None):
        return log_artifact(self, artifact, name, type, aliases, tags)

    monkeypatch.setattr(wandb.Run, "_log_artifact", another)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    told = Wandb(subject_of(tmp_path), project="medvl")
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "wandb")
    told.data("prepared", {"fingerprint": "abc", "examples": {}, "pages": 3, "tokens": 5})
    told.finish(0)
    assert "cannot mark data-abc as an input" in caplog.text and "WANDB_DATA_DIR" not in os.environ
    (data,) = only_run(tmp_path).artifacts
    assert data.name == "data-abc" and not data.use_after_commit


def test_a_wandb_that_does_not_start_or_end_leaves_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    with pytest.raises(wandb.errors.UsageError):
        Wandb(subject_of(tmp_path), project="a/b")
    assert "WANDB_DATA_DIR" not in os.environ
    told = Wandb(subject_of(tmp_path), project="medvl")
    monkeypatch.setattr(told, "note", lambda **words: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        told.finish(1)
    assert "WANDB_DATA_DIR" not in os.environ and wandb.run is None and only_run(tmp_path).code == 1


def test_an_artifact_with_more_facts_than_wandb_takes_is_kept_with_the_first_of_them(caplog):
    facts = {f"after/{at}": at for at in range(MOST_FACTS + 30)}
    artifact = wandb.Artifact("export-1", type="export", metadata=within(facts))
    assert artifact.metadata == dict(list(facts.items())[:MOST_FACTS]) and "100 of 130 facts" in caplog.text
    with pytest.raises(ValueError, match="metadata"):
        wandb.Artifact("export-1", type="export", metadata=facts)
