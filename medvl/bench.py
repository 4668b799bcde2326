"""What a composition costs: memory, time to the first token, time a token, training speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from medvl.engine import Engine
    from medvl.types import Batch, Example

    class Job(Protocol):
        """What a benchmark uses of medvl.job.Job."""

        run: Any
        loaded: Any
        trained: bool
        plan: Any
        record: Any

        def load_trained(self) -> Engine: ...
        def prepare(self, encoder: Any, needs: Sequence[str] = ()) -> Any: ...
        def prepare_evaluation(self, encoder: Any, trained: Any = None) -> Sequence[Example]: ...
        def evaluate(self, engine: Engine, examples: Sequence[Example], name: str) -> Any: ...
        def tune(self, model: Any) -> Any: ...
        def start_mirror(self) -> None: ...


MIB = 2**20
CLEAR_REFS, PROCESS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
UNTIMED = 2  # training steps before any that counts: allocator and kernels warm up


@dataclass(kw_only=True)
class Bench:
    """What benchmark.py measures: the `bench` config group."""

    objective: ClassVar[str]
    """The number that a sweep optimises; the least is best unless `higher_is_better`."""
    higher_is_better: ClassVar[bool] = False
    headline: ClassVar[tuple[str, ...]]
    """What is printed and stands in a sweep's table."""

    def run(self, job: Job) -> dict[str, Any]:
        """Measure; return every number and every sample."""
        raise NotImplementedError

    def show(self, results: dict[str, Any]) -> str:
        """Return what people read of the results."""
        return "\n".join(f"{results[key]:>12,.1f}  {key}" for key in self.headline if key in results)


@dataclass(kw_only=True)
class ModelBench(Bench):
    """Memory, generation and training of a composition."""

    objective: ClassVar[str] = "each_token_ms"
    headline: ClassVar[tuple[str, ...]] = (
        "load_s", "weights_mib", "peak_mib", "first_token_ms", "each_token_ms", "latency_p50_ms", "latency_p95_ms",
        "latency_p99_ms", "output_tokens_per_s", "train_tokens_per_s", "train_peak_mib", "cer_percent",
        "combined_percent",
    )  # fmt: skip

    batch: int = 1
    """Pages answered at once."""
    new_tokens: int = 64
    """Tokens generated for every page, whatever they are, so that compositions compare."""
    warmup: int = 2
    """Batches run before any that counts."""
    repeats: int = 10
    """Batches timed."""
    train_steps: int = 5
    """Training steps timed, after two that are not; 0: generation only."""
    accuracy: bool = False
    """Score the answers to `eval` too, so that what a composition saves stands beside what it costs."""

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("new_tokens", 2), ("warmup", 0), ("repeats", 1), ("train_steps", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"bench.{name} must be at least {least}, got {value}. Set bench.{name}={least}.")

    def run(self, job: Job) -> dict[str, Any]:
        job.run.precision = job.run.precision.as_stored()  # what is measured is the format
        engine = job.load_trained()
        results = {"load_s": job.loaded.seconds, "weights_mib": weights_mib(engine.model)}
        prepared = job.prepare(engine.encoder, needs=["train"])
        examples = job.run.eval.chosen(job.prepare_evaluation(engine.encoder, prepared))
        job.start_mirror()
        results |= self.generation(engine, examples)
        if self.accuracy:
            results |= scored(*job.evaluate(engine, examples, "predictions"))
        if self.train_steps and not job.trained:
            engine.model = job.run.lora.apply(engine.model)
            job.tune(engine.model)
            train, budget = prepared.examples["train"], job.run.batch.tokens
            results |= self.training(engine, job.run.make_optimizer(), train, budget=budget)
        return results

    def generation(self, engine: Engine, examples: Sequence[Example]) -> dict[str, Any]:
        """Time generation over the examples in turn.

        Returns:
            Milliseconds: to the first token and a token after it (medians), latency of a batch at p50, p95
            and p99; output tokens; tokens a second; peak MiB; and every sample.
        """
        from medvl.engine import Clock

        batches = [
            [engine.encoder.encode(examples[(start + at) % len(examples)], answer=False) for at in range(self.batch)]
            for start in range(0, self.batch * (self.warmup + self.repeats), self.batch)
        ]
        peak = PeakMemory(engine.device)
        first, each, latency, tokens = [], [], [], 0
        for number, encoded in enumerate(batches):
            clock = Clock()
            answers = engine.generate(encoded, max_new_tokens=self.new_tokens, exactly=True, clock=clock)
            if number < self.warmup:
                continue
            first.append(1e3 * clock.ticks[0])
            each.append(1e3 * (clock.ticks[-1] - clock.ticks[0]) / (len(clock.ticks) - 1))
            latency.append(1e3 * clock.ticks[-1])
            tokens += self.new_tokens * len(answers)
        return {
            "first_token_ms": statistics.median(first),
            "each_token_ms": statistics.median(each),
            **{f"latency_p{p}_ms": percentile(latency, p) for p in (50, 95, 99)},
            "output_tokens": tokens,
            "output_tokens_per_s": tokens / (sum(latency) / 1e3),
            **peak.read(""),
            "samples": {"first_token_ms": first, "each_token_ms": each, "latency_ms": latency},
        }

    def training(
        self, engine: Engine, make_optimizer: Callable[..., Any], examples: Sequence[Example], *, budget: int
    ) -> dict[str, Any]:
        """Time optimizer steps on packed rows that lie on the device already.

        Returns:
            Real tokens a second (median over steps), milliseconds a step, peak MiB, and every sample.
        """
        from medvl.engine import synchronize

        batches = list(_rows(engine, examples, budget, most=UNTIMED + self.train_steps))
        step = _optimizer_step(engine, make_optimizer)
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
    """Return scores with their intervals, and the two that stand in a table, in percent."""
    from medvl.measures.confidence import intervals

    percent = {f"{name}_percent": 100 * summary[name] for name in ("cer", "combined") if summary.get(name) is not None}
    return {**percent, "scores": summary, "intervals": intervals(rows)}


