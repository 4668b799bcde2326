"""A data set that the user wrote: its class is named on the command line, and nowhere else.

python train.py data._source_=my_module.MySource data.path=...    a class of any module that Python finds from here
python train.py data=my_set                                       an entry point of the group medvl.sources

What a run's record says is never imported: whoever resumes or evaluates such a run names its class again.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf.errors import OmegaConfBaseException

from medvl.data.sources.source import Source
from medvl.record.errors import first_line
from medvl.record.saved_config import CONF
from medvl.run.config import SCHEMAS

ENTRY_POINTS = "medvl.sources"
_TYPED = re.compile(r"data(?P<key>\._source_)?=(?P<names>.*)", re.DOTALL)
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")  # a module and a class; no option of conf/data has a dot


def admitted(words: list[str]) -> list[str]:
    """Return a command line in which the classes that it names are options of the group `data`.

    Raises:
        ValueError: A name is not that of a data set's class.
    """
    return [_option(word) for word in words]


def is_own(option: object) -> bool:
    """Whether an option of the group `data` is a class of the user's, admitted or not, and none of conf/data."""
    return isinstance(option, str) and option not in {path.stem for path in (CONF / "data").glob("*.yaml")}


def _option(word: str) -> str:
    typed = _TYPED.fullmatch(word)
    if typed is None:
        return word
    names = [name.strip().strip("'\"") for name in typed["names"].split(",")]
    for name in names:
        if _CLASS.fullmatch(name):
            _register(name, _loaded(name))
        elif typed["key"]:
            raise ValueError(f"data._source_={name} names no class. Set data._source_=<module>.<class>.")
        elif is_own(name):
            for point in entry_points(group=ENTRY_POINTS, name=name):
                _register(name, _entered(point))
    return f"data={','.join(names)}" if typed["key"] else word


def _loaded(path: str) -> Any:
    """Return what a module holds; it may lie in the working directory, too."""
    module, _, name = path.rpartition(".")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last, so that it hides no package
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{module} needs {error.name}, which is not installed here. Install it.") from error
        raise ValueError(
            f"there is no module {module} in the working directory, on PYTHONPATH or installed. "
            "Set data._source_=<module>.<class>."
        ) from error
    except AttributeError as error:
        raise ValueError(f"{module} has no {name}. Set data._source_={module}.<class>.") from error


def _entered(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"data={point.name} is {point.value}, which cannot be loaded: {first_line(error)}.") from error


def _register(name: str, kind: Any) -> None:
    """Make a class an option of the group `data`, with its fields as the schema.

    Raises:
        ValueError: It is no data set's class.
    """
    if not (isinstance(kind, type) and issubclass(kind, Source) and kind.documents is not Source.documents):
        raise ValueError(
            f"{name} is no class that extends medvl.data.sources.source.Source and has its own documents(). "
            "docs/data.md shows one."
        )
    fields = {field.name for field in dataclasses.fields(kind)}
    written = vars(kind).get("__annotations__", {})
    lost = [key for key in written if key not in fields and "ClassVar" not in str(written[key])]
    if lost:
        raise ValueError(
            f"{name} has an option {lost[0]}, but is no dataclass. Write @dataclass(kw_only=True) over the class."
        )
    try:
        ConfigStore.instance().store(group="data", name=name, node=kind)
    except OmegaConfBaseException as error:
        raise ValueError(f"an option of {name} has a type that Hydra does not know: {first_line(error)}.") from error
    SCHEMAS[name] = kind
