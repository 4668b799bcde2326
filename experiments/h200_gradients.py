"""How far bf16 alone rotates the gradient of nano with random adapters: python experiments/h200_gradients.py (GPU).

Each line: the loss in nats over three examples, and the cosine between the gradient and that of peft's fp32 layers.
"""

import tempfile
from pathlib import Path

import torch

from medvl.data.encoding import Encoder
from medvl.data.packing import pack
from medvl.data.prepare import prepare
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.render import Render
from medvl.hardware.plan import Hardware
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import fuse
from medvl.model import attention
from medvl.model.loading import Model
from medvl.model.lora import Lora
from medvl.model.parts import on_device
from medvl.model.precision import Compute, Precision
from medvl.training.loss import EAGER, answer_nats

DEVICE = torch.device("cuda")


def build(precision):
    hardware = Hardware()
    plan = hardware.plan(compute=precision.compute.name, storage="nf4", attention=attention.choose)
    loaded = Model().load(precision, hardware, plan)
    model = Lora(r=8).apply(loaded.model).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model, Encoder(loaded.processor)


def take(model, precision, encoder, examples, fused_ops=EAGER):
    total = 0.0
    for example in examples:
        with precision.autocast(DEVICE):
            loss = answer_nats(model, on_device(pack([encoder.encode(example)]), DEVICE), fused_ops)
        loss.backward()
        total += loss.item()
    gradient = torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return total, gradient


def main():
    wide, narrow = Precision(resident=True).with_compute(Compute.fp32), Precision().with_compute(Compute.bf16)
    reference, encoder = build(wide)
    attention.use(reference, "sdpa")
    with tempfile.TemporaryDirectory() as cache:
        made = prepare(MTSamples(limit=8), Render(), encoder, budget=2048, cache=Path(cache), workers=1, bar=False)
        examples = made.examples["train"][:3]
        _, exact = take(reference, wide, encoder, examples)
        model, _ = build(narrow)
        base = model.get_base_model().model

        def show(name, *, language, tower, fused_ops=None):
            attention.use(model, language)
            base.visual.config._attn_implementation = f"medvl_flash_{tower}"
            if fused_ops is not None:
                fuse(model, fused_ops)
            loss, gradient = take(model, narrow, encoder, examples, fused_ops or EAGER)
            print(f"{name:45s} {loss:9.3f} {torch.nn.functional.cosine_similarity(gradient, exact, dim=0):.3f}")

        show("peft, varlen", language="varlen", tower="varlen")
        show("peft, varlen, the tower by SDPA", language="varlen", tower="sdpa")
        show("peft, SDPA, the tower by varlen", language="sdpa", tower="varlen")
        show("ours, eager", language="varlen", tower="varlen", fused_ops=FusedOps(compiled=False))
        show("ours, compiled", language="varlen", tower="varlen", fused_ops=FusedOps(compiled=True))


if __name__ == "__main__":
    main()
