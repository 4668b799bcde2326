"""Reports of real runs: their content, its sources, and what they must not contain."""

import doctest
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from reports import change, copy

from medvl import cli
from medvl.record.files import read_json, read_jsonl, write_json
from medvl.reporting.collection import collect, differing
from medvl.reporting.headlines import cards
from medvl.reporting.limits import limits
from medvl.reporting.overview import costs, own_overrides
from medvl.reporting.report import report_line, write
from medvl.reporting.sweeps import _beside, _of_mean, importances
from medvl.reporting.tables import Number

NAMES = {"report.html", "FINAL_REPORT.json", "BENCHMARK_REPORT.md"}


def test_a_run_becomes_three_files_whose_numbers_are_those_of_the_run(scored, tmp_path):
    page = write([scored], tmp_path / "out")
    assert page == tmp_path / "out/report.html" and {path.name for path in page.parent.iterdir()} == NAMES
    numbers, metrics = read_json(page.parent / "FINAL_REPORT.json"), read_json(scored / "metrics.json")
    rows = numbers["tables"]["scores"]["target set of run"]["rows"]
    row = next(row for row in rows if row["measure"] == "character error rate")
    assert row["before"]["value"] == metrics["before"]["cer"] and row["after"]["value"] == metrics["after"]["cer"]
    assert row["after"]["interval"] == metrics["intervals"]["after"]["cer"]
    assert row["after"] | {"run": "run", "file": "metrics.json", "key": "after.cer"} == row["after"]
    assert row["change in points"]["value"] == pytest.approx(metrics["after"]["cer"] - metrics["before"]["cer"])
    html = page.read_text()
    assert f"{100 * metrics['after']['cer']:.1f} %" in html and metrics["gate"]["verdict"] in html
    for anchor in ("headline", "scores", "learning", "gallery", "audit", "composition", "cost", "limits"):
        assert f'<section id="{anchor}">' in html and f'href="#{anchor}"' in html
    assert "sweep-1" not in html and "deployment" not in html  # no data, no section
    tables = (page.parent / "BENCHMARK_REPORT.md").read_text()
    assert f"| {100 * metrics['after']['cer']:.1f} %" in tables and "Not for clinical use" in tables


def test_a_sweep_is_ranked_and_its_failures_are_told(sweep, tmp_path):
    html = write([sweep], tmp_path).read_text()
    numbers = read_json(tmp_path / "FINAL_REPORT.json")
    rows = numbers["tables"]["sweep-1"]["runs"]["rows"]
    assert [row["layout-free character error rate"]["value"] for row in rows[:6]] == pytest.approx(
        [0.1, 0.11, 0.2, 0.21, 0.3, 0.31]
    )
    assert [row["state"] for row in rows] == ["done"] * 6 + ["failed", "not started"]
    assert "8 runs: 6 done, 1 failed, 1 not started" in html and "Invalid learning rate: -1.0" in html
    assert "optimizer.lr = 0.0001, lora.r = 8" in html  # the best run, with only the swept keys
    shares = numbers["tables"]["sweep-1"]["importances"]["rows"]
    assert shares[0]["key"] == "optimizer.lr" and shares[0]["importance"]["value"] > shares[1]["importance"]["value"]
    assert "by optimizer.lr and lora.r; the best is framed" in html
    assert "chosen by the score shown for it" in html  # limits: the winner's curse
    failed = [row for row in numbers["tables"]["cost"]["cost"]["rows"] if row["state"] == "failed"]
    assert len(numbers["tables"]["cost"]["cost"]["rows"]) == 7 and len(failed) == 1


