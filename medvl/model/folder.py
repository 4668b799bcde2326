"""A folder of base weights: are its files whole, what do its settings say, and did every tensor find its place?"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.record.checkpoints import CONFIG, WEIGHTS
from medvl.record.errors import first_line

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

    from medvl.model.precision import Precision

log = logging.getLogger(__name__)

INDEX = f"{WEIGHTS}.index.json"
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
MEND = "Set model.path=<a whole folder>."
# What a folder may set that is not architecture: which weights files to read, and what the run or its code decides.
OWN_SETTINGS = ("transformers_weights", "fusion_config", "distributed_config", "auto_map")
PATIENCE_S = 3.0  # with a hub that does not answer
FORWARD = {"use_cache": True, "return_dict": True, "output_attentions": False, "output_hidden_states": False}


def check_path(path: str, revision: str | None) -> str:
    """Return model.path with ~ expanded; refuse one that is neither a folder nor like the name of a model on the hub.

    Raises:
        ValueError: Names the override that fixes it.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        if revision is not None:
            raise ValueError(
                f"{path} is a folder; model.revision={revision} names a version on the hub. Set model.revision=null."
            )
    elif os.path.exists(path):
        raise ValueError(f"{path} is not a folder. Set model.path=<the folder that holds the weights>.")
    elif not HUB_ID.fullmatch(path):
        raise ValueError(f"there is no folder {path!r}. Set model.path=<an existing folder, or a hub id>.")
    return path


