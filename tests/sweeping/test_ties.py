"""A sweep whose first runs have exactly the same number names none of them as the best."""

import json

from medvl.record.directory import Record
from medvl.record.files import write_json
from medvl.reporting.collection import collect
from medvl.reporting.limits import limits
from medvl.reporting.overview import headline
from medvl.reporting.sweeps import ranking
from medvl.sweeping.plan import Planned, SweepPlan
from medvl.sweeping.progress import best_of, rows_of, status_text, summary
from medvl.sweeping.table import sweep_table


def sweep(folder, values, higher=False):
    plan = SweepPlan(folder=folder / "sweep-x", script="train")
    plan.add(Planned(f"{at:010x}", [f"lora.r={2**at}"]) for at in range(len(values)))
    plan.write()
    for run, value in zip(plan.runs(), values, strict=True):
        record = Record(run)
        (run / "config.yaml").write_text("seed: 42\n")
        goal = {"name": "cer", "value": value, "higher_is_better": higher}
        record.status("done", objective=goal, headline={"cer": value})
        write_json(run / "metrics.json", {"after": {"cer": value, "examples": 8, "documents": 8}, "intervals": {}})
    return plan


def test_the_status_of_a_tie_names_no_best(tmp_path):
    plan = sweep(tmp_path, [0.25, 0.25, 0.5])
    assert best_of(rows_of(plan)) is None
    assert "best" not in status_text(plan) and "tie of 2 at cer 0.25" in summary(rows_of(plan))


def test_a_tie_behind_the_best_is_none(tmp_path):
    plan = sweep(tmp_path, [0.25, 0.5, 0.5])
    assert "best cer 0.25 (lora.r=1)" in summary(rows_of(plan))
    assert "tie" not in sweep_table(plan.folder)
    plan = sweep(tmp_path / "high", [0.25, 0.5, 0.5], higher=True)
    assert "best" not in status_text(plan) and "tie of 2 at cer 0.5" in status_text(plan)


def test_a_run_without_a_number_ties_with_none(tmp_path):
    plan = sweep(tmp_path, [float("nan"), float("nan"), 0.5])
    assert "best cer 0.5 (lora.r=4)" in summary(rows_of(plan))
    assert "tie" not in sweep_table(plan.folder)


def test_the_table_of_a_tie_says_so(tmp_path):
    plan = sweep(tmp_path, [0.5, 0.25, 0.25])
    assert sweep_table(plan.folder).splitlines()[-1] == "tie: the first 2 have the same cer"
    assert "tie" in (plan.folder / "sweep.txt").read_text()


def test_the_report_of_a_tie_marks_no_run(tmp_path):
    found = collect([sweep(tmp_path, [0.25, 0.25, 0.5]).folder])
    (one,) = found.sweeps
    table = ranking(one, one.swept())
    assert table.marked is None and table.caption.endswith("The first 2 tie.")
    text = json.dumps([block.text for block in headline(found).blocks if hasattr(block, "text")])
    assert "Tie of 2 runs by character error rate: 0000000000, 0000000001." in text and "Best by" not in text
    assert not any("The best of" in line for block in limits(found).blocks for line in getattr(block, "items", ()))


def test_the_report_of_one_best_marks_it(tmp_path):
    found = collect([sweep(tmp_path, [0.5, 0.25, 0.5]).folder])
    (one,) = found.sweeps
    table = ranking(one, one.swept())
    assert table.marked == 0 and "tie" not in table.caption and table.rows[0][0] == "0000000001"
    assert any("Best by" in getattr(block, "text", "") for block in headline(found).blocks)
