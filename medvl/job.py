"""What the three scripts share: a resolved run, its record, its mirrors, and how it ends."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from medvl import config, record
from medvl.config import Run
from medvl.record import Record

if TYPE_CHECKING:
    from medvl.data.encoding import Encoder
    from medvl.data.prepare import Prepared
    from medvl.engine import Engine
    from medvl.hardware import Plan
    from medvl.model import Loaded
    from medvl.precision import Precision
    from medvl.types import Example

log = logging.getLogger(__name__)


def carry_out(cfg: DictConfig, work: Callable[[Job], float | None]) -> float:
    """Run one job of a script from composition to status, and return the number a sweep optimises.

    A user's mistake ends with one line and exit status 2. In a multirun a failed job is recorded with its
    traceback, counts as not a number, and the next one starts.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns about every worker otherwise
    try:
        return config.number(_carry_out(cfg, work))
    except ValueError as error:
        log.error("error: %s", error)
        if not config.in_sweep():
            sys.exit(2)
    except Exception as error:
        if not config.in_sweep():
            raise
        log.error("failed: %s: %s", type(error).__name__, error)
    finally:
        _free_memory()
    return config.number(None)


def _carry_out(cfg: DictConfig, work: Callable[[Job], float | None]) -> float | None:
    folder = config.output_dir()
    try:
        cfg = _composition(cfg)
        run = config.resolve(cfg)
        if config.in_sweep() and run.trainer.devices * run.trainer.nodes > 1:
            raise ValueError("a multirun shares one process, several devices do not. Set trainer.devices=1.")
    except Exception as error:
        _discard(folder, error)
        raise
    job = Job(run=run, record=Record(folder), settings=config.to_dict(cfg), main=local_rank() == 0)
    if not job.main:
        return work(job)
    with record.outcome(job.record):
        job.open(config.to_yaml(cfg))
        failed = True
        try:
            value = work(job)
            failed = False
        finally:
            job.close(failed=failed)
    job.say(f"run directory: {near(folder)}")
    return value


def _composition(cfg: DictConfig) -> DictConfig:
    """Return the composition, over the one of an earlier run where resume= or run= names it."""
    source = cfg.resume if cfg.resume is not None else cfg.run
    if source is None:
        return cfg
    record.load_run(source)
    environment = record.read_json(Path(source) / "environment.json") or {}
    return config.restored(
        Path(source) / "config.yaml",
        (environment.get("choices") or {}).get("groups") or {},
        config.overrides(),
        resume=cfg.resume is not None,
    )


