"""Loading a Qwen2.5-VL: the `model` config group, and the only place that calls from_pretrained."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.model.precision import Precision
from medvl.model.random_init import adopt_tokens, random_states

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, ProcessorMixin

    from medvl.hardware.plan import Hardware, HardwarePlan

log = logging.getLogger(__name__)

PROBE_PX = 4000  # edge of the blank image on which the pixel budget is checked


class WeightInit(Enum):
    """Where the weights come from."""

    pretrained = "pretrained"
    random = "random"


@dataclass(kw_only=True, slots=True)
class Model:
    """A Qwen2.5-VL by name."""

    shape: str = "nano"
    """Folder of medvl/shapes with the architecture; used if there are no weights to read it from."""
    path: str | None = None
    """Hub id or local folder of the weights; None: the shape's own folder."""
    revision: str | None = None
    init: WeightInit = WeightInit.pretrained
    """random: random weights in the true shape, to measure speed and memory; the answers mean nothing."""
    min_pixels: int = 3136
    max_pixels: int = 1003520
    """Pixel budget of an image, 1,280 tokens by default; larger images are shrunk to it."""

    def __post_init__(self) -> None:
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError(
                f"model.max_pixels must be at least model.min_pixels, got {self.max_pixels} < {self.min_pixels}. "
                "Set model.max_pixels=1003520."
            )
        if self.init is WeightInit.random and self.shape == "nano" and self.path is not None:
            raise ValueError(f"random weights would take the place of those in {self.path}. Set model.init=pretrained.")
        if self.init is WeightInit.random and not self._shape_file("config.json").is_file():
            raise ValueError(f"medvl ships no shape {self.shape!r}. Set model.shape to one of {shapes()}.")

    @property
    def name(self) -> str:
        """Name of the base in the records of a run."""
        return (self.path or self.shape) + (" (random weights)" if self.init is WeightInit.random else "")

    def _shape_file(self, name: str) -> Path:
        return Path(str(resources.files("medvl.shapes"))) / self.shape / name

    def _folder(self) -> str:
        return self.path or str(self._shape_file(""))

    def config(self) -> PretrainedConfig:
        """Return the architecture. With random weights nothing is downloaded.

        Raises:
            ValueError: The weights' folder or hub id has no Qwen2.5-VL configuration.
        """
        from transformers import AutoConfig

        local = self.path is not None and Path(self.path).is_dir()
        folder = self._folder() if self.init is WeightInit.pretrained or local else str(self._shape_file(""))
        config = _reach(AutoConfig.from_pretrained, folder, revision=self.revision)
        if config.model_type != "qwen2_5_vl":
            raise ValueError(f"{folder} holds a {config.model_type}; medvl trains Qwen2.5-VL. Set model=nano.")
        return config

    def processor(self) -> ProcessorMixin:
        """Return tokenizer, image processor and chat template, with the pixel budget in effect.

        Random weights without a local tokenizer use nano's byte-level one: the values mean nothing, only shapes
        matter.
        """
        from transformers import AutoProcessor

        folder, revision = self._folder(), self.revision
        random_away = self.init is WeightInit.random and not (self.path and Path(self.path).is_dir())
        if random_away:
            folder, revision = str(self._shape_file("").parent / "nano"), None
        processor = _reach(AutoProcessor.from_pretrained, folder, revision=revision)
        budget_pixels(processor, self.min_pixels, self.max_pixels)
        return processor

    def download(self) -> str:
        """Fetch weights and processor from the hub, resuming a partial download; return the folder."""
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
        return _reach(snapshot_download, str(self.path), revision=self.revision, allow_patterns=patterns)

    def load(self, precision: Precision, hardware: Hardware, plan: HardwarePlan) -> Loaded:
        """Load the base model in the given precision onto the planned device.

        Raises:
            ValueError: The model is missing, does not fit in memory, or is not a Qwen2.5-VL.
        """
        import torch

        from medvl.model import attention

        config, processor = self.config(), self.processor()
        if self.init is WeightInit.random:
            adopt_tokens(config, processor)
        hardware.require(weight_bytes(config, precision), plan.device.value)
        started = time.perf_counter()
        model = self._from_pretrained(config, precision, plan)
        if precision.upcast:
            model.float()
        model.eval()
        if plan.device.value == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        seconds = time.perf_counter() - started
        _check_placement(model, precision)
        if precision.resident:
            precision.dequantize(model)
        attention.use(model, plan.attention.value)
        if self.init is WeightInit.random:
            log.warning("RANDOM WEIGHTS: %s says nothing yet; only speed and memory mean something.", self.shape)
        return Loaded(model=model, processor=processor, base=self.name, base_hash=config_hash(config), seconds=seconds)

    def _from_pretrained(self, config: PretrainedConfig, precision: Precision, plan: HardwarePlan) -> nn.Module:
        from transformers import Qwen2_5_VLForConditionalGeneration

        device_map: Any = {"": plan.device.value} if plan.max_memory.value is None else "auto"
        if plan.device.value == "cuda" and plan.max_memory.value is None:
            import torch

            device_map = {"": torch.cuda.current_device()}
        options: dict[str, Any] = {
            "config": config,
            "dtype": precision.load_dtype(),
            "quantization_config": precision.quantization(),
            "device_map": device_map,
            "max_memory": plan.max_memory.value,
            "attn_implementation": "sdpa",
        }
        if self.init is WeightInit.random:
            states = dict(random_states(config, _parameter_shapes(config), plan.device.value, precision.load_dtype()))
            model = Qwen2_5_VLForConditionalGeneration.from_pretrained(None, state_dict=states, **options)
        else:
            load, folder = Qwen2_5_VLForConditionalGeneration.from_pretrained, self._folder()
            model = _reach(load, folder, revision=self.revision, **options)
        precision.keep_layout(model)
        return model


