"""A Qwen2.5-VL in the two GGUF files of llama.cpp: written, read again, and refused unless every tensor is there."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.export.gguf_tensors import VISION, Windows, gguf_tensors, split, widened
from medvl.export.gguf_tokens import add_tokenizer
from medvl.export.weights import check_names, wanted_names
from medvl.geometry import DEVIATION, MEAN

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor
    from transformers import PretrainedConfig, ProcessorMixin

MODEL, PROJECTOR = "model.gguf", "mmproj.gguf"
PAGE_PX = 560  # a size of image that llama.cpp wants to be told, and does not use for pages of any size


def write_gguf(
    states: Mapping[str, Tensor],
    config: PretrainedConfig,
    processor: ProcessorMixin,
    folder: Path,
    *,
    name: str,
    kind: str,
    min_pixels: int,
    max_pixels: int,
) -> None:
    """Write both files.

    Args:
        states: Weights under their published names; matrices of the language model are stored as `kind` says, those of
            the vision tower in f16, all others in f32.
        name: The model's, for people.
        kind: F16 or Q8_0, as the `gguf` package names them.
        min_pixels, max_pixels: The pixel budget of an image; not every version of llama.cpp reads it from the file.

    Raises:
        ValueError: A value is beyond the range of f16, or what llama.cpp cannot be told belongs to this base.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter

    windows = Windows.of(config)
    text = GGUFWriter(folder / MODEL, MODEL_ARCH_NAMES[MODEL_ARCH.QWEN2VL])
    _add_text(text, config, name, kind)
    add_tokenizer(text, processor, config.text_config.vocab_size)
    _write(text, gguf_tensors(states, vision=False), GGMLQuantizationType[kind])
    vision = GGUFWriter(folder / PROJECTOR, MODEL_ARCH_NAMES[MODEL_ARCH.MMPROJ])
    _add_vision(vision, config, windows, name)
    vision.add_vision_min_pixels(min_pixels)
    vision.add_vision_max_pixels(max_pixels)
    _write(vision, gguf_tensors(widened(states, windows.ahead), vision=True), GGMLQuantizationType.F16)


def requantise(folder: Path, program: Path, kind: str) -> None:
    """Quantise the language model of a folder by llama-quantize; the vision tower stays as it is.

    Args:
        kind: As that program names it, such as Q4_K_M.

    Raises:
        ValueError: It fails; the message shows the end of what it said.
    """
    wider = folder / f"wider-{MODEL}"
    (folder / MODEL).rename(wider)
    done = subprocess.run(
        [program, wider, folder / MODEL, kind],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    wider.unlink()
    if done.returncode:
        raise ValueError(
            f"{program} {kind} failed: {(done.stdout + done.stderr)[-1000:].strip()}. Set format=gguf_q8_0."
        )


def check_gguf(folder: Path, config: PretrainedConfig) -> int:
    """Check that both files of a folder hold exactly the tensors of an architecture, and return how many they are.

    Raises:
        ValueError: A file is missing or unreadable, a tensor is missing, or one has no place in the architecture.
    """
    return sum(
        _check_file(folder / file, set(wanted))
        for file, wanted in zip((MODEL, PROJECTOR), gguf_names(config), strict=True)
    )


def gguf_names(config: PretrainedConfig) -> tuple[set[str], set[str]]:
    """Return llama.cpp's names of all tensors of an architecture: of the language model, and of the vision tower."""
    windows, names = Windows.of(config), wanted_names(config)
    first = [name for name in names if name.startswith("visual.blocks.0.")]
    depth = config.vision_config.depth
    more = {name.replace(".0.", f".{depth + block}.", 1) for name in first for block in range(windows.ahead)}
    text = {part for name in names if not name.startswith(VISION) for part, _ in split(name)}
    return text, {part for name in names | more if name.startswith(VISION) for part, _ in split(name)}


def _check_file(file: Path, wanted: set[str]) -> int:
    from gguf import GGUFReader

    if not file.is_file():
        raise ValueError(f"{file.parent} lacks {file.name}.")
    try:
        found = [tensor.name for tensor in GGUFReader(file).tensors]
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise ValueError(f"{file} is cut off or no GGUF file ({error}).") from error
    if not found:
        raise ValueError(f"{file} holds no tensor; {len(wanted)} are wanted.")
    check_names(found, wanted, str(file))
    return len(found)


def _add_text(writer: GGUFWriter, config: PretrainedConfig, name: str, kind: str) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    text = config.text_config
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{kind}"])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(text.rope_parameters["rope_theta"])
    writer.add_rope_dimension_sections([*text.rope_parameters["mrope_section"], 0])  # of a fourth axis that is unused


def _add_vision(writer: GGUFWriter, config: PretrainedConfig, windows: Windows, name: str) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType, VisionProjectorType

    vision = config.vision_config
    writer.add_type("mmproj")
    writer.add_name(name)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(VisionProjectorType.QWEN25VL)
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(windows.every)
    writer.add_vision_window_size(vision.window_size)
    writer.add_vision_projection_dim(config.text_config.hidden_size)
    writer.add_vision_image_size(PAGE_PX)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_spatial_merge_size(vision.spatial_merge_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(vision.depth + windows.ahead)
    writer.add_vision_head_count(vision.num_heads)
    writer.add_vision_attention_layernorm_eps(1e-6)  # of Qwen2.5-VL's code; its configuration has none
    writer.add_vision_image_mean(list(MEAN))
    writer.add_vision_image_std(list(DEVIATION))


def _write(writer: GGUFWriter, tensors: Iterable[tuple[str, Tensor]], kind: Any) -> None:
    """Write a file, tensor by tensor, so that only one at a time is held in its new type.

    Args:
        kind: Of matrices whose rows it divides; other matrices are written in f16.
    """
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quant_shape_to_byte_shape, quantize

    kept, kinds = list(tensors), []
    for name, tensor in kept:
        one = kind if tensor.dim() > 1 else GGMLQuantizationType.F32
        if tensor.shape[-1] % GGML_QUANT_SIZES[one][0]:
            one = GGMLQuantizationType.F16
        kinds.append(one)
        shape = quant_shape_to_byte_shape(tuple(tensor.shape), one)
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), int(np.prod(shape)), raw_dtype=one)
    with contextlib.closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for (name, tensor), one in zip(kept, kinds, strict=True):
            values = tensor.float().numpy()
            if one is not GGMLQuantizationType.F32 and not np.abs(values).max() <= np.finfo(np.float16).max:
                raise ValueError(f"{name} holds values that f16 cannot. Set format=merged.")
            writer.write_tensor_data(np.ascontiguousarray(quantize(values, one)))
