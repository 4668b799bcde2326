"""The formats in which medvl export writes a model."""

from __future__ import annotations

import importlib.util
from enum import Enum
from typing import TYPE_CHECKING

from medvl.generation.llama_cpp import LlamaCpp
from medvl.model.compressed import check_package

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Presets of compressed-tensors, with the number of inputs that share a scale; None: all of a row.
SCHEMES = {"fp8": ("FP8_DYNAMIC", None), "w8a16": ("W8A16", 128), "w4a16": ("W4A16", 128), "nvfp4a16": ("NVFP4A16", 16)}
# The same, by llm-compressor: scales and roundings that our own pages suit.
CALIBRATED = {"awq": ("W4A16", 128), "gptq": ("W4A16", 128)}
KINDS = {"gguf": "F16", "gguf_q8_0": "Q8_0", "gguf_q4_k_m": "Q4_K_M"}


class Format(Enum):
    """How the weights of an exported model are stored."""

    merged = "merged"  # safetensors in bf16
    fp8 = "fp8"  # a scale a row; vLLM rounds the activations of each token to FP8 too
    w8a16 = "w8a16"  # 8-bit integers, a scale for 128 inputs
    w4a16 = "w4a16"  # 4-bit integers, a scale for 128 inputs
    nvfp4a16 = "nvfp4a16"  # 4-bit floats, a scale for 16 inputs and one a layer
    awq = "awq"  # as w4a16, calibrated on our pages: first a folder to run llm-compressor in, then the export
    gptq = "gptq"  # the same
    gguf = "gguf"  # two files for llama.cpp, matrices in f16
    gguf_q8_0 = "gguf_q8_0"  # those of the language model in 8 bits, a scale for 32 inputs
    gguf_q4_k_m = "gguf_q4_k_m"  # those in 4 to 6 bits, by llama-quantize

    @property
    def gguf_kind(self) -> str | None:
        """How matrices of the language model are stored in a GGUF file, as llama.cpp names it; None: it is none."""
        return KINDS.get(self.name)

    @property
    def scheme(self) -> str | None:
        """The preset of compressed-tensors that quantises the weights; None: they are not quantised."""
        return SCHEMES[self.name][0] if self.name in SCHEMES else None

    @property
    def calibrated(self) -> str | None:
        """The preset that llm-compressor quantises to; None: medvl writes the weights itself."""
        return CALIBRATED[self.name][0] if self.name in CALIBRATED else None

    @property
    def stored(self) -> str | None:
        """The preset of compressed-tensors that the weights are in, whoever quantised them; None: they are in none."""
        return self.scheme or self.calibrated

    def check(self, config: PretrainedConfig) -> None:
        """Refuse a format that needs a package that is not here, or whose scales do not fit an architecture.

        Raises:
            ValueError: Names the mend.
        """
        if self.gguf_kind is not None:
            self._check_gguf(config)
        if self.stored is None:
            return
        check_package(f"format={self.name}")
        group, text = (SCHEMES | CALIBRATED)[self.name][1], config.text_config
        for size in (text.hidden_size, text.intermediate_size):
            if group is not None and size % group:
                raise ValueError(
                    f"format={self.name} has a scale for every {group} inputs of a layer, and this base has layers of "
                    f"{size}. Set format=fp8, or format=merged."
                )

    def _check_gguf(self, config: PretrainedConfig) -> None:
        from medvl.export.gguf_tensors import Windows

        if importlib.util.find_spec("gguf") is None:
            raise ValueError(f'format={self.name} is written by the package gguf. Run pip install -e ".[export]".')
        Windows.of(config)
        LlamaCpp.find()  # what is written is scored
        if self is Format.gguf_q4_k_m:
            LlamaCpp.quantizer()
