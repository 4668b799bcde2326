"""`medvl export format=awq` and `gptq`: the folder that llm-compressor is run in, then the export of its result."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.export.calibration import EXAMPLES, JOB, MODEL, RESULT, write_job
from medvl.export.lineage import base_of_export
from medvl.hardware.ranks import quiet_libraries
from medvl.model.adapters import config_hash
from medvl.model.loading import weight_bytes
from medvl.model.merging import check_room
from medvl.record.files import PRIVATE, read_json, replace_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from medvl.run.config import RunConfig
    from medvl.run.context import RunContext

ROOM = "Set export=<a folder with room>."


def job_of(target: Path) -> Path:
    """Return the folder beside an export in which llm-compressor is run."""
    return target.with_name(f"{target.name}-calibration")


def has_result(target: Path) -> bool:
    """Whether llm-compressor has been run for an export."""
    return (job_of(target) / RESULT / "config.json").is_file()


def check_job(config: RunConfig, target: Path) -> None:
    """Refuse to write what is there already, before anything is loaded.

    Raises:
        ValueError: Names what to do.
    """
    job = job_of(target)
    if has_result(target):
        return
    if config.live is not None:
        raise ValueError("pages that are drawn during training calibrate nothing. Set data.live=false.")
    if job.exists() and not (job / JOB).is_file():
        raise ValueError(f"{job} is there and none that medvl wrote. Set export=<another folder>.")
    if job.exists() and not config.force:
        raise ValueError(
            f"{job} waits for its result. Run calibrate.py there, as its README.md says, and then this again; "
            "force=true writes the folder anew."
        )


def check_same(config: RunConfig, target: Path, adapter: str | None) -> None:
    """Refuse a result that is of other weights than the composition's.

    Raises:
        ValueError: Names the folder to delete.
    """
    job = job_of(target)
    told = read_json(job / JOB) or {}
    if any(told.get(name) != value for name, value in _identity(config, adapter).items()):
        raise ValueError(f"{job} is of other weights. Delete it, or set export=<another folder>.")


def start_job(context: RunContext, target: Path, adapter: str | None, write_model: Callable[..., None]) -> None:
    """Write the folder that llm-compressor is run in.

    Args:
        adapter: Hash of the adapter.
        write_model: Writes the merged model of the composition to a folder; takes also the examples.

    Raises:
        ValueError: There is nothing to calibrate on.
    """
    from medvl.run.datasets import prepare_training
    from medvl.run.loading import encoder_of

    config, job, encoder = context.config, job_of(target), encoder_of(context.config.model)
    check_room(job.parent, weight_bytes(config.model.config(), config.precision.in_bf16()), ROOM)
    quiet_libraries()
    prepared = prepare_training(context, encoder, needs=["train"])
    told = (replace(example, prompt=encoder.asked(example.prompt)) for example in prepared.examples["train"])
    known = [example for example in told if example.response]
    examples = random.Random(config.seed).sample(known, min(EXAMPLES, len(known)))
    with replace_folder(job) as draft:
        draft.chmod(PRIVATE)  # it holds pages
        (draft / MODEL).mkdir()
        write_model(draft / MODEL, examples)
        about = {**_identity(config, adapter), "scheme": config.format.calibrated}
        write_job(draft, examples, about, config.model.max_image_pixels)
    context.record.result({"job": config.format.name, "examples": len(examples)})
    context.say(
        f"{job} holds the model and {len(examples)} examples of the training split to calibrate on. Run calibrate.py "
        "there, as its README.md says, and then this again."
    )


def _identity(config: RunConfig, adapter: str | None) -> dict[str, Any]:
    base = base_of_export(config.model, config_hash(config.model.config()))
    return {
        "method": config.format.name,
        "adapter": adapter,
        "merged_into": None if adapter is None else config.merge_into.settled(config.precision).name,
        "base": {name: base[name] for name in ("name", "revision", "architecture")},
    }
