"""The formats in which medvl export writes a model."""

from __future__ import annotations

from enum import Enum


class Format(Enum):
    """How the weights of an exported model are stored."""

    merged = "merged"  # safetensors in bf16
