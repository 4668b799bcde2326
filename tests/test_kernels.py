"""The fused product of adapter and base against peft's own, on every storage it covers, and what it leaves to peft."""

import pytest
import torch
from peft.tuners.lora import LoraLayer

from medvl import attention
from medvl.data.packing import pack
from medvl.hardware import Hardware
from medvl.kernels.layers import fuse, unfuse
from medvl.kernels.pointwise import Pointwise, choose
from medvl.lora import Lora
from medvl.loss import answer_nats
from medvl.model import Model
from medvl.precision import Compute, Precision
from medvl.train_arms import on_device
from medvl.tuning import checkpoint


@pytest.fixture
def adapted(load_nano):
    """Return a function that wraps nano by adapters whose A and B are both far from zero."""

    def build(storage, **options):
        resident = options.pop("resident", False)
        model, _, precision = load_nano(storage, double_quant=storage == "nf4", resident=resident)
        if resident:
            precision.hold(model)
        torch.manual_seed(1)
        model = Lora(r=8, **options).apply(model)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        return model.train()

    return build


def step(model, batch, **autocast):
    """Return the loss, the gradients of all adapters and that of the embedded row."""
    kept = {}
    first = model.get_base_model().model.language_model.layers[1]
    handle = first.register_full_backward_hook(lambda module, given, got: kept.update(x=got[0].clone()))
    with torch.autocast("cpu", **(autocast or {"enabled": False})):
        loss = answer_nats(model, batch)
    loss.backward()
    handle.remove()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.item(), {**gradients, **({"x": kept["x"]} if kept.get("x") is not None else {})}


@pytest.mark.parametrize(("storage", "resident"), [("fp32", False), ("nf4", False), ("nf4", True), ("fp4", False)])
def test_it_is_pefts_function(adapted, encoder, examples, storage, resident):
    model, batch = adapted(storage, resident=resident), pack([encoder.encode(example) for example in examples[:2]])
    plain_loss, plain = step(model, batch)
    assert fuse(model, Pointwise(compiled=False)).value == "6 of 6 layers"
    loss, fused = step(model, batch)
    assert loss == pytest.approx(plain_loss, rel=1e-5) and fused.keys() == plain.keys() and len(plain) == 85
    for name, gradient in plain.items():
        assert torch.allclose(fused[name], gradient, rtol=2e-3, atol=2e-4 * float(gradient.abs().max())), name


@pytest.mark.parametrize(
    "options", [{"language": ["q_proj", "v_proj"]}, {"language": ["down_proj"]}, {"language": [], "vision": ["qkv"]}]
)
def test_any_part_may_go_without_an_adapter(adapted, encoder, examples, options):
    model, batch = adapted("nf4", **options), pack([encoder.encode(example) for example in examples[:2]])
    plain_loss, plain = step(model, batch)
    assert fuse(model, Pointwise(compiled=False)).value == "6 of 6 layers"
    loss, fused = step(model, batch)
    assert loss == pytest.approx(plain_loss, rel=1e-5) and fused.keys() == plain.keys()
    for name, gradient in plain.items():
        assert torch.allclose(fused[name], gradient, rtol=2e-3, atol=2e-4 * float(gradient.abs().max())), name


def test_in_bf16_it_is_as_near_to_fp32_as_peft_is(adapted, encoder, examples):
    shortest = min(examples, key=lambda example: example.tokens)  # CPUs emulate bf16
    model, batch = adapted("fp32"), pack([encoder.encode(shortest)])
    _, exact = step(model, batch)
    _, plain = step(model, batch, dtype=torch.bfloat16)
    fuse(model, Pointwise(compiled=False))
    _, fused = step(model, batch, dtype=torch.bfloat16)

    def cosine(gradients):
        one, other = (torch.cat([part[name].flatten().float() for name in exact]) for part in (gradients, exact))
        return float(torch.nn.functional.cosine_similarity(one, other, dim=0))

    # On one short example of random weights the two err differently by a tenth.
    assert 1 - cosine(fused) < 1.3 * (1 - cosine(plain)) < 0.05


