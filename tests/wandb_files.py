"""Reads W&B's offline files in a run directory."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

CLOSING_S = 20


def offline_records(data):
    """Yield the records of a .wandb file: LevelDB's log format after a 7-byte header, in blocks of 32 KiB."""
    at, parts = 7, []
    while at + 7 <= len(data):
        left = -at % 32768
        if 0 < left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a complete record, or its last part
            yield b"".join(parts)
            parts = []


def offline_run(folder):
    """Return the content of a W&B folder: config, history keys, summary, metrics, artifacts by name, exit code, id."""
    from wandb.proto import wandb_internal_pb2

    found = SimpleNamespace(config={}, history=set(), summary={}, metrics={}, artifacts=[], code=None, run=None)
    (file,) = folder.glob("*.wandb")
    for data in offline_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            found.run = record.run
            found.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        found.config |= {item.key: json.loads(item.value_json) for item in record.config.update}  # after the start
        for item in record.history.item:
            found.history.add(item.key or item.nested_key[0])
        for item in record.summary.update:
            found.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        if record.HasField("metric"):
            found.metrics[record.metric.name] = record.metric.summary
        if record.HasField("artifact"):
            found.artifacts.append(record.artifact)
        if record.HasField("exit"):
            found.code = record.exit.exit_code
    return found


def only_run(run):
    """Return the content of a run's only W&B folder, once W&B's background process has closed it."""
    (folder,) = run.glob("wandb/offline-run-*")
    deadline = time.monotonic() + CLOSING_S
    while (told := offline_run(folder)).code is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return told


def pages(told, name):
    """Return the rows of a table, with images as paths, and the table's image files."""
    tables = [one.manifest.contents for one in told.artifacts if one.type == "run_table"]
    (files,) = (
        {entry.path: Path(entry.local_path) for entry in entries}
        for entries in tables
        if f"{name}.table.json" in {entry.path for entry in entries}
    )
    table = json.loads(files[f"{name}.table.json"].read_text())
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]], files
