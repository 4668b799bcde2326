"""Reproducible names: a sweep's folder follows from its command, a job's from its composition."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from medvl.record.files import folder_fault
from medvl.sweeping.plan import ASIDE, Planned, SweepPlan, digest, folder_name

_UNNAMED = ("hydra", *ASIDE)


def job_name(*, _root_: DictConfig) -> str:
    """Return the name of a job's run directory: a hash of everything that affects its results.

    Source:
        The resolver `medvl.job_name` of conf/common.yaml.
    """
    values: dict[str, Any] = {}
    for key in _root_:
        if key not in _UNNAMED:
            value = _root_[key]
            plain = OmegaConf.is_config(value)
            values[str(key)] = OmegaConf.to_container(value, resolve=True, enum_to_str=True) if plain else str(value)
    values["trainer"].pop("bar")
    values["hardware"].pop("memory_floor_gib")
    return digest(values, 10)


def planned(context: HydraContext, config: DictConfig, overrides: Sequence[str]) -> Planned:
    """Compose a job of a sweep to find its name."""
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    return Planned(str(cfg.hydra.sweep.subdir), list(overrides))


def jobs_of(
    plan: SweepPlan, context: HydraContext, config: DictConfig, batch: Sequence[Sequence[str]]
) -> list[Planned]:
    """Return the jobs of a batch of overrides; jobs already in the plan are not composed again."""
    known = {tuple(job.overrides): job for job in plan.jobs}
    return [known.get(tuple(words)) or planned(context, config, words) for words in batch]


def claim_folder(config: DictConfig) -> None:
    """Name the folder of a sweep after its swept values, so that the same command finds it again.

    Raises:
        ValueError: resume= was given, but a sweep starts its own runs.
    """
    if config.resume is not None:
        raise ValueError("a multirun starts new runs, and goes on with its own. Leave out -m, or resume.")
    if not any(word.startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra):
        sweeper: Any = OmegaConf.to_container(config.hydra.sweeper)
        params = sweeper["params"] or {}
        typed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        typed = [word for word in typed if word.key_or_group.split(".")[0] not in (*ASIDE, "launcher")]
        keys = [word.key_or_group for word in typed if word.is_sweep_override()]
        deciding = [*(f"{key}={value}" for key, value in params.items()), *(str(word.input_line) for word in typed)]
        choices = config.hydra.runtime.choices
        # Another sweeper or objective over the same spaces makes another sweep.
        deciding += [choices["hydra/sweeper"], str(sweeper.get("objectives")), str(sweeper.get("study"))]
        choice = choices.get("sweep")
        name = folder_name(None if choice in (None, "null") else str(choice), deciding, keys or list(params))
        config.hydra.sweep.dir = str(Path("outputs", config.hydra.job.name, name))
    # Each job composes again in its own process, so it gets the folder as an override.
    line = f"hydra.sweep.dir={quoted(config.hydra.sweep.dir)}"
    config.hydra.overrides.hydra = [
        word for word in config.hydra.overrides.hydra if not word.startswith("hydra.sweep.dir=")
    ] + [line]


def quoted(value: object) -> str:
    """Return a value quoted for Hydra's grammar, whatever characters it has."""
    return "'" + str(value).replace("'", "\\'") + "'"


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """End with one line and exit status 2 if the sweep is not possible."""
    try:
        yield
    except (ValueError, OSError) as error:
        sentence = folder_fault(error) if isinstance(error, OSError) else str(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)


def hydra_words(config: DictConfig) -> list[str]:
    """Return the arguments that a job's process needs, besides its overrides, for the same composition as here."""
    own = ("sweep", "sweeper", "launcher", "mode", "run", "job.name", "job_logging")
    words = ["--config-name", config.hydra.job.config_name]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            words += ["--config-dir", source.path]
    return words + [
        word for word in config.hydra.overrides.hydra if not word.lstrip("+~")[len("hydra.") :].startswith(own)
    ]


def plan_of(config: DictConfig) -> SweepPlan:
    """Return an empty plan for a sweep."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return SweepPlan(folder=Path(config.hydra.sweep.dir), script=config.hydra.job.name, command=command)
