"""Files of JSON that a power cut, a kill or another program has damaged."""

import json
import os

import pytest

from medvl.record import files
from medvl.record.directory import Record
from medvl.record.files import append_json, read_json, read_jsonl, write_json

ROWS = [{"step": step, "train/nats_per_token": step / 10} for step in range(1, 7)]
LINES = [json.dumps(row).encode() + b"\n" for row in ROWS]


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path / "run")


def write(record, *parts):
    (record.path / "metrics.jsonl").write_bytes(b"".join(parts))
    return record.path / "metrics.jsonl"


def steps(record):
    return [row["step"] for row in read_jsonl(record.path / "metrics.jsonl")]


def test_a_block_of_nul_bytes_costs_only_its_own_rows(record):
    path = write(record, *LINES[:2], b"\0" * 4096, *LINES[2:])
    assert read_jsonl(path) == ROWS  # the row behind the block is on the same line
    path = write(record, *LINES[:2], b"\0" * 4096 + b"\n", *LINES[3:])
    assert read_jsonl(path) == [*ROWS[:2], *ROWS[3:]]


def test_resuming_keeps_the_history_behind_damage_and_the_damage_itself(record, caplog):
    path = write(record, LINES[0], b'{"step": 2, "tr\xff\n', b"[3]\n", b'{"train/lr": 1}\n', b"\0\0\n", *LINES[3:])
    record.rewind(5)
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [ROWS[0], ROWS[3], ROWS[4]]
    bad = (record.path / "metrics.jsonl.bad").read_bytes()
    assert bad == b'{"step": 2, "tr\xff\n[3]\n\0\0\n{"train/lr": 1}\n'
    assert "4 damaged line(s) moved to metrics.jsonl.bad" in caplog.text
    record.rewind(5)
    assert (record.path / "metrics.jsonl.bad").read_bytes() == bad and caplog.text.count("moved to") == 1


@pytest.mark.parametrize("row", [{"step": "1"}, {"step": True}, {"step": 1, "train/lr": "x"}, {"step": 1, "a": [2]}])
def test_rows_whose_values_are_no_numbers_are_damage(record, caplog, row):
    write(record, json.dumps(row).encode() + b"\n", *LINES[:2])
    assert record.steps() == ROWS[:2] and "metrics.jsonl: left out: 1 of 3 rows" in caplog.text
    record.rewind(6)
    assert steps(record) == [1, 2] and "1 damaged line(s) moved to metrics.jsonl.bad" in caplog.text


def test_a_line_cut_by_a_kill_is_no_damage(record, caplog):
    path = write(record, *LINES[:3], b'{"step": 4, "trai')
    assert read_jsonl(path) == ROWS[:3]
    record.rewind(6)
    assert steps(record) == [1, 2, 3] and not caplog.text and not path.with_name("metrics.jsonl.bad").exists()


def test_rows_that_are_there_twice_are_kept_once(record):
    validation = {"step": 2, "val/nats_per_token": 0.5}
    again = {"step": 2, "train/nats_per_token": 0.7}
    write(record, *LINES[:3])
    append_json(record.path / "metrics.jsonl", [validation, again])
    record.rewind(2)
    assert read_jsonl(record.path / "metrics.jsonl") == [ROWS[0], again, validation]


def test_damage_is_counted_in_a_warning(record, caplog):
    files.warn_once.cache_clear()
    path = write(record, b"12\n", *LINES, b'"text"\n')
    assert read_jsonl(path) == ROWS and "metrics.jsonl: 2 damaged line(s) left out" in caplog.text


@pytest.mark.parametrize("text", ["", "[1]", '"done"', "null", "\0\0", '{"a": ', "[" * 100_000])
def test_only_an_object_is_read_from_json(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    assert read_json(tmp_path / "status.json") is None


def test_half_a_character_is_written_and_read_back(record):
    """A lone surrogate, as in JSON made by programs that count in UTF-16."""
    text = "caf\u00e9 \ud83d and \udc80"
    write_json(record.path / "status.json", {"error": text})
    assert read_json(record.path / "status.json") == {"error": text}
    assert read_jsonl(record.predictions([{"prediction": text}])) == [{"prediction": text}]
    record.metrics({"step": 1, "text": text})
    assert read_jsonl(record.path / "metrics.jsonl") == [{"step": 1, "text": text}]


def test_a_name_as_long_as_possible_can_be_written(tmp_path):
    path = tmp_path / ("a" * 250 + ".json")
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1} and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        (b'{"step": 2}\0\0\0{"step": 3}\n{"step": 4}\n', [2, 3, 4]),
        (b'{"st\0\0\0{"step": 4}\n', [4]),
        (b"\0\0\0\n", []),
    ],
)
def test_what_stands_on_both_sides_of_a_block_of_nuls_is_kept(data, steps):
    rows, bad = files.split_jsonl(data)
    assert [row["step"] for row in rows] == steps and len(bad) == 1


def test_a_pipe_in_place_of_a_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "environment.json")
    assert read_json(tmp_path / "environment.json") is None
