"""The LightningModule: answer-token loss, schedule, clipping, and the content of checkpoints."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.strategies import FSDPStrategy
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import SumMetric
from transformers import get_cosine_schedule_with_warmup, get_wsd_schedule

from medvl.kernels.fused_ops import FusedOps
from medvl.model.folder import counted, refuse_duplicates, tensor_names
from medvl.model.packed_forward import vision_features
from medvl.model.parts import base_of
from medvl.record.checkpoints import CHECKSUMS, METADATA, WEIGHTS, checksum
from medvl.record.files import write_json
from medvl.training.checkpoint import lengthen
from medvl.training.glyphs import GlyphHead
from medvl.training.loss import EAGER, answer_states, summed_nats
from medvl.types import IGNORE, Batch

if TYPE_CHECKING:
    from medvl.data.features import FeatureCache
    from medvl.data.live import Curriculum

log = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """Loss or gradient is not finite; the message names the step."""


class Learner(L.LightningModule):
    """Trains the trainable parameters of a Qwen2.5-VL on the answer tokens of packed rows.

    Args:
        model: Wrapped by peft, or a bare model for full fine-tuning; on its device already.
        optimizer: Called with the trainable parameters; carries its own hyperparameters.
        steps: Optimizer steps of the whole run. Lightning's own estimate would start the loader before a checkpoint
            sets its position.
        warmup: Share of the run's steps over which the learning rate rises, before a cosine decay.
        cooldown: Share of the run's steps over which it falls from a plateau to zero; None: cosine decay.
        adapter_metadata: Facts about the base that are stored with every adapter.
        glyphs: Weight of the auxiliary loss on the letters of every visual token; its head is not part of the model.
        curriculum: Gets the accuracy on each row.
        features: Cache for the features of the frozen tower.
        fused_ops: Those of the loss behind a frozen head.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        *,
        steps: int,
        warmup: float,
        clip: float,
        adapter_metadata: dict[str, Any],
        save_processor: Callable[[str], Any] | None = None,
        cooldown: float | None = None,
        glyphs: float = 0.0,
        curriculum: Curriculum | None = None,
        features: FeatureCache | None = None,
        fused_ops: FusedOps = EAGER,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = optimizer
        self.warmup, self.cooldown, self.clip, self.adapter_metadata = warmup, cooldown, clip, adapter_metadata
        self.curriculum, self.glyph_weight = curriculum, glyphs
        self.glyph_head = GlyphHead(base_of(model).config.text_config.hidden_size) if glyphs else None
        self.save_processor, self.features, self.fused_ops = save_processor, features, fused_ops
        self.strict_loading = False  # checkpoints contain only the trained weights
        self.steps = steps
        self._window_nats: list[Tensor] = []  # per row of this optimizer step so far, on this rank
        self.step_nats = torch.tensor(0.0)  # loss of the last optimizer step, on this rank
        self.grad_norm, self.lr = torch.tensor(0.0), 0.0  # of this optimizer step
        self.val_nats, self.val_tokens = SumMetric(), SumMetric()
        self.watched: dict[str, float] = {}  # further metrics of this step
        self._rng: dict[str, Any] | None = None
        self.train()  # models load in eval mode and Lightning keeps it: dropout would be off

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        features = self._features(batch)
        hidden, targets = answer_states(self.model, batch, features)
        nats = summed_nats(self.model, hidden, targets, self.fused_ops)
        self._window_nats.append(nats.detach())
        if self.curriculum is not None:
            self._watch(batch, hidden, targets)
        # Lightning divides by the accumulated rows and DDP by the ranks: undo both, and divide by the tokens.
        rows = self.trainer.accumulate_grad_batches * self.trainer.world_size
        loss = nats * rows / batch["window_tokens"]
        if self.glyph_head is None:
            return loss
        glyph_loss, accuracy = self.glyph_head(features, batch["glyphs"])
        self.watched["train/glyph_accuracy"] = float(accuracy)
        return loss + self.glyph_weight * glyph_loss

    def _features(self, batch: Batch) -> Tensor:
        """Return the features of a row's images, and cache those that were computed."""
        features = vision_features(base_of(self.model).model.visual, batch)
        if self.features is not None and "image_keys" in batch:
            self.features.keep(batch["image_keys"], features, batch["image_grid_thw"])
        return features

    def _watch(self, batch: Batch, hidden: Tensor, targets: Tensor) -> None:
        """Pass the curriculum the accuracy on a row (teacher-forced)."""
        assert self.curriculum is not None
        with torch.no_grad():
            accuracy = (base_of(self.model).lm_head(hidden).argmax(-1) == targets).float().mean()
            accuracy = float(self.trainer.strategy.reduce(accuracy, reduce_op="mean"))
        self.watched |= {"train/stage": batch["stage"], "train/accuracy": accuracy}
        if self.curriculum.note(batch["stage"], accuracy):
            log.info("step %d: stage %d begins", self.trainer.global_step + 1, self.curriculum.newest)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # Sums, not a mean of batch means, because answers differ in length.
        hidden, targets = answer_states(self.model, batch, self._features(batch))
        self.val_nats.update(summed_nats(self.model, hidden, targets, self.fused_ops))
        self.val_tokens.update((batch["labels"] != IGNORE).sum())

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.should_stop:  # else a signal has cut it short
            self.log("val/nats_per_token", self.val_nats.compute() / self.val_tokens.compute().clamp(min=1))
        self.val_nats.reset()
        self.val_tokens.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        rise = round(self.warmup * self.steps)
        if self.cooldown is None:
            schedule = get_cosine_schedule_with_warmup(optimizer, rise, self.steps)
        else:
            fall = round(self.cooldown * self.steps)
            schedule = get_wsd_schedule(
                optimizer, rise, fall, num_stable_steps=self.steps - rise - fall, decay_type="linear"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        self.grad_norm, self.lr = self._clip(), float(optimizer.param_groups[0]["lr"])
        nats = self.step_nats = torch.stack(self._window_nats).sum()
        self._window_nats.clear()
        scaled = self.trainer.precision == "16-mixed"  # then the loss scaler skips infinite gradients itself
        if not torch.isfinite(nats) or not (scaled or torch.isfinite(self.grad_norm)):
            what = "loss" if not torch.isfinite(nats) else "gradient"
            raise Diverged(
                f"the {what} is not finite at step {self.trainer.global_step + 1}; nothing of this step was "
                "applied. Lower optimizer.lr, or set precision.compute=fp32."
            )

    def _clip(self) -> Tensor:
        wrapped: Any = self.trainer.strategy.model
        if hasattr(wrapped, "clip_grad_norm_"):  # FSDP: the norm spans the shards of all ranks
            return wrapped.clip_grad_norm_(self.clip)
        return nn.utils.clip_grad_norm_((p for p in self.parameters() if p.requires_grad), self.clip)

    # Content of a checkpoint: the trained weights (training/checkpoint.py writes them in peft's layout),
    # optimizer, schedule, loop and loader state by Lightning, and the random state below.

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]  # torch overloads it
        if self.sharded:  # FSDP's own hooks gather the shards
            return super().state_dict(*args, **kwargs)
        return {name: parameter.detach() for name, parameter in self.named_parameters() if parameter.requires_grad}

    @property
    def sharded(self) -> bool:
        trainer = self._trainer
        return trainer is not None and isinstance(trainer.strategy, FSDPStrategy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.glyph_head is not None:
            checkpoint["glyph_head"] = self.glyph_head.state_dict()
        checkpoint["rng"] = {
            "python": random.getstate(),
            "numpy": [x.tolist() if isinstance(x, np.ndarray) else x for x in np.random.get_state()],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        made = checkpoint["global_step"]
        if made < self.steps:
            lengthen(checkpoint["loops"])
        else:
            log.warning(
                "this run has made %d steps; %d were asked for, so none is left to train. More: "
                "trainer.max_steps, trainer.epochs.",
                made,
                self.steps,
            )
        self._rng = checkpoint["rng"]
        if self.glyph_head is not None:
            self.glyph_head.load_state_dict(checkpoint["glyph_head"])

    def on_train_start(self) -> None:
        # If a resumed run gets more steps, its schedule differs from that of the learning rate in the checkpoint.
        schedule: Any = self.lr_schedulers()
        groups = schedule.optimizer.param_groups
        for group, rate, share in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
            group["lr"] = rate * share(schedule.last_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self._rng is None:
            return
        # Not earlier: building loaders and loops consumes random numbers after the checkpoint is read.
        version, state, gauss = self._rng["python"]
        random.setstate((version, tuple(state), gauss))
        np.random.set_state(tuple(self._rng["numpy"]))
        torch.set_rng_state(self._rng["torch"])
        if self._rng["cuda"] is not None and torch.cuda.is_initialized():
            torch.cuda.set_rng_state(self._rng["cuda"])
        if self.global_rank:  # the saved state is rank 0's; ranks must not share dropout masks
            torch.manual_seed(torch.initial_seed() + self.global_rank + self.trainer.global_step)
        self._rng = None

    def save_weights(self, folder: Path, states: dict[str, Tensor]) -> None:
        """Write the trained weights: a peft adapter, or a whole model after full fine-tuning."""
        inner = {name.removeprefix("model."): tensor for name, tensor in states.items() if name.startswith("model.")}
        if isinstance(self.model, PeftModel):
            self.model.save_pretrained(str(folder), state_dict=inner, save_embedding_layers=False)
        else:
            base = base_of(self.model)
            whole = {**({} if self.sharded else dict(base.named_parameters())), **inner}
            if base.config.tie_word_embeddings:
                whole.pop("lm_head.weight", None)
            # Not save_pretrained, which renames tensors to the names in the loaded checkpoint.
            save_file(
                {name: t.detach().contiguous() for name, t in whole.items()},
                folder / WEIGHTS,
                metadata={"format": "pt"},
            )
            base.config.save_pretrained(str(folder))
            if self.save_processor is not None:
                self.save_processor(str(folder))
        sums = {file.name: checksum(file) for file in sorted(folder.glob("*.safetensors"))}
        write_json(folder / METADATA, {**self.adapter_metadata, CHECKSUMS: sums})

    def read_weights(self, folder: Path) -> dict[str, Tensor]:
        """Return trained weights from a folder written by `save_weights`, under this module's names.

        Raises:
            ValueError: They do not match the parameters that train here.
        """
        files = sorted(folder.glob("*.safetensors"))
        refuse_duplicates(folder, [tensor_names(file) for file in files])
        tensors = {key: tensor for file in files for key, tensor in load_file(file).items()}
        names, parameters = self._names_in_files(), dict(self.named_parameters())
        other = "; it was trained with other lora targets or another base."
        if missing := set(names) - set(tensors):
            raise ValueError(f"{folder} lacks {counted(missing, len(names))}{other}")
        # After full fine-tuning of a part, the whole model is there.
        if isinstance(self.model, PeftModel) and (extra := set(tensors) - set(names)):
            raise ValueError(f"{folder} holds {counted(extra)} that do not train here{other}")
        if differing := [key for key, name in names.items() if tensors[key].shape != parameters[name].shape]:
            raise ValueError(f"{folder} holds {counted(differing)} of other shapes than train here{other}")
        return {name: tensors[key] for key, name in names.items()}

    def _names_in_files(self) -> dict[str, str]:
        """Map names in saved files to this module's parameter names."""
        trained = {f"model.{name}": p for name, p in self.model.named_parameters() if p.requires_grad}
        if not isinstance(self.model, PeftModel):
            return {name.removeprefix("model."): name for name in trained}
        owner = {parameter.data_ptr(): name for name, parameter in trained.items()}
        saved = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {key: owner[tensor.data_ptr()] for key, tensor in saved.items()}
