"""Weights that compressed-tensors stored in 4 or 8 bits: which tensors must be there, and how they are read.

They are dequantised while they are loaded; the model computes with the values that its integers or small floats stand
for, rounded to the type of the run.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.model.folder import MEND, check_files, counted, folder_tensors, stored_quantization
from medvl.model.names import is_linear, on_disk, parameter_shapes
from medvl.record.errors import first_line

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

    from medvl.model.precision import Precision

METHOD = "compressed-tensors"
PACKAGE = "compressed_tensors"


def is_compressed(stored: dict[str, Any] | None) -> bool:
    """Whether settings of quantised weights are those of compressed-tensors."""
    return stored is not None and stored.get("quant_method") == METHOD


def check_package(what: str) -> None:
    """Refuse what needs compressed-tensors where it is not installed.

    Raises:
        ValueError: Says how to install it.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ValueError(f'{what} needs compressed-tensors, not installed here. Run pip install -e ".[export]".')


def settle_compressed(config: PretrainedConfig, stored: dict[str, Any], precision: Precision, folder: str) -> None:
    """Let a configuration dequantise the weights that its folder holds.

    Raises:
        ValueError: The run asks for another storage, or the weights are stored in a way that is not read right.
    """
    check_package(f"{folder}, whose weights are quantised by {METHOD},")
    if precision.quantized:
        raise ValueError(
            f"{folder} holds weights quantised by {METHOD}, which are dequantised while they are loaded. "
            "Set precision=bf16."
        )
    groups = stored.get("config_groups")
    known = isinstance(groups, dict) and len(groups) == 1
    if not known or stored.get("kv_cache_scheme") or not stored.get("ignore"):
        raise ValueError(
            f"{folder} holds weights quantised by {METHOD} in several ways, in every layer or with a quantised cache; "
            "medvl reads one scheme of weights beside an unquantised vision tower and head. "
            "Set model.path=<a folder of unquantised weights>."
        )
    scheme_of(stored, folder)
    config.quantization_config = {**stored, "dequantize": True}
    config.text_config.quantization_config = None


def check_weights(folder: Path, config: PretrainedConfig) -> None:
    """Refuse a folder whose weights are not whole; reads headers only.

    Raises:
        ValueError: Names the file, or some of the tensors.
    """
    check_files(folder)
    stored = stored_quantization(config)
    if stored is not None and is_compressed(stored):
        _check_tensors(folder, stored, parameter_shapes(config), tied=config.text_config.tie_word_embeddings)


def _check_tensors(folder: Path, stored: dict[str, Any], shapes: dict[str, tuple[int, ...]], *, tied: bool) -> None:
    """Compare names; transformers reads an FP8 weight without its scale as it is, which is another number."""
    wanted = wanted_on_disk(shapes, *parts_of(stored, str(folder)))
    if tied:
        wanted.discard("lm_head.weight")
    found = {on_disk(name) for name in folder_tensors(folder)} - ({"lm_head.weight"} if tied else set())
    if missing := wanted - found:
        raise ValueError(f"{folder} lacks {counted(missing, len(wanted))}. {MEND}")
    if unexpected := found - wanted:
        raise ValueError(f"{folder} holds {counted(unexpected)} that its config.json has no place for. {MEND}")


def forget_quantisation(model: nn.Module) -> None:
    """Let a model whose weights were dequantised no longer say that they are quantised, which they are not."""
    wrapped: Any = model
    wrapped.hf_quantizer, wrapped.is_quantized = None, False
    for part in (wrapped.config, wrapped.config.text_config):
        if getattr(part, "quantization_config", None) is not None:
            del part.quantization_config


def parts_of(stored: dict[str, Any], folder: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the tensors that a quantised weight consists of, and the layers that are left alone.

    Raises:
        ValueError: The settings are malformed.
    """
    from compressed_tensors.compressors import BaseCompressor

    scheme = scheme_of(stored, folder)
    kind = BaseCompressor.get_value_from_registry(scheme.format or stored.get("format"))
    return tuple(kind.compression_param_names(scheme)), [str(name) for name in stored["ignore"]]


def wanted_on_disk(shapes: dict[str, tuple[int, ...]], parts: Iterable[str], ignore: Iterable[str]) -> set[str]:
    """Return the published names of all tensors of an architecture whose linear layers are quantised.

    Args:
        shapes: Of the parameters, by their names in memory.
        parts: What a quantised weight consists of, such as weight_packed and weight_scale.
        ignore: Layers left alone: names, published or in memory, or patterns that begin with "re:".
    """
    parts, ignore = list(parts), list(ignore)
    wanted = set()
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and is_linear(name, shape) and not _left_alone(layer, ignore):
            wanted |= {f"{on_disk(layer)}.{part}" for part in parts}
        else:
            wanted.add(on_disk(name))
    return wanted


def _left_alone(layer: str, ignore: Iterable[str]) -> bool:
    names = (layer, on_disk(layer))
    return any(
        re.match(entry.removeprefix("re:"), name) if entry.startswith("re:") else entry == name
        for entry in ignore
        for name in names
    )


def scheme_of(stored: dict[str, Any], folder: str) -> Any:
    """Return the only scheme of quantisation settings.

    Raises:
        ValueError: They are malformed, or quantise something else than the weights of linear layers.
    """
    from compressed_tensors.quantization import QuantizationScheme

    try:
        (settings,) = stored["config_groups"].values()
        scheme = QuantizationScheme.model_validate(settings)
        for entry in stored["ignore"]:
            re.compile(entry)
    except Exception as error:  # a stranger's values lead to all kinds
        raise ValueError(
            f"{folder}/config.json is malformed: quantization_config: {first_line(error)}. {MEND}"
        ) from error
    if scheme.targets != ["Linear"] or scheme.weights is None:
        raise ValueError(
            f"{folder} quantises {', '.join(map(str, scheme.targets))}; medvl reads quantised weights of Linear alone. "
            "Set model.path=<a folder of unquantised weights>."
        )
    return scheme
