"""Runs and sweeps to report on, made from real runs."""

import json
import shutil

import yaml

from medvl.evaluation.gate import BeforeAfter
from medvl.metrics import summarize
from medvl.record.files import read_json, read_jsonl, write_json


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
                "scores": {**row["scores"], "cer": [row["scores"]["cer"][0] + at, row["scores"]["cer"][1]]},
            }
            for at in range(count)
            for row in read_jsonl(run / f"{name}.jsonl")
        ]
        (run / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sets[name] = (rows, summarize(rows))
    before, after = sets.values()
    change(run / "metrics.json", **BeforeAfter(title="examples", objective="cer", before=before, after=after).to_json())
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
        metrics["after"]["cer"] = 0.1 + 0.1 * (at // 2) + 0.01 * (at % 2)
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