def test_a_heat_map_averages_over_the_other_keys(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")
    plan = read_json(folder / "sweep.json")
    for at, job in enumerate(plan["jobs"][:6]):
        job["overrides"] += [f"seed={at % 3}", f"lora.dropout={0.1 * (at % 2)}"]
    write_json(folder / "sweep.json", plan)
    html = write([folder], tmp_path / "out").read_text()
    assert re.search(r"by optimizer\.lr and lora\.(r|dropout), averaged over lora\.(r|dropout) and seed", html)


def test_seeds_are_summed_up(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")
    plan = read_json(folder / "sweep.json")
    for at, job in enumerate(plan["jobs"][:6]):
        job["overrides"] = [f"lora.r={8 * (1 + at // 3)}", f"seed={at % 3}"]
    write_json(folder / "sweep.json", plan | {"jobs": plan["jobs"][:6]})
    write([folder], tmp_path / "out")
    section = read_json(tmp_path / "out/FINAL_REPORT.json")["tables"]["sweep-1"]
    (eight, sixteen) = section["seeds"]["rows"]
    assert eight["lora.r"] == "8" and eight["seeds"] == "3" and eight["mean"]["value"] == pytest.approx(0.41 / 3)
    low, high = eight["mean"]["interval"]
    assert low < 0.41 / 3 < high and (low + high) / 2 == pytest.approx(0.41 / 3)
    assert eight["beside the best"] == "the best" and sixteen["beside the best"] in ("tie", "behind")
    assert sixteen["least"]["value"] == pytest.approx(0.21) and sixteen["most"]["value"] == pytest.approx(0.31)
    assert "importances" not in section  # a seed does not count as a swept key


def test_the_interval_of_a_mean_and_ties_of_settings():
    def numbers(*values):
        return [Number(value=one, unit="%", run="r", file="f", key="k") for one in values]

    assert _of_mean([0.1, 0.2, 0.3]) == pytest.approx((0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)  # 4.303 * 0.1 / sqrt(3)
    assert _of_mean([0.1]) is None and _of_mean([math.nan, 0.1]) is None
    best = numbers(0.10, 0.12, 0.11)
    told = [_beside(one, best) for one in (best, numbers(0.11, 0.13, 0.12), numbers(0.3, 0.31, 0.32), numbers(0.1))]
    assert told == ["the best", "tie", "behind", "cannot tell"]
    assert _beside(numbers(0.2, 0.2), numbers(0.2, 0.2)) == "tie"


def test_headline_numbers_have_interval_and_verdict(scored, tmp_path):
    shutil.copytree(scored, tmp_path / "run")
    change(tmp_path / "run/metrics.json", verdict="the trained model is worse than the base: x (95 % interval ...).")
    (card,) = cards(collect([tmp_path / "run"]))
    low, high = read_json(tmp_path / "run/metrics.json")["intervals"]["after"]["cer_text"]
    assert card.range == f"[{100 * low:.1f}, {100 * high:.1f}]" and (card.verdict, card.tone) == ("worse", "bad")
    assert "batch.tokens=1500" in card.of and "8 documents" in card.of
    html = write([tmp_path / "run"], tmp_path / "out").read_text()
    assert f"<small>{card.range}</small>" in html and '<span class="verdict">worse</span>' in html
    rows = read_json(tmp_path / "out/FINAL_REPORT.json")["tables"]["headline"]["runs"]["rows"]
    assert "batch.tokens=1500, data.limit=9" in rows[0]["differs by"] and "logger" not in rows[0]["differs by"]
    secret = {"overrides": ["data.path=/patients", "lora.r=8"]}
    run = collect([tmp_path / "run"]).runs[0]
    run.environment.update(secret)
    assert own_overrides(run) == "data.path=/patients, lora.r=8"
    run.config["privacy"] = "strict"
    assert own_overrides(run) == "lora.r=8"


def test_a_search_with_two_goals(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")
    goals = [{"name": "after/cer", "direction": "minimize"}, {"name": "train/weights_mib", "direction": "minimize"}]
    change(folder / "sweep.json", search={"storage": "sqlite:///search.db", "study": "s", "objectives": goals})
    for at, run in enumerate(collect([folder]).sweeps[0].finished):
        metrics = read_json(run.path / "metrics.json")
        metrics["train"]["weights_mib"] = 16.0 - at
        write_json(run.path / "metrics.json", metrics)
    html = write([folder], tmp_path / "out").read_text()
    rows = read_json(tmp_path / "out/FINAL_REPORT.json")["tables"]["sweep-1"]["runs"]["rows"]
    assert [row["weights"]["value"] for row in rows[:6]] == [16, 15, 14, 13, 12, 11]
    assert "character error rate against weights; on the Pareto front" in html and "weights, MiB" in html


def test_the_best_of_a_search_is_said_to_be_chosen(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")
    goal = {"name": "cer", "direction": "minimize"}  # as in a search without given objectives
    change(folder / "sweep.json", search={"storage": "sqlite:///search.db", "study": "s", "objectives": [goal]})
    found = collect([folder])
    assert found.sweeps[0].objectives == [("cer", "minimize")] and len(found.sweeps[0].ranked) == 6
    assert any("chosen by the score shown for it" in line for line in limits(found).blocks[0].items)


def test_a_pause_costs_nothing(trained, tmp_path):
    stamps = {"started": "2026-11-23T10:00:00+0000", "updated": "2026-11-24T10:00:00+0000"}
    for name, facts in {"resumed": {"worked_s": 7200.0}, "old": {}}.items():
        status = {key: value for key, value in read_json(trained[0] / "status.json").items() if key != "worked_s"}
        write_json(copy(trained[0], tmp_path / name) / "status.json", {**status, **stamps, **facts})
        change(tmp_path / name / "environment.json", cores=1, device={"type": "cpu"})
    text, table = costs(collect([tmp_path / "resumed", tmp_path / "old"])).blocks
    hours = {row[0]: next(cell.value for cell in row if hasattr(cell, "value")) for row in table.rows}
    assert hours == {"resumed": 2.0, "old": 24.0} and "Of 1 of the 2 runs only start and last update" in text.text


def test_importances_need_runs_that_differ(sweep):
    (one,) = collect([sweep]).sweeps
    found = importances(one, ["optimizer.lr", "lora.r"])
    assert sum(found.values()) == pytest.approx(1) and list(found) == ["optimizer.lr", "lora.r"]
    assert importances(one, ["optimizer.lr"]) == {}
    for run in one.runs:
        run.metrics.get("after", {})["cer"] = 0.5
    assert all(value == value for value in importances(one, ["optimizer.lr", "lora.r"]).values())


def test_evaluations_stand_side_by_side(trained, script, tmp_path):
    code, output = script(
        "evaluate.py", f"run={trained[0]}", "ablation=[blank]", "logger=none", "hydra.run.dir=e", cwd=tmp_path
    )
    assert code == 0, output
    html = write([tmp_path / "e"], tmp_path / "out").read_text()
    rows = read_json(tmp_path / "out/FINAL_REPORT.json")["tables"]["evaluation"]["scores"]["rows"]
    assert [row["run"] for row in rows] == ["e: test", "e: blank"] and "blank page" in html
    assert rows[1]["character error rate"]["value"] == read_json(tmp_path / "e/metrics.json")["scores"]["blank"]["cer"]


def test_a_run_that_did_not_score_its_base(trained, tmp_path):
    run = copy(trained[0], tmp_path / "run")
    metrics = read_json(run / "metrics.json")
    for part in (metrics, metrics["replay"]):
        del part["before"], part["intervals"]["before"]
        part["verdict"] = None
    write_json(run / "metrics.json", metrics | {"gate": {"verdict": "unknown", "why": ["the base was not evaluated"]}})
    change(run / "status.json", gate={"verdict": "unknown", "why": ["the base was not evaluated"]})
    for file in run.glob("predictions*before.jsonl"):
        file.unlink()
    html = write([run], tmp_path / "out").read_text()
    assert "eval.before=false" in html and "before training" not in html.split("Pages</h2>")[1]


def test_what_does_not_fit_costs_its_own_number_alone(scored, tmp_path):
    run = copy(scored, tmp_path / "run")
    rows = [{**row, "id": f"other {row['id']}"} for row in read_jsonl(run / "predictions_before.jsonl")]
    (run / "predictions_before.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = read_json(run / "metrics.json")
    metrics["before"]["wer"], metrics["intervals"]["before"]["wer"] = float("nan"), [0.1, float("inf")]
    write_json(run / "metrics.json", metrics)
    write([run], tmp_path / "out")
    numbers = json.loads((tmp_path / "out/FINAL_REPORT.json").read_text(), parse_constant=pytest.fail)  # NaN, Infinity
    rows = {row["measure"]: row for row in numbers["tables"]["scores"]["target set of run"]["rows"]}
    assert rows["word error rate"]["before"]["value"] is None and "paired verdict" not in rows["word error rate"]


def test_a_report_that_fails_is_one_line(trained, tmp_path):
    run = copy(trained[0], tmp_path / "run")
    change(run / "status.json", gate={"why": ["two\nlines"]})
    told = report_line(run)
    assert told.startswith("no report: ") and "status.json is damaged: gate has no verdict." in told
    assert "\n" not in told
    assert report_line(tmp_path / "gone").startswith("no report: there is no folder")


@pytest.mark.parametrize("name", ["figures", "sweeps", "tables"])
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"medvl.reporting.{name}"))
    assert found.attempted and not found.failed


def test_a_page_that_is_gone_is_said_to_be(trained, tmp_path):
    run = copy(trained[0], tmp_path / "run")
    rows = [{**row, "images": ["gone.png"]} for row in read_jsonl(run / "predictions.jsonl")]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "no longer where the run found it" in write([run], tmp_path / "out").read_text()


def test_a_run_whose_process_is_gone_was_killed(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")
    change(folder / "0000000000/status.json", state="running")
    assert "1 killed" in write([folder], tmp_path / "out").read_text()


def test_only_what_differs_is_shown(sweep):
    runs = collect([sweep]).sweeps[0].finished
    assert set(differing(runs)) == {"optimizer.lr", "lora.r"}


def medvl(*words, cwd):
    command = [sys.executable, "-m", "medvl.cli", "report", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_command(trained, sweep, tmp_path, monkeypatch):
    run = copy(trained[0], tmp_path / "run")
    done = medvl(run, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == str(run / "report/report.html"), done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["medvl", "report", str(run), str(sweep)])
    cli.main()
    (folder,) = (tmp_path / "outputs/reports").iterdir()
    assert {path.name for path in folder.iterdir()} == NAMES


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("empty", "neither a run (config.yaml) nor a sweep"),
        ("unfinished", "holds no results; its state is running"),
        ("fresh", "no run of fresh holds results yet"),
        ("--html", "usage: medvl report"),
    ],
)
def test_what_cannot_be_reported_is_refused_and_leaves_nothing(trained, tmp_path, monkeypatch, capsys, word, said):
    for name in ("empty", "fresh"):
        (tmp_path / name).mkdir()
    job = {"run": "0123456789", "overrides": []}
    write_json(
        tmp_path / "fresh/sweep.json", {"format": 1, "script": "train", "name": "fresh", "jobs": [job], "search": None}
    )
    unfinished = copy(trained[0], tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    change(unfinished / "status.json", state="running")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["medvl", "report", word, "out=made"])
    with pytest.raises(SystemExit) as refused:
        cli.main()
    told = capsys.readouterr().err
    assert refused.value.code == 2 and said in told and len(told.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_report_loads_neither_torch_nor_wandb(trained, tmp_path):
    code = """if True:
        import pathlib, sys
        from medvl.reporting.report import write
        write([pathlib.Path(sys.argv[1])], pathlib.Path("out"))
        sys.exit(any(name in sys.modules for name in ("torch", "wandb", "transformers")))"""
    command = [sys.executable, "-c", code, str(trained[0])]
    assert subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


def test_wandb_is_imported_by_one_module():
    holders = [
        path.name
        for path in (ROOT / "medvl/reporting").glob("*.py")
        if re.search(r"^\s*import wandb", path.read_text(), re.M)
    ]
    assert holders == ["wandb_report.py"]
