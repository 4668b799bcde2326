"""Gather run directories into one raw record: python experiments/collect.py OUT.json RUN ..."""

import json
import sys
from pathlib import Path


def gather(folder: Path) -> dict:
    """Return what a run directory says in JSON, without its per-example account."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        found[file.stem] = json.loads(file.read_text())
    found.get("prepared", {}).pop("dropped_records", None)
    found.get("trainable", {}).pop("adapted_modules", None)
    if (folder / "metrics.jsonl").exists():
        found["steps"] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return found


if __name__ == "__main__":
    out, *runs = map(Path, sys.argv[1:])
    out.write_text(json.dumps({run.name: gather(run) for run in runs if run.is_dir()}, indent=1) + "\n")
    print(out, len(runs), "runs")
