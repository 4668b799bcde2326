"""Host time per layer of the 7B shape: python experiments/h200_launches.py, on a GPU.

Four language layers in NF4 with adapters of r=64 on one short row, so that the GPU waits for kernel launches. Each
line: milliseconds per layer, forward and backward, medians of 15 steps.
"""

import statistics
import time

import torch

from medvl.hardware.plan import Hardware
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import fuse
from medvl.model import attention
from medvl.model.loading import Model, WeightInit
from medvl.model.lora import Lora
from medvl.model.precision import Compute, Precision
from medvl.model.random_init import adopt_tokens
from medvl.training.loss import EAGER, answer_nats

LAYERS, TOKENS, DEVICE = 4, 256, torch.device("cuda")


def build():
    shape, hardware, precision = Model(shape="qwen2_5_vl_7b", init=WeightInit.random), Hardware(), Precision()
    precision = precision.with_compute(Compute.bf16)
    plan = hardware.plan(compute="bf16", storage="nf4", attention=attention.choose)
    config = shape.config()
    adopt_tokens(config, shape.processor())
    text = config.text_config
    text.num_hidden_layers = text.max_window_layers = LAYERS
    text.layer_types, config.vision_config.depth = text.layer_types[:LAYERS], 1
    model = shape._from_pretrained(config, precision, plan)
    attention.use(model, plan.attention.value)
    return Lora(r=64).apply(model).train(), text.hidden_size


def main():
    model, hidden = build()
    ids = torch.randint(10, 200, (1, TOKENS), device=DEVICE)
    batch = {
        "input_ids": ids,
        "labels": ids,
        "longest": TOKENS,
        "features": torch.zeros(0, hidden, device=DEVICE),
        "position_ids": torch.arange(TOKENS, device=DEVICE).expand(3, 1, TOKENS),
        "bounds": torch.tensor([0, TOKENS], dtype=torch.int32, device=DEVICE),
    }

    def step():
        torch.cuda.synchronize()
        started = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = answer_nats(model, batch, fused_ops or EAGER)
        turned = time.perf_counter()
        loss.backward()
        torch.cuda.synchronize()
        model.zero_grad()
        return turned - started, time.perf_counter() - turned

    for name, fused_ops in {
        "peft": None,
        "eager": FusedOps(compiled=False),
        "compiled": FusedOps(compiled=True),
    }.items():
        if fused_ops:
            fuse(model, fused_ops)
        times = [step() for _ in range(4 + 15)][4:]
        forwards, backwards = (1e3 * statistics.median(column) / LAYERS for column in zip(*times, strict=True))
        print(f"{name:10s} {forwards:6.3f} {backwards:6.3f}")


if __name__ == "__main__":
    main()
