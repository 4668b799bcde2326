"""Loading a Qwen2.5-VL: the `model` config group, and the only place that calls from_pretrained."""

from __future__ import annotations

import gc
import logging
import math
import time
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.geometry import MAX_IMAGE_PIXELS, TOKEN_PX
from medvl.hardware import page_cache
from medvl.model import compressed
from medvl.model import folder as folders
from medvl.model.adapters import config_hash
from medvl.model.answer_form import AnswerForm
from medvl.model.fetching import PATTERNS
from medvl.model.names import is_linear, parameter_shapes, shapes
from medvl.model.parts import weights_on_disk
from medvl.model.precision import Precision
from medvl.model.processor import budget_pixels, check_image_limit, check_processor, check_vocabulary
from medvl.model.random_init import adopt_tokens, random_states
from medvl.record.checkpoints import WEIGHTS
from medvl.record.files import read_json

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, ProcessorMixin

    from medvl.hardware.plan import Hardware, HardwarePlan

log = logging.getLogger(__name__)


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
    """Commit or branch on the hub; None: the newest."""
    init: WeightInit = WeightInit.pretrained
    """random: random weights in the true shape, to measure speed and memory; the answers mean nothing."""
    min_pixels: int = 3136
    """Smaller images are enlarged to so many pixels."""
    max_pixels: int = 1003520
    """Pixel budget of an image, 1,280 tokens by default; larger images are shrunk to it."""
    ask: str | None = None
    """What the base was taught to be asked for the text of a page; None: what the data ask."""
    answers: AnswerForm = AnswerForm.plain
    """front_matter: the text follows a YAML head about the page, which is not scored."""
    max_image_pixels: int = MAX_IMAGE_PIXELS
    """Image files with more pixels are not decoded, as they might exhaust the memory; they are dropped and counted."""

    def __post_init__(self) -> None:
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError(
                f"model.max_pixels must be at least model.min_pixels, got {self.max_pixels} < {self.min_pixels}. "
                "Set model.max_pixels=1003520."
            )
        if self.max_pixels < TOKEN_PX**2:
            raise ValueError(
                f"model.max_pixels={self.max_pixels} is less than one token of an image. Set model.max_pixels=1003520."
            )
        check_image_limit(self.max_image_pixels)
        if self.revision is not None and self.path is None:
            raise ValueError(
                f"model.revision={self.revision} names a version on the hub, and {self.shape} comes with the package. "
                "Set model.revision=null, or model.path=<a hub id>."
            )
        if self.path is not None:
            self.path = folders.check_path(self.path, self.revision)
        random = self.init is WeightInit.random
        if random and self.shape == "nano" and self.path is not None:
            raise ValueError(f"random weights would take the place of those in {self.path}. Set model.init=pretrained.")
        if (random or self.path is None) and self.shape not in shapes():
            raise ValueError(f"medvl ships no shape {self.shape!r}. Set model.shape to one of {shapes()}.")
        if not random and self.path is None and not self._shape_file(WEIGHTS).is_file():
            raise ValueError(
                f"medvl ships no weights of {self.shape}. Set model.path=<their folder>, or model.init=random."
            )

    @property
    def name(self) -> str:
        """Name of the base in the records of a run."""
        return (self.path or self.shape) + (" (random weights)" if self.init is WeightInit.random else "")

    def _shape_file(self, name: str) -> Path:
        return Path(str(resources.files("medvl.shapes"))) / self.shape / name

    def _folder(self) -> str:
        return self.path or str(self._shape_file(""))

    @property
    def is_local(self) -> bool:
        """Whether the weights are in a folder of this machine."""
        return self.path is None or Path(self.path).is_dir()

    def card(self) -> Path:
        """Return where the model card of a local base would be."""
        return Path(self._folder()) / "README.md"

    def disk_bytes(self) -> int:
        """Return the bytes of a base's weights files; in bf16, as the hub has them, of those that are not here."""
        if self.is_local and self.init is WeightInit.pretrained:
            return weights_on_disk(Path(self._folder()))
        return round(weight_bytes(self.config(), Precision().in_bf16()))

    def architecture(self) -> dict[str, Any]:
        """Return the config.json that is at hand without transformers or a download; empty if it is unreadable."""
        folder = Path(self._folder()) if self.is_local else self._shape_file("")
        return read_json(folder / "config.json") or {}

    def config(self) -> PretrainedConfig:
        """Return the architecture, without anything else that its config.json sets. With random weights nothing is
        downloaded.

        Raises:
            ValueError: The weights' folder or hub id has no Qwen2.5-VL configuration.
        """
        from transformers import AutoConfig

        folder = self._folder() if self.init is WeightInit.pretrained or self.is_local else str(self._shape_file(""))
        config = folders.reach(AutoConfig.from_pretrained, folder, revision=self.revision, trust_remote_code=False)
        if config.model_type != "qwen2_5_vl":
            raise ValueError(f"{folder} holds a {config.model_type}; medvl trains Qwen2.5-VL. Set model=nano.")
        folders.only_architecture(config, folder)
        return config

    def processor(self) -> ProcessorMixin:
        """Return tokenizer, image processor and chat template, with the pixel budget in effect.

        Random weights without a local tokenizer use nano's byte-level one: the values mean nothing, only shapes
        matter.

        Raises:
            ValueError: One of them is missing or malformed, or is not what Qwen2.5-VL uses.
        """
        from transformers import Qwen2_5_VLProcessor

        folder, revision = self._folder(), self.revision
        if self.init is WeightInit.random and (self.path is None or not self.is_local):
            folder, revision = str(self._shape_file("").parent / "nano"), None
        read = Qwen2_5_VLProcessor.from_pretrained
        processor = folders.reach(read, folder, revision=revision, trust_remote_code=False)
        check_processor(processor, folder)
        if self.init is WeightInit.pretrained:
            check_vocabulary(processor, self.config(), folder)
        budget_pixels(processor, self.min_pixels, self.max_pixels)
        return processor

    def check(self, precision: Precision) -> None:
        """Refuse a base that cannot be loaded in a precision, before anything is prepared for it.

        Raises:
            ValueError: Its files are damaged, or it is quantised already and in another way.
        """
        config = self.config()
        if self.init is WeightInit.pretrained:
            self._settle(config, precision)
            if self.is_local:
                compressed.check_weights(Path(self._folder()), config)

    def _settle(self, config: PretrainedConfig, precision: Precision) -> bool:
        """Let a configuration quantise the weights as the run asks; return whether they are so on disk."""
        if self.init is WeightInit.random:
            config.quantization_config = config.text_config.quantization_config = None
            return False
        stored = folders.stored_quantization(config)
        if stored is None:
            return False
        if compressed.is_compressed(stored):
            compressed.settle_compressed(config, stored, precision, self._folder())
            return True
        linears = [
            name.removesuffix(".weight") for name, shape in parameter_shapes(config).items() if is_linear(name, shape)
        ]
        folders.settle_quantization(config, precision, self._folder(), linears)
        return True

    def download(self) -> str:
        """Fetch weights and processor from the hub, resuming a partial download; return the folder."""
        from huggingface_hub import snapshot_download

        return folders.reach(snapshot_download, str(self.path), revision=self.revision, allow_patterns=list(PATTERNS))

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
        folders.settle_tying(model)
        if precision.upcast:
            model.float()
        model.eval()
        if plan.device.value == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        seconds = time.perf_counter() - started
        if hardware.unified_memory and self.init is WeightInit.pretrained:
            gc.collect()  # the files must not be mapped any more
            page_cache.drop(Path(self._folder() if self.is_local else self.download()).glob("*.safetensors"))
        precision.check_placement(model, self._folder())
        if precision.resident:
            precision.dequantize(model)
        attention.use(model, plan.attention.value)
        if self.init is WeightInit.random:
            log.warning("RANDOM WEIGHTS: %s says nothing yet; only speed and memory mean something.", self.shape)
        return Loaded(model=model, processor=processor, base=self.name, base_hash=config_hash(config), seconds=seconds)

    def _from_pretrained(self, config: PretrainedConfig, precision: Precision, plan: HardwarePlan) -> nn.Module:
        from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

        device_map: Any = {"": plan.device.value} if plan.max_memory.value is None else "auto"
        if plan.device.value == "cuda" and plan.max_memory.value is None:
            import torch

            device_map = {"": torch.cuda.current_device()}
        wanted = parameter_shapes(config)
        options: dict[str, Any] = {
            "config": config,
            "dtype": precision.load_dtype(),
            "quantization_config": None if self._settle(config, precision) else precision.quantization(),
            "device_map": device_map,
            "max_memory": plan.max_memory.value,
            "attn_implementation": "sdpa",
            "generation_config": GenerationConfig(),  # not the folder's
            "output_loading_info": True,
            "ignore_mismatched_sizes": True,  # refused below, in one sentence
        }
        load: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained
        if self.init is WeightInit.random:
            folder = self.name
            states = dict(random_states(config, wanted, plan.device.value, precision.load_dtype()))
            model, info = load(None, state_dict=states, **options)
        else:
            folder = self._folder() if self.is_local else self.download()
            compressed.check_weights(Path(folder), config)
            model, info = folders.reach(load, folder, use_safetensors=True, trust_remote_code=False, **options)
        folders.check_loaded(folder, info, len(wanted))
        if compressed.is_compressed(folders.stored_quantization(config)):
            compressed.forget_quantisation(model)
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


def weight_bytes(config: PretrainedConfig, precision: Precision) -> float:
    """Estimate the memory of the weights from the shape, without building them."""
    skipped = tuple(precision.skipped())
    total = 0.0
    for name, shape in parameter_shapes(config).items():
        quantized = (
            precision.quantized and is_linear(name, shape) and not any(name.startswith(skip) for skip in skipped)
        )
        bits: float = 8 * precision.load_dtype().itemsize
        if quantized and not precision.resident:
            bits = precision.storage.bits + (0.13 if precision.double_quant else 0.5)
        total += math.prod(shape) * bits / 8
    return total
