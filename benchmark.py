"""Measure what a composition costs in memory and time.

python benchmark.py                                generation and training on this machine
python benchmark.py -m precision=bf16,nf4          compared in one table
python benchmark.py run=outputs/train/<run>        with that run's adapter
python benchmark.py engine=openai engine.url=...   a server's latency, as its client sees it
python benchmark.py bench=train                    training beside the baseline project's recipe
python benchmark.py bench=pages render=letter      pages rendered per second on one core
"""

import medvl.record.early  # noqa: F401 (signals are heeded while the others are imported)

import hydra
from omegaconf import DictConfig

from medvl.run.context import RunContext
from medvl.run.launch import carry_out
from medvl.run.suggest import start


def benchmark(context: RunContext) -> float | None:
    from medvl.run.benchmark_run import measure

    bench, results = context.config.bench, measure(context)
    context.record.result(results, "benchmark")
    headline = {key: results[key] for key in bench.headline if key in results}
    context.say(bench.show(results))
    context.track_numbers(**{f"bench/{key}": value for key, value in results.items() if isinstance(value, float)})
    context.conclude(bench.objective, results[bench.objective], headline, higher_is_better=bench.higher_is_better)
    return results[bench.objective]


@hydra.main(version_base="1.3", config_path="conf", config_name="run")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, benchmark)


if __name__ == "__main__":
    start(main)
