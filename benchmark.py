"""Measure what a composition costs in memory and time.

python benchmark.py                                generation and training on this machine
python benchmark.py -m precision=bf16,nf4          side by side, one table
python benchmark.py run=outputs/train/<run>        with that run's adapter
"""

import hydra
from omegaconf import DictConfig

from medvl.job import Job
from medvl.launch import carry_out
from medvl.suggest import start


def benchmark(job: Job) -> float | None:
    from medvl.bench import weights_mib

    engine = job.load_trained()
    results = {"load_s": job.loaded.seconds, "weights_mib": weights_mib(engine.model)}
    prepared = job.prepare(engine.encoder, needs=["train", job.run.eval.split.value])
    job.start_loggers()
    run, examples = job.run, prepared.examples[job.run.eval.split.value]
    results |= run.bench.generation(engine, examples)
    if run.bench.train_steps and not job.trained:
        engine.model = run.lora.apply(engine.model)
        job.set_checkpointing(engine.model)
        train = prepared.examples["train"]
        results |= run.bench.training(engine, run.make_optimizer(), train, budget=run.batch.tokens)
    job.record.result(results, "benchmark")
    headline = {key: results[key] for key in HEADLINE if key in results}
    job.say("\n".join(f"{value:>12,.1f}  {key}" for key, value in headline.items()))
    job.mirror(**{f"bench/{key}": value for key, value in results.items() if isinstance(value, float)})
    job.conclude("each_token_ms", results["each_token_ms"], headline, higher_is_better=False)
    return results["each_token_ms"]


HEADLINE = (
    "load_s", "weights_mib", "peak_mib", "first_token_ms", "each_token_ms", "latency_p50_ms", "latency_p95_ms",
    "latency_p99_ms", "output_tokens_per_s", "train_tokens_per_s", "train_peak_mib",
)  # fmt: skip


@hydra.main(version_base="1.3", config_path="conf", config_name="run")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, benchmark)


if __name__ == "__main__":
    start(main)
