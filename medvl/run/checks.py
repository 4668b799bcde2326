"""Checks before anything is written: what only this machine, its packages and the named files can tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.benchmarks.bench import ComposedBench
from medvl.benchmarks.model import ModelBench
from medvl.benchmarks.pages import PageBench
from medvl.data.splits import SPLITS
from medvl.geometry import TOKEN_PX
from medvl.hardware.plan import Attention
from medvl.model.merging import Artefact
from medvl.record.errors import first_line
from medvl.run.artefacts import check_artefact
from medvl.run.config import FRAME_TOKENS
from medvl.run.export_target import check_export, check_trained
from medvl.run.loading import check_adapter, trained_folder
from medvl.training.trainer import Strategy

if TYPE_CHECKING:
    from medvl.run.config import RunConfig


def check(config: RunConfig, script: str) -> Path | None:
    """Refuse a composition that a script could not carry out here.

    Returns:
        The folder of the trained weights that it starts from; None for a bare model.

    Raises:
        ValueError: The message names the override that fixes it.
    """
    if config.engine is not None and script in ("evaluate", "benchmark"):
        config.check_tracker()
        _check_engine(config, script)  # before the device: a run of a GPU is scored from a machine without one, too
        return None
    if script == "benchmark" and isinstance(config.bench, PageBench):
        return None
    if script not in ("doctor", "download"):
        _check_cache(config.cache)
    if script not in ("train", "evaluate", "benchmark", "calibrate", "serve", "export"):
        return None
    if script == "export":
        check_export(config)
    if script == "serve":
        config.serve.check(config.model.max_pixels // TOKEN_PX**2 + FRAME_TOKENS)
    else:
        config.check_tracker()
        _check_splits(config, script)
    _check_device(config)
    if script == "train" and config.live is not None and config.trainer.max_steps is None:
        raise ValueError("pages are drawn without end. Set trainer.max_steps=1000, or data.live=false.")
    if script in ("train", "benchmark"):
        _check_training(config, script)
    if script == "benchmark" and isinstance(config.bench, ComposedBench):
        config.bench.check_composition(config.lora, trained=config.loads_trained)
    if config.reader is not None:
        _check_reader(config)
        return None
    config.model.check(config.precision)
    folder = trained_folder(config)
    if folder is not None:
        check_adapter(config, folder)
        config.artefact.check_folder(folder)
        check_artefact(config, script, folder)
        if script == "export":
            check_trained(folder)
    return folder


def _check_reader(config: RunConfig) -> None:
    assert config.reader is not None
    if config.adapter is not None or config.artefact is not Artefact.adapter:
        raise ValueError(
            f"reader={config.reader.name} reads without a model, so an adapter or artefact changes nothing. "
            "Leave them out, or set reader=model."
        )
    if config.eval.constrained:
        raise ValueError(
            f"reader={config.reader.name} follows no grammar. Set eval.constrained=false, or reader=model."
        )
    config.reader.check()


def _check_engine(config: RunConfig, script: str) -> None:
    engine = config.engine
    assert engine is not None
    _check_cache(config.cache)
    _check_splits(config, script)
    if script == "benchmark" and not isinstance(config.bench, ModelBench):
        raise ValueError(
            f"engine={engine.name} has only its answers to measure, not training, pages or our own engine. "
            "Set bench=model, or engine=local."
        )
    if config.reader is not None:
        raise ValueError(
            f"engine={engine.name} and reader={config.reader.name} both answer. Set reader=model, or engine=local."
        )
    if config.adapter is not None or config.artefact is not Artefact.adapter:
        raise ValueError(
            f"engine={engine.name} measures the weights that its server has loaded, so an adapter or artefact changes "
            "nothing. Leave them out, or set engine=local."
        )
    if not config.privacy.shows and not engine.is_here:
        raise ValueError(
            f"privacy=strict keeps pages on this machine, and {engine.place} is another. "
            "Set engine.url=http://127.0.0.1:<port>/v1, or privacy=open."
        )
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("one process asks a server. Start it without torchrun, and set engine.concurrency=16.")
    engine.check()


def _check_cache(name: str) -> None:
    place = Path(os.path.expanduser(name))
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"cache={name}: {there} is no folder to write to. Set cache=<a folder>.")


def _check_splits(config: RunConfig, script: str) -> None:
    held_out = config.eval.data is None and (script != "benchmark" or getattr(config.bench, "answers", False))
    most = config.data.most
    if held_out and most is not None and most < len(SPLITS):
        raise ValueError(f"{most} document(s) are too few for {', '.join(SPLITS)}. Set data.count=120.")


def _check_device(config: RunConfig) -> None:
    device = config.hardware.device_choice().value
    config.lora.check_device(device)
    config.hardware.check_memory()
    if config.hardware.attention is not Attention.auto:
        from medvl.model import attention  # slow: it imports transformers

        compute, storage = config.precision.compute.name, config.precision.storage.name
        config.hardware.plan(compute=compute, storage=storage, attention=attention.choose)


def _check_training(config: RunConfig, script: str) -> None:
    import torch

    make = config.make_optimizer()
    try:
        make([torch.nn.Parameter(torch.zeros(1))])
    except Exception as error:  # every optimizer raises its own
        raise ValueError(f"optimizer: {first_line(error)}. Set optimizer=adamw, or mend optimizer.<value>.") from error
    there, what = config.hardware.count_devices()
    if script == "train" and config.trainer.devices > there:
        mend = f"Set trainer.devices={there}" if config.resume is None else "Resume the run where it was trained"
        raise ValueError(f"trainer.devices={config.trainer.devices}, and this machine has {there} {what}. {mend}.")
    if config.trainer.strategy is Strategy.fsdp and not torch.cuda.is_available():
        raise ValueError("FSDP shards over GPUs, and there is none. Set trainer.strategy=auto.")
