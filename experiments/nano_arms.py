"""Write the table of experiments/nano_arms.sh and its raw record: python experiments/nano_arms.py OUT

A row is one arm over all its seeds: errors are summed over seeds, and the bootstrap resamples whole documents.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # finds medvl where it is not installed

from collect import portable

from medvl.metrics import METRICS
from medvl.metrics.confidence import intervals, paired
from medvl.metrics.scoring import summarize
from medvl.record.files import read_jsonl

ARMS = {
    "nano_notes_shrunk": "(b) narrative, pages shrunk to an x of 1.7 px",
    "nano_forms": "(c) matched forms, readable",
    "nano_notes": "(d) narrative, readable",
    "nano_mixture": "(e) forms and narrative, readable",
}
SETS = {  # title: metric, prediction files of a run before and after training
    "forms": ("cer", "predictions_before.jsonl", "predictions.jsonl"),
    "narrative": ("cer", "predictions_replay_before.jsonl", "predictions_replay.jsonl"),
    "five pages": ("combined", "../base/pages/predictions.jsonl", "pages/predictions.jsonl"),
}


def pooled(runs: list[Path], file: str) -> list[dict]:
    """Return the rows of all seeds: ids get the seed appended, documents stay the same."""
    return [row | {"id": f"{row['id']} {run.name.rsplit('-', 1)[1]}"} for run in runs for row in read_jsonl(run / file)]


def measured(runs: list[Path], name: str) -> dict:
    """Return one set's metric before and after training, over all seeds and per seed, and the paired difference."""
    measure, first, last = SETS[name]
    runs = [run for run in runs if (run / last).exists()]
    before, after = pooled(runs, first), pooled(runs, last)
    difference = paired(before, after)[measure]
    return {
        "measure": measure,
        "before": difference.a,
        "before_interval": intervals(before)[measure],
        "after": difference.b,
        "after_interval": intervals(after)[measure],
        "difference": difference.difference,
        "low": difference.low,
        "high": difference.high,
        "verdict": difference.verdict,
        "documents": difference.documents,
        "seeds": [summarize(read_jsonl(run / last))[measure] for run in runs],
    }


def cell(one: dict, when: str) -> str:
    low, high = one[f"{when}_interval"]
    return f"{100 * one[when]:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def main(out: Path) -> None:
    table = {}
    for arm in ARMS:
        runs = sorted(path for path in (out / "runs").glob(f"{arm}-*") if (path / "metrics.json").exists())
        if runs:
            table[arm] = {
                name: measured(runs, name) for name in SETS if any((run / SETS[name][2]).exists() for run in runs)
            }
    raw = {}
    for run in sorted((out / "runs").glob("*-*")):
        kept = {name: run / f"{name}.json" for name in ("metrics", "environment", "status")}
        raw[run.name] = {name: json.loads(path.read_text()) for name, path in kept.items() if path.exists()}
        raw[run.name]["config"] = (run / "config.yaml").read_text()
        if (run / "metrics.jsonl").exists():
            raw[run.name]["steps"] = read_jsonl(run / "metrics.jsonl")[::10]
    (out / "nano_arms.json").write_text(portable({"table": table, "runs": raw}))
    titles = [f"{name}, {METRICS[measure].title}" for name, (measure, *_) in SETS.items()]
    print(f"| arm | {' | '.join(titles)} |\n|---|{'--:|' * len(SETS)}")
    if table:
        first = next(iter(table.values()))
        print(f"| (a) nano as it is | {' | '.join(cell(first[name], 'before') for name in SETS)} |")
    for arm, sets in table.items():
        print(f"| {ARMS[arm]} | {' | '.join(cell(sets[name], 'after') for name in SETS)} |")
    for arm, sets in table.items():
        for name, one in sets.items():
            points = f"{100 * one['difference']:+.1f} points, 95 % {100 * one['low']:+.1f} to {100 * one['high']:+.1f}"
            print(f"{arm}, {name}: {one['verdict']}, {points}; by seed {[round(100 * it, 1) for it in one['seeds']]} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
