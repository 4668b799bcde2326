"""Does the chip's power limit a training step? python experiments/h200_power.py OUT, on a GPU.

Measures the TFLOP/s of 10 and of 700 consecutive bf16 matrix products of side 8,192, then `bench=train` with cached
features (its run directory goes into OUT). During the long measurements nvidia-smi is read every 50 ms; of the readings
above 400 W it reports the median SM clock and power, and the share with the software power cap active.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

SIDE, BUSY_W = 8192, 400
QUERY = "clocks.sm,power.draw,clocks_event_reasons.sw_power_cap"
STEPS = (
    "bench=train",
    "experiment=seed_recipe",
    "lora=llm",
    "model=qwen2_5_vl_7b",
    "model.init=random",
    "hardware=h200",
    "logger=none",
    "trainer.bar=false",
    "bench.samples=32",
    "bench.arms=[cached]",
    "bench.tower_pages=0",
    "bench.rounds=8",
)


def watched(name: str, work: Callable[[], None]) -> None:
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "-lms", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as smi:
        try:
            work()
        finally:
            smi.terminate()
        read = [line.split(", ") for line in smi.communicate()[0].splitlines()]
    busy = [(float(mhz), float(watts), cap == "Active") for mhz, watts, cap in read if float(watts) > BUSY_W]
    mhz, watts, capped = zip(*busy, strict=True)
    print(
        f"{name}: {len(busy)} readings, {statistics.median(mhz):.0f} MHz ({min(mhz):.0f} to {max(mhz):.0f}), "
        f"{statistics.median(watts):.0f} W, capped at {sum(capped) / len(busy):.0%}",
        flush=True,
    )


def products(count: int) -> None:
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(count):
        left @ right
    torch.cuda.synchronize()
    print(f"{count} products: {2 * SIDE**3 * count / (time.perf_counter() - started) / 1e12:.0f} TFLOP/s", flush=True)


def main(out: str) -> None:
    for _ in range(3):
        time.sleep(2)  # let the chip cool
        products(10)
    watched("700 products", lambda: [products(700) for _ in range(6)])
    torch.cuda.empty_cache()
    command = [sys.executable, "benchmark.py", *STEPS, f"hydra.run.dir={out}"]
    watched("steps", lambda: subprocess.run(command, check=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
