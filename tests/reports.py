"""Runs and sweeps to report on, made from real runs or by hand."""

import json
import shutil

import yaml

from medvl.evaluation.gate import BeforeAfter, Gate
from medvl.metrics import summarize
from medvl.record.files import read_json, read_jsonl, write_json

ERRORS = ("cer_text", "cer")


def copy(run, folder):
    return shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints", "export", "wandb"))


def change(path, **values):
    write_json(path, {**read_json(path), **values})


def reconfigure(run, key, value):
    """Set a dotted key of a run's composition."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    *owners, last = key.split(".")
    node = config
    for owner in owners:
        node = node[owner]
    node[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def on_many_documents(run, folder, count=8):
    """Copy a run as if its examples had been scored on this many documents, the first of them best."""
    run = copy(run, folder)
    sets = {}
    for name in ("predictions_before", "predictions"):
        rows = [
            {
                **row,
                "id": f"{row['id']}-{at}",
                "document": f"document {at}",
                "scores": row["scores"] | {key: [row["scores"][key][0] + at, row["scores"][key][1]] for key in ERRORS},
            }
            for at in range(count)
            for row in read_jsonl(run / f"{name}.jsonl")
        ]
        (run / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sets[name] = (rows, summarize(rows))
    before, after = sets.values()
    change(
        run / "metrics.json",
        **BeforeAfter(title="examples", objective="cer_text", before=before, after=after).to_json(),
    )
    return run


def make_sweep(run, folder):
    """Write the directories of a sweep of six runs over two keys: copies of a real run with different scores."""
    jobs = []
    for at, (rate, rank) in enumerate([(rate, rank) for rate in ("1e-4", "1e-3", "1e-2") for rank in ("8", "16")]):
        one = copy(run, folder / f"{at:010x}")
        jobs.append({"run": one.name, "overrides": [f"optimizer.lr={rate}", f"lora.r={rank}", "logger=none"]})
        reconfigure(one, "optimizer.lr", float(rate))
        reconfigure(one, "lora.r", int(rank))
        metrics = read_json(one / "metrics.json")
        metrics["after"] |= dict.fromkeys(ERRORS, 0.1 + 0.1 * (at // 2) + 0.01 * (at % 2))
        write_json(one / "metrics.json", metrics)
    failed, absent = folder / "ffffffffff", "aaaaaaaaaa"
    failed.mkdir()
    stamps = {"started": "2026-11-23T10:00:00+0000", "updated": "2026-11-23T10:00:36+0000"}
    error = {"error": "ValueError: Invalid learning rate: -1.0", "traceback": "Traceback ..."}
    write_json(failed / "status.json", {"format": 2, "state": "failed", **error, **stamps})
    jobs += [
        {"run": failed.name, "overrides": ["optimizer.lr=-1", "lora.r=8", "logger=none"]},
        {"run": absent, "overrides": ["optimizer.lr=1", "lora.r=8", "logger=none"]},
    ]
    write_json(
        folder / "sweep.json", {"format": 1, "script": "train", "name": folder.name, "jobs": jobs, "search": None}
    )
    return folder


STAMPS = {"started": "2026-11-23T10:00:00+0000", "updated": "2026-11-23T10:00:36+0000", "worked_s": 36.0}
CONFIG = {
    "seed": 1,
    "privacy": "open",
    "model": {"path": None, "shape": "nano", "init": "pretrained"},
    "precision": {"storage": "nf4"},
    "lora": {"r": 8, "targets": ["q_proj", "v_proj"]},
    "eval": {"objective": "cer"},
    "trainer": {"devices": 1, "nodes": 1},
    "artefact": "adapter",
    "run": None,
    "adapter": None,
}


def written_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def answers(shift=0.0, count=4):
    """Return scored rows without images, each of a document of its own."""
    return [
        {
            "id": f"d{at}/0",
            "document": f"d{at}",
            "kind": f"kind {at % 2}",
            "layout": "form",
            "task": "transcribe",
            "images": [],
            "prompt": "Transcribe.",
            "reference": f"aspirin {at} mg",
            "prediction": f"aspirin {at} mg" if at else "heparin 8 mg",
            "tokens": 4,
            "finished": True,
            "scores": {"cer": [1.0 + shift + at, 12.0], "wer": [1.0, 3.0], "exact": [float(at % 2), 1.0]},
        }
        for at in range(count)
    ]


def make_run(folder, shift=0.0):
    """Write the directory of a run of train.py with the files that a report and a comparison read, all whole."""
    folder.mkdir(parents=True)
    before, after = answers(shift + 2), answers(shift)
    contrast = BeforeAfter(
        title="examples", objective="cer", before=(before, summarize(before)), after=(after, summarize(after))
    )
    verdict = Gate().judge(contrast, None)
    goal = {"name": "cer", "value": contrast.summaries["after"]["cer"], "higher_is_better": False}
    told = {"step": 2, "steps": 2, "objective": goal, "headline": {"cer": goal["value"]}, "gate": verdict.to_json()}
    write_json(folder / "status.json", {"format": 2, "state": "done", "wandb": "0123abcd", **STAMPS, **told})
    facts = {"command": ["train.py"], "commit": "0" * 40, "dirty": False, "cores": 2, "overrides": ["lora.r=8"]}
    device = {"type": "cpu", "name": "x86_64"}
    write_json(
        folder / "environment.json", {**facts, "device": device, "choices": {"groups": {"data": "clinical_forms"}}}
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    steps = [
        {"step": at, "train/nats_per_token": 2.0 / at, "train/lr": 1e-4, "val/nats_per_token": 1.0} for at in (1, 2)
    ]
    written_rows(folder / "metrics.jsonl", steps)
    written_rows(folder / "predictions_before.jsonl", before)
    written_rows(folder / "predictions.jsonl", after)
    cost = {"train_s": 9.0, "weights_mib": 16.0, "train_peak_mib": 300.0}
    write_json(folder / "metrics.json", {**contrast.to_json(), "gate": verdict.to_json(), "train": cost})
    side = {"examples": 4, "documents": 4, "kinds": {"kind 0": 0.5, "kind 1": 0.5}, "tokens": [1, 2, 3, 4, 5]}
    write_json(folder / "audit.json", {"verdict": "matched", "faults": [], "train": side, "evaluated": side})
    return folder


def make_bench(folder):
    """Write the directory of a run of benchmark.py."""
    make_run(folder)
    scores = summarize(answers())
    measured = {"weights_mib": 16.0, "peak_mib": 300.0, "latency_p50_ms": 20.0, "peak_is": "allocated"}
    write_json(folder / "benchmark.json", {**measured, "scores": scores, "intervals": {"cer": [0.1, 0.4]}})
    (folder / "metrics.json").unlink()
    return folder


def make_evaluation(folder):
    """Write the directory of a run of evaluate.py."""
    make_run(folder)
    cell = {"value": 0.2, "interval": [0.1, 0.3], "examples": 2, "documents": 2}
    found = {
        "scores": {"test": summarize(answers())},
        "intervals": {"test": {"cer": [0.1, 0.4]}},
        "verdicts": ["It reads."],
        "breakdown": {"kind": {"kind 0": cell, "kind 1": {**cell, "value": None, "interval": None}}},
    }
    write_json(folder / "metrics.json", found)
    return folder


def make_small_sweep(folder):
    """Write a sweep of two runs and a job that was not started."""
    jobs = [{"run": make_run(folder / f"{at:010x}", at).name, "overrides": [f"lora.r={8 + at}"]} for at in range(2)]
    jobs.append({"run": "a" * 10, "overrides": ["lora.r=99"]})
    plan = {"format": 1, "script": "train", "name": folder.name, "jobs": jobs, "search": None, "command": ["train.py"]}
    write_json(folder / "sweep.json", plan)
    return folder
