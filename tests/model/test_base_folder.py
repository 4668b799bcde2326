"""Folders of base weights that are damaged, quantised already, or set more than an architecture."""

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medvl.data.encoding import Encoder
from medvl.documents.tasks import TRANSCRIBE
from medvl.generation.reference import generate
from medvl.hardware.plan import Device, Hardware
from medvl.model.attention import choose
from medvl.model.loading import Model
from medvl.model.precision import Compute, Precision, Storage

NANO = Path(str(resources.files("medvl.shapes"))) / "nano"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDINGS = "model.language_model.embed_tokens.weight"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(NANO, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture(scope="module")
def states():
    return load_file(NANO / WEIGHTS)


def precision_of(storage, **options):
    return Precision(storage=Storage[storage], compute=Compute.fp32, **options)


def load(folder, storage="fp32", **options):
    hardware = Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage=storage, attention=choose)
    return Model(path=str(folder)).load(precision_of(storage, **options), hardware, plan)


def save(states, file):
    save_file(states, file, metadata={"format": "pt"})


def change(file, **changes):
    """Set keys of a JSON file; text_config__name sets one in its part."""
    whole = json.loads(file.read_text())
    for key, value in changes.items():
        part, inner = ("text_config", key[13:]) if key.startswith("text_config__") else (None, key)
        (whole[part] if part else whole)[inner] = value
    file.write_text(json.dumps(whole))


def shard(folder, states, *, names=lambda name: True):
    """Replace the weights by two shards and their index; only the chosen names are in the second shard."""
    (folder / WEIGHTS).unlink()
    ordered = sorted(states)
    halves = {"model-00001-of-00002.safetensors": ordered[:70], "model-00002-of-00002.safetensors": ordered[70:]}
    places = {name: file for file, part in halves.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for file, part in halves.items():
        save({name: states[name] for name in part if file.startswith("model-00001") or names(name)}, folder / file)
    return list(halves)


def answer(loaded):
    """Return the first tokens that a model reads off a page with bars."""
    page = Image.new("RGB", (140, 84), "white")
    page.paste("black", (20, 20, 120, 34))
    encoder = Encoder(loaded.processor)
    asked = encoder.encode_images([page], TRANSCRIBE, None)
    return generate(loaded.model, encoder, precision_of("fp32"), [asked], max_new_tokens=12)[0]


@pytest.fixture(scope="module")
def read():
    """What the nano that ships answers."""
    return answer(load(NANO))


def test_a_base_that_lacks_a_layers_tensors_is_refused(folder, states):
    save({name: tensor for name, tensor in states.items() if "layers.3." not in name}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"lacks 12 of 140 tensors, such as .*layers\.3\..*Set model\.path=<a whole"):
        load(folder)


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_one_absent_tensor_is_missed_when_the_base_is_quantised(folder, states, storage):
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    save({other: tensor for other, tensor in states.items() if other != name}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"lacks 1 of 140 tensors, such as .*layers\.0\.mlp\.up_proj\.weight"):
        load(folder, storage)


def test_a_base_with_other_key_prefixes_is_refused(folder, states):
    save({f"transformer.{name}": tensor for name, tensor in states.items()}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"lacks 14\d of 140 tensors"):
        load(folder)


def test_a_base_with_tensors_it_has_no_place_for_is_refused(folder, states):
    save({**states, "model.language_model.layers.6.mlp.up_proj.weight": torch.zeros(2, 2)}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"holds 1 tensors, such as .*layers\.6.*no place for\. Set model\.path"):
        load(folder)


def test_a_base_with_a_tensor_of_another_shape_is_refused(folder, states):
    save({**states, "model.language_model.norm.weight": torch.ones(3)}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"language_model\.norm\.weight is \[3\] instead of \[256\]\. Set model\.path"):
        load(folder)


def test_a_head_of_its_own_that_is_not_there_is_refused(folder):
    change(folder / "config.json", tie_word_embeddings=False, text_config__tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"lacks 1 of 141 tensors, such as lm_head\.weight"):
        load(folder)


def test_a_head_of_its_own_is_used_and_saved_whatever_the_configuration_says(folder, states):
    head = torch.full((288, 256), 0.5)
    save({**states, "lm_head.weight": head}, folder / WEIGHTS)
    model = load(folder).model
    assert torch.equal(model.lm_head.weight, head)
    assert torch.equal(model.get_input_embeddings().weight, states[EMBEDDINGS].float())
    assert model.config.tie_word_embeddings is False


def test_legitimate_absences_and_old_names_load(folder, states):
    """Checkpoints before transformers 4.52 say model.layers and visual; old ones hold rotary frequencies too."""
    old = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor
        for name, tensor in states.items()
    }
    assert "lm_head.weight" not in old and "model.layers.0.mlp.up_proj.weight" in old
    old["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(32)
    save(old, folder / WEIGHTS)
    model = load(folder).model
    assert torch.equal(model.get_parameter(EMBEDDINGS), states[EMBEDDINGS].float())
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_whole_shards_load(folder, states):
    shard(folder, states)
    Model(path=str(folder)).check(precision_of("fp32"))
    assert torch.equal(load(folder).model.get_parameter(EMBEDDINGS), states[EMBEDDINGS].float())


def test_an_index_that_names_an_absent_shard_is_refused(folder, states):
    _, second = shard(folder, states)
    (folder / second).unlink()
    with pytest.raises(ValueError, match=rf"lacks its file {second}\. Set model\.path=<a whole folder>"):
        Model(path=str(folder)).check(precision_of("fp32"))


def test_a_shard_that_lacks_tensors_of_its_index_is_refused(folder, states):
    shard(folder, states, names=lambda name: "blocks.4" not in name)
    with pytest.raises(ValueError, match=r"lacks 12 of 140 tensors, such as model\.visual\.blocks\.4"):
        Model(path=str(folder)).check(precision_of("fp32"))


def test_a_tensor_in_two_shards_is_refused(folder, states):
    first, _ = shard(folder, states)
    name = "model.visual.patch_embed.proj.weight"
    save({**load_file(folder / first), name: torch.zeros_like(states[name])}, folder / first)
    with pytest.raises(ValueError, match=r"holds 1 of 140 tensors, such as .*patch_embed.* in more than one file"):
        Model(path=str(folder)).check(precision_of("fp32"))


@pytest.mark.parametrize("index", ["", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 7}}', "[" * 100_000])
def test_a_malformed_index_is_refused(folder, states, index):
    shard(folder, states)
    (folder / INDEX).write_text(index)
    with pytest.raises(ValueError, match=r"Set model\.path=<a whole folder>"):
        Model(path=str(folder)).check(precision_of("fp32"))


def test_a_shard_outside_the_folder_is_refused(folder, states):
    first, _ = shard(folder, states)
    shutil.move(folder / first, folder.parent / first)
    (folder / INDEX).write_text((folder / INDEX).read_text().replace(first, f"../{first}"))
    with pytest.raises(ValueError, match=r"names a file outside its folder"):
        Model(path=str(folder)).check(precision_of("fp32"))


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, "half"])
def test_cut_off_weights_are_refused_before_anything_is_prepared(folder, content):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match=r"model\.safetensors is cut off or no safetensors file.*Set model\.path="):
        Model(path=str(folder)).check(precision_of("fp32"))


