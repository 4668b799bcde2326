"""Loading in every precision, generation, and the numbers of the 7B shape."""

import pytest
import torch
from peft import get_peft_model_state_dict

from medvl.data.packing import pack
from medvl.hardware.plan import Hardware
from medvl.model.loading import Model, WeightInit, weight_bytes
from medvl.model.lora import Lora
from medvl.model.precision import Compute, Precision, Storage
from medvl.training.loss import answer_nats

STORAGES = [storage.name for storage in Storage]


@pytest.mark.parametrize("storage", STORAGES)
def test_every_storage_loads_and_stays_near_fp32(load_nano, nano, encoder, examples, storage):
    """The loss differs only by quantisation noise of the format."""
    model, _, _ = load_nano(storage, double_quant=storage in ("nf4", "fp4"))
    kinds = {type(module).__name__ for module in model.model.language_model.layers.modules()}
    expected = {"nf4": "Linear4bit", "fp4": "Linear4bit", "int8": "Linear8bitLt"}.get(storage, "Linear")
    assert expected in kinds
    assert type(model.model.visual.blocks[0].mlp.gate_proj) is torch.nn.Linear
    assert type(model.lm_head) is torch.nn.Linear
    batch = pack([encoder.encode(example) for example in examples[:2]])
    with torch.no_grad():
        loss, exact = float(answer_nats(model, batch)), float(answer_nats(nano, batch))
    tolerance = {"nf4": 0.1, "fp4": 0.15, "int8": 0.05}.get(storage, 0.02)
    assert loss == pytest.approx(exact, rel=tolerance) and (storage == "fp32" or loss != exact)


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_the_vision_tower_is_quantised_only_on_request(load_nano, storage):
    model, _, _ = load_nano(storage, vision=True)
    assert type(model.model.visual.blocks[0].mlp.gate_proj) is not torch.nn.Linear
    assert type(model.model.visual.merger.mlp[0]) is not torch.nn.Linear
    assert type(model.lm_head) is torch.nn.Linear


@pytest.mark.parametrize("storage", ["nf4", "fp4"])
def test_resident_values_are_the_same_function(load_nano, encoder, examples, storage):
    """Compares loss and all adapter gradients; an adapter trained on either loads on the other."""
    losses, gradients, names = [], [], []
    batch = pack([encoder.encode(example) for example in examples[:2]])
    for resident in (False, True):
        model, _, precision = load_nano(storage, double_quant=True, resident=resident)
        if resident:
            precision.dequantize(model)
            assert not any(type(module).__name__ == "Linear4bit" for module in model.modules())
        torch.manual_seed(0)
        model = Lora(r=4).apply(model)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero initially, so no gradient reaches A
                torch.nn.init.normal_(parameter, std=0.02)
        loss = answer_nats(model, batch)
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
        names.append(sorted(get_peft_model_state_dict(model, save_embedding_layers=False)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and names[0] == names[1]
    for plain, held in zip(*gradients, strict=True):
        assert torch.nn.functional.cosine_similarity(plain.flatten(), held.flatten(), dim=0) > 0.9999


@pytest.mark.parametrize("storage", ["nf4", "fp4"])
def test_an_evaluation_leaves_four_bit_weights_as_they_are(load_nano, encoder, examples, storage, monkeypatch):
    """On CPUs with AVX512-BF16 bitsandbytes reorders the weights in eval mode, in a layout training cannot use."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model, _, _ = load_nano(storage)
    weights = {name: p.clone() for name, p in model.named_parameters() if p.dtype == torch.uint8}
    batch = pack([encoder.encode(examples[0])])
    with torch.no_grad():
        before = answer_nats(model, batch)
    for name, weight in weights.items():
        assert torch.equal(model.get_parameter(name), weight), name
    model = Lora(r=4).apply(model).train()
    after = answer_nats(model, batch)
    after.backward()
    torch.testing.assert_close(after, before)
    assert all(p.grad.abs().sum() > 0 for name, p in model.named_parameters() if "lora_B" in name)


def test_resident_values_take_what_unquantised_weights_take():
    config = Model(shape="qwen2_5_vl_7b", init=WeightInit.random).config()
    held, bf16 = (Precision(compute=Compute.bf16, resident=True), Precision(storage=Storage.bf16))
    assert weight_bytes(config, held) == weight_bytes(config, bf16)
    with pytest.raises(ValueError, match=r"Set precision\.resident=false"):
        Precision(storage=Storage.int8, resident=True)


def test_sixteen_bit_values_survive_being_held_in_fp32(load_nano, nano):
    model, _, _ = load_nano("bf16")
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    rounded, exact = model.get_parameter(name), nano.get_parameter(name)
    assert rounded.dtype == torch.float32 and torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(rounded, exact)


def test_the_7b_weights_as_the_seed_measured_them():
    """5,664 MiB in NF4 with the vision tower quantised, 15,820 in 16 bits: the estimate used before loading."""
    config = Model(shape="qwen2_5_vl_7b", init=WeightInit.random).config()
    nf4 = Precision(double_quant=True, vision=True, compute=Compute.bf16)
    assert weight_bytes(config, nf4) / 2**20 == pytest.approx(5664, rel=0.01)
    fp16 = Precision(storage=Storage.fp16, compute=Compute.fp16)
    assert weight_bytes(config, fp16) / 2**20 == pytest.approx(15820, rel=0.01)


def test_random_weights_are_the_same_everywhere(load_nano, nano):
    again, _, _ = load_nano()
    assert all(torch.equal(a, b) for a, b in zip(nano.parameters(), again.parameters(), strict=True))


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be loaded: .* Set model\.path="):
        Model(shape="qwen2_5_vl_7b", path=str(tmp_path)).config()
    with pytest.raises(ValueError, match=r"ships no shape 'qwen9'.*qwen2_5_vl_7b"):
        Model(shape="qwen9", init=WeightInit.random)


def test_another_architecture_is_refused(tmp_path):
    from transformers import Qwen2Config

    Qwen2Config(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds a qwen2; medvl trains Qwen2\.5-VL"):
        Model(path=str(tmp_path)).config()


def test_a_saved_model_loads_through_from_pretrained(nano, processor, tmp_path):
    from medvl.model.attention import choose

    nano.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    hardware = Hardware()
    plan = hardware.plan(compute="fp32", storage="fp32", attention=choose)
    loaded = Model(path=str(tmp_path)).load(Precision(storage=Storage.fp32, compute=Compute.fp32), hardware, plan)
    assert all(torch.equal(a, b) for a, b in zip(nano.parameters(), loaded.model.parameters(), strict=True))
    assert loaded.processor.chat_template == processor.chat_template
