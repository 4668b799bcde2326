"""Gather run directories into one raw record: python experiments/collect.py OUT.json [--every N] RUN ...

--every N keeps every N-th training step and all validations.
"""

import argparse
import json
import re
import statistics
from pathlib import Path


def portable(record: dict) -> str:
    """Return a record as JSON, with absolute paths cut to their last component."""
    return re.sub(r"(?<![\w.:/])/(?:[\w.-]+/)+(?=[\w.-])", "", json.dumps(record, indent=1)) + "\n"


def gather(folder: Path, every: int) -> dict:
    """Return the JSON files of a run directory, without their per-example entries."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        found[file.stem] = json.loads(file.read_text())
    found.get("prepared", {}).pop("dropped_records", None)
    found.get("trainable", {}).pop("adapted_modules", None)
    if (folder / "config.yaml").exists():
        found["config"] = (folder / "config.yaml").read_text()
    if (folder / "metrics.jsonl").exists():
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if "train/nats_per_token" in row]
        found["waiting"] = {
            name: of(row["speed/wait_share"] for row in steps)
            for name, of in (("median", statistics.median), ("mean", statistics.fmean))
        }
        found["median_tokens_per_s"] = statistics.median(row["speed/tokens_per_s"] for row in steps)
        found["steps"] = [row for row in rows if "train/nats_per_token" not in row] + steps[::every]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("runs", type=Path, nargs="+")
    typed = parser.parse_args()
    runs = [run for run in typed.runs if run.is_dir()]
    typed.out.write_text(portable({run.name: gather(run, typed.every) for run in runs}))
    print(typed.out, len(runs), "runs")
