"""Runs one job and ends it cleanly: with a status, one line for a user's mistake, and freed device memory."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from medvl.hardware.ranks import is_main, local_rank, quiet_imports
from medvl.hardware.watchdog import watched
from medvl.record.directory import Record, load_run, outcome
from medvl.record.files import folder_fault, read_json, write_json
from medvl.record.lock import FILE as LOCK
from medvl.record.lock import locked
from medvl.record.masking import Masking, without_secrets
from medvl.record.reading import known_status
from medvl.run import checks, composition, config
from medvl.run.context import RunContext
from medvl.run.finished import is_done, nothing_left
from medvl.run.pace import remember
from medvl.sweeping.plan import Repeat, State, clear, is_settled, value_of
from medvl.training.trainer import Strategy

log = logging.getLogger(__name__)

SAVING_S = 120.0  # time for a process that received a signal to save


def carry_out(cfg: DictConfig, work: Callable[[RunContext], float | None]) -> float:
    """Run one job of a script from composition to status, and return the number that a sweep optimises.

    A user's mistake ends with one line and exit status 2. In a multirun a failed job is recorded with its
    traceback and returns NaN, and the next one starts.
    """
    quiet_imports()
    for handler in logging.getLogger().handlers:  # console and log file, as Hydra has made them for this job
        handler.addFilter(Masking())
    try:
        return composition.number(_carry_out(cfg, work))
    except ValueError as error:
        log.error("error: %s", error)
        if not composition.in_sweep():
            sys.exit(2)
    except Exception as error:
        sentence = folder_fault(error) if isinstance(error, OSError) else None
        if composition.in_sweep():
            log.error("failed: %s: %s", type(error).__name__, error)
        elif sentence is None:
            raise
        else:
            log.error("error: %s", sentence)
            sys.exit(2)
    finally:
        _free_memory()
    return composition.number(None)


def _carry_out(cfg: DictConfig, work: Callable[[RunContext], float | None]) -> float | None:
    folder = composition.output_dir()
    line = _nothing_left(cfg)
    if line is not None:
        if is_main():
            print(line)  # not logged, so that its log stays as it is
        _remove_unused(folder)
        return value_of(Path(cfg.resume))
    with contextlib.ExitStack() as held:
        if is_main():  # the job may still be saving if its sweep was killed
            held.enter_context(locked(folder, patience_s=SAVING_S if composition.in_sweep() else 1))
        composition.check_name(cfg)
        remaining = _remaining(cfg, folder) if composition.in_sweep() else cfg
        if remaining is None:
            log.info("%s is settled already", folder.name)
            return value_of(folder)
        return _run(remaining, folder, work)


def _nothing_left(cfg: DictConfig) -> str | None:
    """Return one line if a finished run is resumed with nothing to add; it is not touched then, not even locked."""
    if composition.script() != "train" or composition.in_sweep() or cfg.resume is None or not is_done(cfg.resume):
        return None
    return nothing_left(Path(cfg.resume), before=_composition(cfg, typed=())[0], now=_composition(cfg)[0])


def _remaining(cfg: DictConfig, folder: Path) -> DictConfig | None:
    """Return what is left to do of a job of a sweep: all of it, the rest of an interrupted run, or nothing."""
    status = known_status(folder)
    if status is None:
        return cfg
    if is_main() and is_settled(State(status["state"]), cfg.repeat):
        return None
    if composition.script() == "train" and cfg.repeat is not Repeat.all and cfg.trainer.strategy is not Strategy.fsdp:
        return composition.resuming(cfg, folder)
    if is_main():
        clear(folder)
    return cfg


def _run(cfg: DictConfig, folder: Path, work: Callable[[RunContext], float | None]) -> float | None:
    try:
        _check_call(cfg)
        cfg, groups = _composition(cfg)
        if composition.script() == "serve":
            composition.leave_out_data(cfg)
        resolved = config.resolve(cfg)
        if (resolved.trainer.nodes > 1 or "LOCAL_RANK" in os.environ) and not composition.names_run_dir():
            raise ValueError("ranks that are started apart need one directory. Set hydra.run.dir=<a shared folder>.")
        trained = checks.check(resolved, composition.script())
    except BaseException as error:
        _discard(folder, error)
        raise
    context = RunContext(
        config=resolved,
        record=Record(folder),
        settings=without_secrets(composition.to_dict(cfg)),
        groups=groups,
        trained=trained,
        main=is_main(),
        script=composition.script(),
        sweep=composition.sweep_name(),
    )
    if not context.main:
        return _follow(context, work)
    with outcome(context.record, _going_on(context)):
        context.open(composition.to_yaml(cfg), composition.overrides())
        failed = True
        try:
            value = _watched(context, work)
            remember(context)
            failed = False
        finally:
            context.close(failed=failed)
    if resolved.report and not composition.in_sweep():  # a sweep writes one report for all its jobs
        from medvl.reporting.report import report_line

        context.say(report_line(folder))
    context.say(f"run directory: {context.record.display_path()}")
    return value


def _watched(context: RunContext, work: Callable[[RunContext], float | None]) -> float | None:
    """Do the work of a run while the host's memory is watched."""

    def ending(reason: str) -> None:
        context.record.status("interrupted", error=reason)

    floor = None if context.script == "doctor" else context.config.hardware.memory_floor_gib  # it says so itself
    with watched(floor, ending):
        return work(context)


