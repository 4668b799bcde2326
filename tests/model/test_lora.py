"""Which parameters train, on the true shapes and with every adapter option."""

import pytest
import torch

from medvl.data.packing import pack
from medvl.model.loading import Model, WeightInit
from medvl.model.lora import FullFineTuning, Lora, LoraInit, matched, trainable
from medvl.model.names import meta_model
from medvl.training.loss import answer_nats

SEED_VISION = ["gate_proj", "up_proj", "down_proj"]


def on_meta(shape, lora):
    model = meta_model(Model(shape=shape, init=WeightInit.random).config())
    total = sum(parameter.numel() for parameter in model.parameters())
    with torch.device("meta"):
        return total, lora.apply(model)


def test_the_7b_shape():
    total, model = on_meta("qwen2_5_vl_7b", Lora(r=64))
    assert total == 8_292_166_656
    assert trainable(model) == {"language": 161_480_704, "vision": 0, "merger": 0}
    names = matched(model)
    assert len(names) == 28 * 7 and all(name.startswith("model.language_model.layers.") for name in names)
    assert names[0] == "model.language_model.layers.0.self_attn.q_proj"


def test_the_seeds_suffix_list_on_the_7b_shape(compose):
    _, model = on_meta("qwen2_5_vl_7b", compose("lora=seed").lora)
    assert sum(trainable(model).values()) == 190_357_504
    assert sum(name.startswith("model.visual.") for name in matched(model)) == 32 * 3


@pytest.mark.parametrize(
    ("shape", "billions"),
    [("qwen2_5_vl_3b", 3.75), ("qwen2_5_vl_32b", 33.45), ("qwen2_5_vl_72b", 73.41), ("nano", 0.0082)],
)
def test_the_other_shapes(shape, billions):
    total, model = on_meta(shape, Lora(r=8, vision=["qkv", "proj", *SEED_VISION], merger=True))
    assert total / 1e9 == pytest.approx(billions, rel=0.01)
    assert all(trainable(model).values())


OPTIONS = {
    "default": Lora(r=4),
    "two projections": Lora(r=4, language=["q_proj", "down_proj"]),
    "rslora": Lora(r=4, rslora=True),
    "dora": Lora(r=4, dora=True),
    "dropout": Lora(r=4, dropout=0.1),
    "vision": Lora(r=4, language=[], vision=["qkv", "proj", *SEED_VISION]),
    "merger": Lora(r=4, language=[], merger=True),
    "everything": Lora(r=4, vision=["qkv"], merger=True),
    "pissa": Lora(r=4, init=LoraInit.pissa),
    "full": FullFineTuning(),
    "full, language": FullFineTuning(vision=False, merger=False),
    "full, merger": FullFineTuning(language=False, vision=False),
}
CASES = [(name, "fp32") for name in OPTIONS] + [
    (name, storage) for name in ("default", "dora", "vision", "everything") for storage in ("nf4", "int8")
]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("name", "storage"), CASES)
def test_every_trainable_parameter_gets_a_gradient_and_nothing_else(
    load_nano, encoder, examples, name, storage, checkpointing
):
    if checkpointing and name not in ("default", "vision", "full"):
        pytest.skip("checkpointing is tried on one option of each kind")
    vision = storage != "fp32" and name in ("vision", "everything")
    base, _, _ = load_nano(storage, vision=vision)
    model = OPTIONS[name].apply(base)
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:  # zero initially, so A would have no gradient
            torch.nn.init.normal_(parameter, std=0.02)
    answer_nats(model, pack([encoder.encode(example) for example in examples[:2]])).backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name
            # A key's bias shifts all scores of a query equally, so through softmax its gradient is only rounding error.
            assert parameter.grad.abs().max() > 0 or parameter_name.endswith("k_proj.bias"), parameter_name
        else:
            assert parameter.grad is None, parameter_name
    trained = trainable(model)
    option = OPTIONS[name]
    assert bool(trained["vision"]) == bool(option.vision) and bool(trained["merger"]) == bool(option.merger)
    assert bool(trained["language"]) == bool(option.language)


def test_pissa_starts_at_the_base(load_nano, encoder, examples):
    base, _, _ = load_nano()
    batch = pack([encoder.encode(examples[0])])
    with torch.no_grad():
        before = float(answer_nats(base, batch))
        after = float(answer_nats(Lora(r=64, init=LoraInit.pissa).apply(base).eval(), batch))
    assert after == pytest.approx(before, rel=1e-3)


@pytest.mark.gpu
def test_loftq_starts_near_the_base(load_nano, encoder, examples):
    base, _, _ = load_nano()
    batch = pack([encoder.encode(examples[0])])
    with torch.no_grad():
        before = float(answer_nats(base, batch))
        after = float(answer_nats(Lora(r=64, init=LoraInit.loftq).apply(base).eval(), batch))
    assert after == pytest.approx(before, rel=0.2) and after != before


def test_loftq_is_refused_where_peft_cannot_compute_it():
    Lora(init=LoraInit.loftq).check_device("cuda")
    with pytest.raises(ValueError, match=r"Set lora\.init=pissa, or hardware=auto on a GPU"):
        Lora(init=LoraInit.loftq).check_device("cpu")


def test_adapters_change_what_the_model_says(load_nano, encoder, examples):
    base, _, _ = load_nano("nf4")
    model = Lora(r=8).apply(base).eval()
    batch = pack([encoder.encode(examples[0])])
    with torch.no_grad():
        start = float(answer_nats(model, batch))
        with model.disable_adapter():
            assert float(answer_nats(model, batch)) == pytest.approx(start, rel=1e-5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
        assert float(answer_nats(model, batch)) != pytest.approx(start, rel=1e-3)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"matches no module|not found"):
        Lora(r=4).apply(torch.nn.Sequential(torch.nn.Linear(4, 4)))