@pytest.mark.parametrize(
    ("storage", "options", "why"),
    [("fp32", {"dropout": 0.1}, "dropout"), ("fp32", {"dora": True}, "DoRA"), ("int8", {}, "Linear8bitLt")],
)
def test_what_it_does_not_cover_stays_with_peft(adapted, encoder, examples, storage, options, why):
    model = adapted(storage, **options)
    before = {id(module): module.forward for module in model.modules() if isinstance(module, LoraLayer)}
    choice = fuse(model, Pointwise(compiled=False))
    assert choice.value == "0 of 6 layers" and "6 with" in choice.reason and why in choice.reason
    assert all(module.forward == before[id(module)] for module in model.modules() if id(module) in before)


def test_generation_is_pefts(adapted):
    model = adapted("nf4")
    layer = next(module for module in model.modules() if isinstance(module, LoraLayer))
    x = torch.randn(3, layer.get_base_layer().in_features)
    with torch.inference_mode():
        plain = layer(x)
        fuse(model, Pointwise(compiled=False))
        assert torch.equal(layer(x), plain)


def test_checkpointing_any_share_of_the_layers_changes_nothing(adapted, encoder, examples):
    model, batch = adapted("nf4"), pack([encoder.encode(example) for example in examples[:2]])
    fuse(model, Pointwise(compiled=False))
    plain_loss, plain = step(model, batch)
    for every in (1, 2, 3):
        checkpoint(model, every)
        recomputing = [layer.gradient_checkpointing for layer in model.get_base_model().model.language_model.layers]
        assert sum(recomputing) == 6 // every
        loss, gradients = step(model, batch)
        assert loss == plain_loss
        for name, gradient in plain.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_compiled_passes_are_the_eager_ones(adapted, encoder, examples):
    model, batch = adapted("nf4"), pack([encoder.encode(example) for example in examples[:2]])
    fuse(model, Pointwise(compiled=False))
    plain_loss, plain = step(model, batch)
    unfuse(model)
    fuse(model, Pointwise(compiled=True))
    loss, gradients = step(model, batch)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for name, gradient in plain.items():
        assert torch.allclose(gradients[name], gradient, rtol=2e-3, atol=2e-4 * float(gradient.abs().max())), name


@pytest.fixture
def on_gpu(encoder, examples):
    """Return the adapted nano that ships, on the GPU in bf16 over NF4, and a function that takes steps with it."""
    device, hardware = torch.device("cuda"), Hardware()
    plan = hardware.plan(compute="auto", storage="nf4", attention=attention.choose)
    precision = Precision().settled(Compute[plan.compute.value])
    model = Lora(r=8).apply(Model().load(precision, hardware, plan).model).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)

    def take(rows):
        """Return loss and gradients of rows of examples."""
        total = 0.0
        for row in rows:
            batch = on_device(pack([encoder.encode(examples[at]) for at in row]), device)
            with precision.autocast(device):
                loss = answer_nats(model, batch)
            loss.backward()
            total += loss.item()
        gradient = torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
        return total, gradient

    return model, take


@pytest.mark.gpu
def test_on_a_gpu_packed_is_unpacked_and_fused_is_pefts(on_gpu):
    model, take = on_gpu
    _, plain = take([[0], [1], [2]])
    compiled = choose(None, torch.device("cuda"))
    assert compiled.value, compiled.reason
    fuse(model, Pointwise(compiled=True))
    alone_loss, alone = take([[0], [1], [2]])
    packed_loss, packed = take([[0, 1, 2]])
    assert packed_loss == pytest.approx(alone_loss, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(packed, alone, dim=0) > 0.999
    assert torch.nn.functional.cosine_similarity(alone, plain, dim=0) > 0.999
    checkpoint(model, 1)
    again_loss, again = take([[0, 1, 2]])
    assert again_loss == pytest.approx(packed_loss, rel=1e-5)
    assert torch.nn.functional.cosine_similarity(again, packed, dim=0) > 0.9999