def reach(load: Any, folder: str, **options: Any) -> Any:
    """Call from_pretrained; if it fails, raise an error that says why in one sentence."""
    import torch

    if options.get("revision") is None:
        options.pop("revision", None)
    if not os.path.isdir(folder) and not _hub_answers():
        options["local_files_only"] = True  # the hub's library would try again for half a minute
    try:
        return load(folder, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # malformed files lead to all kinds
        raise ValueError(
            f"{folder} cannot be loaded: {first_line(error)}. Set model.path=<a whole local folder>, run "
            "`medvl download` where the hub can be reached, or set model=nano."
        ) from error


@functools.cache
def _hub_answers() -> bool:
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    except Exception:  # of the library that the hub's own uses, which differ by version
        return False
    return True


def check_files(folder: Path) -> None:
    """Refuse a local folder whose weights are missing, cut off or listed twice; reads headers only.

    Raises:
        ValueError: Names the file.
    """
    if (folder / CONFIG).exists():
        raise ValueError(
            f"{folder} holds an adapter ({CONFIG}), not a base. Set adapter={folder} of evaluate.py, and "
            "model.path=<the folder of its base>."
        )
    if (folder / WEIGHTS).is_file():
        tensor_names(folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        _check_shards(folder)
    else:
        others = sorted(file.name for pattern in ("*.safetensors", "*.bin", "*.pt*") for file in folder.glob(pattern))
        found = f"; {others[0]} is not read" if others else ""
        raise ValueError(f"{folder} holds no weights: neither {WEIGHTS} nor {INDEX} is there{found}. {MEND}")


def _check_shards(folder: Path) -> None:
    try:
        places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
        outside = [name for name in names if Path(name).name != name]
    except (OSError, KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / INDEX} cannot be used: {first_line(error)}. {MEND}") from error
    if outside:
        raise ValueError(f"{folder / INDEX} names a file outside its folder, {outside[0]}. {MEND}")
    shards = {name: tensor_names(folder / name) for name in names}
    refuse_duplicates(folder, shards.values())
    absent = [name for name, shard in places.items() if name not in shards[shard]]
    if absent:
        raise ValueError(f"{folder} lacks {counted(absent, len(places))}. {MEND}")


def refuse_duplicates(folder: Path, files: Iterable[Iterable[str]]) -> None:
    """Refuse weights of which one tensor stands in several files: which of them counts would be chance.

    Raises:
        ValueError: Names such a tensor.
    """
    counts = Counter(name for file in files for name in file)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{folder} holds {counted(twice, len(counts))} in more than one file. {MEND}")


def folder_tensors(folder: Path) -> list[str]:
    """Return the tensors of a checked folder, from the headers of its files."""
    if (folder / WEIGHTS).is_file():
        return tensor_names(folder / WEIGHTS)
    places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    return [name for file in sorted(set(places.values())) for name in tensor_names(folder / file)]


def tensor_names(file: Path) -> list[str]:
    """Return the tensors of a safetensors file, from its header.

    Raises:
        ValueError: The file is missing, cut off, or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ValueError(f"{file.parent} lacks its file {file.name}. {MEND}")
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} is cut off or no safetensors file: {first_line(error)}. {MEND}") from error


def check_loaded(folder: str, info: dict[str, Any], total: int) -> None:
    """Refuse weights of which a tensor is missing, has no place, or has another shape.

    Absences that transformers knows to be right are not among the missing: a head tied to the embeddings, and buffers
    that are computed.

    Args:
        info: Loading info of transformers.
        total: Tensors of the architecture.

    Raises:
        ValueError: Names some of the tensors and how many.
    """
    if info["missing_keys"]:
        raise ValueError(f"{folder} lacks {counted(info['missing_keys'], total)}. {MEND}")
    if info["unexpected_keys"]:
        extra = counted(info["unexpected_keys"])
        raise ValueError(f"{folder} holds {extra} that its config.json has no place for. {MEND}")
    if info["mismatched_keys"]:
        name, found, wanted = min(info["mismatched_keys"])
        raise ValueError(
            f"{folder} holds {len(info['mismatched_keys'])} tensors of other shapes than its config.json says: {name} "
            f"is {list(found)} instead of {list(wanted)}. {MEND}"
        )


def counted(names: Iterable[str], total: int | None = None) -> str:
    """Return "4 of 824 tensors, such as a, b and c"."""
    known = sorted(names)
    of = "" if total is None else f" of {total}"
    return f"{len(known)}{of} tensors, such as {', '.join(known[:3])}"


def only_architecture(config: PretrainedConfig, folder: str) -> None:
    """Strip a configuration of all that is not architecture: generation, outputs, attention kernel, files to read.

    Raises:
        ValueError: The architecture is one whose attention medvl does not compute.
    """
    config._attn_implementation = "sdpa"  # also in its parts; another one may be downloaded
    for part in (config, config.text_config, config.vision_config):
        for name, value in FORWARD.items():
            if hasattr(part, name):
                setattr(part, name, value)
        for name in (*OWN_SETTINGS, *part._get_generation_parameters()):
            if name in vars(part):
                delattr(part, name)
    if set(config.text_config.layer_types or ()) - {"full_attention"}:
        raise ValueError(
            f"{folder} attends within a sliding window; medvl computes full attention. "
            "Set use_sliding_window to false in its config.json, or model.path=<another folder>."
        )


def stored_quantization(config: PretrainedConfig) -> dict[str, Any] | None:
    """Return how the weights on disk are quantised; None if they are not."""
    for part in (config, config.text_config):
        found: Any = getattr(part, "quantization_config", None)
        if found is not None:
            return found if isinstance(found, dict) else found.to_dict()
    return None


def settle_quantization(config: PretrainedConfig, precision: Precision, folder: str, linears: Iterable[str]) -> None:
    """Check that quantised weights on disk are stored as the run asks, and let them compute as it asks.

    Args:
        linears: Names of all linear layers, to compare which of them are quantised.

    Raises:
        ValueError: They are stored otherwise; names the override that fixes it, if one does.
    """
    stored = stored_quantization(config) or {}
    storage, double = stored_as(stored)
    other = "model.path=<a folder of unquantised weights>."
    if storage is None:
        method = stored.get("quant_method", "an unknown method")
        raise ValueError(f"{folder} holds weights quantised by {method}, which medvl does not load. Set {other}")
    if storage != precision.storage.name:
        raise ValueError(
            f"{folder} holds weights quantised to {storage}, and {precision.storage.name} weights are needed. "
            f"Set precision={storage} artefact=adapter, or {other}"
        )
    if double != precision.double_quant:
        raise ValueError(
            f"{folder} holds weights quantised with double_quant={str(double).lower()}. "
            f"Set precision.double_quant={str(double).lower()}, or {other}"
        )
    wanted: Any = precision.quantization()
    asked = wanted.to_dict()
    for name in ("bnb_4bit_quant_storage", "llm_int8_threshold", "llm_int8_has_fp16_weight"):
        if stored.get(name, asked[name]) != asked[name]:
            raise ValueError(f"{folder} holds weights quantised with {name}={stored[name]!r}. Set {other}")
    _check_same_layers(stored.get("llm_int8_skip_modules"), precision, folder, linears)
    config.quantization_config = asked  # stored alike; the type to compute in is the run's
    config.text_config.quantization_config = None
    log.info("%s holds %s weights already", folder, storage)


def stored_as(stored: dict[str, Any]) -> tuple[str | None, bool]:
    """Return the storage that quantisation settings stand for, None if medvl has no such, and whether it is double."""
    if stored.get("load_in_4bit") or stored.get("_load_in_4bit"):
        kind = stored.get("bnb_4bit_quant_type", "fp4")
        return (kind if kind in ("nf4", "fp4") else None), bool(stored.get("bnb_4bit_use_double_quant"))
    return ("int8" if stored.get("load_in_8bit") or stored.get("_load_in_8bit") else None), False


def _check_same_layers(kept: Any, precision: Precision, folder: str, linears: Iterable[str]) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    try:
        theirs = [name for name in linears if should_convert_module(name, ["lm_head"] if kept is None else list(kept))]
    except Exception as error:  # patterns of a stranger's file
        raise ValueError(f"{folder}/config.json is malformed: llm_int8_skip_modules={kept!r}. {MEND}") from error
    ours = [name for name in linears if should_convert_module(name, precision.skipped())]
    if differing := sorted(set(theirs) ^ set(ours)):
        raise ValueError(
            f"{folder} quantises other layers than precision.vision={str(precision.vision).lower()}: {len(differing)} "
            f"differ, such as {differing[0]}. Set precision.vision={str(not precision.vision).lower()}, or "
            "model.path=<a folder of unquantised weights>."
        )


def settle_tying(model: nn.Module) -> None:
    """Let the configuration say what the weights are: an output head of its own, or the embeddings."""
    wrapped: Any = model
    config = wrapped.config
    tied = wrapped.get_output_embeddings().weight is wrapped.get_input_embeddings().weight
    for part in (config, config.text_config):
        part.tie_word_embeddings = tied
