"""What a browser shows of uploaded files: one data URI for every page that can be shown."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SECONDS = 30.0  # for one file
MOST_BYTES = 12_000_000  # of an image that is handed to the browser as it is
INHERITED = ("PATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR")  # of the environment: no key
# The browser decodes these itself, in its sandbox, and turns them upright as the service does.
_AS_IT_IS = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
)
_DRAWN = (("tiff", re.compile(rb"II[*+]\0|MM\0[*+]")), ("pdf", re.compile(rb".{0,1019}?%PDF-", re.DOTALL)))


def previews(files: Sequence[bytes]) -> dict[tuple[int, int], str]:
    """Return data URIs by number of file and page, both from 1 on; a page that cannot be shown has none."""
    found: dict[tuple[int, int], str] = {}
    for at, content in enumerate(files, 1):
        for number, uri in enumerate(_pages(content), 1):
            found[at, number] = uri
    return found


def _pages(content: bytes) -> list[str]:
    for kind, start in _AS_IT_IS:
        if start.match(content):
            return [_uri(kind, base64.b64encode(content).decode())] if len(content) <= MOST_BYTES else []
    for kind, start in _DRAWN:
        if start.match(content):
            return [_uri("image/jpeg", page) for page in _drawn(kind, content)]
    return []


def _uri(kind: str, encoded: str) -> str:
    return f"data:{kind};base64,{encoded}"


def _drawn(kind: str, content: bytes) -> list[str]:
    """Return the pages that the drawing process finished, in JPEG and base64."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("drawing.py")), kind]
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED}
    try:
        done = subprocess.run(
            command, input=content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=inherited, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return []
    return [json.loads(line) for line in done.stdout.splitlines(keepends=True) if line.endswith(b"\n")]
