"""Files that others made or damaged: left out of reports and comparisons with a line, never a traceback or code run."""

import itertools
import json
import math
import os
import re
import warnings

import pytest
from reports import answers, change, make_bench, make_run, make_small_sweep, reconfigure, written_rows

from medvl.evaluation.comparison import compare
from medvl.record.files import read_json
from medvl.reporting.report import write
from medvl.reporting.runs import ReportedRun
from medvl.sweeping.plan import State, SweepPlan, numbers_of, state_of, value_of
from medvl.sweeping.progress import status_text
from medvl.sweeping.table import sweep_table

DEEP = 10_000
CONTENTS = {
    "empty": b"",
    "a list": b"[]",
    "a text": b'"done"',
    "a number": b"7",
    "null": b"null",
    "half": b'{"state": "do',
    "an empty object": b"{}",
    "NUL bytes": b"\0" * 64,
    "no UTF-8": b'{"state": "\xff\xfe"}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "less deep": b'{"a":' * 500 + b"1" + b"}" * 500,
    "numbers without end": b'{"state": "done", "format": 2, "worked_s": 1e400, "step": NaN, "steps": '
    + b"9" * 5000
    + b"}",
    "half a character": b'{"format": 2, "state": "done", "error": "\\ud800", "objective": {"name": "\\udfff"}}',
    "numbers as texts": b'{"format": 2, "state": "done", "step": "1", "objective": {"name": "cer", "value": "0.1"}}',
    "wrong types": b'{"state": ["done"], "format": 2, "objective": [1], "gate": "worse", "headline": 3, "error": {}}',
    "more columns": b'{"step": 1} trailing',
}
ROWS = ["metrics.jsonl", "predictions.jsonl", "predictions_before.jsonl", "predictions_replay.jsonl"]
EXTRA = {"half a character", "numbers as texts", "wrong types"}  # fine where their keys mean nothing
FINE = {
    "status.json": {"half a character"},
    "environment.json": {"an empty object", *EXTRA},
    "metrics.json": {"an empty object", *EXTRA},
    "metrics.jsonl": {"empty"},
    "predictions.jsonl": {"empty"},
    "config.yaml": {"an empty object", *EXTRA},
}


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def report(paths, out):
    """Write a report; return its page and tables as one text."""
    page = write(paths, out)
    json.loads((out / "FINAL_REPORT.json").read_text(), parse_constant=pytest.fail)
    return page.read_text() + (out / "BENCHMARK_REPORT.md").read_text()


def lines_about_faults(page):
    section = re.search(r'<section id="faults">.*?</section>', page, re.DOTALL)
    return re.findall(r"<li>(.*?)</li>", section.group()) if section else []


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["status.json", "environment.json", "metrics.json", "metrics.jsonl", "config.yaml"])
def test_a_damaged_file_is_left_out_of_a_report_with_a_line(tmp_path, name):
    good, folders = make_run(tmp_path / "all/good"), {}
    for content, data in CONTENTS.items():
        folders[content] = make_run(tmp_path / "all" / content.replace(" ", "-"), 1)
        (folders[content] / name).write_bytes(data + b"\n" * (name in ROWS))
    before = contents(tmp_path)
    page = report([good.parent], tmp_path / "out")
    assert "20.8 %" in page  # the character error rate of the good run, 10 of 48
    told = {line.partition(" is damaged: ")[0] for line in lines_about_faults(page)}
    assert told == {f"{name} of {run.name}" for content, run in folders.items() if content not in FINE.get(name, ())}
    assert {path: data for path, data in contents(tmp_path).items() if "out" not in path.parts} == before


@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_file_reads_as_empty(tmp_path, content):
    folder = make_run(tmp_path / "run")
    (folder / "audit.json").write_bytes(CONTENTS[content])
    (folder / "predictions.jsonl").write_bytes(CONTENTS[content] + b"\n")
    run = ReportedRun(path=folder, name="run")
    assert run.audit == {} and run.rows() == []
    assert set(run.faults) == ({"audit.json"} if content == "empty" else {"audit.json", "predictions.jsonl"})


