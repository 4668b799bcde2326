"""How fast a composition trains compared with the baseline project's recipe: benchmark.py bench=train."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.benchmarks.arms import ARMS
from medvl.benchmarks.bench import Composed, ComposedBench
from medvl.benchmarks.speed_figure import speed_figure
from medvl.hardware.peak_memory import PeakMemory
from medvl.hardware.plan import MIB
from medvl.model.lora import Adapter, FullFineTuning
from medvl.model.parts import base_of, linear_parameters
from medvl.record.text_table import grid

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from medvl.benchmarks.arm_steps import Steps
    from medvl.generation.engine import Engine
    from medvl.kernels.fused_ops import FusedOps

GEMM_SIDE = {"cuda": 8192, "cpu": 2048}
LETTER_PX = (1008, 784)  # 11 : 8.5 in tokens of 28 px


@dataclass(kw_only=True)
class TrainBench(ComposedBench):
    """Times arms in turn, in one process and on the same samples; all are compared with the first."""

    objective: ClassVar[str] = "tokens_per_s"
    higher_is_better: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = (
        "tokens_per_s",
        "ratio",
        "gemm_percent",
        "peak_mib",
        "estimated_mib",
        "tower_ratio",
        "gemm_tflops",
    )

    arms: list[str] = field(default_factory=lambda: list(ARMS))
    """Names in `ARMS`; the headline results are those of the last."""
    samples: int = 16
    """Examples per optimizer step: the first ones prepared."""
    row_tokens: int = 16384
    """The most tokens in a packed row; further rows are accumulated."""
    rounds: int = 5
    """Timed steps per arm, after one untimed round; on a GPU each follows a step that warms up the allocator."""
    tower_pages: int = 4
    """Letter-size pages at 1,000 px on which the vision tower is timed; 0: none."""
    profile: bool = False
    """Write the time per kernel of one step of the last arm to profile.txt, and of the tower to
    profile_tower.txt."""

    def __post_init__(self) -> None:
        for name in self.arms:
            if name not in ARMS:
                raise ValueError(f"bench.arms knows {', '.join(ARMS)}; got {name!r}.")
        if not self.arms:
            raise ValueError("bench.arms is empty. Set bench.arms=[seed,ours].")
        for name, least in (("samples", 1), ("row_tokens", 1), ("rounds", 2), ("tower_pages", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"bench.{name} must be at least {least}, got {getattr(self, name)}. Set bench.{name}={least}."
                )

    def check_composition(self, lora: Adapter, *, trained: bool) -> None:
        if trained or isinstance(lora, FullFineTuning):
            raise ValueError("bench=train compares adapters on a bare base. Set lora=llm, and neither run nor adapter.")

    def run(self, composed: Composed) -> dict[str, Any]:
        from medvl.benchmarks.arm_steps import arms
        from medvl.training.tuning import recomputed

        engine, kernel = composed.engine, composed.plan.attention.value
        examples = composed.train[: self.samples]
        longest = max(example.tokens for example in examples)
        if longest > self.row_tokens:
            raise ValueError(
                f"an example of {longest} tokens fits no row of {self.row_tokens}. Set bench.row_tokens={longest}."
            )
        engine.model = composed.lora.apply(engine.model)
        tuning = composed.tune(engine.model)
        steps = dict(
            arms(
                self.arms,
                engine,
                examples,
                row_tokens=self.row_tokens,
                make_optimizer=composed.make_optimizer,
                every=tuning.every,
                fused_ops=tuning.fused_ops,
            )
        )
        gemm = gemm_tflops(engine)
        timed: dict[str, list[float]] = {name: [] for name in steps}
        peaks, losses = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0.0)
        for number in range(1 + self.rounds):
            for name, step in steps.items():
                with step.set_up(kernel):
                    seconds, peak, losses[name] = _timed(step, engine)
                if number:
                    timed[name].append(seconds)
                    peaks[name] = max(peak, peaks[name])
        text = base_of(engine.model).config.text_config
        each = 4 * linear_parameters(text)
        rows = {
            name: _row(steps[name], timed[name], timed[self.arms[0]], peaks[name], losses[name], each, gemm)
            for name in self.arms
        }
        results = {"gemm_tflops": gemm, "arms": rows, "samples": len(examples), **rows[self.arms[-1]]}
        if self.profile:
            with steps[self.arms[-1]].set_up(kernel):
                _profile(steps[self.arms[-1]], engine.device, composed.folder / "profile.txt")
        row = steps[self.arms[-1]].row_tokens
        results["estimated_mib"] = tuning.memory(row, recomputed(text.num_hidden_layers, tuning.every)).peak / MIB
        results |= self._tower(composed, tuning.fused_ops) if self.tower_pages else {}
        speed_figure(rows, gemm, composed.folder / "train_speed.png")
        return results

    def show(self, results: dict[str, Any]) -> str:
        """Return the table of the arms and the other measurements."""
        head = ["arm", "ms a step", "real tok/s", "nominal tok/s", "4N TFLOP/s", "% of GEMM", "peak MiB", "x"]
        body = [
            [
                row["title"],
                f"{row['step_ms']:,.0f}",
                f"{row['tokens_per_s']:,.0f}",
                f"{row['nominal_per_s']:,.0f}",
                f"{row['tflops']:.1f}",
                f"{row['gemm_percent']:.1f}",
                f"{row['peak_mib']:,.0f}",
                f"{row['ratio']:.2f} [{row['ratio_interval'][0]:.2f}, {row['ratio_interval'][1]:.2f}]",
            ]
            for row in results["arms"].values()
        ]
        lines = [
            grid([head, *body]),
            f"a large product: {results['gemm_tflops']:.1f} TFLOP/s",
            f"the last arm's step was estimated at {results['estimated_mib']:,.0f} MiB",
        ]
        if self.tower_pages:
            low, high = results["tower_ratio_interval"]
            rate = f"{results['tower_pages_per_s']:.1f} letter pages of {LETTER_PX[0]} px a second"
            lines.append(f"vision tower: {rate}, {results['tower_ratio']:.2f} x transformers' [{low:.2f}, {high:.2f}]")
        return "\n".join(lines)

    def _tower(self, composed: Composed, fused_ops: FusedOps) -> dict[str, Any]:
        from medvl.benchmarks.arm_steps import compute, tower_run

        engine = composed.engine
        run = tower_run(engine, self.tower_pages, *LETTER_PX)
        samples: dict[str, list[float]] = {}
        for _ in range(1 + self.rounds):
            for name, way in {"transformers": (None, None), "ours": (composed.plan.attention.value, fused_ops)}.items():
                compute(engine.model, *way)
                run()
                samples.setdefault(name, []).append(_seconds(run, engine.device))
        if self.profile:
            _profile(run, engine.device, composed.folder / "profile_tower.txt")
        times = {name: values[1:] for name, values in samples.items()}
        low, middle, high = ratio_interval(times["transformers"], times["ours"])
        return {
            "tower_pages_per_s": self.tower_pages / statistics.median(times["ours"]),
            "tower_ratio": middle,
            "tower_ratio_interval": [low, high],
            "tower_samples_s": times,
        }


def _timed(step: Steps, engine: Engine) -> tuple[float, float, float]:
    """Return seconds, peak MiB and loss of one step; on a GPU after a step that warms up the allocator."""
    import torch

    peak = PeakMemory(engine.device)
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()
        step()
    losses: list[float] = []
    seconds = _seconds(lambda: losses.append(step()), engine.device)
    return seconds, peak.read("")["peak_mib"], losses[0]


def _profile(run: Callable[[], Any], device: torch.device, path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    cuda = device.type == "cuda"
    run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, record_shapes=True) as seen:
        _seconds(run, device)
    order = "self_device_time_total" if cuda else "self_cpu_time_total"
    table = seen.key_averages(group_by_input_shape=True).table(sort_by=order, row_limit=60, max_name_column_width=70)
    path.write_text(table, encoding="utf-8")


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    from medvl.model.parts import synchronize

    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def _row(
    step: Steps, seconds: list[float], first: list[float], peak: float, loss: float, flops_a_token: float, gemm: float
) -> dict[str, Any]:
    median = statistics.median(seconds)
    tflops = flops_a_token * step.real_tokens / median / 1e12
    low, middle, high = ratio_interval(first, seconds)
    return {
        "title": step.arm.title,
        "step_ms": 1e3 * median,
        "tokens_per_s": step.real_tokens / median,
        "nominal_per_s": step.nominal_tokens / median,
        "real_tokens": step.real_tokens,
        "padding_percent": 100 * (1 - step.real_tokens / step.nominal_tokens),
        "tflops": tflops,
        "gemm_percent": 100 * tflops / gemm,
        "peak_mib": peak,
        "ratio": middle,
        "ratio_interval": [low, high],
        "loss": loss,
        "checkpointing": step.every,
        "samples_ms": [1e3 * value for value in seconds],
    }


def ratio_interval(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Return how many times faster the second is, as (low, median of the paired ratios, high) with the 95 % interval.

    Percentile bootstrap over whole rounds.

    >>> ratio_interval([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    (2.0, 2.0, 2.0)
    """
    import numpy as np
    from scipy.stats import bootstrap

    ratios = np.divide(first, second)
    drawn = bootstrap((ratios,), np.median, n_resamples=2000, method="percentile", rng=0).confidence_interval
    return float(drawn.low), float(np.median(ratios)), float(drawn.high)


def gemm_tflops(engine: Engine) -> float:
    """Return the TFLOP/s of a large square matrix product in the run's compute type."""
    import torch

    side = GEMM_SIDE[engine.device.type]
    x = torch.randn(side, side, device=engine.device, dtype=engine.precision.compute.torch)

    def products() -> None:
        for _ in range(10):
            x @ x

    products()
    return max(10 * 2 * side**3 / _seconds(products, engine.device) / 1e12 for _ in range(3))
