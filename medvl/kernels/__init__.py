"""What makes a training step fast on every composition: layers as few products, passes over memory fused."""

from medvl.kernels.layers import fuse, unfuse
from medvl.kernels.pointwise import Pointwise, choose

__all__ = ["Pointwise", "choose", "fuse", "unfuse"]
