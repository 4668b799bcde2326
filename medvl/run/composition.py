"""The composition of this process: made by Hydra from the command line, or restored from an earlier run's record."""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.evaluation.evaluation import Evaluation
from medvl.record.errors import first_line
from medvl.record.files import warn_once
from medvl.record.saved_config import literal, read_config
from medvl.run.config import GROUPS
from medvl.run.own_sources import is_own
from medvl.sweeping.naming import job_name
from medvl.sweeping.plan import SWEEP

# Settings that a resumed run may change: where and how long it runs, not what it computes.
_RHYTHM = ("max_steps", "epochs", "save_every", "keep", "validate_every", "validation_rows", "bar")
CHANGEABLE = (
    "hardware",
    "logger",
    "privacy",
    "eval",
    "replay",
    "gate",
    "force",
    "report",
    "audit",
    "resume",
    "cache",
    *(f"trainer.{name}" for name in _RHYTHM),
)


# Settings of one call, and of its process: an earlier run's are not those of this one.
_ONCE: tuple[str, ...] = ("hydra", "resume", "run", "adapter", "artefact", "ablation", "reader", "engine", "serve")
_ONCE += ("export", "format", "merge_into", "force", "repeat", "report")


def overrides() -> list[str]:
    """Return the overrides typed for this job."""
    return list(HydraConfig.get().overrides.task)


def groups() -> dict[str, str]:
    """Return the option chosen for each group."""
    choices = HydraConfig.get().runtime.choices
    return {name: str(choices[name]) for name in GROUPS if choices.get(name)}


def output_dir() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def shares_process() -> bool:
    """Return whether other jobs may run in this process, as with Hydra's own launchers."""
    return HydraConfig.get().mode == hydra.types.RunMode.MULTIRUN


def in_sweep() -> bool:
    return shares_process() or SWEEP in os.environ


def sweep_name() -> str | None:
    """Return the name that the runs of one sweep share."""
    if not in_sweep():
        return None
    return Path(os.environ.get(SWEEP) or HydraConfig.get().sweep.dir).name


def check_name(cfg: DictConfig) -> None:
    """Refuse a job of a sweep whose composition here differs from the one that the sweep made.

    Raises:
        ValueError: Its directory is named after another composition.
    """
    if SWEEP in os.environ and output_dir().parent.name == sweep_name() and job_name(_root_=cfg) != output_dir().name:
        raise ValueError("this process composes another job than its sweep did. Start both in the same folder.")


def sweep_words() -> list[str]:
    """Return the overrides typed for this job that only a sweep obeys."""
    typed = HydraConfig.get().overrides
    ours = [word for word in typed.task if re.match(r"\+*(repeat|sweep|launcher)=", word)]
    plain = ("repeat=never", "sweep=null", "launcher=local")  # as by default
    hydras = [word for word in typed.hydra if re.match(r"\+*hydra[./](sweep|sweeper|launcher)\b", word)]
    return [word for word in (*ours, *hydras) if word not in plain]


def names_run_dir() -> bool:
    """Return whether the run directory was given by the user rather than generated."""
    return any(word.startswith("hydra.run.dir=") for word in HydraConfig.get().overrides.hydra)


def script() -> str:
    """Return the running script: train, evaluate, benchmark or a verb of medvl."""
    # Lightning gives the other ranks their own job names.
    return re.sub(r"_ddp_process_\d+$", "", HydraConfig.get().job.name)


def leave_out_data(cfg: DictConfig) -> None:
    """Keep only the prompt of a composition's data sets: a model is also served where they are not."""
    sources = {"data": ClinicalForms(prompt=cfg.data.prompt), "eval": Evaluation(), "replay": None}
    for name, value in sources.items():
        OmegaConf.update(cfg, name, value if value is None else OmegaConf.structured(value), merge=False)


