"""The forms in which an adapter can be deployed, and so should be scored: beside its base, merged, quantised again."""

from __future__ import annotations

import gc
import shutil
import tempfile
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.hardware.plan import GIB
from medvl.model.compressed import forget_quantisation
from medvl.model.loading import Loaded, Model, WeightInit, weight_bytes

if TYPE_CHECKING:
    from torch import nn

    from medvl.hardware.plan import Hardware, HardwarePlan
    from medvl.model.precision import Precision


_MEND = "Set cache=<a folder with room>, or artefact=merged."


class MergeInto(Enum):
    """Which values of a quantised base an adapter is merged into."""

    auto = "auto"  # those that training saw, where they can be had: of a base in 4 bits the dequantised ones
    original = "original"  # those that were quantised for training
    dequantised = "dequantised"  # those that training saw

    def settled(self, precision: Precision) -> MergeInto:
        """Return what auto stands for with a base in the precision of training."""
        if self is not MergeInto.auto:
            return self
        return MergeInto.dequantised if precision.storage.name in ("nf4", "fp4") else MergeInto.original

    def check(self, precision: Precision) -> None:
        """Refuse a storage whose values are not dequantised.

        Raises:
            ValueError: It is int8.
        """
        if self is MergeInto.dequantised and precision.storage.name == "int8":
            raise ValueError(
                "merge_into=dequantised is for bases in 4 bits; precision.storage is int8. Set merge_into=original."
            )

    def storage(self, precision: Precision) -> Precision:
        """Return how the base is stored while an adapter that was trained in a precision is merged into it."""
        if self.settled(precision) is MergeInto.original or not precision.quantized:
            return precision.in_bf16()
        self.check(precision)
        return replace(precision, resident=True)


class Artefact(Enum):
    """How an adapter is combined with its base."""

    base = "base"  # the base alone, without the adapter
    adapter = "adapter"  # beside the base in the run's precision, as in training
    merged = "merged"  # merged into the base in bf16
    requantised = "requantised"  # merged in bf16, then stored in the run's precision
    fp8 = "fp8"  # these as `medvl export format=` of that name has written them
    w8a16 = "w8a16"
    w4a16 = "w4a16"
    nvfp4a16 = "nvfp4a16"
    awq = "awq"
    gptq = "gptq"
    gguf = "gguf"  # these by llama.cpp
    gguf_q8_0 = "gguf_q8_0"
    gguf_q4_k_m = "gguf_q4_k_m"

    @property
    def is_export(self) -> bool:
        """Whether it is read from the folder that medvl export has written."""
        return self not in (Artefact.base, Artefact.adapter, Artefact.merged, Artefact.requantised)

    def check_folder(self, folder: Path) -> None:
        """Refuse trained weights that cannot be merged, before anything is loaded.

        Raises:
            ValueError: They are not an adapter.
        """
        from medvl.model.adapters import holds_adapter

        if self is not Artefact.adapter and not holds_adapter(folder):
            raise ValueError(
                f"{folder} holds no adapter but whole weights; there is nothing to merge. Set artefact=adapter, "
                "and precision= for another storage."
            )

    def load(
        self,
        model: Model,
        folder: Path,
        precision: Precision,
        hardware: Hardware,
        plan: HardwarePlan,
        *,
        scratch: Path,
        merge_into: MergeInto = MergeInto.auto,
    ) -> Loaded:
        """Load a base with the trained weights of a folder, in this form, which is no export; they differ in storage.

        Args:
            scratch: Folder for a temporary copy of the merged model, 2 bytes per parameter.
            merge_into: The values of the base that the adapter is merged into, if it is.

        Raises:
            ValueError: The weights do not fit, or the scratch folder cannot take the copy.
        """
        import torch

        from medvl.model.adapters import attach, check_storage

        check_storage(folder, precision.storage.name, quantized=precision.quantized)
        stored = precision if self is Artefact.adapter else merge_into.storage(precision)
        if self is Artefact.requantised:
            check_room(scratch, weight_bytes(model.config(), precision.in_bf16()), _MEND)
        loaded = model.load(stored, hardware, plan)
        loaded.model = attach(loaded.model, folder)
        if self is Artefact.adapter:
            return loaded
        loaded.model = merged(loaded.model)
        if self is Artefact.merged:
            return loaded
        with tempfile.TemporaryDirectory(dir=scratch, prefix="merged-") as place:
            _save(loaded, place)
            del loaded.model  # two models may not fit, and memory cached by torch counts as used
            gc.collect()
            torch.cuda.empty_cache()
            again = replace(model, path=place, revision=None, init=WeightInit.pretrained).load(
                precision, hardware, plan
            )
        again.base = model.name
        return again


def check_room(folder: Path, need_bytes: float, mend: str) -> None:
    """Make a folder for a merged model, and refuse one that is too small or cannot be written.

    Raises:
        ValueError: Ends with `mend`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ValueError(f"the merged model cannot be written to {folder}: {error}. {mend}") from error
    if free < need_bytes:
        raise ValueError(
            f"the merged model takes {need_bytes / GIB:.1f} GiB, {folder} has {free / GIB:.1f} GiB free. {mend}"
        )


def _save(loaded: Loaded, place: str) -> None:
    from safetensors import SafetensorError

    merged_model: Any = loaded.model.bfloat16()
    try:
        merged_model.save_pretrained(place)
        loaded.processor.save_pretrained(place)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        raise ValueError(f"the merged model cannot be written to {place}: {error}. {_MEND}") from error


def merged(model: nn.Module) -> nn.Module:
    """Merge an adapter into its bf16 base; the merged weights are rounded to bf16, whatever type stores them."""
    import torch

    model = model.merge_and_unload(safe_merge=True)  # type: ignore[operator]
    forget_quantisation(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(parameter.dtype)
    return model.eval()