WRONG = [
    ("status.json", "gate", {"verdict": "worse"}, "gate has no why"),
    ("status.json", "gate", {"verdict": "worse", "why": [None]}, "gate.why.0 is null, not text"),
    ("status.json", "objective", {"value": 1}, "objective has no name"),
    ("status.json", "updated", "yesterday", "updated is not a time such as"),
    ("status.json", "worked_s", -1, "worked_s is not a number of seconds"),
    ("status.json", "training", {"train_s": "abc"}, "training.train_s is text, not a number"),
    ("status.json", "training", {"train_s": -1}, "training.train_s is not a number of seconds"),
    ("status.json", "training", {"train_peak_mib": None}, "training.train_peak_mib is null, not a number"),
    ("status.json", "wandb", "1'] or ID != ['", "wandb is not the id of a run in W&amp;B"),
    ("status.json", "headline", {"cer": {}}, "headline.cer is an object, not a number"),
    ("environment.json", "cores", "many", "cores is text, not a whole number"),
    ("environment.json", "choices", {"groups": {"data": 1}}, "choices.groups.data is a whole number, not text"),
    ("metrics.json", "after", {"cer": 0.1}, "after is not the scores of a number of examples and documents"),
    ("metrics.json", "after", {"cer": "0.1", "examples": 1, "documents": 1}, "after.cer is text, not a number"),
    ("metrics.json", "intervals", {"after": {"cer": [0.1]}}, "intervals.after.cer has 1 entries, not 2"),
    ("metrics.json", "verdict", {}, "verdict is an object, not text"),
    ("audit.json", "train", {"tokens": []}, "train has no kinds"),
    ("audit.json", "train", {"kinds": {"John Doe": "all"}}, "train.kinds.... is text, not a number"),
]


@pytest.mark.parametrize(("name", "key", "value", "said"), WRONG)
def test_a_report_says_what_is_wrong_in_a_file_but_quotes_nothing(tmp_path, name, key, value, said):
    good, bad = make_run(tmp_path / "s/good"), make_run(tmp_path / "s/bad", -0.5)
    change(bad / name, **{key: value})
    named = [good, bad] if name == "audit.json" else [good.parent]
    page = report(named, tmp_path / "out")
    (line,) = lines_about_faults(page)
    assert line.startswith(f"{name} of bad is damaged: {said}") and "John" not in line and "yesterday" not in line


def test_rows_of_another_shape_are_left_out_and_counted(tmp_path):
    run = make_run(tmp_path / "run")
    rows = answers()
    wrong = [
        {**rows[0], "scores": {"cer": [1, 0]}},
        {**rows[0], "scores": {"cer": [math.nan, 1]}},
        {**rows[0], "scores": {"cer": 1}},
        {**rows[0], "id": ["x"]},
        {key: value for key, value in rows[0].items() if key != "kind"},
        rows,
        3,
    ]
    written_rows(run / "predictions.jsonl", [*rows[1:], *wrong])
    written_rows(run / "metrics.jsonl", [{"step": 1, "train/nats_per_token": 2.0}, {"train/nats_per_token": 1.0}])
    page = report([run], tmp_path / "out")
    assert "the worst and the median of 3 examples" in page
    assert lines_about_faults(page) == [
        "predictions.jsonl of run is damaged: 7 of 10 rows (it has no kind).",
        "metrics.jsonl of run is damaged: 1 of 2 rows (it has no step).",
    ]
    with pytest.raises(ValueError, match=r"predictions.jsonl is damaged: 6 of 10 rows .*Restore the file"):
        compare(run, run)


def test_numbers_beyond_reason_do_not_break_a_figure(tmp_path):
    run, bench = make_run(tmp_path / "run"), make_bench(tmp_path / "bench")
    metrics = read_json(run / "metrics.json")
    for at, value in enumerate((1e308, -math.inf, 10**400, math.nan)):
        metrics["after"][("cer", "wer", "exact", "combined")[at]] = value
    metrics["intervals"]["after"] = {name: [-1e308, math.inf] for name in ("cer", "wer", "exact")}
    (run / "metrics.json").write_text(json.dumps(metrics))
    written_rows(run / "metrics.jsonl", [{"step": at, "train/nats_per_token": 10.0**at} for at in (1, 308, 300, 2)])
    change(run / "audit.json", train={"kinds": {"a": 1e308, "b": math.inf}, "tokens": [math.nan] * 5})
    change(bench / "benchmark.json", peak_mib=math.inf, latency_p50_ms=1e308, weights_mib=10**30)
    other = make_bench(tmp_path / "other")
    report([run, bench, other], tmp_path / "out")


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "link to itself", "pipe", "endless"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    good = make_run(tmp_path / "good")
    names = ["status.json", "config.yaml", "metrics.json", "predictions.jsonl", "audit.png"]
    for at, name in enumerate(names):
        bad = make_run(tmp_path / f"bad{at}", 1)
        (bad / name).unlink(missing_ok=True)
        if kind == "folder":
            (bad / name).mkdir()
        elif kind == "pipe":
            os.mkfifo(bad / name)
        else:
            targets = {"link to nothing": "gone", "link to itself": name, "endless": "/dev/zero"}
            (bad / name).symlink_to(targets[kind])
    bad = [tmp_path / f"bad{at}" for at in range(len(names))]
    lines = lines_about_faults(report([good, *bad], tmp_path / "out"))
    assert len(lines) == len(names) and {re.search("bad.", line).group() for line in lines} == {one.name for one in bad}
    for at in (0, 1, 3):
        with pytest.raises(ValueError, match=f"bad{at}"):
            compare(good, bad[at])
    for at in range(3):
        with pytest.raises(ValueError, match=f"bad{at}"):
            report([bad[at]], tmp_path / "alone")
    assert not (tmp_path / "alone").exists()