@dataclass(kw_only=True)
class Loaded:
    """A base model with the processor that belongs to it."""

    model: nn.Module
    processor: ProcessorMixin
    base: str
    base_hash: str
    seconds: float
    """Loading time."""


def shapes() -> list[str]:
    """Return the architectures that ship with the package."""
    return sorted(
        folder.name
        for folder in resources.files("medvl.shapes").iterdir()
        if folder.is_dir() and not folder.name.startswith("_")
    )


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


def budget_pixels(processor: ProcessorMixin, min_pixels: int, max_pixels: int) -> None:
    """Set the pixel budget where the image processor reads it, and check that it takes effect.

    Several versions ignore `max_pixels` alone and use `size` (Qwen3-VL threads 1052, 1264).
    """
    from PIL import Image

    images = processor.image_processor
    images.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    for name, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)):
        if hasattr(images, name):
            setattr(images, name, value)
    grid = images(images=[Image.new("RGB", (PROBE_PX, PROBE_PX))], return_tensors="pt")["image_grid_thw"]
    pixels = int(grid.prod()) * images.patch_size**2
    if pixels > max_pixels:
        raise AssertionError(f"the image processor ignores max_pixels={max_pixels}: {pixels} pixels came out")


def weight_bytes(config: PretrainedConfig, precision: Precision) -> float:
    """Estimate the memory of the weights from the shape, without building them."""
    skipped = precision.skipped()
    total = 0.0
    for name, shape in _parameter_shapes(config).items():
        size = 1
        for side in shape:
            size *= side
        linear = len(shape) == 2 and "embed_tokens" not in name
        quantized = precision.quantized and linear and not any(name.startswith(skip) for skip in skipped)
        bits: float = 8 * precision.load_dtype().itemsize
        if quantized and not precision.resident:
            bits = precision.storage.bits + (0.13 if precision.double_quant else 0.5)
        total += size * bits / 8
    return total


def _parameter_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    model = meta_model(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def meta_model(config: PretrainedConfig) -> nn.Module:
    """Return the architecture on the meta device: names and shapes, no memory."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(config)  # type: ignore[arg-type]  # checked in `config`


def _check_placement(model: nn.Module, precision: Precision) -> None:
    """Check that exactly the intended modules are quantised."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind not in ("Linear", "Linear4bit", "Linear8bitLt"):
            continue
        kept = not precision.quantized or any(name.startswith(skip) for skip in precision.skipped())
        if (kind == "Linear") != kept:
            raise AssertionError(f"{name} is a {kind} under precision.storage={precision.storage.name}")


def _reach(load: Any, folder: str, **options: Any) -> Any:
    """Call from_pretrained; if it fails, raise an error that says why in one sentence."""
    if options.get("revision") is None:
        options.pop("revision", None)
    try:
        return load(folder, **options)
    except (OSError, ValueError) as error:  # transformers raises either for a folder without a model
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{folder} cannot be loaded: {first} Set model.path=<a local folder>, run `medvl download` where the "
            "hub can be reached, or set model=nano."
        ) from error
