"""Serves a model: the top level of `medvl serve`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medvl.evaluation import evidence
from medvl.evaluation.calibration import FILE, Calibration
from medvl.evaluation.evidence import Evidence
from medvl.record.files import read_json
from medvl.record.signals import Stopped
from medvl.run.loading import load_trained

if TYPE_CHECKING:
    from medvl.run.context import RunContext

log = logging.getLogger(__name__)

T = TypeVar("T", Calibration, Evidence)

SHOWN = ("state", "started", "updated", "step", "steps", "worked_s", "objective", "headline", "cost")


def serve(context: RunContext) -> None:
    """Answer requests until a signal comes, then finish what goes on."""
    from medvl.generation.front import Front
    from medvl.model.parts import base_of
    from medvl.serving.server import listening, wait
    from medvl.serving.service import Service

    config = context.config
    options = config.serve
    run = None if config.run is None else Path(config.run)
    sure = places = None
    if run is not None:
        sure = of_checkpoint(Calibration.read(run), "values are uncalibrated", run, context.trained)
        places = of_checkpoint(Evidence.read(run), "values have no evidence", run, context.trained)
    service = Service(
        options,
        prompt=config.data.prompt,
        secret=options.secret(),
        records=None if run is None else records_of(run),
        calibration=sure,
        evidence=places,
    )
    taken = options.bind()
    try:
        with listening(service, taken) as ended:
            context.say(f"http://{options.host}:{options.port} is loading the model")
            engine = load_trained(context).engine
            if places is not None:
                engine.heads = places.of_model(base_of(engine.model).config.text_config)
            front = Front(engine, rows=options.rows, width=options.width, queue=options.queue)
            service.open(front)
            context.say(f"http://{options.host}:{options.port} is ready")
            wait(service, ended)
    except Stopped:
        context.say("stopped; what went on has been answered")


def of_checkpoint(found: T | None, without: str, run: Path, trained: Path | None) -> T | None:
    """Return what `medvl calibrate` found of a run's newest checkpoint; None, with a line in the log, if it did not.

    Args:
        without: What is missing then.
    """
    if found is None:
        log.info("%s: run medvl calibrate run=%s", without, run)
    elif trained is None or found.checkpoint != trained.name:
        log.warning("%s: run medvl calibrate run=%s again, it has been trained since", without, run)
        return None
    return found


def records_of(run: Path) -> dict[str, Any]:
    """Return what a run directory says of its model, without texts and paths."""
    status = read_json(run / "status.json") or {}
    return {
        "run": run.resolve().name,
        "status": {name: status[name] for name in SHOWN if name in status},
        "metrics": read_json(run / "metrics.json"),
        "benchmark": read_json(run / "benchmark.json"),
        "calibration": read_json(run / FILE),
        "evidence": read_json(run / evidence.FILE),
    }