def _discard(folder: Path, error: Exception) -> None:
    """Leave no empty directory behind a refused composition; in a sweep leave its status."""
    if config.in_sweep():
        refused = Record(folder)
        record.write_json(folder / "environment.json", {"overrides": config.overrides()})
        refused.status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    elif folder.is_dir() and not (folder / "status.json").exists():
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(kw_only=True)
class Job:
    """One run of a script."""

    run: Run
    record: Record
    settings: dict[str, Any]
    main: bool
    """Whether this process writes the record: rank 0."""
    loggers: list[Any] = field(default_factory=list)

    def open(self, text: str) -> None:
        """Start the record before anything heavy."""
        self.record.open(text, {"groups": config.groups()})
        extra = {"overrides": config.overrides(), "choices": {"groups": config.groups()}}
        environment = record.read_json(self.record.path / "environment.json") or {}
        record.write_json(self.record.path / "environment.json", {**environment, **extra})

    def close(self, *, failed: bool) -> None:
        if self.loggers:
            from medvl.learner import tracking

            tracking.finish(self.loggers, failed=failed)

    def say(self, text: str) -> None:
        """Tell the user, on the rank that speaks."""
        if self.main:
            log.info("%s", text)

    def settle(self) -> tuple[Plan, Precision]:
        """Make the automatic choices, print and record them."""
        import lightning as L

        quiet_libraries()
        L.seed_everything(self.run.seed, workers=True, verbose=False)
        plan = self.run.hardware.plan(
            compute=self.run.precision.compute.name,
            storage=self.run.precision.storage.name,
            devices=self.run.trainer.devices,
        )
        self.say("\n".join(plan.lines()))
        if self.main:
            environment = record.read_json(self.record.path / "environment.json") or {}
            environment["choices"] = {**environment.get("choices", {}), **plan.to_json()}
            record.write_json(self.record.path / "environment.json", environment)
        from medvl.precision import Compute

        return plan, self.run.precision.settled(Compute[plan.compute.value])

    def prepare(self, encoder: Encoder) -> Prepared:
        """Prepare the data, and say what came of it."""
        from medvl.data.prepare import prepare

        run = self.run
        prepared = prepare(
            run.data,
            run.render,
            encoder,
            budget=run.batch.tokens,
            cache=Path(run.cache).expanduser(),
            workers=len(os.sched_getaffinity(0)),
            bar=run.trainer.bar and self.main,
        )
        self.say("\n".join(prepared.lines()))
        self._say_legibility()
        if self.main:
            self.record.result(prepared.account, "prepared")
        return prepared

    def _say_legibility(self) -> None:
        from medvl.documents.render import READABLE_X_HEIGHT_PX

        model = self.run.model
        x_px = self.run.render.x_height_px(min_pixels=model.min_pixels, max_pixels=model.max_pixels)
        if x_px < READABLE_X_HEIGHT_PX and self.main:
            log.warning(
                "UNREADABLE: an x is %.1f px high after the processor's resize, %.0f is the least that can be read. "
                "Set render=letter, or model.max_pixels higher.", x_px, READABLE_X_HEIGHT_PX,
            )  # fmt: skip

    def load(self) -> tuple[Loaded, Engine]:
        """Load the base model and the engine that lets it answer."""
        from medvl.data.encoding import Encoder
        from medvl.engine import Engine

        plan, precision = self.settle()
        loaded = self.run.model.load(precision, self.run.hardware, plan)
        self.plan, self.precision, self.loaded = plan, precision, loaded
        return loaded, Engine(model=loaded.model, encoder=Encoder(loaded.processor), precision=precision)

    def load_trained(self) -> Engine:
        """Load what evaluate.py and benchmark.py were given: a run, an adapter folder, or a bare model."""
        from medvl.learner.adapters import attach

        folder = self._adapter()
        if folder is not None:
            self._check_adapter(folder)
        loaded, engine = self.load()
        if folder is not None:
            engine.model = attach(loaded.model, folder)
        return engine

    def _adapter(self) -> Path | None:
        from medvl.learner.checkpoint import latest

        if self.run.adapter is not None:
            return Path(self.run.adapter)
        if self.run.run is None:
            return None
        folder = latest(Record(self.run.run).checkpoints)
        if folder is None:
            raise ValueError(f"{self.run.run} holds no checkpoint; its run did not get as far.")
        return folder

    def _check_adapter(self, folder: Path) -> None:
        from medvl.learner.adapters import check
        from medvl.model import config_hash

        check(folder, base=self.run.model.name, base_hash=config_hash(self.run.model.config()))

    def evaluate(self, engine: Engine, examples: Sequence[Example], name: str) -> tuple[list[dict[str, Any]], dict]:
        """Answer, score and write predictions; returns the rows and their summary."""
        from medvl.measures import summarize

        rows = self.run.eval.run(engine, examples, bar=self.run.trainer.bar)
        self.record.predictions(rows, name)
        return rows, summarize(rows)

    def mirror(self, **values: float | None) -> None:
        """Send final numbers to the loggers."""
        known = {key: value for key, value in values.items() if value is not None}
        for logger in self.loggers:
            logger.log_metrics(known)

    def start_loggers(self) -> list[Any]:
        """Start the mirrors; on rank 0 only."""
        if self.main:
            self.loggers = self.run.make_logger(
                record=self.record, settings=self.settings, group=config.sweep_name(), job_type=config.script()
            )
        return self.loggers

    def conclude(self, name: str, value: float | None, headline: dict[str, Any], *, higher_is_better: bool) -> None:
        """Note the optimised number and the columns of the sweep's table."""
        objective = {"name": name, "value": value, "higher_is_better": higher_is_better}
        self.record.status("running", objective=objective, headline=headline)


def local_rank() -> int:
    """Return this process's number on this host; Lightning and torchrun set it."""
    return int(os.environ.get("LOCAL_RANK", 0))


def near(path: Path) -> str:
    """Return a path as one would type it from here."""
    path, here = path.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def quiet_libraries() -> None:
    """Let the libraries speak up only when something is wrong."""
    import warnings

    import transformers

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|lightning")
    # True by design: rows are decoded on few workers, and the frozen base stays in evaluation mode.
    for text in (".*does not have many workers.*", ".*eval mode at the start of training.*",
                 ".*was configured so validation.*", ".*treespec.*"):  # fmt: skip
        warnings.filterwarnings("ignore", message=text)


def _free_memory() -> None:
    """Give the next job of a multirun a clean device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
