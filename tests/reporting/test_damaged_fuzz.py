"""Readers of runs and sweeps on files that are changed at random: they answer, or refuse in a ValueError."""

import json
import math
import shutil
import warnings

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports import make_bench, make_evaluation, make_run, make_small_sweep

from medvl.evaluation.comparison import compare
from medvl.reporting.report import write
from medvl.sweeping.plan import SweepPlan, numbers_of, state_of
from medvl.sweeping.progress import status_text
from medvl.sweeping.table import sweep_table

VALUES = [
    *(None, True, 0, -1, 1.5, 1e308, math.nan, math.inf, 10**300, [], [[]], [1, "2"], [None], {}, {"cer": [0, 0]}),
    *("", "x", "nan", "../..", "\ud800\0\x1b[2J", "${oc.env:SECRET}", "a" * 3000, {"name": []}, ["!!python/name:os"]),
]
BYTES = [b"", b"\0", b"\xff", b"{", b"]", b'"', b"\n", b"1e999", b"*a", b"!!python/name:os.system ", b"\t", b"9" * 5000]
SEEDED = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}


def changed_node(draw, node):
    """Return JSON values with one of them replaced, removed or doubled."""
    if not isinstance(node, dict | list) or not node or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(VALUES))
    keys = sorted(node) if isinstance(node, dict) else range(len(node))
    key, copy = draw(st.sampled_from(keys)), node.copy()
    if draw(st.integers(0, 5)) == 0:
        copy.pop(key)
    elif isinstance(node, list) and draw(st.integers(0, 3)) == 0:
        copy.append(node[key])
    else:
        copy[key] = changed_node(draw, node[key])
    return copy


@st.composite
def changes(draw, folder, names):
    """Draw up to three files and their new contents."""
    made = {}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        data = (folder / name).read_bytes()
        if draw(st.booleans()):
            at = draw(st.integers(0, len(data)))
            made[name] = data[:at] + draw(st.sampled_from(BYTES)) + data[at + draw(st.integers(0, 40)) :]
        elif name.endswith(".jsonl"):
            rows = changed_node(draw, [json.loads(line) for line in data.splitlines()])
            made[name] = "".join(
                json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows])
            ).encode()
        elif name.endswith(".yaml"):
            made[name] = yaml.safe_dump(changed_node(draw, yaml.safe_load(data))).encode("utf-8", "replace")
        else:
            made[name] = json.dumps(changed_node(draw, json.loads(data))).encode()
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for at, make in enumerate((make_run, make_bench, make_evaluation)):
        make(folder / f"run{at}")
    make_small_sweep(folder / "sweep")
    return folder


def answered(read, *words):
    """Return the answer of a reader, or its refusal, which must be a sentence of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return str(read(*words))
        except ValueError as error:
            assert type(error).__module__.startswith(("builtins", "medvl")) and not isinstance(error, UnicodeError)
            return str(error)


def files_of(folder):
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]


def put(folder, copy, made):
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    for name, data in made.items():
        (copy / name).write_bytes(data)


@settings(max_examples=100, **SEEDED)
@given(data=st.data())
def test_any_change_of_files_is_answered_by_compare_and_status(whole, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "changed"
    names = [name for name in files_of(whole) if name.startswith(("run0", "sweep"))]
    made = data.draw(changes(whole, names))
    put(whole, folder, made)
    answered(compare, folder / "run0", folder / "run2")
    answered(compare, folder / "sweep/0000000000", folder / "run0")
    said = answered(lambda: status_text(SweepPlan.read(folder / "sweep")))
    assert "\x1b" not in said and said
    answered(sweep_table, folder / "sweep")
    for run in (folder / "run0", folder / "sweep/0000000001"):
        state_of(run), numbers_of(run)


@settings(max_examples=25, **SEEDED)
@given(data=st.data())
def test_any_change_of_files_is_answered_by_a_report(whole, tmp_path_factory, data):
    folder, out = tmp_path_factory.getbasetemp() / "changed", tmp_path_factory.getbasetemp() / "out"
    kind = data.draw(st.sampled_from(["run0", "run1", "run2", "sweep"]))
    made = data.draw(changes(whole / kind, files_of(whole / kind)))
    put(whole / kind, folder, made)
    shutil.rmtree(out, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET", "hunter2")
        answered(write, [folder], out)
    for path in out.glob("*"):
        assert "hunter2" not in path.read_text() and "\x1b" not in path.read_text()
    if out.exists():
        json.loads((out / "FINAL_REPORT.json").read_text(), parse_constant=pytest.fail)
