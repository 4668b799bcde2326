"""Adapters and whole trained weights that are damaged, incomplete or another kind's; and all that peft itself loads."""

import json
import shutil

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from medvl.hardware.plan import Device, Hardware
from medvl.model.adapters import attach, check_base, check_storage, export
from medvl.model.attention import choose
from medvl.model.loading import Model, WeightInit
from medvl.model.lora import Lora
from medvl.model.merging import Artefact
from medvl.model.precision import Compute, Precision, Storage

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TARGETS = r".*language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)"
QUERY = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
NAMED = {"base": "nano", "base_hash": "abc"}


@pytest.fixture(scope="module")
def nano():
    """Return a function that returns a fresh nano, which tests may wrap and change."""
    import copy

    hardware = Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage="fp32", attention=choose)
    precision = Precision(storage=Storage.fp32, compute=Compute.fp32)
    one = Model().load(precision, hardware, plan).model
    return lambda: copy.deepcopy(one)


def write(wrapped, folder, **options):
    """Give an adapter values as if trained, save it, and return it."""
    torch.manual_seed(3)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    wrapped.save_pretrained(str(folder), **options)
    return wrapped


@pytest.fixture(scope="module")
def made(nano, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "adapter"
    write(Lora(r=4, language=["q_proj", "v_proj"]).apply(nano()), folder, save_embedding_layers=False)
    return folder


@pytest.fixture
def adapter(made, tmp_path):
    shutil.copytree(made, tmp_path / "adapter")
    return tmp_path / "adapter"


def keep(adapter, wanted):
    """Keep only the tensors whose names pass."""
    states = {name: tensor for name, tensor in load_file(adapter / WEIGHTS).items() if wanted(name)}
    save_file(states, adapter / WEIGHTS, metadata={"format": "pt"})


def change(adapter, **changes):
    file = adapter / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_whole_adapter_attaches_frozen(nano, made):
    model = attach(nano(), made)
    assert model.get_submodule(QUERY).lora_B["default"].weight.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in model.parameters()) and not model.training


@pytest.mark.parametrize("storage", ["nf4", "fp4", "int8", "bf16"])
@pytest.mark.parametrize("lost", [None, "layers.5.self_attn.v_proj.lora_B"])
def test_adapters_on_every_storage_are_counted_alike(adapter, storage, lost):
    precision, hardware = Precision(storage=Storage[storage], compute=Compute.fp32), Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage=storage, attention=choose)
    model = Model().load(precision, hardware, plan).model
    keep(adapter, lambda name: lost is None or lost not in name)
    if lost is None:
        layer = attach(model, adapter).get_submodule(QUERY)
        assert torch.equal(layer.lora_B["default"].weight, load_file(adapter / WEIGHTS)[f"{QUERY}.lora_B.weight"])
        return
    with pytest.raises(ValueError, match=r"lacks 1 of 24 tensors, such as .*layers\.5\.self_attn\.v_proj\.lora_B"):
        attach(model, adapter)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (lambda name: "lora_A" in name, 12),
        (lambda name: "layers.3." not in name, 4),
        (lambda name: "layers.0.self_attn.q_proj.lora_B" not in name, 1),
        (lambda name: False, 24),
    ],
)
def test_an_adapter_that_lacks_tensors_is_refused(nano, adapter, wanted, count):
    keep(adapter, wanted)
    with pytest.raises(ValueError, match=rf"lacks {count} of 24 tensors, such as .*lora_.*Set adapter="):
        attach(nano(), adapter)


def test_an_adapter_with_other_prefixes_is_refused(nano, adapter):
    states = {name.replace("language_model", "decoder"): t for name, t in load_file(adapter / WEIGHTS).items()}
    save_file(states, adapter / WEIGHTS)
    with pytest.raises(ValueError, match=r"lacks 24 of 24 tensors"):
        attach(nano(), adapter)