def restored(
    saved: Path, chosen: dict[str, str], typed: Iterable[str], *, resume: bool
) -> tuple[DictConfig, dict[str, str]]:
    """Return composition and groups of an earlier run, changed by the overrides typed now.

    The run may be a stranger's, so its texts are literal, and where results go is decided here: its logger's options
    are not taken over.

    Args:
        saved: The earlier run's config.yaml.
        chosen: Its option of each group.
        resume: Refuse overrides that would change what the run computes.

    Raises:
        ValueError: An override is not allowed here, or the record is not one of a run.
    """
    parsed: list[Any] = OverridesParser.create().parse_overrides(list(typed))
    # The user names the class of the run's data again, which a record may not do; that changes nothing.
    own = chosen.get("data") if is_own(chosen.get("data")) else None
    parsed = [one for one in parsed if own is None or (one.key_or_group, one.value()) != ("data", own)]
    for override in parsed:
        key = override.key_or_group
        if resume and not any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE):
            raise ValueError(
                f"a resumed run keeps its composition; {override.input_line} would change it. "
                "Start a new run for that, or leave it out."
            )
    parsed = [override for override in parsed if override.key_or_group != "launcher"]
    differences = [override.input_line for override in parsed if override.key_or_group in ("experiment", "sweep")]
    swapped = {override.key_or_group for override in parsed} & set(GROUPS)
    picks = [f"{name}={option}" for name, option in chosen.items() if name not in swapped]
    picks += [override.input_line for override in parsed if override.key_or_group in swapped]
    base = hydra.compose("run", overrides=picks)
    values = read_config(saved)
    _tell_lost(values.pop("logger", None), base.logger)
    for name in (*swapped, *_ONCE, *([] if _is_own(values.get("cache")) else ["cache"])):
        values.pop(name, None)
    unknown = values.keys() - set(base)
    if unknown:
        raise ValueError(f"{saved} has a key {min(unknown)!r} that medvl does not know. Name another run.")
    OmegaConf.set_struct(base, False)  # an experiment may add arguments to an optimizer
    try:
        merged = OmegaConf.merge(base, literal(values))
    except OmegaConfBaseException as error:
        raise ValueError(
            f"{saved} does not fit this version of medvl: {first_line(error)}. Name another run."
        ) from error
    OmegaConf.set_struct(merged, True)  # overrides typed now must name known keys
    for key, value in _changed(base, hydra.compose("run", overrides=[*picks, *differences])):
        OmegaConf.update(merged, key, value)
    typed_keys = {override.key_or_group for override in parsed}
    for length, other in (("trainer.max_steps", "trainer.epochs"), ("trainer.epochs", "trainer.max_steps")):
        if length in typed_keys and other not in typed_keys:  # whoever sets one of them gets it
            OmegaConf.update(merged, other, None)
    for override in parsed:
        if override.key_or_group not in swapped and override.input_line not in differences:
            OmegaConf.update(merged, override.key_or_group, override.value(), merge=True)
    options = {override.key_or_group: str(override.value()) for override in parsed}
    groups = {name: options[name] if name in swapped else chosen[name] for name in (*chosen, *swapped)}
    return merged, groups  # type: ignore[return-value]


def _is_own(folder: Any) -> bool:
    """Whether a folder is there and belongs to this user: only then may an earlier run decide to write to it."""
    try:
        return os.stat(folder).st_uid == os.getuid()
    except (OSError, TypeError, ValueError):
        return False


def recorded_groups(environment: Any, typed: Iterable[str] = ()) -> dict[str, str]:
    """Return the option of each group that an earlier run's environment.json names.

    Args:
        typed: Overrides of this call; an option of its own may be recorded of the data that they swap.

    Raises:
        ValueError: There is no such group or option.
    """
    choices = environment.get("choices") if isinstance(environment, dict) else None
    chosen = choices.get("groups") if isinstance(choices, dict) else None
    if not isinstance(chosen, dict):
        return {}
    if any(word.startswith("data=") for word in typed) and not _is_here("data", chosen.get("data")):
        chosen = {name: option for name, option in chosen.items() if name != "data"}
    for name, option in chosen.items():
        if name == "data" and isinstance(option, str) and not _is_here(name, option):
            raise ValueError(
                f"environment.json of the run names data={option}, which is not here. If that is a class of your own, "
                f"name it again, as a record may choose none: data._source_={option}. Otherwise name another run."
            )
        if name not in GROUPS or not _is_here(name, option):
            raise ValueError(f"environment.json of the run names {name}={option}, which is not here. Name another run.")
    return chosen


def _is_here(group: str, option: Any) -> bool:
    return option in GlobalHydra.instance().config_loader().get_group_options(group)


def _tell_lost(recorded: Any, taken: DictConfig) -> None:
    """Say which options of an earlier run's logger the composition does not have."""
    options = recorded if isinstance(recorded, dict) else {}
    lost = [
        f"logger.{name}"
        for name, value in options.items()
        if name[:1] != "_" and name in taken and taken[name] != value
    ]
    if lost:
        warn_once(f"not taken over from the earlier run: {', '.join(lost)}; type it again to keep it")


def _changed(base: DictConfig, other: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys and values of a composition that differ in another one."""
    for key in map(str, other):
        ours, theirs = base.get(key), other.get(key)
        if OmegaConf.is_dict(ours) and OmegaConf.is_dict(theirs):
            yield from _changed(ours, theirs, f"{prefix}{key}.")
        elif ours != theirs:
            yield f"{prefix}{key}", theirs


def resuming(cfg: DictConfig, folder: Path) -> DictConfig:
    """Return a composition that goes on with the run in a folder."""
    changed = copy.deepcopy(cfg)
    changed.resume = str(folder)
    return changed


def to_yaml(cfg: DictConfig) -> str:
    """Return the composition as text for config.yaml."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """Return the composition as plain containers."""
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)  # type: ignore[return-value]


def number(value: float | None) -> float:
    """Return a run's number for a sweeper; NaN if it has none."""
    return math.nan if value is None else float(value)
