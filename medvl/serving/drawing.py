"""PDF pages drawn in a process of its own, which is killed if it takes too long or too much memory.

The process reads the file from its standard input, and writes for every page a line of JSON and its pixels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import TooManyPixels, UnreadableImage

if TYPE_CHECKING:
    from PIL import Image

MEMORY = 4 * 2**30  # bytes of address space
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR")  # of the environment: no key


async def drawn_pages(
    content: bytes, dpi: int, max_pixels: int, most: int, seconds: float, named: str
) -> AsyncGenerator[Image.Image]:
    """Yield the pages of a PDF in RGB.

    Args:
        most: Pages; a file with more is refused before any is drawn.
        seconds: For all pages; the process is killed after them, and when nobody asks for a further page.

    Raises:
        Refused: 413 or 422.
    """
    from PIL import Image

    from medvl.serving.refusals import Refused

    words = [str(dpi), str(max_pixels), str(most), str(math.ceil(seconds))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "medvl.serving.drawing",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name in INHERITED},
    )
    until = time.monotonic() + seconds
    try:
        await asyncio.wait_for(_hand_over(process, content), seconds)
        while True:
            read = await asyncio.wait_for(_next_page(process), max(0.0, until - time.monotonic()))
            if not read:
                return
            head, pixels = read
            if "status" in head:
                raise Refused(head["status"], f"{named} {head['message']}.", head["code"])
            yield Image.frombytes(head["mode"], tuple(head["size"]), pixels).convert("RGB")
    except TimeoutError:
        raise Refused(422, f"{named} is a PDF that takes too long to draw.", "damaged_image") from None
    except asyncio.IncompleteReadError:  # it was killed for its memory or time
        raise Refused(422, f"{named} is a PDF that cannot be drawn.", "damaged_image") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _hand_over(process: asyncio.subprocess.Process, content: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died
        process.stdin.write(content)
        await process.stdin.drain()
    process.stdin.close()


async def _next_page(process: asyncio.subprocess.Process) -> tuple[dict[str, Any], bytes] | None:
    """Return what is said of the next page, and its pixels; None after the last one."""
    assert process.stdout is not None
    head = json.loads(await process.stdout.readuntil(b"\n"))
    return (head, await process.stdout.readexactly(head.get("bytes", 0))) if head else None


def main(dpi: int, max_pixels: int, most: int, seconds: int) -> None:
    """Draw the PDF on the standard input."""
    import resource

    from medvl.data import pdf

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    content = sys.stdin.buffer.read()
    try:
        pages = pdf.count(content)
        if pages > most:
            _say({"status": 413, "message": f"has more than {most} pages", "code": "too_many_pages"})
            return
        for number in range(pages):
            page = pdf.draw(content, number, dpi, max_pixels)
            pixels = page.tobytes()
            _say({"mode": page.mode, "size": page.size, "bytes": len(pixels)})
            sys.stdout.buffer.write(pixels)
        _say({})
    except UnreadableImage as error:
        message = error.reason.partition(";")[0].replace("data.dpi=", "dpi ")
        large = isinstance(error, TooManyPixels)
        code = "too_many_pixels" if large else "damaged_image"
        _say({"status": 413 if large else 422, "message": message, "code": code})


def _say(head: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
