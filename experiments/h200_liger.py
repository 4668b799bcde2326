"""Liger's norm and SwiGLU compared with our compiled elementwise ops, at the sizes of the 7B shape.

python experiments/h200_liger.py, on a GPU, with liger-kernel installed. Each line: the median milliseconds of Liger's
and of ours over 30 alternating rounds, and the largest difference of the results, relative to the largest value.
"""

import statistics

import torch
from liger_kernel.ops.rms_norm import rms_norm_backward, rms_norm_forward
from liger_kernel.ops.swiglu import swiglu_backward, swiglu_forward

from medvl.kernels.fused_ops import FusedOps

ROUNDS, EPS = 30, 1e-6
OURS = FusedOps(compiled=True)


def rows(width):
    return torch.randn(16272, width, device="cuda", dtype=torch.bfloat16)


def show(name, theirs, ours, timed=None):
    """Print a line; `timed` is timed in place of `theirs` where Liger overwrites its inputs."""

    def milliseconds(run):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    apart = max(
        float((one.float() - other.float()).abs().max() / other.float().abs().max())
        for one, other in zip(ours(), theirs(), strict=True)
    )
    times = [(milliseconds(timed or theirs), milliseconds(ours)) for _ in range(3 + ROUNDS)][3:]
    liger, own = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:30s} {liger:7.3f} {own:7.3f}  {apart:.1e}")


def main():
    x, grad, weight = rows(3584), rows(3584), torch.rand(3584, device="cuda", dtype=torch.bfloat16)
    _, _, scales, block, warps, _ = rms_norm_forward(x, weight, EPS, 0.0, "llama", None)
    gate, up, above = rows(18944), rows(18944), rows(18944)

    def normed():
        return [rms_norm_forward(x, weight, EPS, 0.0, "llama", None)[0]]

    def norm_gradient():
        return [rms_norm_backward(grad, x, weight, scales, 0.0, "llama", block, warps, False, None, needs_dw=False)[0]]

    def product_and_gradients(gate, up):
        """Recompute the product, which down's adapter needs; the gradients overwrite gate and up."""
        return [swiglu_forward(gate, up)[2], *swiglu_backward(gate, up, above)]

    show("RMS norm", normed, lambda: [OURS.rms_norm(x, weight, EPS, torch.bfloat16)])
    show("RMS norm, gradient", norm_gradient, lambda: [OURS.rms_norm_backward(grad, x, weight, EPS)])
    show("SwiGLU", lambda: [swiglu_forward(gate, up)[2]], lambda: [OURS.silu_mul(gate, up)])
    scratch = gate.clone(), up.clone()
    show(
        "SwiGLU, product and gradients",
        lambda: product_and_gradients(gate.clone(), up.clone()),
        lambda: OURS.silu_mul_backward(above, gate, up),
        lambda: product_and_gradients(*scratch),
    )


if __name__ == "__main__":
    main()
