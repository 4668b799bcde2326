"""From a composition to a job that ends well: with a status, one line for a mistake, and a clean device."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from medvl import composition, config, record
from medvl.claim import FILE as LOCK
from medvl.claim import claimed
from medvl.job import Job
from medvl.learner.trainer import Strategy
from medvl.process import is_main, local_rank, quiet_imports
from medvl.record import Record
from medvl.sweeping.plan import Repeat, State, clear, is_settled, value_of

log = logging.getLogger(__name__)

SAVING_S = 120.0  # that a process which was told to end may take to save


def carry_out(cfg: DictConfig, work: Callable[[Job], float | None]) -> float:
    """Run one job of a script from composition to status, and return the number a sweep optimises.

    A user's mistake ends with one line and exit status 2. In a multirun a failed job is recorded with its
    traceback, counts as not a number, and the next one starts.
    """
    quiet_imports()
    try:
        return composition.number(_carry_out(cfg, work))
    except ValueError as error:
        log.error("error: %s", error)
        if not composition.in_sweep():
            sys.exit(2)
    except Exception as error:
        if not composition.in_sweep():
            raise
        log.error("failed: %s: %s", type(error).__name__, error)
    finally:
        _free_memory()
    return composition.number(None)


def _carry_out(cfg: DictConfig, work: Callable[[Job], float | None]) -> float | None:
    folder = composition.output_dir()
    with contextlib.ExitStack() as held:
        if is_main():  # a job of a sweep that was killed may still be saving
            held.enter_context(claimed(folder, patience_s=SAVING_S if composition.in_sweep() else 1))
        composition.check_name(cfg)
        if composition.in_sweep() and _settle(cfg, folder):
            log.info("%s is settled already", folder.name)
            return value_of(folder)
        return _run(cfg, folder, work)


def _settle(cfg: DictConfig, folder: Path) -> bool:
    """Return whether a job of a sweep has nothing to do; let one that was interrupted go on where it was."""
    status = record.read_json(folder / "status.json")
    if status is None:
        return False
    if is_main() and is_settled(State(status["state"]), cfg.repeat):
        return True
    if composition.script() == "train" and cfg.repeat is not Repeat.all and cfg.trainer.strategy is not Strategy.fsdp:
        cfg.resume = str(folder)
    elif is_main():
        clear(folder)
    return False


def _run(cfg: DictConfig, folder: Path, work: Callable[[Job], float | None]) -> float | None:
    try:
        _check_call(cfg)
        cfg, groups = _composition(cfg)
        run = config.resolve(cfg)
        if (run.trainer.nodes > 1 or "LOCAL_RANK" in os.environ) and not composition.names_run_dir():
            raise ValueError("ranks that are started apart need one directory. Set hydra.run.dir=<a shared folder>.")
    except Exception as error:
        _discard(folder, error)
        raise
    job = Job(run=run, record=Record(folder), settings=composition.to_dict(cfg), groups=groups, main=is_main())
    if not job.main:
        return _follow(job, work)
    with record.outcome(job.record):
        job.open(composition.to_yaml(cfg))
        failed = True
        try:
            value = work(job)
            failed = False
        finally:
            job.close(failed=failed)
    if run.report and not composition.in_sweep():  # a sweep writes one of all its jobs
        from medvl.reporting.report import report_line

        job.say(report_line(folder))
    job.say(f"run directory: {job.record.near()}")
    return value


def _follow(job: Job, work: Callable[[Job], float | None]) -> float | None:
    """Work as another rank than 0; what goes wrong here ends rank 0 without a word, so it is noted now."""
    try:
        return work(job)
    except Exception as error:
        reason = f"rank {local_rank()}: {type(error).__name__}: {error}"
        job.record.status("failed", error=reason, traceback=traceback.format_exc())
        raise


def _check_call(cfg: DictConfig) -> None:
    """Refuse what this script does not do, before anything is written.

    Raises:
        ValueError: Names the script that does.
    """
    script = composition.script()
    training = script == "train"
    if cfg.resume is not None and not training:
        raise ValueError(f"only train.py goes on with a run. Set run={cfg.resume} to take its model.")
    for name, own in (("ablation", "evaluate"), ("export", "prepare")):
        if cfg[name] and script != own:
            raise ValueError(f"{name}= is for {'medvl ' if own == 'prepare' else ''}{own}, not for {script}.")
    for name in ("run", "adapter"):
        if cfg[name] is not None and training:
            raise ValueError(f"train.py starts from a base. Set resume=<run> to go on; {name}= is for evaluate.py.")
    if training and cfg.artefact.name != "adapter":
        raise ValueError("train.py trains an adapter beside its base. Set artefact=adapter; the others are scored by "
                         f"evaluate.py run=<run> artefact={cfg.artefact.name}.")  # fmt: skip


def _composition(cfg: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """Return composition and groups, over those of an earlier run where resume= or run= names it."""
    # A job of a sweep goes on with the composition that names its directory.
    source = cfg.resume if cfg.resume is not None and not composition.in_sweep() else cfg.run
    if source is None:
        return cfg, composition.groups()
    record.load_run(source)
    environment = record.read_json(Path(source) / "environment.json") or {}
    return composition.restored(
        Path(source) / "config.yaml",
        (environment.get("choices") or {}).get("groups") or {},
        composition.overrides(),
        resume=source == cfg.resume,
    )


def _discard(folder: Path, error: Exception) -> None:
    """Leave no empty directory behind a refused composition; in a sweep leave its status."""
    if composition.in_sweep():
        refused = Record(folder)
        known = record.read_json(folder / "environment.json") or {}
        record.write_json(folder / "environment.json", {**known, "overrides": composition.overrides()})
        refused.status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        return
    # Only what was made a moment ago: the folder may be anything that resume= or hydra.run.dir= named.
    log_file = folder / f"{composition.script()}.log"
    if folder.is_dir() and {path.name for path in folder.iterdir()} == {log_file.name, LOCK}:
        log_file.unlink()
        (folder / LOCK).unlink()
        folder.rmdir()


def _free_memory() -> None:
    """Give the next job of a multirun a clean device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
