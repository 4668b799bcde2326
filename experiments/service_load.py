"""Requests to a running service, all with pages of their own: how many are answered, how soon, and in what memory.

medvl serve logger=none &
python experiments/service_load.py 2000 8          2,000 requests, 8 at a time
python experiments/service_load.py 720 720         ten times what serve.queue and serve.rows hold, at once
"""

import argparse
import io
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from PIL import Image

from medvl.documents.reading import Stage, drawn

DRAWN, REPORTED = 40, 10  # pages that are drawn, each then marked differently; times that the memory is looked at


def pages() -> list[Image.Image]:
    stages = [Stage(plain=0.5, prose=0.5, height_px=56 + 28 * (number % 3)) for number in range(DRAWN)]
    return [Image.fromarray(drawn(stage, f"load/{at}", None).pixels).convert("L") for at, stage in enumerate(stages)]


def marked(page: Image.Image, number: int) -> bytes:
    """Return a page as a PNG of which no other has the same pixels."""
    own, encoded = page.copy(), io.BytesIO()
    own.putpixel((number % 300, number // 300 % 50), number % 256)
    own.save(encoded, format="PNG")
    return encoded.getvalue()


def server_mib(port: int) -> float | None:
    """Return the memory of the process of this machine that was started as medvl serve; None if it is not found."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words = entry.read_bytes().split(b"\0")
        if b"serve" in words and (port == 8000 or f"serve.port={port}".encode() in words):
            return int((entry.parent / "statm").read_text().split()[1]) * 4096 / 2**20
    return None


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("requests", type=int)
    asked.add_argument("together", type=int)
    asked.add_argument("--port", type=int, default=8000)
    words = asked.parse_args()
    sources, statuses, seconds = pages(), Counter[int](), []
    limits = httpx.Limits(max_connections=words.together)
    client = httpx.Client(base_url=f"http://127.0.0.1:{words.port}", timeout=300, trust_env=False, limits=limits)

    def ask(number: int) -> None:
        started = time.perf_counter()
        sent = {"files": ("a.png", marked(sources[number % DRAWN], number))}
        answer = client.post("/extract", files=sent, data={"max_tokens": "24"})
        statuses[answer.status_code] += 1
        if answer.status_code == 200:
            assert answer.json()["pages"][0]["text"] is not None
            seconds.append(time.perf_counter() - started)

    memory = []
    step = max(words.together, -(-words.requests // REPORTED))
    with ThreadPoolExecutor(words.together) as pool:
        for first in range(0, words.requests, step):
            list(pool.map(ask, range(first, min(words.requests, first + step))))
            memory.append(server_mib(words.port))
    ranks = statistics.quantiles(seconds, n=100)
    told = ", ".join(f"p{at} {1000 * ranks[at - 1]:,.0f}" for at in (50, 95, 99))
    print(f"answers by status {dict(statuses)}; answered after {told} ms")
    print("memory of the service in MiB:", ", ".join("?" if one is None else f"{one:,.0f}" for one in memory))


if __name__ == "__main__":
    main()
