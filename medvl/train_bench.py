"""How fast a composition trains beside the seed project's recipe: benchmark.py bench=train."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.bench import MIB, Bench, PeakMemory
from medvl.figures import speed_figure
from medvl.lora import FullFineTuning, Lora
from medvl.table import grid

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from medvl.bench import Job
    from medvl.engine import Engine
    from medvl.kernels.pointwise import Pointwise
    from medvl.train_arms import Steps

GEMM_SIDE = {"cuda": 8192, "cpu": 2048}
LETTER_PX = (1008, 784)  # 11 : 8.5 in tokens of 28 px
# What it trained without knowing: its list of suffixes also matches the MLPs of the vision tower (conf/lora/seed.yaml).
SEED_LORA = Lora(r=64, alpha=128.0, dropout=0.05, vision=["gate_proj", "up_proj", "down_proj"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way."""

    title: str
    padded: bool = False
    """Batches padded to their longest sample, logits of every position, as transformers' Trainer has them."""
    checkpointing: int | None = 0
    """Every n-th language layer is recomputed; None: as this composition settled."""
    lora: Lora | None = None
    """Adapters of its own; None: those of the composition."""
    fused: bool = True
    cached: bool = False
    """The tower's features are there already, as from the second pass on."""


ARMS = {
    "seed": Arm(title="seed recipe, tower trained", padded=True, checkpointing=1, lora=SEED_LORA, fused=False),
    "frozen": Arm(title="the same, tower frozen, no dropout", padded=True, checkpointing=1, fused=False),
    "padded": Arm(title="the same, no checkpointing", padded=True, fused=False),
    "packed": Arm(title="packed, peft's layers", fused=False),
    "ours": Arm(title="ours, pages seen live", checkpointing=None),
    "cached": Arm(title="ours, features kept", checkpointing=None, cached=True),
}