def test_pickled_weights_are_never_read(folder, states):
    (folder / WEIGHTS).unlink()
    torch.save(states, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds no weights: .*pytorch_model\.bin is not read\. Set model\.path"):
        load(folder)


def test_an_adapter_among_the_files_of_a_base_is_not_followed(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "a/b"}')
    with pytest.raises(ValueError, match=r"holds an adapter \(adapter_config\.json\), not a base\. Set adapter="):
        load(folder)


# What a base sets beyond its architecture


@pytest.mark.parametrize(
    "setting",
    [
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 12},
        {"min_length": 200},
        {"max_length": 3},
        {"num_beams": 3, "length_penalty": -4.0},
        {"do_sample": True, "temperature": 50.0},
        {"suppress_tokens": [*range(32, 127)]},
        {"begin_suppress_tokens": [*range(32, 127)]},
        {"bad_words_ids": [[token] for token in range(32, 127)]},
        {"forced_eos_token_id": 100},
        {"forced_bos_token_id": 100},
        {"repetition_penalty": 9.0, "encoder_repetition_penalty": 5.0},
        {"sequence_bias": [[[101], 99.0]]},
        {"eos_token_id": [*range(0, 250)], "pad_token_id": 3},
        {"guidance_scale": 3.0},
        {"stop_strings": ["a", "e", " "]},
        {"return_dict_in_generate": True, "output_scores": True},
        {"num_return_sequences": 2, "num_beams": 2},
        {"cache_implementation": "static"},
        {"use_cache": False},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_generation_settings_of_the_folder_change_no_answer(read, setting):
    """Set as transformers would, from generation_config.json, also where the loader did not see them."""
    from transformers import GenerationConfig

    loaded = load(NANO)
    loaded.model.generation_config = GenerationConfig(**setting)
    assert answer(loaded) == read and len(read) > 3


def test_generation_settings_are_not_even_read(folder, read):
    (folder / "generation_config.json").write_text("{")
    loaded = load(folder)
    assert loaded.model.generation_config.no_repeat_ngram_size in (None, 0)
    change(folder / "config.json", no_repeat_ngram_size=1, do_sample=True, text_config__min_length=99)
    change(folder / "config.json", text_config__repetition_penalty=9.0)
    loaded = load(folder)
    assert answer(loaded) == read
    loaded.model.save_pretrained(folder / "again")  # transformers refuses to save a model with such settings


@pytest.mark.parametrize(
    "setting",
    [
        {"attn_implementation": "flash_attention_2"},
        {"_attn_implementation": "someone/kernel"},
        {"text_config___attn_implementation": "flash_attention_2"},
        {"use_cache": False, "text_config__use_cache": False},
        {"return_dict": False, "output_hidden_states": True},
        {"dtype": "float16", "text_config__dtype": "float16"},
        {"torch_dtype": "float16"},
        {"transformers_weights": "other.safetensors"},
        {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_of_config_json_that_are_no_architecture_change_nothing(folder, read, setting):
    change(folder / "config.json", **setting)
    (folder / "evil.py").write_text("raise SystemExit('remote code ran')")
    loaded = load(folder)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert answer(loaded) == read


@pytest.mark.parametrize("file", ["tokenizer_config.json", "preprocessor_config.json"])
def test_code_of_a_folder_never_runs(folder, file):
    names = {"AutoTokenizer": ["evil.Evil", None], "AutoProcessor": "evil.Evil", "AutoImageProcessor": "evil.Evil"}
    change(folder / file, auto_map=names, tokenizer_class="Evil", processor_class="Evil")
    (folder / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()")
    try:
        Model(path=str(folder)).processor()
    except ValueError as error:
        assert "Set model.path" in str(error)
    assert not (folder / "ran").exists()


def test_a_sliding_window_is_refused(folder):
    change(folder / "config.json", text_config__use_sliding_window=True, text_config__sliding_window=64)
    change(folder / "config.json", text_config__max_window_layers=0)
    with pytest.raises(ValueError, match=r"attends within a sliding window.*Set use_sliding_window to false"):
        Model(path=str(folder)).config()


# Bases that are quantised already


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """Return a function that returns a folder of quantised weights."""
    folders = {}

    def made(storage, **options):
        key = (storage, *sorted(options.items()))
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("quantized")
            loaded = load(NANO, storage, **options)
            loaded.model.save_pretrained(folders[key])
            loaded.processor.save_pretrained(folders[key])
        return folders[key]

    return made


@pytest.mark.parametrize(("storage", "options"), [("nf4", {}), ("nf4", {"double_quant": True}), ("int8", {})])
def test_a_quantised_base_loads_as_what_it_is(quantized, storage, options):
    folder = quantized(storage, **options)
    Model(path=str(folder)).check(precision_of(storage, **options))
    model, ours = load(folder, storage, **options).model, load(NANO, storage, **options).model
    name = "model.language_model.layers.0.mlp.up_proj"
    one, other = model.get_submodule(name), ours.get_submodule(name)
    assert type(one) is type(other) is not torch.nn.Linear
    states = torch.linspace(-1, 1, 256)[None]
    with torch.no_grad():
        torch.testing.assert_close(one(states), other(states))


@pytest.mark.parametrize(
    ("stored", "options", "asked", "message"),
    [
        ("nf4", {}, precision_of("bf16"), r"quantised to nf4, and bf16 weights are needed\. Set precision=nf4"),
        ("nf4", {}, precision_of("int8"), r"quantised to nf4, and int8 weights are needed\. Set precision=nf4"),
        ("int8", {}, precision_of("nf4"), r"quantised to int8, and nf4 weights are needed\. Set precision=int8"),
        ("nf4", {}, precision_of("nf4", double_quant=True), r"Set precision\.double_quant=false"),
        ("nf4", {"double_quant": True}, precision_of("nf4"), r"Set precision\.double_quant=true"),
        ("nf4", {"vision": True}, precision_of("nf4"), r"quantises other layers .*Set precision\.vision=true"),
    ],
)
def test_a_base_quantised_otherwise_is_refused(quantized, stored, options, asked, message):
    with pytest.raises(ValueError, match=message):
        Model(path=str(quantized(stored, **options))).check(asked)


@pytest.mark.parametrize("method", ["awq", "gptq", "fp8"])
def test_a_base_quantised_by_another_method_is_refused(folder, method):
    change(folder / "config.json", text_config__quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(ValueError, match=rf"quantised by {method}.*Set model\.path=<a folder of unquantised"):
        Model(path=str(folder)).check(precision_of("nf4"))


@pytest.mark.parametrize("lost", [".absmax", ".quant_state.bitsandbytes__nf4"])
def test_quantised_weights_without_their_scales_are_refused(quantized, tmp_path, lost):
    shutil.copytree(quantized("nf4"), tmp_path / "base")
    states = load_file(tmp_path / "base" / WEIGHTS)
    assert any(name.endswith(lost) for name in states)
    save({name: t for name, t in states.items() if not name.endswith(lost)}, tmp_path / "base" / WEIGHTS)
    with pytest.raises(ValueError, match=r"Set model\.path"):
        load(tmp_path / "base", "nf4")


def test_int8_weights_without_their_scales_are_refused(quantized, tmp_path):
    shutil.copytree(quantized("int8"), tmp_path / "base")
    states = load_file(tmp_path / "base" / WEIGHTS)
    save({name: t for name, t in states.items() if not name.endswith(".SCB")}, tmp_path / "base" / WEIGHTS)
    with pytest.raises(ValueError, match=r"Set model\.path"):
        load(tmp_path / "base", "int8")


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_unquantised_weights_that_claim_to_be_quantised_are_refused(quantized, folder, storage):
    settings = json.loads((quantized(storage) / "config.json").read_text())["quantization_config"]
    change(folder / "config.json", quantization_config=settings)
    with pytest.raises(ValueError, match=r"Set model\.path|take quantization_config out of"):
        load(folder, storage)
