"""Callbacks around training steps: metrics, checkpoints, signals."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from peft import PeftModel

from medvl.hardware.system_metrics import Throttle
from medvl.record.checkpoints import checkpoints_in, damage, step_of
from medvl.record.directory import Record
from medvl.record.files import read_json, replace_folder, write_json
from medvl.record.signals import Stopped, heeded
from medvl.tracking import Tracker
from medvl.training.module import Learner
from medvl.types import Batch

log = logging.getLogger(__name__)

BEST, FACTS = "best", "best.json"  # a folder below checkpoints, and the step and loss at which it was the best


class Bar(TQDMProgressBar):
    """Lightning's progress bar with another label, since what Lightning counts as one epoch is our whole run."""

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("training")


class MetricsCallback(L.Callback):
    """Writes one row of metrics per optimizer step to the record and the tracker, and the progress to the status.

    Args:
        system_metrics: Functions that return further columns; called at most once a second.
        cost: Returns the cost of training so far.
    """

    def __init__(
        self,
        record: Record,
        tracker: Tracker,
        rows_an_epoch: float,
        system_metrics: Sequence[Callable[[], dict[str, float]]],
        cost: Callable[[], dict[str, Any]],
    ) -> None:
        self.record, self.tracker, self.rows_an_epoch = record, tracker, rows_an_epoch
        self.system_metrics, self.cost = system_metrics, cost
        self.reading, self.telling = Throttle(1), Throttle(2)
        self.examples = self.tokens = 0
        self.waited = 0.0
        self.step = 0

    def on_train_start(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        self.step = trainer.global_step
        self.began = self.idle_since = time.perf_counter()
        if trainer.is_global_zero:
            assert isinstance(learner, Learner)
            self.record.rewind(self.step)
            self.record.status("running", step=self.step, steps=learner.steps, training=self.cost())
        self.first = self.step

    def on_train_batch_start(self, trainer: L.Trainer, learner: Any, batch: Batch, batch_idx: int) -> None:
        self.waited += time.perf_counter() - self.idle_since

    def on_train_batch_end(
        self, trainer: L.Trainer, learner: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(learner, Learner)
        self.examples += batch["examples"]
        self.tokens += batch["input_ids"].numel()
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            self._write(trainer, learner, batch["window_tokens"])
            self.record.timetable.reach(self.step - self.first)
        self.idle_since = time.perf_counter()

    def _write(self, trainer: L.Trainer, learner: Learner, window_tokens: int) -> None:
        nats = trainer.strategy.reduce(learner.step_nats, reduce_op="sum")
        now = time.perf_counter()
        seconds = now - self.began
        row = {
            "step": self.step,
            "train/nats_per_token": float(nats) / window_tokens,
            "train/lr": learner.lr,
            "train/grad_norm": float(learner.grad_norm),
            "train/epoch": batch_count(trainer) * trainer.world_size / self.rows_an_epoch,
            "speed/examples_per_s": self.examples * trainer.world_size / seconds,
            "speed/tokens_per_s": self.tokens * trainer.world_size / seconds,
            "speed/wait_share": self.waited / seconds,
            **learner.watched,
        }
        if trainer.is_global_zero:
            self._note(row)
        shown = {
            "loss": row["train/nats_per_token"],
            "examples/s": row["speed/examples_per_s"],
            "tokens/s": row["speed/tokens_per_s"],
        }
        learner.log_dict(shown, prog_bar=True, logger=False, rank_zero_only=True)
        self.examples = self.tokens = 0
        self.waited, self.began = 0.0, now

    def on_validation_end(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        value = trainer.callback_metrics.get("val/nats_per_token")
        if value is not None and trainer.is_global_zero and not trainer.should_stop:  # else it was cut short
            self._note({"step": trainer.global_step, "val/nats_per_token": float(value)})
        self.idle_since = self.began = time.perf_counter()

    def _note(self, row: dict[str, float]) -> None:
        if self.reading.due():
            for measure in self.system_metrics:
                row |= measure()
        self.record.metrics(row)
        self.tracker.metrics({key: value for key, value in row.items() if key != "step"}, step=int(row["step"]))
        if self.telling.due():
            self.record.status("running", step=int(row["step"]), training=self.cost())


def batch_count(trainer: L.Trainer) -> int:
    """Return the number of rows that this rank has trained on, including earlier sessions."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


class Checkpoints(L.Callback):
    """Saves every `every` steps and at the end, keeps the newest `keep`, and saves once more on a signal.

    On the first signal the current step finishes, a checkpoint is saved, and the run ends without validating; a
    validation in progress is cut short. A second Ctrl-C ends it at once.
    """

    def __init__(self, record: Record, every: int | None, keep: int, cost: Callable[[], dict[str, Any]]) -> None:
        self.record, self.every, self.keep, self.cost = record, every, keep, cost
        self.signal: int | None = None
        self.saved = -1
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        if trainer.global_step:
            self.saved = trainer.global_step  # the checkpoint that this run resumes from
            if trainer.is_global_zero:
                self._set_damaged_aside(trainer.global_step)
        # Schedulers' preemption warnings, as by submitit, use SIGUSR2; submitit's handler requeues the job.
        warns = callable(signal.getsignal(signal.SIGUSR2))
        for number in (*heeded(), *([signal.SIGUSR2] if warns else [])):
            self._handlers[number] = signal.signal(number, self._note)

    def _set_damaged_aside(self, step: int) -> None:
        """Rename what the run went back from, so that it is neither counted nor read again."""
        for newer in [path for path in checkpoints_in(self.record.checkpoints) if step_of(path) > step]:
            if damage(newer) is not None:
                aside = newer.with_name(f"{newer.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                newer.rename(aside)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise Stopped(128 + number)
        self.signal = number
        log.warning("%s: saving after this step ...", signal.Signals(number).name)

    def on_train_batch_end(
        self, trainer: L.Trainer, learner: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if batch_count(trainer) % trainer.accumulate_grad_batches:
            return
        stop = self._stop(trainer)
        if step != self.saved and (stop or (self.every is not None and step % self.every == 0)):
            self._save(trainer, step)
        if stop:
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # Lightning would validate before it stops

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        # Ranks may have different numbers of rows, so several of them cannot agree on one to stop at.
        if self.signal is not None and trainer.world_size == 1:
            trainer.should_stop = True
            raise StopIteration  # the loop takes it for the end of the rows

    def on_validation_end(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        if self._stop(trainer):
            if trainer.global_step != self.saved:
                self._save(trainer, trainer.global_step)
            trainer.should_stop = True

    def _stop(self, trainer: L.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(self.signal is not None, all=False)

    def on_train_end(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        if trainer.global_step != self.saved:
            self._save(trainer, trainer.global_step)
        self._restore()

    def on_exception(self, trainer: L.Trainer, learner: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _save(self, trainer: L.Trainer, step: int) -> None:
        path = self.record.checkpoints / f"step-{step:06d}"
        trainer.save_checkpoint(path)
        self.saved = step
        if trainer.is_global_zero:
            self.record.status("running", step=step, checkpoint=f"checkpoints/{path.name}", training=self.cost())
            older = [path for path in checkpoints_in(self.record.checkpoints) if step_of(path) < step]
            for old in older[: max(0, len(older) + 1 - self.keep)]:  # never the one that was just written
                trainer.strategy.remove_checkpoint(old)


class Best(L.Callback):
    """Keeps the adapter with the lowest validation loss in checkpoints/best, besides the newest checkpoints."""

    def __init__(self, record: Record) -> None:
        self.folder = record.checkpoints / BEST

    def on_train_start(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        """Delete the best adapter if it is from a step that a resumed run repeats, or damaged."""
        if not trainer.is_global_zero or not self.folder.is_dir():
            return
        noted, found = read_json(self.folder / FACTS) or {}, damage(self.folder)
        if found is not None:
            log.warning("checkpoints/%s is damaged (%s) and will be replaced", BEST, found)
        if found is not None or noted.get("step", math.inf) > trainer.global_step:
            shutil.rmtree(self.folder)

    def on_validation_end(self, trainer: L.Trainer, learner: L.LightningModule) -> None:
        value = trainer.callback_metrics.get("val/nats_per_token")
        assert isinstance(learner, Learner)
        if value is None or not trainer.is_global_zero or not isinstance(learner.model, PeftModel):
            return
        if trainer.should_stop:  # cut short
            return
        before = (read_json(self.folder / FACTS) or {}).get("val/nats_per_token", math.inf)
        if not (math.isfinite(value) and value < before):
            return
        with replace_folder(self.folder) as draft:
            learner.save_weights(draft, learner.state_dict())
            write_json(draft / FACTS, {"step": trainer.global_step, "val/nats_per_token": float(value)})
