"""From settings to a fitted model: the Lightning Trainer of a run."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning as L

    from medvl.data.datamodule import DocumentData
    from medvl.hardware import Plan
    from medvl.learner.module import Learner
    from medvl.learner.tracking import Mirror
    from medvl.precision import Precision
    from medvl.record import Record

log = logging.getLogger(__name__)


class Strategy(Enum):
    """How several devices share the work."""

    auto = "auto"  # one process on one device, DDP on several
    ddp = "ddp"
    fsdp = "fsdp"  # shards an unquantised model that trains in full


@dataclass(kw_only=True, slots=True)
class Trainer:
    """Length, accumulation and rhythm of a run."""

    epochs: float | None = 1.0
    """Passes over the training examples; None: no limit."""
    max_steps: int | None = None
    """Optimizer steps; None: no limit. The earlier of the two ends the run."""
    accumulate: int = 1
    """Rows of one device that make one optimizer step."""
    clip: float = 1.0
    """Norm to which gradients are clipped."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises."""
    cooldown: float | None = None
    """Share of the steps over which it falls to nothing at the end of a plateau; None: by a cosine from its top."""
    glyphs: float = 0.0
    """Weight of the auxiliary loss that names the letters under every visual token, on data that know them."""
    devices: int = 1
    nodes: int = 1
    strategy: Strategy = Strategy.auto
    save_every: int | None = 50
    """Steps between checkpoints; None: only at the end or on a signal."""
    keep: int = 2
    """Newest checkpoints that stay."""
    validate_every: int | None = None
    """Steps between validations; None: once at the end."""
    validation_rows: int = 8
    """Rows a validation takes at most; 0: no validation."""
    bar: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("the run has no end. Set trainer.max_steps=100 or trainer.epochs=1.")
        for name in ("epochs", "max_steps", "save_every", "validate_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"trainer.{name} must be positive or null, got {value}. Set trainer.{name}=null.")
        for name in ("accumulate", "clip", "devices", "nodes", "keep"):
            if getattr(self, name) <= 0:
                raise ValueError(f"trainer.{name} must be positive, got {getattr(self, name)}. Set trainer.{name}=1.")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"trainer.warmup is a share of the steps, got {self.warmup}. Set trainer.warmup=0.05.")
        if self.cooldown is not None and not 0 < self.cooldown <= 1 - self.warmup:
            raise ValueError(
                f"trainer.cooldown is a share of the steps after the warm-up, got {self.cooldown}. "
                "Set trainer.cooldown=0.3, or null."
            )
        if self.glyphs < 0:
            raise ValueError(f"trainer.glyphs must not be negative, got {self.glyphs}. Set trainer.glyphs=1.")

    def fit(
        self,
        learner: Learner,
        data: DocumentData,
        *,
        precision: Precision,
        plan: Plan,
        record: Record,
        mirror: Mirror,
        gauges: Sequence[Callable[[], dict[str, float]]] = (),
        resume: Path | None = None,
    ) -> L.Trainer:
        """Train, and leave checkpoints and metrics in the record.

        Args:
            mirror: Told the metrics as well.
            gauges: Return further columns of the metrics.
            resume: The checkpoint to go on from.

        Raises:
            SystemExit: A signal ended the run after it was saved; 128 + the signal's number.
        """
        from medvl.learner.callbacks import Best, Checkpoints, Journal
        from medvl.learner.checkpoint import FolderCheckpoints

        sampler = data.sampler(ranks=self.devices * self.nodes, rank=0)
        rows, learner.steps = len(sampler), sampler.steps
        checkpoints = Checkpoints(record, self.save_every, self.keep)
        trainer = self._lightning(
            rows=rows,
            validates=self.validation_rows > 0 and bool(data.prepared.examples["val"]),
            precision=precision.compute.lightning,
            plan=plan,
            root=record.path,
            callbacks=[
                Journal(record, mirror, sampler.rows_an_epoch, gauges),
                checkpoints,
                *([Best(record)] if self.validate_every is not None else []),
            ],
            plugins=[FolderCheckpoints(learner.save_weights, learner.read_weights)],
        )
        log.info("training %d steps of %d row(s)", sampler.steps, self.accumulate * self.devices * self.nodes)
        # Our own checkpoint reader loads tensors and plain values only (weights_only=True).
        trainer.fit(learner, datamodule=data, ckpt_path=resume)
        if checkpoints.signal is not None:
            self._interrupted(record, trainer, checkpoints.signal)
        return trainer

    def _lightning(self, *, rows: int, validates: bool, precision: str, plan: Plan, root: Path, callbacks: list[Any],
                   plugins: list[Any]) -> L.Trainer:  # fmt: skip
        import lightning as L

        if self.bar:
            from medvl.learner.callbacks import Bar

            # Without a terminal every refresh is a new line in the log.
            callbacks.append(Bar(refresh_rate=1 if sys.stderr.isatty() else max(1, rows // 10)))
        every = rows if self.validate_every is None else min(rows, self.validate_every * self.accumulate)
        return L.Trainer(
            accelerator="cpu" if plan.device.value == "cpu" else "cuda",
            devices=self.devices,
            num_nodes=self.nodes,
            strategy=self._strategy(),
            precision=precision,
            max_epochs=1,  # one pass over a stream that holds the whole run
            accumulate_grad_batches=self.accumulate,
            val_check_interval=every,
            limit_val_batches=1.0 if validates else 0,
            num_sanity_val_steps=0,
            logger=False,  # the journal tells the mirror, which outlives this trainer
            callbacks=callbacks,
            plugins=plugins,
            default_root_dir=root,
            log_every_n_steps=1,
            use_distributed_sampler=False,  # the sampler knows its rank
            enable_checkpointing=False,  # ours is a callback
            enable_model_summary=False,
            enable_progress_bar=self.bar,
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
        if self.strategy is Strategy.ddp or self.devices * self.nodes > 1:
            from lightning.pytorch.strategies import DDPStrategy

            return DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True)
        return "auto"

    def _interrupted(self, record: Record, trainer: L.Trainer, number: int) -> None:
        name = signal.Signals(number).name
        if trainer.is_global_zero:
            step = trainer.global_step
            record.status("interrupted", step=step, error=f"{name} at step {step}; saved")
            log.warning("%s: saved at step %d. Go on with: python train.py resume=%s", name, step, record.near())
        if number == signal.SIGUSR2:
            os.kill(os.getpid(), number)  # saved: now whoever handles it may queue the job again
        sys.exit(128 + number)
