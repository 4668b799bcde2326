"""Registers the launcher and the sweepers with Hydra: their options and their classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.plugins import Plugins

# Hydra instantiates only plugins whose class names are registered under its own package name. Registering such a name
# avoids a folder hydra_plugins/ on the path.
PREFIX = "hydra_plugins.medvl"


@dataclass
class LauncherConf:
    """Options of the local launcher: `hydra.launcher.*`."""

    _target_: str = f"{PREFIX}.LocalLauncher"
    jobs: int | None = None
    per_gpu: int = 1


@dataclass
class GridConf:
    """Options of the grid sweeper: `hydra.sweeper.*`."""

    _target_: str = f"{PREFIX}.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class SearchConf:
    """Options of the search sweeper: `hydra.sweeper.*`."""

    _target_: str = f"{PREFIX}.OptunaSweeper"
    params: dict[str, str] | None = None
    trials: int = 20
    objectives: list[dict[str, str]] | None = None
    sampler: Any = field(default_factory=lambda: {"_target_": "optuna.samplers.TPESampler", "_partial_": True})
    pruner: Any = None
    watch: str = "val/nats_per_token"
    storage: str | None = None
    study: str | None = None
    seed: int = 42
    max_batch_size: int | None = None


LAUNCHER, SWEEPERS = LauncherConf, {"grid": GridConf, "optuna": SearchConf}


def register_plugins() -> None:
    """Register the launcher and the sweepers with Hydra."""
    known = Plugins.instance().class_name_to_class
    # Import only now: Hydra's plugin search reloads its modules, and earlier classes would extend the old versions.
    from medvl.sweeping.grid import GridSweeper
    from medvl.sweeping.local import LocalLauncher
    from medvl.sweeping.search import OptunaSweeper

    for plugin in (LocalLauncher, GridSweeper, OptunaSweeper):
        known[f"{PREFIX}.{plugin.__name__}"] = plugin
