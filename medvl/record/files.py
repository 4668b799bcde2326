"""Files that are never half-written: replaced atomically, or appended line by line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically, as `write_bytes` does."""
    write_bytes(path, text.encode(), sync=True)


def write_bytes(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Replace a file atomically: no reader, kill or full disk ever leaves half of it.

    Args:
        sync: Wait for the disk, so that a power cut cannot either.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty draft of a folder, which takes its place when the block ends: whole, or not at all.

    The folder that was there goes only then; what an interrupted draft left is cleared.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_json(path: Path) -> Any | None:
    """Return a JSON file's value; None if it is missing or incomplete."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, without a last line that a kill left incomplete."""
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):  # splitlines would also split at U+2028
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def leaves(node: Any, separator: str = ".", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings, each with its path of keys; lists are not split.

    >>> list(leaves({"after": {"cer": 0.1}, "tags": ["a"]}, "/"))
    [('after/cer', 0.1), ('tags', ['a'])]
    """
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value