def test_an_adapter_for_more_layers_is_refused(nano, adapter):
    states = load_file(adapter / WEIGHTS)
    more = {name.replace("layers.0.", "layers.9."): tensor.clone() for name, tensor in states.items()}
    save_file({**states, **more}, adapter / WEIGHTS)
    with pytest.raises(ValueError, match=r"holds 4 tensors, such as .*layers\.9.*no place for"):
        attach(nano(), adapter)


def test_an_adapter_of_another_rank_is_refused(nano, adapter):
    change(adapter, r=8)
    with pytest.raises(ValueError, match=r"does not fit this base.*size mismatch"):
        attach(nano(), adapter)


def test_an_adapter_that_replaces_weights_of_its_base_is_refused(nano, adapter):
    name = f"{QUERY}.base_layer.weight"
    save_file({**load_file(adapter / WEIGHTS), name: torch.zeros(256, 256)}, adapter / WEIGHTS)
    with pytest.raises(ValueError, match=r"replaces 1 tensors, such as .*base_layer\.weight of its base"):
        attach(nano(), adapter)


KINDS = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "bias of adapted layers": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
    "bias of B": {"lora_bias": True},
    "whole head": {"modules_to_save": ["lm_head"]},
    "whole norm": {"modules_to_save": ["model.language_model.norm"]},
    "some layers": {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1, 2]},
    "ranks of their own": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    "embeddings adapted": {"target_modules": ["embed_tokens", "q_proj"]},
    "new tokens": {"trainable_token_indices": [1, 5]},
    "a few targets by name": {"target_modules": ["q_proj", "v_proj"]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_peft_saves_and_loads_attaches(nano, tmp_path, kind):
    config = LoraConfig(**{"r": 4, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **KINDS[kind]})
    saved = write(get_peft_model(nano(), config), tmp_path)
    assert same(attach(nano(), tmp_path), saved)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_embeddings_beside_an_adapter_are_taken(nano, tmp_path):
    """As peft saves them when the vocabulary was changed, or on request."""
    wrapped = Lora(r=4, language=["q_proj"]).apply(nano())
    wrapped.get_input_embeddings().weight.requires_grad_(True)  # so that `write` changes it
    saved = write(wrapped, tmp_path, save_embedding_layers=True)
    names = set(load_file(tmp_path / WEIGHTS))
    assert "base_model.model.model.language_model.embed_tokens.weight" in names
    model = attach(nano(), tmp_path)
    assert same(model, saved)
    assert not torch.equal(model.get_input_embeddings().weight, nano().get_input_embeddings().weight)


@pytest.mark.parametrize("kind", ["whole head", "all biases"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parts_saved_whole_are_missed_too(nano, tmp_path, kind):
    config = LoraConfig(r=4, target_modules=TARGETS, task_type="CAUSAL_LM", **KINDS[kind])
    write(get_peft_model(nano(), config), tmp_path)
    lost = {"whole head": "lm_head", "all biases": "k_proj.bias"}[kind]
    keep(tmp_path, lambda name: lost not in name)
    with pytest.raises(ValueError, match=rf"lacks .*{lost}"):
        attach(nano(), tmp_path)


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG])
@pytest.mark.parametrize("content", [b"", b"garbage" * 9, b"[]", b"[" * 100_000, "half"], ids=range(5))
def test_damaged_files_end_in_a_sentence(nano, adapter, file, content):
    whole = (adapter / file).read_bytes()
    (adapter / file).write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    for refused in (lambda: check_base(adapter, **NAMED), lambda: attach(nano(), adapter)):
        with pytest.raises(ValueError, match=rf"{file} is (malformed|cut off)"):
            refused()


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "EVIL"},
        {"peft_type": None},
        {"r": "large"},
        {"r": -1},
        {"target_modules": None},
        {"target_modules": "("},
        {"target_modules": 3},
        {"lora_dropout": [1]},
        {"modules_to_save": 3},
        {"megatron_config": {"a": 1}, "megatron_core": "this"},
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "tokenizer_name_or_path": "a/b"},
        {"peft_type": "XLORA", "adapters": {"one": "a/b"}, "hidden_size": 256},
    ],
    ids=str,
)
def test_configurations_that_cannot_be_attached_end_in_a_sentence(nano, adapter, changes):
    change(adapter, **changes)
    with pytest.raises(ValueError, match=r"[Ss]et adapter=<another folder>|Name a"):
        attach(nano(), adapter)


