"""Trained weights and the base they belong to."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.record.files import read_json, replace_folder, write_json

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

ADAPTER_METADATA = "medvl.json"  # beside an adapter: which base it belongs to
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FILES = (ADAPTER, CONFIG, ADAPTER_METADATA)  # of an exported adapter
EXPORT = "export"  # folder of a run directory


def check_base(folder: Path, *, base: str, base_hash: str, named: bool = True, **settings: Any) -> None:
    """Refuse a folder without trained weights, or with weights for another base, before anything is loaded.

    Args:
        named: Whether a warning may show the values that differ.
        settings: The run's prompt and image settings (prompt, max_pixels); a difference from training is a warning.

    Raises:
        ValueError: Names what is missing or which base the weights are for.
    """
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no safetensors file; name a folder with {ADAPTER}.")
    adapter_metadata = read_json(folder / ADAPTER_METADATA)
    if adapter_metadata is None:
        log.info("%s has no %s: whether it belongs to %s shows when it is attached", folder, ADAPTER_METADATA, base)
    elif adapter_metadata["base_hash"] != base_hash or _is_random(adapter_metadata["base"]) != _is_random(base):
        raise ValueError(
            f"the adapter in {folder} was trained on {adapter_metadata['base']}, the run loads {base}. "
            f"Set model=<the group option of {adapter_metadata['base']}>, or name another adapter."
        )

    for name, value in settings.items():
        if adapter_metadata is not None and adapter_metadata.get(name, value) != value:
            values = f"={adapter_metadata[name]!r}, asked with {value!r}" if named else " other than asked with"
            log.warning("trained with %s%s", name, values)


def _is_random(base: str) -> bool:
    return base.endswith("(random weights)")


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """Put trained weights on their base: a peft adapter, or the weights of a full fine-tuning.

    Raises:
        ValueError: A tensor is missing, unexpected or of another shape.
    """
    if holds_adapter(folder):
        return _attach_adapter(model, folder)
    from safetensors.torch import load_file

    states: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        states |= load_file(file)
    try:
        outcome = model.load_state_dict(states, strict=False)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} do not fit this base: {str(error).splitlines()[1]}") from error
    if outcome.unexpected_keys:
        raise ValueError(f"{folder} holds weights this base has no place for: {outcome.unexpected_keys[0]}")
    return model


def holds_adapter(folder: Path) -> bool:
    """Return whether trained weights are an adapter rather than a whole model."""
    return (folder / CONFIG).is_file()


def export(checkpoint: Path, folder: Path, facts: dict[str, Any]) -> None:
    """Copy an adapter, without the trainer's state, atomically into a folder, with its metrics beside it."""
    with replace_folder(folder) as draft:
        for name in FILES:
            shutil.copy2(checkpoint / name, draft / name)
        write_json(draft / "export.json", facts)


def _attach_adapter(model: nn.Module, folder: Path) -> nn.Module:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        wrapped = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError, KeyError) as error:
        lines = str(error).strip().splitlines()
        raise ValueError(f"the adapter in {folder} does not fit this base: {lines[-1].strip()}") from error
    # Names change between versions of transformers, and peft only warns: the bare base would be scored unnoticed.
    with safe_open(folder / ADAPTER, framework="pt") as file:
        saved = set(file.keys())
    placed = saved & set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    if len(placed) != len(saved):
        raise ValueError(f"{folder} holds {len(saved)} tensors, {len(placed)} found their place in this base")
    return wrapped.eval()
