"""Disk cache of a frozen vision tower's outputs: written in the first epoch, read in all later ones.

Keyed by the image's bytes, the decoder, the image processor's settings and the tower's weights, so that nothing has to
be cleared when one of them changes, and the runs of a sweep share one cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medvl.data.decoding import DECODER, UnreadableImage
from medvl.geometry import MERGE
from medvl.model.parts import base_of
from medvl.types import Choice, Example

if TYPE_CHECKING:
    from transformers import ProcessorMixin

log = logging.getLogger(__name__)

SHARE = 0.1  # of the free disk space that features may use unless configured


@dataclass(slots=True)
class FeatureCache:
    """A folder of features, one file per image; can be pickled for the loader's workers."""

    folder: Path
    full: bool = False
    """Set when a write fails; nothing is written after that."""

    @classmethod
    def under(cls, root: Path, visual: nn.Module, processor: ProcessorMixin, dtype: torch.dtype) -> FeatureCache:
        """Return the cache of a tower that computes in `dtype`.

        Args:
            root: Folder of all caches.
        """
        facts = f"{tower_hash(visual)} {dtype} {DECODER} {processor.image_processor.to_json_string()}"
        folder = root / "features" / hashlib.sha256(facts.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def key(self, image: str) -> str:
        """Return a hash of an image file's content.

        Raises:
            UnreadableImage: The file was deleted after preparation.
        """
        try:
            return hashlib.blake2b(Path(image).read_bytes(), digest_size=16).hexdigest()
        except OSError as error:
            raise UnreadableImage(f"{image} cannot be read: {error}") from error

    def read(self, key: str) -> dict[str, Tensor] | None:
        """Return `features` (visual tokens, H) and `grid` (3,) of an image, or None if they are not cached."""
        path = self._path(key)
        try:
            if not path.exists():
                return None
            with safe_open(path, "pt") as file:
                tensors, checksum = file.get_tensors(), (file.metadata() or {}).get("crc32")
            if checksum != _crc32(tensors):  # a crash of the machine may leave zeros of the right length
                raise OSError("its checksum is wrong or missing")
            return tensors
        except (SafetensorError, OSError) as error:
            log.warning("%s is made again: %s", path.name, error)
            with contextlib.suppress(OSError):
                path.unlink()  # what is there is kept
            return None

    def keep(self, keys: list[str], features: Tensor, grid_N3: Tensor) -> None:
        """Write the features of a row's images, (visual tokens of all images, H), to one file per image."""
        if self.full:
            return
        parts = features.detach().cpu().split((grid_N3.prod(-1) // MERGE**2).tolist())
        for key, part, grid in zip(keys, parts, grid_N3.cpu(), strict=True):
            path = self._path(key)
            if path.exists():
                continue
            try:
                path.parent.mkdir(exist_ok=True)
                partial = path.with_suffix(f".{os.getpid()}")
                tensors = {"features": part.contiguous(), "grid": grid.contiguous()}
                save_file(tensors, partial, {"crc32": _crc32(tensors)})
                partial.replace(path)
            except (OSError, SafetensorError) as error:
                log.warning("vision features are not kept any more: %s", error)
                self.full = True
                return

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def tower_hash(visual: nn.Module) -> str:
    """Return a hash over every bit of a tower's weights, computed on their device."""
    found = hashlib.sha256()
    for name, tensor in visual.state_dict().items():
        if isinstance(tensor, Tensor):
            found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {_checksum(tensor)} ".encode())
    return found.hexdigest()


def _crc32(tensors: dict[str, Tensor]) -> str:
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, found)
    return str(found)


def _checksum(tensor: Tensor) -> int:
    """Return the sum of a tensor's 64-bit words, weighted by position so that their order counts, modulo 2^64."""
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    words = nn.functional.pad(raw, (0, -len(raw) % 8)).view(torch.int64)
    places = torch.arange(1, len(words) + 1, device=raw.device) * 0x1E3779B97F4A7C15
    return int(((words ^ (words >> 29)) * places).sum())


def resolve_cache(
    requested: bool | None,
    model: nn.Module,
    processor: ProcessorMixin,
    dtype: torch.dtype,
    examples: Sequence[Example],
    *,
    live: bool,
    root: Path,
) -> tuple[Choice, FeatureCache | None]:
    """Resolve `hardware.cache_features`; null caches if the tower is frozen and the disk has room.

    Args:
        dtype: The tower's compute type.
        examples: Training examples, whose pages recur in every epoch.
        live: Whether pages are drawn during training, so that none recurs.
        root: Folder of all caches.

    Raises:
        ValueError: The cache was requested, but the tower trains or pages are drawn during training.
    """
    visual: Any = base_of(model).model.visual
    obstacle = ""
    if any(parameter.requires_grad for parameter in visual.parameters()):
        obstacle = "the vision tower or its merger trains"
    elif live:
        obstacle = "pages are drawn while training goes on, no two alike"
    if obstacle and requested:
        raise ValueError(f"hardware.cache_features=true: {obstacle}. Set hardware.cache_features=null.")
    need = sum(sum(one.visual_tokens) for one in examples) * visual.config.out_hidden_size * dtype.itemsize
    choice = Choice(False, obstacle) if obstacle else _by_room(requested, need, root)
    return choice, FeatureCache.under(root, visual, processor, dtype) if choice.value else None


def _by_room(requested: bool | None, need_bytes: float, root: Path) -> Choice:
    if requested is not None:
        return Choice(requested, "as configured")
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    sizes = f"{need_bytes / 2**20:,.0f} MiB of {free / 2**20:,.0f} MiB free on disk"
    return Choice(need_bytes <= SHARE * free, f"the tower is frozen; {sizes}")
