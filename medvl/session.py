"""A training run from base model to verdict: what train.py reads like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl import record
from medvl.bench import PeakMemory, weights_mib
from medvl.data.datamodule import DocumentData
from medvl.data.encoding import Encoder
from medvl.data.prepare import Prepared
from medvl.engine import Engine
from medvl.job import Job, Scored
from medvl.learner import tracking
from medvl.learner.adapters import attach
from medvl.learner.checkpoint import latest
from medvl.learner.module import Learner
from medvl.learner.trainer import Strategy
from medvl.lora import Lora, matched, trainable
from medvl.measures.confidence import intervals, paired, sentence
from medvl.measures.scoring import summarize, summary_table
from medvl.model import Loaded
from medvl.types import Example


@dataclass(kw_only=True)
class Session:
    """One training run in hand."""

    job: Job
    engine: Engine
    loaded: Loaded
    prepared: Prepared
    examples: Sequence[Example]
    """What is evaluated."""
    checkpoint: Path | None
    """Where a resumed run goes on."""
    facts: dict[str, Any]

    @classmethod
    def start(cls, job: Job) -> Session:
        """Prepare and audit the data, load the base, start the mirrors."""
        job.run.check_parts()
        checkpoint = latest(job.record.checkpoints) if job.run.resume is not None else None
        if checkpoint is not None:
            job.check_adapter(checkpoint)
        encoder = Encoder(job.run.model.processor())
        prepared = job.prepare(encoder, needs=["train"])
        held_out = job.prepare_evaluation(encoder, prepared)
        job.audit(prepared, held_out)
        loaded, engine = job.load()
        job.start_loggers()
        facts = {"load_s": loaded.seconds, "weights_mib": weights_mib(loaded.model)}
        return cls(job=job, engine=engine, loaded=loaded, prepared=prepared,
                   examples=job.run.eval.chosen(held_out), checkpoint=checkpoint, facts=facts)  # fmt: skip

    @property
    def evaluates_before(self) -> bool:
        return self.job.main and self.job.run.eval.before

    def evaluate(self, name: str) -> Scored:
        """Score the model as it is now; what an interrupted run scored before is read back."""
        path = self.job.record.path / f"{name}.jsonl"
        if self.job.run.resume is not None and name == "predictions_before" and path.exists():
            rows = record.read_jsonl(path)
            if [row["id"] for row in rows] == [example.id for example in self.examples]:
                return rows, summarize(rows)
        self.job.say(f"evaluating {'before' if 'before' in name else 'after'} training ...")
        return self.job.evaluate(self.engine, self.examples, name)

    def fit(self) -> None:
        """Wrap the model by what trains, and train it."""
        job, run = self.job, self.job.run
        model = run.lora.apply(self.loaded.model)
        self.engine.model = model
        self._say_trainable(model)
        job.set_checkpointing(model)
        learner = Learner(
            model,
            run.make_optimizer(),
            warmup=run.trainer.warmup,
            clip=run.trainer.clip,
            passport=self._passport(),
            save_processor=self.loaded.processor.save_pretrained,
        )
        if run.resume is not None:
            job.say(f"going on from {self.checkpoint.name}" if self.checkpoint else "no checkpoint yet: starting over")
        started, peak = time.perf_counter(), PeakMemory(job.plan.torch_device)
        trainer = run.trainer.fit(
            learner, self._data(), precision=job.precision, plan=job.plan, record=job.record,
            loggers=job.loggers, resume=self.checkpoint,
        )  # fmt: skip
        self.facts |= {"train_s": time.perf_counter() - started, "steps": trainer.global_step}
        self.facts |= peak.read("train_")
        rows = record.read_jsonl(job.record.path / "metrics.jsonl") if job.main else []
        held_out = [row["val/nats_per_token"] for row in rows if "val/nats_per_token" in row]
        self.facts["val_nats_per_token"] = held_out[-1] if held_out else None
        if run.trainer.strategy is Strategy.fsdp:
            self._reload()
        else:
            model.to(job.plan.torch_device)  # Lightning moves the module to the CPU when it is done

    def _reload(self) -> None:
        """Put the whole trained model in the place of this rank's shard of it."""
        folder = latest(self.job.record.checkpoints)
        if self.job.main and folder is not None:
            self.engine.model = attach(self.job.load()[0].model, folder)

    def conclude(self, before: Scored | None, after: Scored) -> float | None:
        """Print and record the comparison; return the number that a sweep optimises."""
        job, objective = self.job, self.job.run.eval.objective
        columns = {"after": after[1]} if before is None else {"before": before[1], "after": after[1]}
        spread = {"after": intervals(after[0])} | ({"before": intervals(before[0])} if before is not None else {})
        split = job.run.eval.split.value
        unseen = "" if split == "minitrain" else ", not trained on"
        job.say(self._loss_line())
        job.say(f"{after[1]['examples']} examples of the {split} split{unseen}\n{summary_table(columns, spread)}")
        verdict = None
        if before is not None:
            differences = paired(before[0], after[0])
            if objective.value in differences:
                verdict = sentence(objective.value, differences[objective.value], "the base", "the trained model")
                job.say(verdict)
        job.record.result({**columns, "intervals": spread, "verdict": verdict, "train": self.facts})
        flat = {f"{when}/{key}": value for when, part in columns.items() for key, value in part.items()}
        job.mirror(**flat)
        if before is not None:
            tracking.show_pages(job.loggers, before[0][:8], after[0][:8])
        folder = latest(job.record.checkpoints)
        if folder is not None:
            tracking.keep_adapter(job.loggers, folder, flat)
        value = after[1].get(objective.value)
        headline = {"val nats/token": self.facts["val_nats_per_token"],
                    **{key: after[1].get(key) for key in ("cer", "combined", "exact")},
                    "train s": self.facts["train_s"]}  # fmt: skip
        job.conclude(objective.value, value, headline, higher_is_better=objective.higher_is_better)
        return value

    def _loss_line(self) -> str:
        rows = record.read_jsonl(self.job.record.path / "metrics.jsonl")
        curve = [row["train/nats_per_token"] for row in rows if "train/nats_per_token" in row]
        value = self.facts["val_nats_per_token"]
        seen = f"loss {curve[0]:.3f} -> {curve[-1]:.3f} nats a token over {len(curve)} steps" if curve else "no steps"
        return seen + (f", {value:.3f} on documents held out" if value is not None else "")

    def _say_trainable(self, model: Any) -> None:
        counts = trainable(model)
        total = sum(counts.values())
        parts = ", ".join(f"{count:,} {part}" for part, count in counts.items() if count)
        self.job.say(f"training {total:,} parameters ({parts})")
        if self.job.main:
            self.job.record.result({"trainable": counts, "adapted_modules": matched(model)}, "trainable")
        self.facts["trainable"] = total

    def _data(self) -> DocumentData:
        run = self.job.run
        return DocumentData(
            self.prepared,
            self.engine.encoder,
            budget=run.batch.tokens,
            seed=run.seed,
            accumulate=run.trainer.accumulate,
            steps=run.trainer.max_steps,
            epochs=run.trainer.epochs,
            workers=self.job.plan.workers.value,
            pin=self.job.plan.device.value == "cuda" and not run.hardware.unified_memory,
            val_rows=run.trainer.validation_rows,
        )

    def _passport(self) -> dict[str, Any]:
        run = self.job.run
        lora = run.lora.r if isinstance(run.lora, Lora) else None
        return {
            "base": self.loaded.base,
            "base_hash": self.loaded.base_hash,
            "precision": run.precision.storage.name,
            "lora_r": lora,
            "max_pixels": run.model.max_pixels,
            "prompt": run.data.prompt,
            "versions": record.environment()["versions"],
        }
