"""The files of an adapter that may be sent to a tracker."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from medvl.record.checkpoints import METADATA
from medvl.record.files import read_json, write_json
from medvl.record.privacy import Privacy


@contextlib.contextmanager
def sendable(files: Sequence[Path], privacy: Privacy) -> Iterator[list[Path]]:
    """Yield the files of an adapter that may be sent; with strict privacy the prompt is removed from the metadata."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, METADATA)
        sent = [file if privacy.shows or file.name != METADATA else copy for file in files]
        for file in set(files) - set(sent):
            facts = read_json(file) or {}
            write_json(copy, {name: fact for name, fact in facts.items() if name != "prompt"})
        yield sent