def _going_on(context: RunContext) -> str:
    """Say what to do after an interruption."""
    if context.script == "train":
        return f"python train.py resume={context.record.display_path()} goes on"
    return f"the same command {'goes on' if context.script in ('prepare', 'download') else 'starts over'}"


def _follow(context: RunContext, work: Callable[[RunContext], float | None]) -> float | None:
    """Run as a rank other than 0. An error here ends rank 0 without a message, so it is recorded now."""
    try:
        return work(context)
    except Exception as error:
        reason = f"rank {local_rank()}: {type(error).__name__}: {error}"
        context.record.status("failed", error=reason, traceback=traceback.format_exc())
        raise


def _check_call(cfg: DictConfig) -> None:
    """Refuse options of other scripts and of sweeps, before anything is written.

    Raises:
        ValueError: The message names the script to use.
    """
    script = composition.script()
    training = script == "train"
    if not composition.in_sweep() and (words := composition.sweep_words()):
        raise ValueError(f"{words[0]} is about the jobs of a sweep and needs -m. Add -m, or leave it out.")
    if script == "serve" and composition.in_sweep():
        raise ValueError("medvl serve starts one service. Leave -m out.")
    if cfg.resume is not None and not training:
        raise ValueError(f"only train.py goes on with a run. Set run={cfg.resume} to take its model.")
    for name, own in (("ablation", "evaluate"), ("reader", "evaluate")):
        if cfg[name] and script != own:
            raise ValueError(f"{name}= is for {own}, not for {script}.")
    if cfg.export and script not in ("prepare", "export"):
        raise ValueError(f"export= is for medvl prepare and medvl export, not for {script}.")
    if cfg.format.name != "merged" and script != "export":
        raise ValueError(f"format= is for medvl export, not for {script}.")
    if cfg.engine and script not in ("evaluate", "benchmark"):
        raise ValueError(
            f"engine={composition.groups()['engine']} is for evaluate.py and benchmark.py, not for {script}."
        )
    for name in ("run", "adapter"):
        if cfg[name] is not None and training:
            raise ValueError(f"train.py starts from a base. Set resume=<run> to go on; {name}= is for evaluate.py.")
    if training and cfg.artefact.name != "adapter":
        raise ValueError(
            "train.py trains an adapter beside its base. Set artefact=adapter; the others are scored by "
            f"evaluate.py run=<run> artefact={cfg.artefact.name}."
        )


def _composition(cfg: DictConfig, typed: Sequence[str] | None = None) -> tuple[DictConfig, dict[str, str]]:
    """Return composition and groups; with resume= or run= they start from those of that earlier run.

    Args:
        typed: Overrides of an earlier run; None: those of this call.
    """
    # A resumed job of a sweep keeps its own composition, after which its directory is named.
    source = cfg.resume if cfg.resume is not None and not composition.in_sweep() else cfg.run
    if source is None:
        return cfg, composition.groups()
    load_run(source)
    words = composition.overrides()
    return composition.restored(
        Path(source) / "config.yaml",
        composition.recorded_groups(read_json(Path(source) / "environment.json"), words),
        words if typed is None else typed,
        resume=source == cfg.resume,
    )


def _discard(folder: Path, error: BaseException) -> None:
    """Remove the directory of a refused composition; in a sweep keep it, with a failed status."""
    if composition.in_sweep() and isinstance(error, Exception):
        refused = Record(folder)
        known = read_json(folder / "environment.json") or {}
        write_json(folder / "environment.json", without_secrets({**known, "overrides": composition.overrides()}))
        refused.status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        return
    if not composition.in_sweep():
        _remove_unused(folder)


def _remove_unused(folder: Path) -> None:
    """Remove a directory in which this process has written nothing but its log."""
    # Delete only what this process created: resume= or hydra.run.dir= may name any folder.
    own = {f"{composition.script()}.log", LOCK}
    if not (folder.is_dir() and {path.name for path in folder.iterdir()} <= own):
        return
    for name in own:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: other runs are there
        folder.rmdir()
        if not composition.names_run_dir():
            folder.parent.rmdir()
            folder.parent.parent.rmdir()


def _free_memory() -> None:
    """Free device memory for the next job of a multirun."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