def _rows(engine: Engine, examples: Sequence[Example], budget: int, *, most: int) -> Iterator[Batch]:
    """Yield packed rows on the engine's device."""
    from medvl.data.packing import fill_rows, pack
    from medvl.engine import on_device

    for row in fill_rows(examples, range(len(examples)), budget)[:most]:
        yield on_device(pack([engine.encoder.encode(examples[index]) for index in row]), engine.device)


def _optimizer_step(engine: Engine, make_optimizer: Callable[..., Any]) -> Callable[[Batch], None]:
    """Return one training step as the Learner takes it: the same loss, the same arithmetic."""
    from medvl.loss import answer_nats
    from medvl.types import IGNORE

    parameters = [p for p in engine.model.parameters() if p.requires_grad]
    optimizer = make_optimizer(parameters)
    engine.model.train()

    def step(batch: Batch) -> None:
        with engine.precision.autocast(engine.device):
            loss = answer_nats(engine.model, batch) / (batch["labels"] != IGNORE).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


class PeakMemory:
    """Peak memory between construction and `read`: the CUDA allocator's, or the process's on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        else:
            CLEAR_REFS.write_text("5")  # resets this process's high-water mark, see proc(5)

    def read(self, prefix: str) -> dict[str, Any]:
        """Return the peak so far; on a GPU what tensors took, and beside it what the allocator held."""
        import torch

        if self.device.type == "cuda":
            return {
                f"{prefix}peak_mib": torch.cuda.max_memory_allocated(self.device) / MIB,
                f"{prefix}peak_reserved_mib": torch.cuda.max_memory_reserved(self.device) / MIB,
                f"{prefix}peak_is": "allocated on the GPU",
            }
        (line,) = (line for line in PROCESS.read_text().splitlines() if line.startswith("VmHWM"))
        return {f"{prefix}peak_mib": int(line.split()[1]) / 1024, f"{prefix}peak_is": "resident in this process"}


def weights_mib(model: nn.Module) -> float:
    """Return the memory of all weights as they lie, quantisation scales included."""
    seen: dict[int, int] = {}
    for tensor in _tensors(model):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(seen.values()) / MIB


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        for inner in (state, getattr(state, "state2", None)):
            tensors += [part for part in (getattr(inner, "absmax", None), getattr(inner, "code", None),
                                          getattr(inner, "offset", None)) if part is not None]  # fmt: skip
        tensors += [part for part in (getattr(parameter, "CB", None), getattr(parameter, "SCB", None))
                    if part is not None]  # fmt: skip
    return tensors


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile by linear interpolation, numpy's default.

    >>> percentile([1, 2, 3, 4], 50)
    2.5
    """
    ranked = sorted(samples)
    at = (len(ranked) - 1) * percent / 100
    low = int(at)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (at - low) * (ranked[high] - ranked[low])
