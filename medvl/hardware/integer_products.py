"""A workaround for torch builds that cannot compile integer products for this GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def guard_integer_products(device: torch.device, probe: Callable[[torch.device], Any] | None = None) -> bool:
    """Run integer `prod` and `cumprod` on the CPU where this torch build cannot compile them.

    On sm_121 an old NVRTC rejects the architecture and Qwen2.5-VL's grid arithmetic fails. The tensors hold only
    a few integers, so this costs no time. If the probe passes, nothing is changed.

    Returns:
        Whether the workaround was needed.
    """
    import torch

    try:
        (probe or compile_both)(device)
    except RuntimeError as error:
        if "nvrtc" not in str(error).lower():
            raise
    else:
        return False
    for name in ("prod", "cumprod"):
        for owner in (torch, torch.Tensor):
            original = getattr(owner, name)
            if not hasattr(original, "over_cpu"):
                setattr(owner, name, _over_cpu(original))
    return True


def compile_both(device: torch.device) -> None:
    """Let torch compile the two products for a device."""
    import torch

    numbers = torch.tensor([2, 3], device=device)
    numbers.prod()
    numbers.cumprod(0)


def _over_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.device.type == "cuda" and not tensor.is_floating_point():
            return function(tensor.cpu(), *args, **kwargs).to(tensor.device)
        return function(tensor, *args, **kwargs)

    call.over_cpu = function  # type: ignore[attr-defined]
    return call
