"""How fast a composition generates, beside transformers on the same prompts: benchmark.py bench=generate."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.benchmarks.answer_ticks import answer_ticks
from medvl.benchmarks.arrivals import arrival_line, arrivals
from medvl.benchmarks.bench import Composed, ComposedBench
from medvl.benchmarks.ceilings import measured
from medvl.benchmarks.speed_figure import rate_figure
from medvl.hardware.energy import Meter, meter
from medvl.hardware.peak_memory import PeakMemory
from medvl.model.parts import synchronize
from medvl.record.text_table import grid

if TYPE_CHECKING:
    import torch

    from medvl.generation.engine import Engine
    from medvl.model.precision import Precision
    from medvl.types import Example

ARMS = {
    "transformers": "transformers, as it is",
    "static": "transformers, static cache",
    "eager": "ours, step by step",
    "ours": "ours, captured",
}


@dataclass(kw_only=True)
class GenerateBench(ComposedBench):
    """Times arms in turn, in one process and on the same prompts; all are compared with the first at one row."""

    objective: ClassVar[str] = "tokens_per_s"
    higher_is_better: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = ("tokens_per_s", "each_token_ms", "first_token_ms", "floor_percent")

    arms: list[str] = field(default_factory=lambda: ["transformers", "eager", "ours"])
    """Names in `ARMS`; the headline results are those of the last, at the largest batch."""
    batches: list[int] = field(default_factory=lambda: [1, 4, 16])
    """Answers generated together."""
    new_tokens: int = 64
    """Tokens of every answer; end tokens are suppressed, so that all arms do the same work."""
    width: int | None = None
    """Tokens of a slot; None: what the prompts and answers need."""
    rounds: int = 3
    """Timed turns of every arm, after an untimed one."""
    adapter: bool = True
    """Attach the composition's adapter if no trained one is loaded."""
    pages: int = 0
    """Pages answered through slots that are refilled, with answers of different lengths; 0: none."""
    page_tokens: int = 500
    """Mean tokens of those answers: they are spread evenly from half to one and a half of it."""
    requests: int = 0
    """Requests that arrive one by one at random times; 0: none."""
    requests_per_s: float = 4.0
    """Mean number of them that arrive in a second."""

    def __post_init__(self) -> None:
        for name in self.arms:
            if name not in ARMS:
                raise ValueError(f"bench.arms knows {', '.join(ARMS)}; got {name!r}.")
        if not self.arms or not self.batches or min(self.batches) < 1:
            raise ValueError("bench.arms and bench.batches need entries. Set bench.arms=[transformers,ours].")
        for name, least in (("new_tokens", 2), ("rounds", 1), ("pages", 0), ("page_tokens", 2), ("requests", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"bench.{name} must be at least {least}, got {getattr(self, name)}.")
        if not 0 < self.requests_per_s < math.inf:
            raise ValueError(f"bench.requests_per_s must be positive, got {self.requests_per_s}.")

    def measured_precision(self, precision: Precision) -> Precision:
        return precision.as_stored()

    def run(self, composed: Composed) -> dict[str, Any]:
        engine, examples = composed.engine, _one_a_page(composed.train)
        if self.adapter and not composed.trained:
            engine.model = composed.lora.apply(engine.model)
        rows: dict[str, dict[str, Any]] = {}
        for batch in self.batches:
            asked = [examples[at % len(examples)] for at in range(batch)]
            samples: dict[str, list[dict[str, float]]] = {name: [] for name in self.arms}
            for number in range(1 + self.rounds):
                for name in self.arms:
                    found = self._time(name, engine, asked)
                    if number:
                        samples[name].append(found)
            for name, timed in samples.items():
                rows[f"{name} {batch}"] = {"arm": name, "batch": batch, **_medians(timed), "samples": timed}
        first = rows[f"{self.arms[0]} {self.batches[0]}"]
        for row in rows.values():
            row["ratio"] = row["tokens_per_s"] / first["tokens_per_s"]
        ceilings = measured(engine, asked)
        results = {
            "rows": rows,
            "prompt_tokens": statistics.mean(one.tokens - one.answer_tokens for one in examples[: max(self.batches)]),
            "choices": {name: str(choice) for name, choice in engine.said.items()},
            **asdict(ceilings),
            **(last := rows[f"{self.arms[-1]} {self.batches[-1]}"]),
            "floor_percent": 100 * ceilings.floor_ms / rows[f"{self.arms[-1]} {self.batches[0]}"]["each_token_ms"],
            "prefill_percent": 100 * ceilings.prefill_ms / last["first_token_ms"],
        }
        if self.pages:
            results["pages"] = self._pages(engine, examples)
        if self.requests:
            results["requests"] = arrivals(
                engine,
                examples,
                count=self.requests,
                per_s=self.requests_per_s,
                rows=max(self.batches),
                new_tokens=self.new_tokens,
            )
        rate_figure(rows, ARMS, composed.folder / "generation_speed.png")
        return results

    def show(self, results: dict[str, Any]) -> str:
        """Return the table of the arms and the other measurements."""
        head = ["arm", "answers", "first token ms", "ms a token", "tok/s", "peak MiB", "x"]
        body = [
            [
                ARMS[row["arm"]],
                f"{row['batch']}",
                f"{row['first_token_ms']:,.1f}",
                f"{row['each_token_ms']:,.2f}",
                f"{row['tokens_per_s']:,.0f}",
                f"{row['peak_mib']:,.0f}",
                f"{row['ratio']:,.2f}",
            ]
            for row in results["rows"].values()
        ]
        lines = [
            grid([head, *body]),
            f"reading the decoder's weights once takes {results['floor_ms']:.2f} ms: "
            f"{results['floor_percent']:.1f} % of a token's time at {self.batches[0]} answers",
            f"the products of {self.batches[-1]} prompts take {results['prefill_ms']:,.1f} ms at the device's rate: "
            f"{results['prefill_percent']:.1f} % of the time to their first tokens",
            *(f"{name}: {choice}" for name, choice in results["choices"].items()),
        ]
        if results["weights_ratio"]:
            lines.append(f"weights in memory while one answer goes on: {results['weights_ratio']:.3f} x as stored")
        pages = results.get("pages", {})
        for name, found in ((name, pages[name]) for name in ARMS if name in pages):
            joules = f", {found['joules_a_page']:.1f} J a page" if found["joules_a_page"] else ""
            lines.append(f"{ARMS[name]}: {found['pages_per_s']:.2f} pages/s{joules}, {pages['different']} different")
        if "requests" in results:
            lines.append(arrival_line(results["requests"]))
        return "\n".join(lines)

    def _time(self, name: str, engine: Engine, asked: Sequence[Example]) -> dict[str, float]:
        """Return milliseconds to the first token and per later one, decoded tokens per second, and peak MiB."""
        from medvl.generation.reference import Clock, generate

        peak = PeakMemory(engine.device)
        if name in ("transformers", "static"):
            clock = Clock()
            encoded = [engine.encoder.encode(one, answer=False) for one in asked]
            generate(
                engine.model,
                engine.encoder,
                engine.precision,
                encoded,
                max_new_tokens=self.new_tokens,
                endless=True,
                cache="static" if name == "static" else None,
                clock=clock,
            )
            ticks = clock.ticks
        else:
            ours = replace(engine, captures=name == "ours")
            ticks, engine.said = self._ticks(ours, asked), ours.said
        each = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
        return {
            "first_token_ms": 1e3 * ticks[0],
            "each_token_ms": 1e3 * each,
            "tokens_per_s": len(asked) / each,
            "peak_mib": peak.read("")["peak_mib"],
        }

    def _ticks(self, ours: Engine, asked: Sequence[Example]) -> list[float]:
        width = self.width or max(one.tokens - one.answer_tokens for one in asked) + self.new_tokens
        with ours.session(rows=len(asked), width=width, endless=True) as session:
            answer_ticks(session, asked, self.new_tokens)  # captures the steps
            return answer_ticks(session, asked, self.new_tokens)

    def _pages(self, engine: Engine, examples: Sequence[Example]) -> dict[str, Any]:
        """Time whole pages, images decoded from files: ours over `pages`, transformers' over one batch of 24."""
        from medvl.generation.reference import generate
        from medvl.generation.ticket import Ticket

        asked = [examples[at % len(examples)] for at in range(self.pages)]
        half = self.page_tokens // 2
        lengths = [half + at * 7919 % (2 * half + 1) for at in range(self.pages)]
        found: dict[str, Any] = {"different": min(self.pages, len(examples))}
        energy, started = _meter(engine.device), time.perf_counter()
        width = max(one.tokens - one.answer_tokens for one in asked) + max(lengths)
        with engine.session(rows=max(self.batches), width=width, endless=True, bulk=True) as session:
            for one, length in zip(asked, lengths, strict=True):
                session.submit(Ticket(one, length))
            while session.busy:
                session.step()
        found["ours"] = _page_rates(time.perf_counter() - started, self.pages, energy.read())
        if "transformers" in self.arms:
            part = asked[:24]
            energy, started = _meter(engine.device), time.perf_counter()
            encoded = [engine.encoder.encode(one, answer=False) for one in part]
            # A padded batch goes on until its longest answer ends.
            most = max(lengths[:24])
            generate(engine.model, engine.encoder, engine.precision, encoded, max_new_tokens=most, endless=True)
            synchronize(engine.device)
            found["transformers"] = _page_rates(time.perf_counter() - started, len(part), energy.read())
        return found


def _one_a_page(examples: Sequence[Example]) -> list[Example]:
    """Return the first question about each page: several would share its features, keys and values."""
    found: dict[tuple[str, ...], Example] = {}
    for one in examples:
        found.setdefault(tuple(one.images), one)
    return list(found.values())


def _meter(device: torch.device) -> Meter:
    import torch

    return meter([str(torch.cuda.get_device_properties(device).uuid)] if device.type == "cuda" else [])


def _page_rates(seconds: float, pages: int, joules: float | None) -> dict[str, float | None]:
    return {
        "pages": pages,
        "seconds": seconds,
        "pages_per_s": pages / seconds,
        "joules_a_page": None if joules is None else joules / pages,
    }


def _medians(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in samples) for name in samples[0]}
