"""Where an export is written, what is refused before it is, and whether one that is there is that of a run."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.export.formats import Format
from medvl.export.gguf_files import check_gguf
from medvl.export.lineage import base_of_export
from medvl.generation.llama_cpp import LlamaCpp
from medvl.model.adapters import EXPORT, EXPORTED, config_hash, holds_adapter
from medvl.model.loading import WeightInit
from medvl.model.merging import Artefact, check_room
from medvl.record.checkpoints import ADAPTER
from medvl.record.environment import version
from medvl.record.files import read_json
from medvl.record.lock import locked
from medvl.run.calibration_job import ROOM, check_job
from medvl.run.finished import is_done

if TYPE_CHECKING:
    from medvl.run.config import RunConfig


def target_of(config: RunConfig) -> Path:
    """Return the folder that an export is written to.

    Raises:
        ValueError: Neither a run nor a folder is named.
    """
    if config.export is not None:
        return Path(config.export).expanduser()
    if config.run is None:
        raise ValueError("no folder is named to write to. Set export=<a new folder>, or run=<a finished run>.")
    return folder_in(config.run, config.format)


def folder_in(run: str, form: Format) -> Path:
    """Return the folder of a run that an export is written to by default."""
    return Path(run) / EXPORT / form.name


def check_export(config: RunConfig) -> None:
    """Refuse an export before anything is loaded: of what, how, or where to.

    Raises:
        ValueError: Names the override that fixes it.
    """
    if config.artefact is not Artefact.adapter:
        raise ValueError(f"artefact={config.artefact.name} is for evaluate.py. Set format={config.format.name} alone.")
    target = target_of(config)
    check_exportable(config, config.format, target)
    if config.format.calibrated:
        check_job(config, target)
    if target.exists() and not config.force:
        raise ValueError(f"{target} is there already. Set force=true to replace it, or export=<another folder>.")


def check_exportable(config: RunConfig, form: Format, target: Path) -> None:
    """Refuse a model that cannot be exported, or a folder that cannot be replaced.

    Raises:
        ValueError: Names the override that fixes it.
    """
    if config.run is not None and not is_done(config.run):
        raise ValueError(
            f"{config.run} is no finished training run. Finish it with python train.py resume={config.run}, or set "
            "adapter=<one of its checkpoints>."
        )
    if config.model.init is WeightInit.random:
        raise ValueError("random weights are worth nothing elsewhere. Set model.init=pretrained.")
    config.merge_into.check(config.precision)
    if target.parent.is_symlink() or target.is_symlink():
        raise ValueError(f"{target} is reached by a link. Set export=<a folder>.")
    empty = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not empty and not (target / EXPORTED).is_file():
        raise ValueError(f"{target} is there and no export of medvl. Set export=<a new folder>.")
    form.check(config.model.config())


def check_trained(folder: Path) -> None:
    """Refuse trained weights that are no adapter.

    Raises:
        ValueError: Names the override that fixes it.
    """
    if not holds_adapter(folder):
        raise ValueError(
            f"{folder} holds no adapter but whole weights; there is nothing to merge. Leave run= and adapter= out, and "
            f"set model.path={folder}."
        )


def locked_target(target: Path, patience_s: float = 0.0) -> contextlib.AbstractContextManager[None]:
    """Let only one process write to a folder while the block runs.

    Raises:
        ValueError: Another process is writing to it.
    """
    check_room(target.parent, 0, ROOM)
    return locked(target.parent, patience_s, name=f".{target.name}.lock")


def stale(folder: Path, config: RunConfig, form: Format, trained: Path) -> str | None:
    """Say why a folder is not the whole export of trained weights in a format; None if it is."""
    facts = read_json(folder / EXPORTED)
    if facts is None:
        return "is not there"
    own = base_of_export(config.model, config_hash(config.model.config()))
    base = facts.get("base") or {}
    told = [facts.get(name) for name in ("format", "adapter", "merged_into")]
    if told != [form.name, adapter_hash(trained), config.merge_into.settled(config.precision).name]:
        return "is of other weights"
    if any(base.get(name) != own[name] for name in ("name", "revision", "architecture")):
        return "is of another base"
    try:
        if form.gguf_kind is not None:
            check_gguf(folder, config.model.config())
        else:
            replace(config.model, path=str(folder), revision=None).check(config.precision.in_bf16())
    except ValueError as error:
        return f"is not whole: {error}"
    return None


def adapter_hash(folder: Path) -> str:
    """Return the SHA-256 of the adapter in a folder."""
    with (folder / ADAPTER).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def engine_name(form: Format | None = None) -> str:
    """Name the engine that answers: llama.cpp, or that of this process and what reads the weights of a format."""
    if form is not None and form.gguf_kind is not None:
        return f"llama.cpp by {LlamaCpp.find().described()}"
    scheme = None if form is None else form.stored
    reader = f" and compressed-tensors {version('compressed-tensors')}, dequantised to bf16" if scheme else ""
    return f"medvl {version('medvl')} on transformers {version('transformers')}{reader}"
