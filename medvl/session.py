"""A training run from base model to verdict: what train.py reads like."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl import record
from medvl.bench import PeakMemory, weights_mib
from medvl.data.datamodule import DocumentData
from medvl.data.encoding import Encoder
from medvl.data.prepare import Prepared
from medvl.differences import difference_lines, differences_figure
from medvl.energy import Cost, meter
from medvl.engine import Engine
from medvl.evaluation import Evaluation, Scored
from medvl.features import FeatureCache, settle
from medvl.gate import REPLAY, TARGET, Contrast, Verdict
from medvl.job import Job
from medvl.learner.adapters import EXPORT, FILES, attach, export, holds_adapter
from medvl.learner.callbacks import BEST, FACTS
from medvl.learner.checkpoint import latest
from medvl.learner.gauges import unified_memory
from medvl.learner.module import Learner
from medvl.learner.trainer import Strategy
from medvl.lora import Lora, matched, trainable
from medvl.measures import summarize
from medvl.mirrored import sendable
from medvl.model import Loaded
from medvl.types import Example


@dataclass(kw_only=True)
class Session:
    """One training run in hand."""

    job: Job
    engine: Engine
    loaded: Loaded
    prepared: Prepared
    sets: dict[str, tuple[Evaluation, Sequence[Example]]]
    """What is scored and how, by rank 0: the target set, and the replay set where there is one."""
    checkpoint: Path | None
    """Where a resumed run goes on."""
    facts: dict[str, Any]

    @classmethod
    def start(cls, job: Job) -> Session:
        """Prepare and audit the data, load the base, start the mirrors."""
        job.run.check_parts()
        job.run.check_mirror()
        checkpoint = latest(job.record.checkpoints) if job.run.resume is not None else None
        if checkpoint is not None:
            job.check_adapter(checkpoint)
        encoder = Encoder(job.run.model.processor())
        prepared = job.prepare(encoder, needs=["train"])
        run, held_out = job.run, job.prepare_evaluation(encoder, prepared)
        sets = {TARGET: (run.eval, run.eval.chosen(held_out))}
        if run.replay is not None and job.main:
            kept = job.prepare_replay(run.replay, encoder, prepared)
            sets[REPLAY] = (run.replay, run.replay.chosen(kept))
        job.audit(prepared, held_out)
        loaded, engine = job.load()
        job.start_mirror()
        facts = {"load_s": loaded.seconds, "weights_mib": weights_mib(loaded.model)}
        return cls(
            job=job, engine=engine, loaded=loaded, prepared=prepared, sets=sets, checkpoint=checkpoint, facts=facts
        )

    @property
    def evaluates_before(self) -> bool:
        return self.job.main and self.job.run.eval.before

    def evaluate(self, when: str) -> dict[str, Scored]:
        """Score every set with the model as it is now, before or after training."""
        return {name: self._scored(name, when) for name in self.sets}

    def _scored(self, name: str, when: str) -> Scored:
        """Score one set; what an interrupted run scored before training is read back."""
        how, examples = self.sets[name]
        parts = ["predictions", *([name] if name == REPLAY else []), *([when] if when == "before" else [])]
        path = self.job.record.path / f"{'_'.join(parts)}.jsonl"
        if self.job.run.resume is not None and when == "before" and path.exists():
            rows = record.read_jsonl(path)
            if [row["id"] for row in rows] == [example.id for example in examples]:
                return rows, summarize(rows)
        self.job.say(f"evaluating the {name} set {when} training ...")
        return self.job.evaluate(self.engine, examples, path.stem, how)

    def fit(self) -> None:
        """Wrap the model by what trains, and train it."""
        job, run = self.job, self.job.run
        model = run.lora.apply(self.loaded.model)
        self.engine.model = model
        self._say_trainable(model)
        job.tune(model)
        features = self._feature_cache(model)
        data = self._data(features)
        learner = Learner(
            model,
            run.make_optimizer(),
            warmup=run.trainer.warmup,
            clip=run.trainer.clip,
            passport=self._passport(),
            save_processor=self.loaded.processor.save_pretrained,
            cooldown=run.trainer.cooldown,
            glyphs=run.trainer.glyphs,
            curriculum=data.curriculum,
            features=features,
        )
        if run.resume is not None:
            job.say(f"going on from {self.checkpoint.name}" if self.checkpoint else "no checkpoint yet: starting over")
        energy = meter(self._gpus())
        if job.main:
            job.record.choices({"energy": {"value": energy.measures or "not measured", "reason": energy.why}})
        gauges = [energy.gauge, *([unified_memory] if run.hardware.unified_memory else [])]
        cost = Cost(before=self._spent(), energy=energy, peak=PeakMemory(job.plan.torch_device).read)
        if job.main:  # however this process ends, the one that resumes the run adds to it
            job.record.measured = lambda: {"training": cost.read()}
        trainer = run.trainer.fit(
            learner, data, precision=job.precision, plan=job.plan, record=job.record, mirror=job.mirror,
            gauges=gauges, resume=self.checkpoint,
        )  # fmt: skip
        training, job.record.measured = cost.read(), dict
        if job.main:
            job.record.status("running", training=training)
        self.facts |= {**training, "steps": trainer.global_step}
        rows = record.read_jsonl(job.record.path / "metrics.jsonl") if job.main else []
        held_out = [row["val/nats_per_token"] for row in rows if "val/nats_per_token" in row]
        self.facts["val_nats_per_token"] = held_out[-1] if held_out else None
        if run.trainer.strategy is Strategy.fsdp:
            self._reload()
        else:
            model.to(job.plan.torch_device)  # Lightning moves the module to the CPU when it is done

    def _spent(self) -> dict[str, Any]:
        """Return what the earlier sessions of a resumed run cost."""
        status = record.read_json(self.job.record.path / "status.json") or {}
        return status.get("training", {}) if self.job.run.resume is not None else {}

    def _reload(self) -> None:
        """Put the whole trained model in the place of this rank's shard of it."""
        folder = latest(self.job.record.checkpoints)
        if self.job.main and folder is not None:
            self.engine.model = attach(self.job.load()[0].model, folder)

    def conclude(self, before: dict[str, Scored], after: dict[str, Scored]) -> float | None:
        """Print and record what training did, and export what is not worse; return the number a sweep optimises."""
        job, run = self.job, self.job.run
        contrasts = {
            name: Contrast(title=_title(name, how), objective=how.objective.value, before=before.get(name),
                           after=after[name])
            for name, (how, _) in self.sets.items()
        }  # fmt: skip
        target, replay = contrasts[TARGET], contrasts.get(REPLAY)
        verdict = run.gate.judge(target, replay)
        job.say("\n".join([self._loss_line(), *map(str, contrasts.values())]))
        self._show_differences(target)
        results = {**target.to_json(), "gate": verdict.to_json(), "train": self.facts}
        job.record.result(results | ({REPLAY: replay.to_json()} if replay is not None else {}))
        job.record.status("running", gate=verdict.to_json())
        self._mirror_adapters()
        job.say(self._hand_over(verdict, contrasts))
        job.mirror_numbers(**_flat(contrasts))
        job.mirror.note(gate=verdict.verdict)
        value = target.summaries["after"].get(target.objective)
        headline = {"val nats/token": self.facts["val_nats_per_token"],
                    **{key: target.summaries["after"].get(key) for key in ("cer", "combined", "exact")},
                    "gate": verdict.verdict, "train s": self.facts["train_s"]}  # fmt: skip
        job.conclude(target.objective, value, headline, higher_is_better=run.eval.objective.higher_is_better)
        return value

    def _hand_over(self, verdict: Verdict, contrasts: dict[str, Contrast]) -> str:
        """Export the adapter unless it is worse than its base; return what became of it."""
        job = self.job
        exported, checkpoint = job.record.path / EXPORT, latest(job.record.checkpoints)
        shutil.rmtree(exported, ignore_errors=True)  # of the run before it was resumed
        if verdict.worse and not job.run.force:
            again = f"python train.py resume={job.record.near()} force=true"
            return f"{verdict}\nNot exported; {again} exports it all the same."
        if checkpoint is None or not holds_adapter(checkpoint):
            return str(verdict)
        measures = {name: one.to_json() for name, one in contrasts.items()}
        export(checkpoint, exported, {"checkpoint": checkpoint.name, "gate": verdict.to_json(), **measures})
        with sendable(sorted(exported.iterdir()), job.run.privacy) as files:
            job.mirror.export(files, {"gate": verdict.verdict, **_flat(contrasts)})
        return f"{verdict}\nexported to {job.record.near()}/{EXPORT}"

    def _show_differences(self, target: Contrast) -> None:
        job, picture = self.job, self.job.record.path / "differences.png"
        differences_figure(target, picture)
        if job.run.privacy.shows:
            job.say("\n".join(difference_lines(target)))
            job.mirror.picture("differences", picture)

    def _mirror_adapters(self) -> None:
        """Send the last adapter, and the best where validation told which it is."""
        job, last = self.job, latest(self.job.record.checkpoints)
        if last is None or not holds_adapter(last):
            return
        facts = {"step": self.facts["steps"], "val/nats_per_token": self.facts["val_nats_per_token"],
                 "base": self.loaded.base, "data": job.accounts["prepared"]["fingerprint"]}  # fmt: skip
        best = job.record.checkpoints / BEST
        noted = record.read_json(best / FACTS)
        if noted is not None and noted["step"] != facts["step"]:
            self._send(best, ["best"], {**facts, **noted})
            self._send(last, ["last"], facts)
        else:
            value = facts["val/nats_per_token"]
            self._send(last, ["last", "best"] if value is not None and math.isfinite(value) else ["last"], facts)

    def _send(self, folder: Path, aliases: Sequence[str], facts: dict[str, Any]) -> None:
        with sendable([folder / name for name in FILES], self.job.run.privacy) as files:
            self.job.mirror.adapter(files, aliases, facts)

    def _gpus(self) -> list[str]:
        """Return the UUIDs of this host's GPUs that train."""
        import torch

        if self.job.plan.device.value != "cuda":
            return []
        return [str(torch.cuda.get_device_properties(at).uuid) for at in range(self.job.run.trainer.devices)]

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

    def _data(self, features: FeatureCache | None) -> DocumentData:
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
            reading=run.live,
            features=features,
        )

    def _feature_cache(self, model: Any) -> FeatureCache | None:
        """Settle whether the tower's work on the pages is kept, and return where."""
        run, examples = self.job.run, self.prepared.examples
        choice, kept = settle(
            run.hardware.cache_features, model, self.loaded.processor, self.job.precision.compute.torch,
            [*examples["train"], *examples["val"]], live=run.live is not None, root=Path(run.cache).expanduser(),
        )  # fmt: skip
        self.job.tell({"cache_features": choice})
        return kept

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


def _title(name: str, how: Evaluation) -> str:
    unseen = "" if how.split.value == "minitrain" else ", not trained on"
    return f"examples of {how.split if name == TARGET else f'the {name} set'}{unseen}"


def _flat(contrasts: dict[str, Contrast]) -> dict[str, float]:
    """Return every number under a name of its own: before/cer, replay_after/cer."""
    return {
        f"{when if name == TARGET else f'{name}_{when}'}/{key}": value
        for name, one in contrasts.items()
        for when, summary in one.summaries.items()
        for key, value in summary.items()
    }
