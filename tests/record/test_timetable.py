"""The time that a run takes, told by a clock of the test's own."""

import doctest
import logging
from types import SimpleNamespace

import pytest

from medvl.record import timetable as module
from medvl.record.directory import Record
from medvl.record.files import read_json
from medvl.record.timetable import Part, Timetable, told_every_minute
from medvl.run import pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)

    def lines():
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return lines


def parts():
    return [
        Part(name="evaluation", amount=60, unit="answer", title="evaluation before training"),
        Part(name="training", amount=120, unit="step"),
        Part(name="evaluation", amount=60, unit="answer", title="evaluation after training"),
    ]


def test_a_run_alike_tells_the_time_before_and_measuring_corrects_it(said):
    clock = Clock()
    table = Timetable(parts(), {"evaluation": 1.0, "training": 1.0}, clock)
    table.start()
    assert said() == ["the run takes about 4 min: evaluation 1, training 2, evaluation 1"]
    with table.part(0):
        clock.now = 30.0
        table.reach(30)
        assert table.left_s() == 210 and table.facts() == {"phase": "evaluation before training", "left_s": 210.0}
        clock.now = 120.0  # twice as slow
    assert said() == ["about 4 min left: training 2, evaluation 2"]
    with table.part(1):
        clock.now += 60
        table.reach(10)
        assert said() == ["training: 10 of 120 steps, 6 s a step, about 13.0 min left"]
        clock.now += 30
        table.reach(15)
        assert not said()  # the minute is not over
        clock.now += 15
        assert table.left_s() == pytest.approx(105 * 6 - 15 + 120)  # the time since the last step is over too
    assert table.rates() == {"evaluation": 2.0, "training": pytest.approx(105 / 120)}


def test_without_a_run_alike_it_is_told_after_the_first_steps(said):
    clock = Clock()
    table = Timetable(parts(), clock=clock)
    table.start()
    assert said() == ["how long the run takes is known after the first steps of its training"]
    with table.part(0):
        clock.now = 60.0
        table.tick(60)
        assert table.left_s() is None and table.facts() == {"phase": "evaluation before training"}
        said()
    with table.part(-2):
        clock.now += 2
        table.reach(2)
        assert table.left_s() is None  # too little to go by
        clock.now += 4
        table.reach(3)
        assert said() == ["about 4.9 min left: training 3.9, evaluation 1"]
    with table.part(-1):
        table.lessen(60)
    assert table.left_s() == 0.0


def test_on_a_terminal_the_bar_tells_it(said, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: True))
    table = Timetable(parts(), {"evaluation": 1.0, "training": 1.0}, clock)
    with table.part(0):
        clock.now = 100.0
        table.estimated = True
        table.reach(50)
    assert not [line for line in said() if "answers" in line]


def test_no_parts_measure_nothing(said):
    table = Timetable()
    table.start()
    with table.part(-2):
        table.tick()
        table.reach(3)
        table.lessen(1)
    assert table.left_s() is None and table.facts() == table.rates() == {} and not said()


def test_preparation_tells_a_line_a_minute(said):
    clock = Clock()

    def slow():
        for at in range(4):
            clock.now += 40
            yield at

    assert list(told_every_minute(slow(), "preparing", 4, "document", clock)) == [0, 1, 2, 3]
    assert said() == [
        "preparing: 2 of 4 documents, 40 s a document, about 80 s left",
        "preparing: 4 of 4 documents, 40 s a document, about 0 s left",
    ]
    assert list(told_every_minute([], "reading", None, "record", clock)) == []


def test_the_status_of_a_run_at_work_says_what_is_left(tmp_path):
    record = Record(tmp_path)
    clock = Clock()
    record.timetable = Timetable(parts(), {"evaluation": 1.0, "training": 1.0}, clock, lambda: record.status("running"))
    with record.timetable.part(0):
        clock.now = 10.0
        record.timetable.reach(10)
        assert read_json(tmp_path / "status.json")["left_s"] == 230.0
    record.status("done")
    assert not {"left_s", "phase"} & read_json(tmp_path / "status.json").keys()


def context(tmp_path, **settings):
    record = Record(tmp_path / "run")
    whole = {"model": {"shape": "nano"}, "trainer": {"accumulate": 1}, "data": {"path": "secret"}, **settings}
    config = SimpleNamespace(cache=str(tmp_path))
    return SimpleNamespace(config=config, record=record, settings=whole, groups={"data": "text"}, script="train")


def test_rates_are_kept_for_runs_alike(tmp_path):
    first = context(tmp_path)
    table = pace.timetable(first, parts())
    assert table.known == {}
    table.parts[0].done, table.parts[0].seconds, table.parts[0].ended = 60, 30.0, True
    pace.remember(first)
    assert pace.timetable(context(tmp_path), parts()).known == {"evaluation": 0.5}
    assert pace.timetable(context(tmp_path, lora={"r": 8}), parts()).known == {}
    assert "secret" not in (tmp_path / "rates.json").read_text()
    for damaged in ("{", '{"x": 3}', '{"x": {"training": "fast"}}', "[]"):
        (tmp_path / "rates.json").write_text(damaged)
        assert pace.timetable(context(tmp_path), parts()).known == {}
    pace.remember(first)
    assert pace.timetable(context(tmp_path), parts()).known == {"evaluation": 0.5}  # a damaged file is replaced


def test_only_the_newest_rates_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "MOST", 3)
    for rank in range(5):
        one = context(tmp_path, lora={"r": rank})
        table = pace.timetable(one, parts())
        table.parts[0].done, table.parts[0].seconds, table.parts[0].ended = 60, 30.0, True
        pace.remember(one)
    kept = [bool(pace.timetable(context(tmp_path, lora={"r": rank}), parts()).known) for rank in range(5)]
    assert kept == [False, False, True, True, True]


def test_the_examples_in_docstrings():
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
