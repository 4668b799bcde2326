"""The training settings of a run, and the Lightning Trainer made from them."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.record.checkpoints import step_of
from medvl.record.signals import cause_of

if TYPE_CHECKING:
    import lightning as L

    from medvl.data.datamodule import DocumentData
    from medvl.data.live import LiveSampler
    from medvl.data.packing import PackedSampler
    from medvl.hardware.plan import HardwarePlan
    from medvl.model.precision import Precision
    from medvl.record.directory import Record
    from medvl.tracking import Tracker
    from medvl.training.module import Learner

log = logging.getLogger(__name__)


class Strategy(Enum):
    """How several devices share the work."""

    auto = "auto"  # one process on one device, DDP on several
    ddp = "ddp"
    fsdp = "fsdp"  # shards an unquantised model for full fine-tuning


@dataclass(kw_only=True, slots=True)
class Trainer:
    """Length, gradient accumulation, checkpoint and validation intervals of a run."""

    epochs: float | None = 1.0
    """Passes over the training examples; None: no limit. If only max_steps is set, the passes repeat until then."""
    max_steps: int | None = None
    """Optimizer steps; None: no limit. If both are set, the run ends at the earlier of the two limits."""
    accumulate: int = 1
    """Rows per device in one optimizer step."""
    clip: float = 1.0
    """Norm that gradients are clipped to."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises."""
    cooldown: float | None = None
    """Share of the steps over which it falls to zero after a plateau; None: cosine decay from its maximum."""
    glyphs: float = 0.0
    """Weight of the auxiliary loss on the letters of every visual token; needs data with letter positions."""
    devices: int = 1
    """GPUs of this machine."""
    nodes: int = 1
    """Machines."""
    strategy: Strategy = Strategy.auto
    """How several devices share the work."""
    save_every: int | None = 50
    """Steps between checkpoints; None: only at the end or on a signal."""
    keep: int = 2
    """Number of newest checkpoints to keep."""
    validate_every: int | None = None
    """Steps between validations; None: once at the end."""
    validation_rows: int = 8
    """The most rows per validation; 0: no validation."""
    bar: bool = True
    """Show a progress bar on a terminal; elsewhere the progress is told every minute."""

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("the run has no end. Set trainer.max_steps=100 or trainer.epochs=1.")
        for name in ("epochs", "max_steps", "save_every", "validate_every"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"trainer.{name} must be positive or null, got {value}. Set trainer.{name}=null.")
        for name in ("accumulate", "clip", "devices", "nodes", "keep"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"trainer.{name} must be positive, got {getattr(self, name)}. Set trainer.{name}=1.")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"trainer.warmup is a share of the steps, got {self.warmup}. Set trainer.warmup=0.05.")
        if self.cooldown is not None and not 0 < self.cooldown <= 1 - self.warmup:
            raise ValueError(
                f"trainer.cooldown is a share of the steps after the warm-up, got {self.cooldown}. "
                "Set trainer.cooldown=0.3, or null."
            )
        if self.validation_rows < 0:
            raise ValueError(
                f"trainer.validation_rows must not be negative, got {self.validation_rows}. "
                "Set trainer.validation_rows=0."
            )
        if not 0 <= self.glyphs < math.inf:
            raise ValueError(f"trainer.glyphs must not be negative, got {self.glyphs}. Set trainer.glyphs=1.")

    @property
    def ranks(self) -> int:
        """Processes that train, one per device."""
        return self.devices * self.nodes

    def fit(
        self,
        learner: Learner,
        data: DocumentData,
        *,
        sampler: PackedSampler | LiveSampler,
        precision: Precision,
        plan: HardwarePlan,
        record: Record,
        tracker: Tracker,
        system_metrics: Sequence[Callable[[], dict[str, float]]] = (),
        cost: Callable[[], dict[str, Any]] = dict,
        resume: Path | None = None,
    ) -> L.Trainer:
        """Train, and write checkpoints and metrics to the record.

        Args:
            sampler: The training rows, as rank 0 gets them.
            tracker: Gets the metrics too.
            system_metrics: Functions that return further columns of the metrics.
            cost: Returns the cost of training so far, for the status of the run.
            resume: The checkpoint to resume from.

        Raises:
            SystemExit: A signal ended the run after saving; the code is 128 + the signal's number.
        """
        from medvl.training.callbacks import Best, Checkpoints, MetricsCallback
        from medvl.training.checkpoint import FolderCheckpoints

        rows, validates = len(sampler), self.validation_rows > 0 and bool(data.prepared.examples["val"])
        checkpoints = Checkpoints(record, self.save_every, self.keep, cost)
        trainer = self._lightning(
            rows=rows,
            validates=validates,
            precision=precision.compute.lightning,
            plan=plan,
            root=record.path,
            callbacks=[
                MetricsCallback(record, tracker, sampler.rows_an_epoch, system_metrics, cost),
                *([Best(record)] if self.validate_every is not None else []),
                checkpoints,  # last, as it may stop the run after a whole validation
            ],
            plugins=[FolderCheckpoints(learner.save_weights, learner.read_weights)],
        )
        ends = "max_steps" if sampler.steps == self.max_steps else "epochs"
        log.info(
            "training %d steps of %d row(s), the end that trainer.%s=%g sets",
            sampler.steps,
            self.accumulate * self.ranks,
            ends,
            getattr(self, ends),
        )
        # Our checkpoint reader loads only tensors and plain values (weights_only=True).
        trainer.fit(learner, datamodule=data, ckpt_path=resume)
        if checkpoints.signal is not None:
            self._interrupted(record, trainer, checkpoints.signal)
        if validates and resume is not None and _lacks_validation(record, trainer, resume):
            trainer.validate(learner, datamodule=data, verbose=False)
        return trainer

    def _lightning(
        self,
        *,
        rows: int,
        validates: bool,
        precision: Any,
        plan: HardwarePlan,
        root: Path,
        callbacks: list[Any],
        plugins: list[Any],
    ) -> L.Trainer:
        import lightning as L

        bar = self.bar and sys.stderr.isatty()  # without a terminal, the timetable tells the progress
        if bar:
            from medvl.training.callbacks import Bar

            callbacks.append(Bar())
        every = rows if self.validate_every is None else min(rows, self.validate_every * self.accumulate)
        return L.Trainer(
            accelerator="cpu" if plan.device.value == "cpu" else "cuda",
            devices=self.devices,
            num_nodes=self.nodes,
            strategy=self._strategy(),
            precision=precision,
            max_epochs=1,  # one pass over a stream that is the whole run
            accumulate_grad_batches=self.accumulate,
            val_check_interval=every,
            limit_val_batches=1.0 if validates else 0,
            num_sanity_val_steps=0,
            logger=False,  # the metrics callback calls the tracker, which outlives this trainer
            callbacks=callbacks,
            plugins=plugins,
            default_root_dir=root,
            log_every_n_steps=1,
            use_distributed_sampler=False,  # our sampler handles ranks
            enable_checkpointing=False,  # our own callback saves
            enable_model_summary=False,
            enable_progress_bar=bar,
        )

    def _strategy(self) -> Any:
        if self.strategy is Strategy.fsdp:
            from lightning.pytorch.strategies import FSDPStrategy
            from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
                Qwen2_5_VLDecoderLayer,
                Qwen2_5_VLVisionBlock,
            )

            layers = {Qwen2_5_VLDecoderLayer, Qwen2_5_VLVisionBlock}
            return FSDPStrategy(auto_wrap_policy=layers, state_dict_type="full", use_orig_params=True)
        if self.strategy is Strategy.ddp or self.ranks > 1:
            from lightning.pytorch.strategies import DDPStrategy

            return DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True)
        return "auto"

    def _interrupted(self, record: Record, trainer: L.Trainer, number: int) -> None:
        if trainer.is_global_zero:
            step = trainer.global_step
            record.status("interrupted", step=step, error=f"{cause_of(128 + number)} at step {step}; saved")
        if number == signal.SIGUSR2:
            log.warning("SIGUSR2: saved at step %d", trainer.global_step)
            os.kill(os.getpid(), number)  # saved: now a scheduler's handler may requeue the job
        sys.exit(128 + number)


def _lacks_validation(record: Record, trainer: L.Trainer, resumed: Path) -> bool:
    """Whether a signal interrupted a run in its last validation, after all steps were made."""
    if trainer.world_size > 1 or step_of(resumed) != trainer.global_step:
        return False
    return not any(row["step"] == trainer.global_step and "val/nats_per_token" in row for row in record.steps())
