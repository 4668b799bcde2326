"""A training run from base model to verdict: the top level of train.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl.data.datamodule import DocumentData
from medvl.data.features import FeatureCache, resolve_cache
from medvl.data.live import LiveSampler
from medvl.data.packing import PackedSampler
from medvl.evaluation.answer_diff import difference_lines
from medvl.evaluation.diff_figure import differences_figure
from medvl.evaluation.evaluation import Scored
from medvl.evaluation.gate import REPLAY, TARGET, BeforeAfter
from medvl.hardware.clocks import Clocks
from medvl.hardware.energy import Cost, meter
from medvl.hardware.peak_memory import PeakMemory
from medvl.hardware.system_metrics import unified_memory
from medvl.metrics import METRICS, headline, summarize
from medvl.model.adapters import attach
from medvl.model.lora import Lora, matched, trainable
from medvl.model.parts import weights_mib
from medvl.record.checkpoints import latest_checkpoint, step_of
from medvl.record.environment import environment
from medvl.record.files import read_json, read_jsonl
from medvl.record.timetable import Part
from medvl.run.context import RunContext
from medvl.run.datasets import ScoredSet, TrainingSets, prepare_sets
from medvl.run.handover import Trained, hand_over, track_adapters
from medvl.run.loading import Ready, encoder_of, load, tune_model
from medvl.run.pace import timetable
from medvl.run.scoring import answered, score_set
from medvl.run.tracked import before_and_after, compare_pages, parameter_counts, start_tracker
from medvl.training.module import Learner
from medvl.training.trainer import Strategy


@dataclass(kw_only=True)
class TrainingRun:
    """One training run in progress."""

    context: RunContext
    ready: Ready
    """The model with its engine, which always answers with the model's current state."""
    sets: TrainingSets

    @classmethod
    def start(cls, context: RunContext) -> TrainingRun:
        """Prepare and audit the data, load the base, start the tracker."""
        sets = prepare_sets(context, encoder_of(context.config.model))
        ready = load(context)
        start_tracker(context)
        run = cls(context=context, ready=ready, sets=sets)
        run._tell_time()
        return run

    def _tell_time(self) -> None:
        """Tell how long evaluation and training take, as far as it is known."""
        context, config = self.context, self.context.config
        if not context.main:
            return
        steps = self._data(None).sampler(ranks=config.trainer.ranks, rank=0).steps
        made = step_of(context.trained) if config.resume is not None and context.trained is not None else 0
        count = sum(len(one.examples) for one in self.sets.scored.values())
        whens = ["before", "after"] if self.evaluates_before else ["after"]
        parts = [
            Part(name="evaluation", amount=count, unit="answer", title=f"evaluation {when} training") for when in whens
        ]
        parts.insert(len(parts) - 1, Part(name="training", amount=max(0, steps - made), unit="step"))
        timetable(context, parts).start()

    @property
    def evaluates_before(self) -> bool:
        return self.context.main and self.context.config.eval.before

    @property
    def evaluates_after(self) -> bool:
        return self.context.main or self.ready.engine.shares

    def evaluate(self, when: str) -> dict[str, Scored]:
        """Score every set with the model's current state, before or after training."""
        with self.context.record.timetable.part(0 if when == "before" else -1):
            return {name: self._scored(name, one, when) for name, one in self.sets.scored.items()}

    def _scored(self, name: str, one: ScoredSet, when: str) -> Scored:
        """Score one set; a resumed run reads its answers from before training back."""
        context = self.context
        parts = ["predictions", *([name] if name == REPLAY else []), *([when] if when == "before" else [])]
        path = context.record.path / f"{'_'.join(parts)}.jsonl"
        if context.config.resume is not None and when == "before" and path.exists():
            rows = answered(read_jsonl(path), one.examples)
            if rows is not None:
                context.record.timetable.lessen(len(rows))
                return rows, summarize(rows)
        context.say(f"evaluating the {name} set {when} training ...")
        return score_set(context, self.ready.engine, one.examples, path.stem, one.evaluation)

    def fit(self) -> Trained:
        """Add the trainable parts to the model and train it; afterwards the engine answers with the trained model."""
        context, config, plan = self.context, self.context.config, self.ready.plan
        weights = weights_mib(self.ready.loaded.model)
        model = config.lora.apply(self.ready.loaded.model)
        self.ready.engine.model = model
        count = self._say_trainable(model)
        make_optimizer = config.make_optimizer()
        tuning = tune_model(context, self.ready, model)
        features = self._feature_cache(model)
        data = self._data(features)
        sampler = data.sampler(ranks=config.trainer.ranks, rank=0)
        learner = Learner(
            model,
            make_optimizer,
            steps=sampler.steps,
            warmup=config.trainer.warmup,
            clip=config.trainer.clip,
            adapter_metadata=self._adapter_metadata(),
            save_processor=self.ready.loaded.processor.save_pretrained,
            cooldown=config.trainer.cooldown,
            glyphs=config.trainer.glyphs,
            curriculum=data.curriculum,
            features=features,
            fused_ops=tuning.fused_ops,
        )
        with context.record.timetable.part(-2):
            cost, steps = self._fit(learner, data, sampler)
        if config.trainer.strategy is Strategy.fsdp:
            self._reload()
        else:
            model.to(plan.torch_device)  # Lightning moves the module to the CPU at the end
            self.ready.engine.shares = config.trainer.ranks > 1  # each holds the whole model, and all are still here
        facts = {"load_s": self.ready.loaded.seconds, "weights_mib": weights, "trainable": count, **cost}
        rows = context.record.steps() if context.main else []
        curve, validations = (
            [row[name] for row in rows if row.get(name) is not None]
            for name in ("train/nats_per_token", "val/nats_per_token")
        )
        return Trained(facts=facts, steps=steps, curve=curve, validations=validations)

    def _fit(
        self, learner: Learner, data: DocumentData, sampler: PackedSampler | LiveSampler
    ) -> tuple[dict[str, Any], int]:
        """Train; return the cost over all sessions of the run, and the number of optimizer steps."""
        context, config, ready = self.context, self.context.config, self.ready
        if config.resume is not None:
            context.say(
                f"going on from {context.trained.name}" if context.trained else "no checkpoint yet: starting over"
            )
        energy, clocks = meter(self._gpus()), Clocks(self._gpus())
        shared = config.hardware.unified_memory
        if context.main:
            context.record.choices({"energy": {"value": energy.measures or "not measured", "reason": energy.why}})
        cost = Cost(before=self._spent(), energy=energy, peak=PeakMemory(ready.plan.torch_device).read)
        try:
            trainer = config.trainer.fit(
                learner,
                data,
                sampler=sampler,
                precision=ready.precision,
                plan=ready.plan,
                record=context.record,
                tracker=context.tracker,
                system_metrics=[energy.metrics, clocks.metrics, *([unified_memory] if shared else [])],
                cost=cost.read,
                resume=context.trained,
            )
        finally:  # however this process ends, a resumed run adds its cost to this one
            spent = cost.read()
            if context.main:
                context.record.note(training=spent)
        return spent, trainer.global_step

    def conclude(self, trained: Trained, before: dict[str, Scored], after: dict[str, Scored]) -> float | None:
        """Print and record the results, and export unless worse; return the number that a sweep optimises."""
        context, config = self.context, self.context.config
        sets = {
            name: BeforeAfter(
                title=_title(name, one),
                objective=one.objective.value,
                before=before.get(name),
                after=after[name],
            )
            for name, one in self.sets.scored.items()
        }
        target, replay = sets[TARGET], sets.get(REPLAY)
        verdict = config.gate.judge(target, replay)
        context.say("\n".join([trained.loss_line(), *map(str, sets.values())]))
        self._show_differences(target)
        results = {**target.to_json(), "gate": verdict.to_json(), "train": trained.to_json()}
        context.record.result(results | ({REPLAY: replay.to_json()} if replay is not None else {}))
        context.record.status("running", gate=verdict.to_json())
        checkpoint = latest_checkpoint(context.record.checkpoints)
        scores = target.summaries["after"]
        track_adapters(context, trained, checkpoint, self.ready.loaded.base, scores)
        context.say(hand_over(context, verdict, sets, checkpoint))
        context.track_numbers(**before_and_after(sets))
        context.tracker.note(gate=verdict.verdict, verdict=target.sentence or str(verdict))
        compare_pages(context, sets)
        shown = {
            "val nats/token": trained.val_nats_per_token,
            **headline(scores, target.objective),
            "gate": verdict.verdict,
            "train s": trained.facts["train_s"],
        }
        value = scores.get(target.objective)
        context.conclude(target.objective, value, shown, higher_is_better=METRICS[target.objective].higher_is_better)
        return value

    def _show_differences(self, target: BeforeAfter) -> None:
        context, picture = self.context, self.context.record.path / "differences.png"
        differences_figure(target, picture)
        if context.config.privacy.shows:
            context.say("\n".join(difference_lines(target)))
            context.tracker.picture("differences", picture)

    def _spent(self) -> dict[str, Any]:
        """Return the cost of a resumed run's earlier sessions."""
        status = read_json(self.context.record.path / "status.json") or {}
        return status.get("training", {}) if self.context.config.resume is not None else {}

    def _reload(self) -> None:
        """Replace this rank's shard by the whole trained model."""
        folder = latest_checkpoint(self.context.record.checkpoints)
        if self.context.main and folder is not None:
            self.ready.engine.model = attach(load(self.context).loaded.model, folder)

    def _gpus(self) -> list[str]:
        """Return the UUIDs of this host's GPUs that train."""
        import torch

        if self.ready.plan.device.value != "cuda":
            return []
        return [str(torch.cuda.get_device_properties(at).uuid) for at in range(self.context.config.trainer.devices)]

    def _say_trainable(self, model: Any) -> int:
        counts, config = trainable(model), self.context.config
        total = sum(counts.values())
        parts = ", ".join(f"{count:,} {part}" for part, count in counts.items() if count)
        self.context.say(f"training {total:,} parameters ({parts})")
        if self.context.main:
            self.context.record.result({"trainable": counts, "adapted_modules": matched(model)}, "trainable")
            self.context.tracker.settle(parameter_counts(config.model.config(), counts, config.lora))
        return total

    def _data(self, features: FeatureCache | None) -> DocumentData:
        config, plan = self.context.config, self.ready.plan
        return DocumentData(
            self.sets.prepared,
            self.ready.engine.encoder,
            budget=config.batch.tokens,
            seed=config.seed,
            accumulate=config.trainer.accumulate,
            steps=config.trainer.max_steps,
            epochs=config.trainer.epochs,
            workers=plan.workers.value,
            pin=plan.device.value == "cuda" and not config.hardware.unified_memory,
            val_rows=config.trainer.validation_rows,
            reading=config.live,
            features=features,
        )

    def _feature_cache(self, model: Any) -> FeatureCache | None:
        """Choose whether to cache the tower's features, and return the cache."""
        config, examples = self.context.config, self.sets.prepared.examples
        choice, kept = resolve_cache(
            config.hardware.cache_features,
            model,
            self.ready.loaded.processor,
            self.ready.precision.compute.torch,
            [*examples["train"], *examples["val"]],
            live=config.live is not None,
            root=Path(config.cache).expanduser(),
        )
        self.context.tell({"cache_features": choice})
        return kept

    def _adapter_metadata(self) -> dict[str, Any]:
        config = self.context.config
        return {
            "base": self.ready.loaded.base,
            "base_hash": self.ready.loaded.base_hash,
            "precision": config.precision.storage.name,
            "lora_r": config.lora.r if isinstance(config.lora, Lora) else None,
            "max_pixels": config.model.max_pixels,
            "prompt": config.data.prompt,
            "versions": environment()["versions"],
        }


def _title(name: str, one: ScoredSet) -> str:
    split = one.evaluation.split
    unseen = "" if split.value == "minitrain" else ", not trained on"
    return f"examples of {split if name == TARGET else f'the {name} set'}{unseen}"
