"""Trained weights and the base they belong to."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.model.folder import counted, refuse_duplicates, tensor_names
from medvl.record.checkpoints import ADAPTER, CONFIG, METADATA
from medvl.record.errors import first_line
from medvl.record.files import replace_folder, write_json

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

log = logging.getLogger(__name__)

FILES = (ADAPTER, CONFIG, METADATA)  # of an exported adapter
EXPORT = "export"  # folder of a run directory
EXPORTED = "export.json"  # in it: what the export is worth
# Initialisations that change the base: by itself, which attaching repeats, or by data, which it cannot.
_FROM_BASE, _FROM_DATA = ("pissa", "olora", "loftq"), ("corda", "lora_ga")
_WHOLE = "Name a whole folder, or take that file away if the weights are not medvl's."
_OTHER = "Set adapter=<another folder>, or model=<the base it was trained on>."


def config_hash(config: PretrainedConfig) -> str:
    """Return a hash of an architecture, to detect an adapter for another base."""
    text, vision = config.text_config, config.vision_config
    facts = [
        text.hidden_size,
        text.num_hidden_layers,
        text.num_attention_heads,
        text.num_key_value_heads,
        text.intermediate_size,
        text.vocab_size,
        vision.hidden_size,
        vision.depth,
        vision.num_heads,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def check_base(folder: Path, *, base: str, base_hash: str, named: bool = True, **settings: Any) -> None:
    """Refuse a folder without trained weights, or with weights for another base, before anything is loaded.

    Args:
        named: Whether a warning may show the values that differ.
        settings: The run's prompt and image settings (prompt, max_pixels); a difference from training is a warning.

    Raises:
        ValueError: Names what is missing or which base the weights are for.
    """
    _check_files(folder)
    adapter_metadata = _metadata(folder)
    if adapter_metadata is None:
        log.info("%s has no %s: whether it belongs to %s shows when it is attached", folder, METADATA, base)
    elif adapter_metadata["base_hash"] != base_hash or _is_random(adapter_metadata["base"]) != _is_random(base):
        raise ValueError(
            f"the adapter in {folder} was trained on {adapter_metadata['base']}, the run loads {base}. "
            f"Set model=<the group option of {adapter_metadata['base']}>, or name another adapter."
        )

    for name, value in settings.items():
        if adapter_metadata is not None and adapter_metadata.get(name, value) != value:
            values = f"={adapter_metadata[name]!r}, asked with {value!r}" if named else " other than asked with"
            log.warning("trained with %s%s", name, values)


def check_storage(folder: Path, storage: str, *, quantized: bool) -> None:
    """Refuse whole weights for a base that is stored quantised: copied into it they would be other numbers.

    Raises:
        ValueError: Names the overrides that fix it.
    """
    if quantized and not holds_adapter(folder):
        raise ValueError(
            f"{folder} holds whole weights, which do not fit a base stored in {storage}. "
            f"Set precision=fp32, or model.path={folder} to load them in {storage}."
        )


def _check_files(folder: Path) -> None:
    whole = f"Name a folder with {ADAPTER} and {CONFIG}."
    if holds_adapter(folder):
        _read_config(folder)
        if not (folder / ADAPTER).is_file():
            raise ValueError(f"{folder} holds {CONFIG} but no {ADAPTER}. {whole}")
    elif (folder / ADAPTER).is_file():
        raise ValueError(f"{folder} holds {ADAPTER} but no {CONFIG}. {whole}")
    files = _weight_files(folder)
    if not files:
        raise ValueError(f"{folder} holds no safetensors file; name a folder with {ADAPTER}.")
    refuse_duplicates(folder, [tensor_names(file) for file in files])


def _weight_files(folder: Path) -> list[Path]:
    return [folder / ADAPTER] if holds_adapter(folder) else sorted(folder.glob("*.safetensors"))


def _metadata(folder: Path) -> dict[str, Any] | None:
    """Return what medvl wrote beside trained weights; None if they are not its own.

    Raises:
        ValueError: It is damaged.
    """
    file = folder / METADATA
    if not file.exists():
        return None
    found = _read_object(file)
    if not all(isinstance(found.get(name), str) for name in ("base", "base_hash")):
        raise ValueError(f"{file} does not say which base the weights are for. {_WHOLE}")
    return found


def _read_config(folder: Path) -> Any:
    """Return the peft configuration of an adapter.

    Raises:
        ValueError: It is malformed, or would fetch or run something that is not in the folder.
    """
    from peft import PeftConfig

    found = _read_object(folder / CONFIG)
    kind = found.get("peft_type")
    if found.get("megatron_config"):
        raise ValueError(f"the adapter in {folder} asks for the package megatron. {_OTHER}")
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # a stranger's values lead to all kinds
        raise ValueError(f"{folder / CONFIG} is malformed: {first_line(error)}. {_OTHER}") from error
    if config.is_prompt_learning or not hasattr(config, "target_modules"):
        raise ValueError(f"{folder} holds a {kind} adapter; medvl attaches those of layers, such as LORA. {_OTHER}")
    # Names of a base and of a class, which peft would look up.
    config.base_model_name_or_path = config.revision = config.auto_mapping = None
    start = str(getattr(config, "init_lora_weights", True)).lower()
    if start.startswith(_FROM_DATA):
        raise ValueError(
            f"the adapter in {folder} belongs to a base that init_lora_weights={start} changed by data that are not in "
            f"the folder. Convert it with peft's path_initial_model_for_weight_conversion. {_OTHER}"
        )
    if not start.startswith(_FROM_BASE) and hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # nothing more costly: the values are read from the folder
    return config


def _read_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is malformed: {first_line(error)}. {_WHOLE}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is malformed: it holds no object. {_WHOLE}")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 too
        raise ValueError(f"{text} is no finite number")
    return value


def _is_random(base: str) -> bool:
    return base.endswith("(random weights)")


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """Put trained weights on their base: a peft adapter, or the weights of a full fine-tuning.

    Raises:
        ValueError: A tensor is missing, unexpected or of another shape.
    """
    _check_files(folder)
    if holds_adapter(folder):
        return _attach_adapter(model, folder)
    from safetensors.torch import load_file

    states: dict[str, Any] = {}
    for file in _weight_files(folder):
        states |= load_file(file)
    try:
        outcome = model.load_state_dict(states, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {folder} do not fit this base: {str(error).strip().splitlines()[-1].strip()}"
        ) from error
    # A tied head is saved once, as the embeddings.
    wanted = [name for name, _ in model.named_parameters()]
    if missing := set(outcome.missing_keys) & set(wanted):
        raise ValueError(f"{folder} lacks {counted(missing, len(wanted))}. {_OTHER}")
    if outcome.unexpected_keys:
        raise ValueError(f"{folder} holds {counted(outcome.unexpected_keys)} this base has no place for. {_OTHER}")
    return model


def holds_adapter(folder: Path) -> bool:
    """Return whether trained weights are an adapter rather than a whole model."""
    return (folder / CONFIG).is_file()


def export(checkpoint: Path, folder: Path, facts: dict[str, Any]) -> None:
    """Copy an adapter, without the trainer's state, atomically into a folder, with its metrics beside it.

    Raises:
        ValueError: The folder cannot be written.
    """
    try:
        with replace_folder(folder) as draft:
            for name in FILES:
                shutil.copy2(checkpoint / name, draft / name)
            write_json(draft / EXPORTED, facts)
    except OSError as error:
        raise ValueError(
            f"the adapter cannot be exported to {folder}: {error}. It is whole in {checkpoint}; make room there, "
            "and resume the run to export it."
        ) from error


def _attach_adapter(model: nn.Module, folder: Path) -> nn.Module:
    import torch
    from peft import PeftModel, load_peft_weights, set_peft_model_state_dict

    config = _read_config(folder)
    mapping = getattr(model, "_checkpoint_conversion_mapping", {})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is refused below
            # Trainable, so that peft marks what an adapter of this kind consists of.
            wrapped: Any = PeftModel.from_pretrained(model, str(folder), config=config, is_trainable=True)
            saved = load_peft_weights(str(folder), device="cpu", key_mapping=mapping)
            outcome: Any = set_peft_model_state_dict(wrapped, saved)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # peft raises whatever it stumbles over
        lines = str(error).strip().splitlines() or [""]
        lacks = "it lacks " if isinstance(error, KeyError) else ""
        raise ValueError(
            f"the adapter in {folder} does not fit this base: {lacks}{lines[-1].strip()}. {_OTHER}"
        ) from error
    _check_attached(wrapped, folder, set(outcome.missing_keys), outcome.unexpected_keys)
    return wrapped.requires_grad_(False).eval()


def _check_attached(wrapped: Any, folder: Path, missing: set[str], unexpected: list[str]) -> None:
    """Check that an adapter is whole and changes nothing of its base but the embeddings, which peft may save too."""
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    if lacking := trained & missing:
        raise ValueError(f"the adapter in {folder} lacks {counted(lacking, len(trained))}. {_OTHER}")
    if unexpected:
        raise ValueError(f"the adapter in {folder} holds {counted(unexpected)} this base has no place for. {_OTHER}")
    own = re.compile(rf"\.{re.escape(wrapped.base_model.prefix)}|\.(embed_tokens|lm_head)\.(base_layer\.)?weight$")
    # Not the scales of quantised weights, which are in the state alone and never missing.
    tensors = {name for name, _ in (*wrapped.named_parameters(remove_duplicate=False), *wrapped.named_buffers())}
    placed = (tensors & set(wrapped.state_dict())) - missing - trained
    if foreign := [name for name in placed if not own.search(name)]:
        raise ValueError(f"the adapter in {folder} replaces {counted(foreign)} of its base. {_OTHER}")
