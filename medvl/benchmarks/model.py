"""What a composition costs: memory, time to the first token, time per token, training speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.benchmarks.answer_ticks import answer_ticks
from medvl.benchmarks.bench import ComposedBench
from medvl.benchmarks.timings import timings
from medvl.hardware.peak_memory import PeakMemory
from medvl.model.parts import synchronize, weights_mib

if TYPE_CHECKING:
    from medvl.benchmarks.bench import Composed
    from medvl.generation.engine import Engine
    from medvl.kernels.fused_ops import FusedOps
    from medvl.model.precision import Precision
    from medvl.types import Batch, Example

UNTIMED = 2  # warm-up training steps for allocator and kernels


@dataclass(kw_only=True)
class ModelBench(ComposedBench):
    """Measures memory, generation and training of a composition."""

    answers: ClassVar[bool] = True
    objective: ClassVar[str] = "each_token_ms"
    headline: ClassVar[tuple[str, ...]] = (
        "load_s",
        "disk_mib",
        "weights_mib",
        "peak_mib",
        "first_token_ms",
        "each_token_ms",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "output_tokens_per_s",
        "train_tokens_per_s",
        "train_peak_mib",
        "cer_text_percent",
        "cer_percent",
        "combined_percent",
        "equal_answers",
    )

    batch: int = 1
    """Pages per generation batch."""
    new_tokens: int = 64
    """Tokens generated for every page; end tokens are suppressed, so that compositions are comparable."""
    warmup: int = 2
    """Warm-up batches, not timed."""
    repeats: int = 10
    """Batches timed."""
    train_steps: int = 5
    """Training steps timed, after two warm-up steps; 0: generation only."""
    accuracy: bool = False
    """Also score the answers to `eval`, to show what the savings cost in accuracy."""

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("new_tokens", 2), ("warmup", 0), ("repeats", 1), ("train_steps", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"bench.{name} must be at least {least}, got {value}. Set bench.{name}={least}.")

    def measured_precision(self, precision: Precision) -> Precision:
        return precision.as_stored()  # the storage format is what is measured

    def run(self, composed: Composed) -> dict[str, Any]:
        engine = composed.engine
        results = {"load_s": composed.load_s, "weights_mib": weights_mib(engine.model)}
        results |= self.generation(engine, composed.evaluated)
        rows = None
        if self.accuracy:
            rows, summary = composed.score()
            results |= scored(rows, summary)
        results |= composed.deployed(rows)
        if self.train_steps and not composed.trained:
            engine.model = composed.lora.apply(engine.model)
            step = _optimizer_step(engine, composed.make_optimizer, composed.tune(engine.model).fused_ops)
            results |= self.training(engine, step, composed.train, budget=composed.budget)
        return results

    def generation(self, engine: Engine, examples: Sequence[Example]) -> dict[str, Any]:
        """Time generation over the examples in turn.

        Returns:
            Milliseconds: to the first token and per later token (medians), latency of a batch at p50, p95
            and p99; output tokens; tokens per second; peak MiB; and every sample.
        """

        count = self.batch * (self.warmup + self.repeats)
        asked = [examples[at % len(examples)] for at in range(count)]
        width = max(example.tokens - example.answer_tokens for example in asked) + self.new_tokens
        peak = PeakMemory(engine.device)
        first, each, latency, tokens = [], [], [], 0
        with engine.session(rows=self.batch, width=width, endless=True) as session:
            for number in range(self.warmup + self.repeats):
                together = asked[number * self.batch : (number + 1) * self.batch]
                ticks = answer_ticks(session, together, self.new_tokens)
                if number < self.warmup:
                    continue
                first.append(1e3 * ticks[0])
                each.append(1e3 * (ticks[-1] - ticks[0]) / (len(ticks) - 1))
                latency.append(1e3 * ticks[-1])
                tokens += self.new_tokens * self.batch
        return {**timings(first, each, latency, tokens), **peak.read("")}

    def training(
        self, engine: Engine, step: Callable[[Batch], None], examples: Sequence[Example], *, budget: int
    ) -> dict[str, Any]:
        """Time optimizer steps on packed rows that are already on the device.

        Returns:
            Real tokens per second (median over steps), milliseconds per step, peak MiB, and every sample.
        """
        batches = list(_rows(engine, examples, budget, most=UNTIMED + self.train_steps))
        peak = PeakMemory(engine.device)
        seconds, tokens = [], []
        for number in range(UNTIMED + self.train_steps):
            batch = batches[number % len(batches)]
            synchronize(engine.device)
            started = time.perf_counter()
            step(batch)
            synchronize(engine.device)
            if number >= UNTIMED:
                seconds.append(time.perf_counter() - started)
                tokens.append(batch["input_ids"].numel())
        rates = [count / time_s for count, time_s in zip(tokens, seconds, strict=True)]
        return {
            "train_tokens_per_s": statistics.median(rates),
            "train_step_ms": 1e3 * statistics.median(seconds),
            "train_tokens_a_step": statistics.mean(tokens),
            **peak.read("train_"),
            "train_samples": {"ms": [1e3 * value for value in seconds], "tokens": tokens},
        }


def scored(rows: list[dict[str, Any]], summary: dict[str, Any]) -> dict[str, Any]:
    """Return scores with their intervals, and in percent those that a table shows."""
    from medvl.metrics.confidence import intervals

    shown = [name for name in ("cer_text", "cer", "combined") if summary.get(name) is not None]
    percent = {f"{name}_percent": 100 * summary[name] for name in shown}
    return {**percent, "scores": summary, "intervals": intervals(rows)}


def _rows(engine: Engine, examples: Sequence[Example], budget: int, *, most: int) -> Iterator[Batch]:
    """Yield packed rows on the engine's device."""
    from medvl.data.packing import fill_rows, pack
    from medvl.model.parts import on_device

    for row in fill_rows(examples, range(len(examples)), budget)[:most]:
        yield on_device(pack([engine.encoder.encode(examples[index]) for index in row]), engine.device)


def _optimizer_step(engine: Engine, make_optimizer: Callable[..., Any], fused_ops: FusedOps) -> Callable[[Batch], None]:
    """Return one training step with the Learner's loss and arithmetic."""
    from medvl.training.loss import answer_nats
    from medvl.types import IGNORE

    parameters = [p for p in engine.model.parameters() if p.requires_grad]
    optimizer = make_optimizer(parameters)
    engine.model.train()

    def step(batch: Batch) -> None:
        with engine.precision.autocast(engine.device):
            loss = answer_nats(engine.model, batch, fused_ops) / (batch["labels"] != IGNORE).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
