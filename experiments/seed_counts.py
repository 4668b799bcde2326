"""Which rules explain the baseline project's data counts? python experiments/seed_counts.py MTSAMPLES.csv PVQA.json

MTSAMPLES.csv is the 4,999-row Kaggle form, PVQA.json the question file of a PathVQA split (img_id, sentf, labelf).
The baseline kept 4,465 of 4,499 MTSamples rows, 431 of 3,000 PathVQA questions and 0 of 2,000 PubMedVision records.
"""

import csv
import json
import sys
from pathlib import Path


def reports(path: Path) -> None:
    csv.field_size_limit(2**24)
    with path.open(encoding="utf-8", newline="") as file:
        lengths = sorted(len((row["transcription"] or "").strip()) for row in csv.DictReader(file))
    print(f"MTSamples: {len(lengths):,} rows, {round(0.9 * len(lengths)):,} are 90 % of them; the seed read 4,499")
    short = ", ".join(f"{sum(length < limit for length in lengths)} below {limit}" for limit in (1, 50, 300, 500))
    print(f"  characters of a row: {short}; shortest {lengths[0]}, median {lengths[len(lengths) // 2]:,}")
    print("  the seed dropped 34 of 4,499, 0.76 %")


def questions(path: Path) -> None:
    answers = [
        str(next(iter(labels)))
        for row in json.loads(path.read_text(encoding="utf-8"))
        for labels in row["labelf"]["pvqa"]
    ]
    closed = sum(answer.lower() in ("yes", "no") for answer in answers)
    print(
        f"PathVQA: {len(answers):,} answers, {closed / len(answers):.1%} yes or no; the seed kept 431 of 3,000, 14.4 %"
    )
    for least in (10, 19, 20, 21, 50):
        share = sum(len(answer) >= least for answer in answers) / len(answers)
        print(f"  {share:6.2%} have {least} characters or more: {3000 * share:.0f} of 3,000")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reports(Path(sys.argv[1]))
    questions(Path(sys.argv[2]))