@dataclass(kw_only=True)
class TrainBench(Bench):
    """Arms side by side in one process, in turn, on the same samples; the first is what the others are compared to."""

    objective: ClassVar[str] = "tokens_per_s"
    higher_is_better: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = (
        "tokens_per_s", "ratio", "gemm_percent", "peak_mib", "estimated_mib", "tower_ratio", "gemm_tflops",
    )  # fmt: skip

    arms: list[str] = field(default_factory=lambda: list(ARMS))
    """Of the ways above; the headline is of the last."""
    samples: int = 16
    """Examples of an optimizer step: the first that are prepared."""
    row_tokens: int = 16384
    """Tokens of a packed row at most; more rows accumulate."""
    rounds: int = 5
    """Steps timed of every arm, after one round that is not; on a GPU one before each of them settles the allocator."""
    tower_pages: int = 4
    """Letter pages at 1,000 px on which the vision tower is timed; 0: none."""
    profile: bool = False
    """Write where the time of one step of the last arm goes, kernel by kernel, to profile.txt; of the tower, to
    profile_tower.txt."""

    def __post_init__(self) -> None:
        for name in self.arms:
            if name not in ARMS:
                raise ValueError(f"bench.arms knows {', '.join(ARMS)}; got {name!r}.")
        if not self.arms:
            raise ValueError("bench.arms is empty. Set bench.arms=[seed,ours].")
        for name, least in (("samples", 1), ("row_tokens", 1), ("rounds", 2), ("tower_pages", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"bench.{name} must be at least {least}, got {getattr(self, name)}. "
                                 f"Set bench.{name}={least}.")  # fmt: skip

    def run(self, job: Job) -> dict[str, Any]:
        from medvl.train_arms import arms, linear_parameters
        from medvl.tuning import recomputed

        if job.trained or isinstance(job.run.lora, FullFineTuning):
            raise ValueError("bench=train compares adapters on a bare base. Set lora=llm, and neither run nor adapter.")
        engine = job.load_trained()
        examples = job.prepare(engine.encoder, needs=["train"]).examples["train"][: self.samples]
        job.start_mirror()
        engine.model = job.run.lora.apply(engine.model)
        tuning = job.tune(engine.model)
        kernel = job.plan.attention.value
        steps = dict(arms(
            self.arms, engine, examples, row_tokens=self.row_tokens, make_optimizer=job.run.make_optimizer(),
            every=tuning.every, pointwise=tuning.pointwise,
        ))  # fmt: skip
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
        text = engine.model.get_base_model().config.text_config
        each = 4 * linear_parameters(text)
        rows = {
            name: _row(steps[name], timed[name], timed[self.arms[0]], peaks[name], losses[name], each, gemm)
            for name in self.arms
        }
        results = {"gemm_tflops": gemm, "arms": rows, "samples": len(examples), **rows[self.arms[-1]]}
        if self.profile:
            with steps[self.arms[-1]].set_up(kernel):
                _profile(steps[self.arms[-1]], engine.device, job.record.path / "profile.txt")
        longest = steps[self.arms[-1]].row_tokens
        results["estimated_mib"] = tuning.memory(longest, recomputed(text.num_hidden_layers, tuning.every)).peak / MIB
        results |= self._tower(job, engine, tuning.pointwise) if self.tower_pages else {}
        speed_figure(rows, gemm, job.record.path / "train_speed.png")
        return results

    def show(self, results: dict[str, Any]) -> str:
        """Return the table of the arms, and what else was measured."""
        head = ["arm", "ms a step", "real tok/s", "nominal tok/s", "4N TFLOP/s", "% of GEMM", "peak MiB", "x"]
        body = [
            [row["title"], f"{row['step_ms']:,.0f}", f"{row['tokens_per_s']:,.0f}", f"{row['nominal_per_s']:,.0f}",
             f"{row['tflops']:.1f}", f"{row['gemm_percent']:.1f}", f"{row['peak_mib']:,.0f}",
             f"{row['ratio']:.2f} [{row['ratio_interval'][0]:.2f}, {row['ratio_interval'][1]:.2f}]"]
            for row in results["arms"].values()
        ]  # fmt: skip
        lines = [grid([head, *body]), f"a large product: {results['gemm_tflops']:.1f} TFLOP/s",
                 f"the last arm's step was estimated at {results['estimated_mib']:,.0f} MiB"]  # fmt: skip
        if self.tower_pages:
            low, high = results["tower_ratio_interval"]
            rate = f"{results['tower_pages_per_s']:.1f} letter pages of {LETTER_PX[0]} px a second"
            lines.append(f"vision tower: {rate}, {results['tower_ratio']:.2f} x transformers' [{low:.2f}, {high:.2f}]")
        return "\n".join(lines)

    def _tower(self, job: Job, engine: Engine, pointwise: Pointwise) -> dict[str, Any]:
        from medvl.train_arms import compute, tower_run

        run = tower_run(engine, self.tower_pages, *LETTER_PX)
        samples: dict[str, list[float]] = {}
        for _ in range(1 + self.rounds):
            for name, way in {"transformers": (None, None), "ours": (job.plan.attention.value, pointwise)}.items():
                compute(engine.model, *way)
                run()
                samples.setdefault(name, []).append(_seconds(run, engine.device))
        if self.profile:
            _profile(run, engine.device, job.record.path / "profile_tower.txt")
        times = {name: values[1:] for name, values in samples.items()}
        low, middle, high = ratio_interval(times["transformers"], times["ours"])
        return {
            "tower_pages_per_s": self.tower_pages / statistics.median(times["ours"]), "tower_ratio": middle,
            "tower_ratio_interval": [low, high], "tower_samples_s": times,
        }  # fmt: skip


def _timed(step: Steps, engine: Engine) -> tuple[float, float, float]:
    """Return the seconds, the peak MiB and the loss of one step; on a GPU after one that settles the allocator."""
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
    from medvl.engine import synchronize

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
        "title": step.arm.title, "step_ms": 1e3 * median, "tokens_per_s": step.real_tokens / median,
        "nominal_per_s": step.nominal_tokens / median, "real_tokens": step.real_tokens,
        "padding_percent": 100 * (1 - step.real_tokens / step.nominal_tokens), "tflops": tflops,
        "gemm_percent": 100 * tflops / gemm, "peak_mib": peak, "ratio": middle, "ratio_interval": [low, high],
        "loss": loss, "checkpointing": step.every, "samples_ms": [1e3 * value for value in seconds],
    }  # fmt: skip


def ratio_interval(first: list[float], second: list[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return how many times faster the second is: the median of the paired ratios, its 95 % interval around it.

    Rounds are drawn with replacement, whole (percentile bootstrap).

    >>> ratio_interval([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    (2.0, 2.0, 2.0)
    """
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(draws))
    return medians[int(0.025 * draws)], statistics.median(ratios), medians[int(0.975 * draws)]


def gemm_tflops(engine: Engine) -> float:
    """Return the rate of a large square product in the run's arithmetic, TFLOP/s."""
    import torch

    side = GEMM_SIDE[engine.device.type]
    x = torch.randn(side, side, device=engine.device, dtype=engine.precision.compute.torch)

    def products() -> None:
        for _ in range(10):
            x @ x

    products()
    return max(10 * 2 * side**3 / _seconds(products, engine.device) / 1e12 for _ in range(3))
