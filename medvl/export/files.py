"""What an exported model needs beside its weights: architecture, tokenizer, chat template, images, generation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.model import prompt
from medvl.record.files import write_json, write_text

if TYPE_CHECKING:
    from transformers import PretrainedConfig, ProcessorMixin

IMAGES = "preprocessor_config.json"
TOKENIZER = "tokenizer_config.json"


def write_architecture(config: PretrainedConfig, folder: Path) -> None:
    """Write config.json, with the rotation of positions also as transformers 4 reads it."""
    config.save_pretrained(folder)
    file = folder / "config.json"
    written = json.loads(file.read_text(encoding="utf-8"))
    text = written["text_config"]
    rotation = text["rope_parameters"]
    text["rope_theta"] = rotation["rope_theta"]
    text["rope_scaling"] = {"type": "mrope", "rope_type": "default", "mrope_section": rotation["mrope_section"]}
    write_json(file, {**written, "torch_dtype": "bfloat16", "dtype": "bfloat16"})


def write_processor(processor: ProcessorMixin, folder: Path, *, min_pixels: int, max_pixels: int) -> None:
    """Write tokenizer, chat template and the settings of images as transformers 4 and 5 and other engines read them.

    Args:
        min_pixels, max_pixels: The pixel budget of an image, which engines read under two pairs of names.
    """
    processing: Any = processor
    processing.tokenizer.save_pretrained(folder)
    settings = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    special = settings.pop("extra_special_tokens", None)
    if isinstance(special, list):  # transformers 4 takes a list only under its older name
        settings["additional_special_tokens"] = special
    for name in ("is_local", "local_files_only", "backend"):
        settings.pop(name, None)
    write_json(folder / TOKENIZER, {**settings, "chat_template": processing.chat_template})
    write_text(folder / "chat_template.jinja", processing.chat_template)
    processing.image_processor.save_pretrained(folder)
    images = json.loads((folder / IMAGES).read_text(encoding="utf-8"))
    budget = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    write_json(folder / IMAGES, {**images, **budget, "size": size, "processor_class": "Qwen2_5_VLProcessor"})


def write_generation(processor: ProcessorMixin, folder: Path) -> None:
    """Write how answers are generated: greedily, to the end of the turn, without the penalties of published bases."""
    ids: Any = processor.tokenizer.convert_tokens_to_ids
    ends = [ids(prompt.END_OF_TURN), ids(prompt.END_OF_TEXT)]
    write_json(
        folder / "generation_config.json",
        {"bos_token_id": None, "do_sample": False, "eos_token_id": ends, "pad_token_id": ends[-1]},
    )


def share(folder: Path) -> None:
    """Let whoever may read the folder read its files too; safetensors and medvl write them for their owner alone."""
    mode = folder.stat().st_mode & 0o666
    for file in folder.iterdir():
        file.chmod(mode)


def hashed(folder: Path, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return bytes and SHA-256 of the files of a folder, by name: of these that are there, or of all."""
    told = {}
    for name in sorted(one.name for one in folder.iterdir()) if names is None else names:
        if Path(name).name == name and (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            told[name] = {"bytes": (folder / name).stat().st_size, "sha256": digest}
    return told