def test_a_sweep_counts_a_damaged_status_as_not_started(tmp_path):
    sweep = make_small_sweep(tmp_path / "s")
    (sweep / "0000000000/status.json").write_text('{"state": {}}')
    text, table = status_text(SweepPlan.read(sweep)), sweep_table(sweep)
    said = "0000000000: status.json is damaged: state is none of done, failed, pruned, running, interrupted"
    assert text.startswith("3 jobs: 1 done, 2 left; best cer 0.2917 (lora.r=9)") and text.endswith(said)
    assert table.endswith(said) and state_of(sweep / "0000000000") is State.pending
    assert value_of(sweep / "0000000000") is None and numbers_of(sweep / "0000000000")["train/weights_mib"] == 16
    page = report([sweep], tmp_path / "out")
    assert "3 runs: 1 damaged, 1 done, 1 not started" in page and len(lines_about_faults(page)) == 1


PLAN = {"format": 1, "script": "train", "name": "s", "jobs": [{"run": "0" * 10, "overrides": []}]}


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([], "it is a list, not an object"),
        ({}, "of format None"),
        ({"format": 1, "script": "train"}, "it has no jobs"),
        ({**PLAN, "jobs": {}}, "jobs is an object, not a list"),
        ({**PLAN, "jobs": [{"run": "../../up", "overrides": []}]}, "jobs.0.run is not the name of a folder"),
        ({**PLAN, "jobs": [{"run": "/etc", "overrides": []}]}, "jobs.0.run is not the name of a folder"),
        ({**PLAN, "jobs": [{"run": "a" * 256, "overrides": []}]}, "jobs.0.run is not the name of a folder"),
        ({**PLAN, "jobs": [{"run": "a", "overrides": [1]}]}, "jobs.0.overrides.0 is a whole number, not text"),
        ({**PLAN, "search": {"trials": 3}}, "search has no objectives"),
        ({**PLAN, "search": {"objectives": [{"name": "cer", "direction": "up"}]}}, "direction is none of minimize"),
        ({**PLAN, "search": {"objectives": [], "trials": "many"}}, "search.trials is text, not a whole number"),
    ],
)
def test_a_damaged_plan_is_refused_in_a_sentence(tmp_path, plan, said):
    sweep, good = make_small_sweep(tmp_path / "s"), make_run(tmp_path / "good")
    (sweep / "sweep.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=re.escape(said)):
        SweepPlan.read(sweep)
    with pytest.raises(ValueError, match=re.escape(said)):
        report([sweep], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (line,) = lines_about_faults(report([sweep, good], tmp_path / "out"))
    assert "sweep.json" in line and said in line


def test_a_plan_with_keys_of_a_newer_version_is_read(tmp_path):
    sweep = make_small_sweep(tmp_path / "s")
    change(sweep / "sweep.json", colour="blue")
    assert len(SweepPlan.read(sweep).jobs) == 3


def test_a_composition_is_text_and_no_code(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    marker = tmp_path / "executed"
    pairs = itertools.pairwise("abcdefghi")
    laughs = "a: &a [x]\n" + "".join(f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in pairs)
    for at, (text, said) in enumerate(
        {
            f"a: !!python/object/apply:os.system ['touch {marker}']": "tags",
            laughs: "aliases",
            "a: &a [*a]": "aliases",
            "a:\n\t- b": "character",
            "a: b\0": "character",
            "- a": "not a composition",
        }.items()
    ):
        run = make_run(tmp_path / f"run{at}")
        (run / "config.yaml").write_text(text)
        page = report([run], tmp_path / "out")
        (line,) = lines_about_faults(page)
        assert line.startswith(f"config.yaml of run{at} is damaged") and said in line
        assert "aspirin" not in page  # whether the pages may be shown is not known
    run = make_run(tmp_path / "run")
    reconfigure(run, "eval.objective", "${oc.env:SECRET} ${now:%Y} {{ 7 * 7 }}")
    page = report([run], tmp_path / "out")
    assert "${oc.env:SECRET} ${now:%Y} {{ 7 * 7 }}" in page and "hunter2" not in page and not marker.exists()
