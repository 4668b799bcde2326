"""Prepared examples in the seed project's format, for other trainers."""

from __future__ import annotations

import json
from pathlib import Path

from medvl import record
from medvl.data.prepare import Prepared
from medvl.data.splits import SPLITS

NAMES = {f"{split}.json" for split in SPLITS} | {"images"}


def check(folder: Path) -> None:
    """Refuse a place that is taken by something else than an earlier export.

    Raises:
        ValueError: It is a file, or a folder that holds other files.
    """
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= NAMES):
        raise ValueError(f"{folder} is no folder, or holds other files. Set export=<a new folder>.")


def export(prepared: Prepared, folder: Path) -> dict[str, int]:
    """Write train.json, val.json and test.json, each a list of objects with image_path, prompt and response.

    Images are copied to `images/` beside them; image_path is relative to the folder, and a list where an
    example has several images. Returns the examples of each file.

    Raises:
        ValueError: The folder holds something else already.
    """
    check(folder)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        rows = []
        for example in prepared.examples[split]:
            paths = [f"images/{Path(image).name}" for image in example.images]
            for image, path in zip(example.images, paths, strict=True):
                if not (folder / path).exists():
                    record.write_bytes(folder / path, Path(image).read_bytes())
            rows.append({
                "image_path": paths[0] if len(paths) == 1 else paths,
                "prompt": example.prompt,
                "response": example.response,
            })  # fmt: skip
        record.write_text(folder / f"{split}.json", json.dumps(rows, ensure_ascii=False, indent=1))
    return {split: len(prepared.examples[split]) for split in SPLITS}
