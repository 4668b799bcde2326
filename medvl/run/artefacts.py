"""artefact= of evaluate.py and benchmark.py: an export is read from its folder, which is written first if need be."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.benchmarks.model import ModelBench
from medvl.export.formats import Format
from medvl.hardware.plan import MIB
from medvl.model.loading import weight_bytes
from medvl.model.merging import Artefact
from medvl.model.parts import weights_on_disk
from medvl.model.precision import Compute
from medvl.record.checkpoints import ADAPTER
from medvl.run.export_target import check_exportable, engine_name, folder_in, locked_target, stale
from medvl.run.scoring import count_equal, run_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medvl.run.config import RunConfig
    from medvl.run.context import RunContext
    from medvl.types import Example

PATIENCE_S = 6 * 3600.0  # for another job of a sweep that writes the same export


def check_artefact(config: RunConfig, script: str, trained: Path) -> None:
    """Refuse an artefact that cannot be read or written, before anything is loaded.

    Raises:
        ValueError: Names the override that fixes it.
    """
    artefact = config.artefact
    if not artefact.is_export:
        return
    form = Format[artefact.name]
    by_llama = form.gguf_kind is not None
    if script not in ("evaluate", "benchmark"):
        mend = "Leave it out." if by_llama else f"Set model.path=<a run>/export/{artefact.name} precision=bf16."
        raise ValueError(f"artefact={artefact.name} is for evaluate.py and benchmark.py. {mend}")
    if config.run is None:
        then = "start llama-server on it, and set engine=openai" if by_llama else "then model.path=<that folder>"
        raise ValueError(
            f"artefact={artefact.name} is an export of a run, and none is named. Set run=<a run directory>, or "
            f"medvl export adapter=<folder> format={artefact.name} export=<folder>, and {then}."
        )
    if by_llama:
        _check_llama(config, script)
    folder = folder_in(config.run, form)
    check_exportable(config, form, folder)
    others = int(os.environ.get("WORLD_SIZE", 1)) > 1 or form.calibrated
    if others and (why := stale(folder, config, form, trained)) is not None:
        raise ValueError(
            f"{folder} {why}, and is not written here. Run medvl export run={config.run} format={form.name} first."
        )


def _check_llama(config: RunConfig, script: str) -> None:
    name = config.artefact.name
    if script == "benchmark" and not isinstance(config.bench, ModelBench):
        raise ValueError(
            f"artefact={name} is answered by llama.cpp, which has only answers to measure. Set bench=model."
        )
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(
            f"artefact={name} is answered by llama.cpp, which one process asks. Start it without torchrun."
        )


def prepare_artefact(context: RunContext) -> RunContext:
    """Return the run's context with the export that it loads; it is written first if it is not there, or not whole.

    Raises:
        ValueError: It cannot be written.
    """
    config, trained = context.config, context.trained
    if not config.artefact.is_export or config.run is None or trained is None:
        return context
    from medvl.run.exporting import write_export

    form = Format[config.artefact.name]
    folder = folder_in(config.run, form)
    if (why := stale(folder, config, form, trained)) is not None:
        context.say(f"{folder} {why}; it is written now")
        with locked_target(folder, PATIENCE_S):
            if stale(folder, config, form, trained) is not None:  # another job may have written it meanwhile
                write_export(context, form, folder)
        _free_memory()
    context.exported = folder
    return context


def deployed(context: RunContext, rows: Sequence[dict[str, Any]] | None, examples: Sequence[Example]) -> dict[str, Any]:
    """Return what answers, by which engine, the size of its weights on disk, and how many answers equal the run's.

    It is empty for a server or a reader; the last needs answers to the examples that the run has answered.
    """
    config = context.config
    if config.engine is not None or config.reader is not None:
        return {}
    own = None if rows is None else run_rows(config.run, examples)
    equal = {} if own is None or rows is None else {"equal_answers": count_equal(own, rows), "answers": len(rows)}
    form = Format[config.artefact.name] if config.artefact.is_export else None
    name = config.artefact.name if config.loads_trained or config.artefact is Artefact.base else "base"
    size = _disk_bytes(context, name)
    return {
        "artefact": name,
        "answered_by": engine_name(form),
        "disk_bytes": size,
        "disk_mib": size / MIB,
        **equal,
    }


def _disk_bytes(context: RunContext, name: str) -> int:
    """Return the bytes of an artefact's weights: of the files as they are, or as they would be written."""
    config, model = context.config, context.config.model
    if context.exported is not None:
        return weights_on_disk(context.exported)
    if name == "merged":
        return round(weight_bytes(model.config(), config.precision.in_bf16()))
    if name == "requantised":
        return round(weight_bytes(model.config(), config.precision.with_compute(Compute.bf16).as_stored()))
    own = 0 if name == "base" or context.trained is None else _trained_bytes(context.trained)
    return own + model.disk_bytes()


def _trained_bytes(folder: Path) -> int:
    return (folder / ADAPTER).stat().st_size if (folder / ADAPTER).is_file() else weights_on_disk(folder)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
