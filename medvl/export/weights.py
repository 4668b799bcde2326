"""The weights of a model in safetensors files, under the names of the published checkpoints.

transformers 4, transformers 5, vLLM and llama.cpp's converter all know these names. transformers 5 has others in
memory, and writes either, depending on what it loaded: of a checkpoint with its own names llama.cpp's converter finds
no vision tower, writes a projector without tensors and reports success.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.export.quantise import quantise, write_settings
from medvl.model.compressed import parts_of, wanted_on_disk
from medvl.model.folder import check_files, counted, tensor_names
from medvl.model.names import parameter_shapes, published

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

SHARD = "5GB"


def wanted_names(config: PretrainedConfig, stored: dict[str, Any] | None = None) -> set[str]:
    """Return the published names of all tensors of an architecture; a head that is tied to the embeddings is none.

    Args:
        stored: How linear layers are quantised, as a config.json of compressed-tensors says; None: they are not.
    """
    plain = copy.deepcopy(config)
    plain._attn_implementation = "sdpa"  # a loaded model may name a kernel of ours
    shapes = parameter_shapes(plain)
    names = wanted_on_disk(shapes, *parts_of(stored, "the export")) if stored else {published(name) for name in shapes}
    return names - {"lm_head.weight"} if config.text_config.tie_word_embeddings else names


def published_states(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a merged model under their published names, on the CPU; all that are floats in bf16.

    Raises:
        ValueError: A tensor is missing, or one has no place in the architecture.
    """
    import torch

    merged: Any = model
    states = {published(name): tensor for name, tensor in merged.state_dict().items()}
    if merged.config.text_config.tie_word_embeddings:
        states.pop("lm_head.weight", None)
    check_names(states, wanted_names(merged.config), "the merged model")
    return {name: tensor.detach().to("cpu", torch.bfloat16).contiguous() for name, tensor in states.items()}


def write_states(states: dict[str, Tensor], folder: Path) -> None:
    """Write weights into a folder, in files of at most 5 GB with an index beside them."""
    from huggingface_hub import save_torch_state_dict

    save_torch_state_dict(states, folder, max_shard_size=SHARD, metadata={"format": "pt"})


def write_weights(
    states: dict[str, Tensor], config: PretrainedConfig, scheme: str | None, folder: Path
) -> tuple[set[str], int]:
    """Write weights, quantised if a scheme is named, beside a config.json that then says so.

    Args:
        states: bf16 weights under their published names.
        scheme: A preset of compressed-tensors.

    Returns:
        The names of the tensors that the folder must hold, and how many layers are quantised.
    """
    if scheme is None:
        write_states(states, folder)
        return wanted_names(config), 0
    quantised = quantise(states, scheme)
    write_states(quantised.states, folder)
    return wanted_names(config, write_settings(quantised.settings, folder)), quantised.layers


def check_written(folder: Path, wanted: set[str]) -> int:
    """Check that a folder holds exactly these tensors, and return how many.

    Raises:
        ValueError: A file is cut off, a tensor is missing, or one has no place in the architecture.
    """
    check_files(folder)
    found = [name for file in sorted(folder.glob("*.safetensors")) for name in tensor_names(file)]
    check_names(found, wanted, str(folder))
    return len(found)


def check_names(found: Iterable[str], wanted: set[str], where: str) -> None:
    """Compare names of tensors.

    Raises:
        ValueError: Names some that are missing, or that have no place.
    """
    names = set(found)
    if missing := wanted - names:
        raise ValueError(f"{where} lacks {counted(missing, len(wanted))}.")
    if unexpected := names - wanted:
        raise ValueError(f"{where} holds {counted(unexpected)} that a Qwen2.5-VL has no place for.")