def test_no_package_that_an_adapter_names_is_imported(nano, adapter, tmp_path, monkeypatch):
    (tmp_path / "evil_core.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    change(adapter, megatron_config={"a": 1}, megatron_core="evil_core")
    with pytest.raises(ValueError, match=r"asks for the package megatron"):
        attach(nano(), adapter)
    assert not (tmp_path / "ran").exists()


def test_names_in_an_adapter_reach_no_hub(nano, adapter, made, monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    change(adapter, base_model_name_or_path="some/base", revision="main", auto_mapping={"parent_library": "evil"})
    assert same(attach(nano(), adapter), attach(nano(), made))


@pytest.mark.parametrize("name", ["lora_alpha", "r", "lora_dropout"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_an_adapter_with_a_number_that_is_none_is_refused(nano, adapter, name, number):
    change(adapter, **{name: "here"})
    file = adapter / CONFIG
    file.write_text(file.read_text().replace('"here"', number))
    for refused in (lambda: check_base(adapter, **NAMED), lambda: attach(nano(), adapter)):
        with pytest.raises(ValueError, match=rf"{CONFIG} is malformed: {number} is no finite number"):
            refused()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("start", ["gaussian", "eva", "orthogonal", "mica", False])
def test_initial_values_that_attaching_replaces_are_not_computed(nano, adapter, made, start):
    change(adapter, init_lora_weights=start)
    assert attach(nano(), adapter).peft_config["default"].init_lora_weights is True
    assert same(attach(nano(), adapter), attach(nano(), made))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("start", ["corda", "lora_ga"])
def test_an_adapter_whose_base_was_changed_by_data_is_refused(nano, adapter, start):
    change(adapter, init_lora_weights=start)
    with pytest.raises(ValueError, match=r"path_initial_model_for_weight_conversion"):
        attach(nano(), adapter)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_changes_of_the_base_are_repeated(nano, tmp_path, start):
    config = LoraConfig(r=4, target_modules=TARGETS, task_type="CAUSAL_LM", init_lora_weights=start)
    saved = write(get_peft_model(nano(), config), tmp_path)
    assert same(attach(nano(), tmp_path), saved)


def test_pickled_adapters_are_never_read(nano, adapter, monkeypatch):
    torch.save(load_file(adapter / WEIGHTS), adapter / "adapter_model.bin")
    shutil.move(adapter / WEIGHTS, adapter / "other.safetensors")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    for refused in (lambda: check_base(adapter, **NAMED), lambda: attach(nano(), adapter)):
        with pytest.raises(ValueError, match=rf"holds {CONFIG} but no {WEIGHTS}"):
            refused()


def test_weights_of_an_adapter_without_its_configuration_are_no_whole_model(nano, adapter):
    (adapter / CONFIG).unlink()
    with pytest.raises(ValueError, match=rf"holds {WEIGHTS} but no {CONFIG}"):
        attach(nano(), adapter)


BROKEN = ["", "{", "[]", "3", "null", "{}", "[" * 100_000]
UNSAID = ['{"base": "nano"}', '{"base_hash": "a"}', '{"base": 3, "base_hash": "a"}', '{"base": "a", "base_hash": null}']


@pytest.mark.parametrize("content", [*BROKEN, *UNSAID], ids=range(11))
def test_malformed_facts_about_the_base_end_in_a_sentence(adapter, content):
    (adapter / "medvl.json").write_text(content)
    with pytest.raises(ValueError, match=r"medvl\.json .*Name a whole folder, or take that file away"):
        check_base(adapter, **NAMED)


def test_facts_about_the_base_are_compared(adapter):
    check_base(adapter, **NAMED)
    (adapter / "medvl.json").write_text(json.dumps(NAMED))
    check_base(adapter, **NAMED)
    with pytest.raises(ValueError, match=r"was trained on nano, the run loads qwen"):
        check_base(adapter, base="qwen", base_hash="def")


# Whole weights after a full fine-tuning


@pytest.fixture
def whole(nano, tmp_path):
    states = {name: parameter.detach() + 1 for name, parameter in nano().named_parameters()}
    save_file(states, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_whole_weights_replace_those_of_the_base(nano, whole):
    model, name = attach(nano(), whole), "model.visual.patch_embed.proj.weight"
    assert torch.equal(model.get_parameter(name), nano().get_parameter(name) + 1)


def test_whole_weights_that_lack_a_layer_are_refused(nano, whole):
    states = load_file(whole / "model.safetensors")
    save_file({name: t for name, t in states.items() if "layers.3." not in name}, whole / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks 12 of 140 tensors, such as .*layers\.3\."):
        attach(nano(), whole)


def test_whole_weights_with_too_many_tensors_are_refused(nano, whole):
    save_file({**load_file(whole / "model.safetensors"), "head.weight": torch.ones(1)}, whole / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds 1 tensors, such as head\.weight this base has no place for"):
        attach(nano(), whole)


def test_whole_weights_with_a_tensor_in_two_files_are_refused(nano, whole):
    save_file({"model.language_model.norm.weight": torch.zeros(256)}, whole / "other.safetensors")
    with pytest.raises(ValueError, match=r"norm\.weight in more than one file"):
        attach(nano(), whole)


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_whole_weights_are_not_copied_into_quantised_ones(whole, storage, tmp_path):
    precision, hardware = Precision(storage=Storage[storage], compute=Compute.fp32), Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage=storage, attention=choose)
    with pytest.raises(ValueError, match=rf"whole weights.*stored in {storage}\. Set precision=fp32, or model\.path="):
        Artefact.adapter.load(Model(), whole, precision, hardware, plan, scratch=tmp_path)
    check_storage(whole, "bf16", quantized=False)


# Folders that cannot be written


@pytest.mark.parametrize("blocked", ["file", "parent"])
def test_an_export_that_cannot_be_written_ends_in_a_sentence(adapter, tmp_path, blocked):
    (adapter / "medvl.json").write_text("{}")
    folder = tmp_path / "run" / "export"
    (tmp_path / "run").mkdir() if blocked == "file" else (tmp_path / "run").touch()
    if blocked == "file":
        folder.touch()
    with pytest.raises(ValueError, match=r"cannot be exported to .*resume the run"):
        export(adapter, folder, {})


def test_an_export_of_a_checkpoint_without_a_file_ends_in_a_sentence(adapter, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be exported to .*medvl\.json"):
        export(adapter, tmp_path / "export", {})
    assert not (tmp_path / "export").exists()


def requantise(adapter, scratch):
    precision, hardware = Precision(storage=Storage.nf4, compute=Compute.fp32), Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage="nf4", attention=choose)
    model = Model(init=WeightInit.random)
    return Artefact.requantised.load(model, adapter, precision, hardware, plan, scratch=scratch)


def test_a_scratch_folder_that_is_a_file_ends_in_a_sentence(adapter, tmp_path):
    (tmp_path / "scratch").touch()
    with pytest.raises(ValueError, match=r"merged model cannot be written to .*Set cache=<a folder with room>"):
        requantise(adapter, tmp_path / "scratch")


def test_a_scratch_folder_without_room_is_refused_before_anything_is_loaded(adapter, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    monkeypatch.setattr(Model, "load", lambda *_: pytest.fail("the base was loaded"))
    with pytest.raises(ValueError, match=r"takes 0\.0 GiB, .* GiB free\. Set cache="):
        requantise(adapter, tmp_path)


def test_a_disk_that_fills_up_ends_in_a_sentence(adapter, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(ValueError, match=r"No space left on device.*Set cache=<a folder with room>"):
        requantise(adapter, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_peft_itself_agrees_on_the_files_medvl_attaches(made, nano):
    assert same(attach(nano(), made), peft.PeftModel.from_pretrained(nano(), str(made)))
