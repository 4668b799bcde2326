"""Fused layers against peft's, for every supported storage, and the cases that stay with peft."""

import pytest
import torch
from peft.tuners.lora import LoraLayer

from medvl.data.packing import pack
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import fuse, unfuse
from medvl.model.lora import Lora
from medvl.model.packed_forward import vision_features
from medvl.training.loss import EAGER, answer_nats
from medvl.training.tuning import checkpoint


@pytest.fixture
def adapted(load_nano):
    """Return a function that adds adapters to nano, with both A and B far from zero."""

    def build(storage, **options):
        resident = options.pop("resident", False)
        model, _, precision = load_nano(storage, double_quant=storage == "nf4", resident=resident)
        if resident:
            precision.dequantize(model)
        torch.manual_seed(1)
        model = Lora(r=8, **options).apply(model)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        return model.train()

    return build


def step(model, batch, fused_ops=EAGER, **autocast):
    """Return the loss, and the gradients of all adapters and of the row's embeddings."""
    kept = {}
    first = model.get_base_model().model.language_model.layers[1]
    handle = first.register_full_backward_hook(lambda module, given, got: kept.update(x=got[0].clone()))
    with torch.autocast("cpu", **(autocast or {"enabled": False})):
        loss = answer_nats(model, batch, fused_ops)
    loss.backward()
    handle.remove()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.item(), {**gradients, **({"x": kept["x"]} if kept.get("x") is not None else {})}


@pytest.mark.parametrize(("storage", "resident"), [("fp32", False), ("nf4", False), ("nf4", True), ("fp4", False)])
def test_it_is_pefts_function(adapted, encoder, examples, storage, resident):
    model, batch = adapted(storage, resident=resident), pack([encoder.encode(example) for example in examples[:2]])
    plain_loss, plain = step(model, batch)
    assert fuse(model, FusedOps(compiled=False))["fused"].value == "6 of 6 layers"
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
    assert fuse(model, FusedOps(compiled=False))["fused"].value == "6 of 6 layers"
    loss, fused = step(model, batch)
    assert loss == pytest.approx(plain_loss, rel=1e-5) and fused.keys() == plain.keys()
    for name, gradient in plain.items():
        assert torch.allclose(fused[name], gradient, rtol=2e-3, atol=2e-4 * float(gradient.abs().max())), name


def test_in_bf16_it_is_as_near_to_fp32_as_peft_is(adapted, encoder, examples):
    shortest = min(examples, key=lambda example: example.tokens)  # CPUs emulate bf16
    model, batch = adapted("fp32"), pack([encoder.encode(shortest)])
    _, exact = step(model, batch)
    _, plain = step(model, batch, dtype=torch.bfloat16)
    fuse(model, FusedOps(compiled=False))
    _, fused = step(model, batch, dtype=torch.bfloat16)

    def cosine(gradients):
        one, other = (torch.cat([part[name].flatten().float() for name in exact]) for part in (gradients, exact))
        return float(torch.nn.functional.cosine_similarity(one, other, dim=0))

    # On one short example with random weights the two errors differ by a tenth.
    assert 1 - cosine(fused) < 1.3 * (1 - cosine(plain)) < 0.05


@pytest.mark.parametrize(
    ("storage", "options", "why"),
    [("fp32", {"dropout": 0.1}, "dropout"), ("fp32", {"dora": True}, "DoRA"), ("int8", {}, "Linear8bitLt")],
)
def test_what_it_does_not_cover_stays_with_peft(adapted, encoder, examples, storage, options, why):
    model = adapted(storage, **options)
    before = {id(module): module.forward for module in model.modules() if isinstance(module, LoraLayer)}
    choice = fuse(model, FusedOps(compiled=False))["fused"]
    assert choice.value == "0 of 6 layers" and "6 with" in choice.reason and why in choice.reason
    assert all(module.forward == before[id(module)] for module in model.modules() if id(module) in before)


def test_generation_is_pefts(adapted):
    model = adapted("nf4")
    layer = next(module for module in model.modules() if isinstance(module, LoraLayer))
    x = torch.randn(3, layer.get_base_layer().in_features)
    with torch.inference_mode():
        plain = layer(x)
        fuse(model, FusedOps(compiled=False))
        assert torch.equal(layer(x), plain)


def test_checkpointing_any_share_of_the_layers_changes_nothing(adapted, encoder, examples):
    model, batch = adapted("nf4"), pack([encoder.encode(example) for example in examples[:2]])
    fuse(model, FusedOps(compiled=False))
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
    fuse(model, FusedOps(compiled=False))
    plain_loss, plain = step(model, batch)
    unfuse(model)
    compiled = FusedOps(compiled=True)
    fuse(model, compiled)
    loss, gradients = step(model, batch, compiled)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for name, gradient in plain.items():
        assert torch.allclose(gradients[name], gradient, rtol=2e-3, atol=2e-4 * float(gradient.abs().max())), name


def tower_of(model, batch):
    """Return the tower's features of a row's pages before and after `fuse`, and the result of `fuse`."""
    visual = model.get_base_model().model.visual
    plain = vision_features(visual, batch)
    choice = fuse(model, FusedOps(compiled=False))["fused_tower"]
    return plain, vision_features(visual, batch), choice


@pytest.mark.parametrize(
    ("storage", "options"), [("fp32", {}), ("nf4", {}), ("nf4", {"vision": True}), ("nf4", {"resident": True})]
)
def test_the_tower_is_transformers(load_nano, encoder, examples, storage, options):
    loaded, _, precision = load_nano(storage, **options)
    if precision.resident:
        precision.dequantize(loaded)
    model, batch = Lora(r=8).apply(loaded), pack([encoder.encode(example) for example in examples[:3]])
    plain, fused, choice = tower_of(model, batch)
    assert choice.value is True and len(plain) == sum(sum(example.visual_tokens) for example in examples[:3])
    assert torch.allclose(fused, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


def test_a_width_of_no_multiple_of_eight_is_filled_up(load_nano, encoder, examples):
    """Qwen2.5-VL's tower has an MLP width of 3,420."""
    model, batch = Lora(r=8).apply(load_nano()[0]), pack([encoder.encode(examples[0])])
    for block in model.get_base_model().model.visual.blocks:
        for name in ("gate_proj", "up_proj"):
            module = getattr(block.mlp, name)
            module.weight, module.bias = (torch.nn.Parameter(part[:-4], False) for part in (module.weight, module.bias))
            module.out_features -= 4
        block.mlp.down_proj.weight = torch.nn.Parameter(block.mlp.down_proj.weight[:, :-4], False)
    plain, fused, _ = tower_of(model, batch)
    assert torch.allclose(fused, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("options", [{"vision": ["qkv"]}, {"merger": True}])
def test_a_tower_that_trains_is_left_alone(adapted, encoder, examples, options):
    model, batch = adapted("fp32", **options), pack([encoder.encode(examples[0])])
    plain, fused, choice = tower_of(model, batch)
    assert choice.value is False and choice.reason == "it trains"
    assert torch.equal(fused, plain) and fused.requires_grad
