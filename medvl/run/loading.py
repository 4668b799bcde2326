"""Loads the model of a composition, with every automatic choice made."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.hardware.ranks import local_rank, quiet_libraries
from medvl.record.checkpoints import damage, latest_checkpoint
from medvl.record.directory import Record

if TYPE_CHECKING:
    from torch import nn
    from transformers import ProcessorMixin

    from medvl.data.encoding import Encoder
    from medvl.generation.engine import Engine
    from medvl.hardware.plan import HardwarePlan
    from medvl.model.loading import Loaded, Model
    from medvl.model.precision import Precision
    from medvl.run.config import RunConfig
    from medvl.run.context import RunContext
    from medvl.training.tuning import Tuning
    from medvl.types import Choice


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A loaded model, the engine that generates its answers, and the choices made for both."""

    plan: HardwarePlan
    precision: Precision
    loaded: Loaded
    engine: Engine


def load(context: RunContext, trained: Path | None = None, precision: Precision | None = None) -> Ready:
    """Load the base model of the composition.

    Args:
        trained: Folder of trained weights to load too, in the form that artefact= names.
        precision: Replaces the composition's.

    Raises:
        ValueError: Something the composition asks for is not available, or the weights do not fit.
    """
    from medvl.generation.engine import Engine

    config = context.config
    plan, precision, choices = resolve_auto(config, precision or config.precision)
    _start_libraries(config.seed)
    context.tell(choices)
    how = (precision, config.hardware, plan)
    if trained is None:
        loaded = config.model.load(*how)
    elif context.exported is not None:
        precision = precision.in_bf16()
        model = replace(config.model, path=str(context.exported), revision=None)
        loaded = model.load(precision, config.hardware, plan)
    else:
        scratch = Path(config.cache).expanduser()
        loaded = config.artefact.load(config.model, trained, *how, scratch=scratch, merge_into=config.merge_into)
    encoder = encoder_of(config.model, loaded.processor)
    engine = Engine(
        model=loaded.model,
        encoder=encoder,
        precision=precision,
        compiled=config.hardware.compile,
        unified_memory=config.hardware.unified_memory,
    )
    return Ready(plan=plan, precision=precision, loaded=loaded, engine=engine)


def encoder_of(model: Model, processor: ProcessorMixin | None = None) -> Encoder:
    """Return the encoder of a base; its processor is read unless it is given."""
    from medvl.data.encoding import Encoder

    return Encoder(processor or model.processor(), model.max_image_pixels, model.ask, model.answers)


def load_trained(context: RunContext, precision: Precision | None = None) -> Ready:
    """Load the model given to evaluate.py or benchmark.py: of a run, of an adapter folder, or a bare model.

    Raises:
        ValueError: As for `load`.
    """
    return load(context, context.trained, precision)


def load_scored(context: RunContext) -> Engine:
    """Load the model given to evaluate.py; the ranks that torchrun started share its answers.

    Raises:
        ValueError: As for `load`.
    """
    from medvl.generation.sharing import join

    engine = load_trained(context).engine
    engine.shares = join()
    return engine


def tune_model(context: RunContext, ready: Ready, model: nn.Module) -> Tuning:
    """Switch on what makes the model train fast here; report and record the choices."""
    from medvl.training.tuning import tune

    config = context.config
    tuning = tune(
        model,
        config.hardware,
        device=ready.plan.device.value,
        precision=ready.precision,
        tokens=config.batch.tokens,
        optimizer=config.make_optimizer(),
    )
    context.tell(tuning.choices)
    return tuning


def resolve_auto(config: RunConfig, precision: Precision) -> tuple[HardwarePlan, Precision, dict[str, Choice]]:
    """Make the automatic choices that precede loading the model, and set up the device accordingly.

    Raises:
        ValueError: Something the composition asks for is not available.
    """
    import torch

    from medvl.model import attention
    from medvl.model.loading import weight_bytes
    from medvl.model.precision import Compute

    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    plan = config.hardware.plan(
        attention=attention.choose,
        compute=precision.compute.name,
        storage=precision.storage.name,
        devices=config.trainer.devices,
    )
    config.hardware.prepare_device(plan)
    precision = precision.with_compute(Compute[plan.compute.value])
    sizes = functools.partial(weight_bytes, config.model.config())
    precision, resident = precision.with_residency(plan.device.value, sizes)
    return plan, precision, {**plan.choices(), "resident": resident}


def trained_folder(config: RunConfig) -> Path | None:
    """Return the folder of trained weights that resume=, run= or adapter= names; None for a bare model.

    All of it is read, to see whether it is whole.

    Raises:
        ValueError: The run has no checkpoint, or what is there is damaged.
    """
    if config.resume is not None:
        return latest_checkpoint(Record(config.resume).checkpoints)
    if not config.loads_trained:
        return None
    if config.adapter is not None:
        adapter = Path(config.adapter)
        if any(adapter.glob("*.safetensors")) and (found := damage(adapter)) is not None:
            raise ValueError(f"{adapter} is damaged ({found}). Set adapter=<a whole one>.")
        return adapter
    assert config.run is not None
    folder = latest_checkpoint(Record(config.run).checkpoints)
    if folder is None:
        raise ValueError(f"{config.run} holds no checkpoint; its run did not get as far.")
    return folder


def check_adapter(config: RunConfig, folder: Path) -> None:
    """Refuse trained weights that are damaged or belong to another base, before the base is loaded."""
    from medvl.model.adapters import check_base, check_storage
    from medvl.model.loading import config_hash

    model = config.model
    check_base(
        folder,
        base=model.name,
        base_hash=config_hash(model.config()),
        max_pixels=model.max_pixels,
        prompt=config.data.prompt,
        named=config.privacy.shows,
    )
    check_storage(folder, config.precision.storage.name, quantized=config.precision.quantized)


def _start_libraries(seed: int) -> None:
    quiet_libraries()
    import lightning as L

    L.seed_everything(seed, workers=True, verbose=False)
