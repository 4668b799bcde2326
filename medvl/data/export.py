"""Prepared examples in the baseline project's format, for other trainers."""

from __future__ import annotations

import json
from pathlib import Path

from medvl.data.prepare import Prepared
from medvl.data.splits import SPLITS
from medvl.record.files import write_bytes, write_text

PROBE = ".probe"  # a file that is written to see whether it can be
NAMES = {f"{split}.json" for split in SPLITS} | {"images"}


def check_export(folder: Path) -> None:
    """Create a folder if needed, and check that it is free or contains an earlier export.

    Raises:
        ValueError: It is a file, or a folder with other files.
        OSError: It cannot be written to.
    """
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= NAMES):
        raise ValueError(f"{folder} is no folder, or holds other files. Set export=<a new folder>.")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "images" / PROBE, b"")
    (folder / "images" / PROBE).unlink()


def export(prepared: Prepared, folder: Path) -> dict[str, int]:
    """Write train.json, val.json and test.json, each a list of objects with image_path, prompt and response.

    Images are copied to `images/` beside them; image_path is relative to the folder, and a list where an
    example has several images. Returns the number of examples in each file.

    Raises:
        ValueError: The folder already contains other files.
    """
    check_export(folder)
    for split in SPLITS:
        rows = []
        for example in prepared.examples[split]:
            paths = [f"images/{Path(image).name}" for image in example.images]
            for image, path in zip(example.images, paths, strict=True):
                if not (folder / path).exists():
                    write_bytes(folder / path, Path(image).read_bytes())
            rows.append(
                {
                    "image_path": paths[0] if len(paths) == 1 else paths,
                    "prompt": example.prompt,
                    "response": example.response,
                }
            )
        write_text(folder / f"{split}.json", json.dumps(rows, ensure_ascii=False, indent=1))
    return {split: len(prepared.examples[split]) for split in SPLITS}
