"""Weights & Biases as a mirror of the run directory; nothing is lost without it."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvl.record import Record, read_json

log = logging.getLogger(__name__)


def wandb_logger(
    *,
    record: Record,
    settings: dict[str, Any],
    group: str | None,
    job_type: str,
    project: str,
    entity: str | None = None,
    mode: str = "auto",
    tags: Sequence[str] = (),
) -> Any:
    """Return Lightning's W&B logger for a run directory: the `logger=wandb` option.

    Online when an API key is at hand, else offline with one line that says how to sync. A resumed run keeps
    its id.

    Args:
        settings: The run's composition, flattened by W&B into columns.
        group: Runs of one sweep share it.
        mode: auto, online or offline; the environment's WANDB_MODE wins, as W&B users expect.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # one line of ours says where the run is
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    wanted = os.environ.get("WANDB_MODE")
    offline = mode == "offline" or wanted in ("offline", "dryrun", "disabled")
    if mode == "auto" and not offline:
        offline = not wandb.login(prompt=False, verify=False)
    status = read_json(record.path / "status.json") or {}
    identity = status.get("wandb") or secrets.token_hex(4)
    record.status("running", wandb=identity)
    facts: dict[str, Any] = {
        "project": project, "entity": entity, "name": record.path.name, "id": identity, "save_dir": record.path,
        "group": group, "job_type": job_type, "tags": list(tags), "config": settings, "log_model": False,
        "resume": "allow",
    }  # fmt: skip
    logger = None
    if not offline:
        try:
            logger = WandbLogger(**facts, mode="online")
            log.info("W&B: %s", logger.experiment.url)
        except wandb.errors.Error as error:  # a node without a network, say: the mirror must not cost the run
            log.warning("W&B cannot be reached (%s); going on offline", str(error).splitlines()[0])
            logger, offline = None, True
            wandb.teardown()
    if logger is None:
        logger = WandbLogger(**facts, offline=True, mode="disabled" if wanted == "disabled" else "offline")
        log.info("W&B is offline; to upload: wandb sync %s", Path(logger.experiment.dir).parent)
    return logger


def show_pages(loggers: Sequence[Any], before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> None:
    """Log the same pages before and after training, side by side, where a logger takes tables."""
    for logger in loggers:
        if not hasattr(logger, "log_table"):
            continue
        import wandb

        columns = ["id", "page", "prompt", "reference", "before", "after", "scores before", "scores after"]
        data = [
            [a["id"], wandb.Image(a["images"][0]), a["prompt"], a["reference"], b["prediction"], a["prediction"],
             *(", ".join(f"{name} {up / down:.3f}" for name, (up, down) in row["scores"].items()) for row in (b, a))]
            for b, a in zip(before, after, strict=True)
        ]  # fmt: skip
        logger.log_table("pages", columns=columns, data=data)


def keep_adapter(loggers: Sequence[Any], folder: Path, facts: dict[str, Any]) -> None:
    """Store an exported adapter as an artifact."""
    for logger in loggers:
        if not hasattr(logger, "log_table"):
            continue
        import wandb

        artifact = wandb.Artifact(f"adapter-{logger.experiment.id}", type="adapter", metadata=facts)
        for file in sorted(folder.iterdir()):
            artifact.add_file(str(file))
        logger.experiment.log_artifact(artifact)


def note(loggers: Sequence[Any], **words: str) -> None:
    """Put words into the run's summary, where a logger has one; numbers get there as metrics."""
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.experiment.summary.update(words)


def finish(loggers: Sequence[Any], *, failed: bool) -> None:
    """Close the mirrors; a failed run is marked failed, and a sweep's next job starts a new one."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if hasattr(logger, "log_table"):
            import wandb

            wandb.finish(exit_code=int(failed))
