"""Exports in 4 and 8 bits: written by compressed-tensors, read back strictly, and scored from their folder."""

import json
import shutil

import pytest
import torch
from conftest import QUIET
from safetensors.torch import load_file, save_file

from medvl.export.card import card
from medvl.export.files import write_architecture, write_processor
from medvl.export.formats import Format
from medvl.export.weights import check_written, published_states, write_weights
from medvl.hardware.plan import Device, Hardware
from medvl.model.attention import choose
from medvl.model.loading import Model, WeightInit
from medvl.model.merging import Artefact
from medvl.model.names import published
from medvl.model.precision import Compute, Precision, Storage
from medvl.record.files import read_json, read_jsonl
from medvl.record.lock import locked
from medvl.reporting.collection import collect
from medvl.reporting.deployment import deployment
from medvl.run.export_target import stale

QUANTISED = [form for form in Format if form.scheme]
# How far a weight may be from the nearest value, relative to the largest of those that share its scale: half a step.
HALF_STEP = {"fp8": 1 / 28, "w8a16": 1 / 255, "w4a16": 1 / 15, "nvfp4a16": 1 / 6}
ROUNDED = 2**-7  # of scale and value, to bf16
BF16 = Precision(storage=Storage.bf16, compute=Compute.bf16)
LAYER = "model.layers.2.mlp.down_proj"


def load(folder):
    hardware = Hardware(device=Device.cpu)
    model = Model(path=str(folder))
    model.check(BF16)
    return model.load(BF16, hardware, hardware.plan(compute="bf16", storage="bf16", attention=choose)).model


@pytest.fixture(scope="module")
def base():
    """Nano's weights in bf16, under their published names."""
    hardware = Hardware(device=Device.cpu)
    plan = hardware.plan(compute="bf16", storage="bf16", attention=choose)
    loaded = Model().load(BF16, hardware, plan)
    return loaded, published_states(loaded.model)


@pytest.fixture(scope="module")
def folders(base, tmp_path_factory):
    """Nano in every format; tests must not change them."""
    loaded, states = base
    places = {}
    for form in QUANTISED:
        form.check(loaded.model.config)
        place = places[form.name] = tmp_path_factory.mktemp(form.name)
        write_architecture(loaded.model.config, place)
        wanted, layers = write_weights(dict(states), loaded.model.config, form.scheme, place)
        assert layers == 42 and check_written(place, wanted) == 140 + 42 * (1 if form is Format.fp8 else 2)
        write_processor(loaded.processor, place, min_pixels=3136, max_pixels=1003520)
    return places


@pytest.mark.parametrize("form", QUANTISED, ids=lambda form: form.name)
def test_a_folder_reads_back_as_the_nearest_values(folders, base, form):
    states, model = base[1], load(folders[form.name])
    assert not getattr(model.config, "quantization_config", None) and not model.is_quantized
    back = {published(name): tensor for name, tensor in model.state_dict().items()}
    changed = {name for name, tensor in states.items() if not back[name].equal(tensor)}
    assert len(changed) == 42 and all(name.startswith("model.layers.") for name in changed)
    weight, read = states[f"{LAYER}.weight"].float(), back[f"{LAYER}.weight"].float()
    group = {"fp8": weight.shape[1], "nvfp4a16": 16}.get(form.name, 128)
    apart, size = ((one.unflatten(1, (-1, group))).abs().amax(-1) for one in (weight - read, weight))
    assert (apart <= size * (HALF_STEP[form.name] + ROUNDED)).all() and apart.max() > 0


def test_the_names_are_those_that_vllm_reads(folders):
    names = {name: set(load_file(place / "model.safetensors")) for name, place in folders.items()}
    kinds = {
        name: {one.rpartition(".")[2] for one in all_ if one.startswith(f"{LAYER}.")} for name, all_ in names.items()
    }
    assert kinds["fp8"] == {"weight", "weight_scale"}
    assert kinds["w4a16"] == kinds["w8a16"] == {"weight_packed", "weight_scale", "weight_shape"}
    assert kinds["nvfp4a16"] == {"weight_packed", "weight_scale", "weight_global_scale"}
    config = read_json(folders["w4a16"] / "config.json")["quantization_config"]
    assert config["quant_method"] == "compressed-tensors" and config["quantization_status"] == "compressed"
    assert {"lm_head", "re:.*visual.*", "visual.merger.mlp.0", "visual.blocks.0.attn.qkv"} < set(config["ignore"])
    assert not [name for name in config["ignore"] if name.startswith("model.layers.")]
    sizes = {name: (place / "model.safetensors").stat().st_size / 1e6 for name, place in folders.items()}
    assert sizes["w4a16"] < sizes["nvfp4a16"] < sizes["fp8"] < sizes["w8a16"] < 12


def test_layers_that_vllm_fuses_share_nvfp4s_scale_of_a_layer(folders):
    states = load_file(folders["nvfp4a16"] / "model.safetensors")
    scales = {name.removesuffix(".weight_global_scale"): float(one) for name, one in states.items() if "global" in name}
    layer = "model.layers.1"
    assert len({scales[f"{layer}.self_attn.{one}_proj"] for one in "qkv"}) == 1
    assert scales[f"{layer}.mlp.gate_proj"] == scales[f"{layer}.mlp.up_proj"] != scales[f"{layer}.mlp.down_proj"]


def test_transformers_alone_loads_it(folders):
    from transformers import CompressedTensorsConfig, Qwen2_5_VLForConditionalGeneration

    how = {"quantization_config": CompressedTensorsConfig(dequantize=True), "dtype": torch.bfloat16}
    for place in (folders["fp8"], folders["w4a16"]):
        with pytest.warns(UserWarning, match="the one you passed"):
            model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(place, **how, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
        assert model.state_dict()["lm_head.weight"].dtype == torch.bfloat16


def broken(place, tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(place, folder)
    states = load_file(folder / "model.safetensors")
    save_file(change(states), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def without(*parts):
    return lambda states: {name: one for name, one in states.items() if name not in {f"{LAYER}.{p}" for p in parts}}


def prefixed(states):
    return {name.replace("model.layers.", "language_model.layers."): one for name, one in states.items()}


@pytest.mark.parametrize(
    ("form", "change", "said"),
    [
        (
            "fp8",
            without("weight_scale"),
            r"lacks 1 of 182 tensors, such as model\.layers\.2\.mlp\.down_proj\.weight_scale",
        ),
        ("w4a16", without("weight_shape"), r"lacks 1 of 224 tensors"),
        ("nvfp4a16", without("weight_global_scale"), r"lacks 1 of 224 tensors"),
        ("w4a16", without("weight_packed", "weight_scale", "weight_shape"), r"lacks 3 of 224 tensors"),
        ("fp8", prefixed, r"lacks \d+ of 182 tensors, such as model\.layers\.0"),
        (
            "fp8",
            lambda states: {**states, f"{LAYER}.weight_zero_point": states[f"{LAYER}.weight_scale"].clone()},
            r"holds 1 t",
        ),
    ],
)
def test_a_broken_folder_is_refused_by_its_headers(folders, tmp_path, form, change, said):
    with pytest.raises(ValueError, match=said):
        Model(path=str(broken(folders[form], tmp_path, change))).check(BF16)


def test_it_is_no_base_for_another_storage(folders):
    with pytest.raises(ValueError, match=r"dequantised while they are loaded\. Set precision=bf16"):
        Model(path=str(folders["fp8"])).check(Precision(storage=Storage.nf4, compute=Compute.fp32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["config_groups"].update(more=one["config_groups"]["group_0"]), "in several ways"),
        (lambda one: one.update(ignore=[]), "in several ways, in every layer"),
        (lambda one: one["config_groups"]["group_0"].update(targets=["Embedding"]), "quantises Embedding"),
        (lambda one: one["config_groups"]["group_0"]["weights"].update(num_bits="many"), r"config\.json is malformed"),
        (lambda one: one["ignore"].append("re:("), r"config\.json is malformed"),
    ],
)
def test_settings_that_are_not_read_right_are_refused(folders, tmp_path, change, said):
    shutil.copytree(folders["w4a16"], tmp_path / "other")
    config = read_json(tmp_path / "other/config.json")
    change(config["quantization_config"])
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=said):
        Model(path=str(tmp_path / "other")).check(BF16)


def test_what_cannot_be_written_is_refused_before_anything_is_loaded(folders, monkeypatch):
    config = Model(shape="qwen2_5_vl_7b", init=WeightInit.random).config()
    Format.w4a16.check(config)
    config.text_config.intermediate_size += 64
    with pytest.raises(ValueError, match=r"a scale for every 128 inputs.*layers of 19008\. Set format=fp8"):
        Format.w4a16.check(config)
    Format.fp8.check(config)
    monkeypatch.setattr("medvl.model.compressed.PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r'format=fp8 needs compressed-tensors.*pip install -e "\.\[export\]"'):
        Format.fp8.check(config)
    with pytest.raises(ValueError, match=r'needs compressed-tensors.*pip install -e "\.\[export\]"'):
        Model(path=str(folders["fp8"])).check(BF16)


def test_every_artefact_that_is_an_export_has_a_format():
    names = {artefact.name for artefact in Artefact if artefact.is_export}
    assert names == {form.name for form in Format} - {"merged"} and {form.name for form in QUANTISED} < names


@pytest.fixture(scope="module")
def evaluated(trained, script, tmp_path_factory):
    """A copy of a run, and evaluate.py of an export that was not there; tests must not change them."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(trained[0], folder / "run", ignore=shutil.ignore_patterns("wandb"))
    code, output = script(
        "evaluate.py", "run=run", "artefact=w4a16", "logger=none", "ablation=[]", "hydra.run.dir=first", cwd=folder
    )
    assert code == 0, output
    return folder, output


def test_evaluate_writes_the_export_once_and_scores_it(evaluated, script, compose, monkeypatch):
    folder, output = evaluated
    assert "run/export/w4a16 is not there; it is written now" in output
    place = folder / "run/export/w4a16"
    facts, metrics = read_json(place / "export.json"), read_json(folder / "first/metrics.json")
    assert metrics["artefact"] == "w4a16" and metrics["disk_bytes"] == facts["bytes"] < 9.6e6
    assert "compressed-tensors" in metrics["answered_by"] and metrics["answers"] == 2
    assert metrics["scores"]["test"] == facts["scores"]["summary"]
    assert facts["quantised"] == 42 and facts["scheme"] == "W4A16" and facts["tensors"] == 224
    beside, merged = facts["parity"]["logits"]
    assert merged["against"] == "the merged model" and merged["max_logit_difference"] > 0 < beside["positions"]
    text = card(facts)
    assert "42 linear layers of the language model, W4A16" in text and "nothing was calibrated" in text
    written = (place / "model.safetensors").stat().st_mtime_ns
    common = ("logger=none", "ablation=[]")
    code, output = script("evaluate.py", "run=run", "artefact=w4a16", *common, "hydra.run.dir=second", cwd=folder)
    assert code == 0 and "written now" not in output, output
    code, output = script(
        "evaluate.py",
        *(*QUIET, "ablation=[]", "model.path=run/export/w4a16", "precision=bf16", "eval=held_out"),
        "hydra.run.dir=third",
        cwd=folder,
    )
    assert code == 0 and (place / "model.safetensors").stat().st_mtime_ns == written, output
    rows = [read_jsonl(folder / name / "predictions.jsonl") for name in ("first", "second", "third")]
    first, second, third = [[(row["id"], row["prediction"]) for row in one] for one in rows]
    assert first == second == third and len(first) == 2


def test_a_benchmark_measures_the_export(evaluated, script):
    folder, _ = evaluated
    short = ("bench.repeats=1", "bench.warmup=0", "bench.new_tokens=4", "bench.train_steps=0", "bench.accuracy=true")
    code, output = script(
        "benchmark.py", "run=run", "artefact=w4a16", "logger=none", *short, "hydra.run.dir=bench", cwd=folder
    )
    assert code == 0 and "written now" not in output, output
    results = read_json(folder / "bench/benchmark.json")
    assert results["disk_mib"] * 2**20 == (folder / "run/export/w4a16/model.safetensors").stat().st_size
    assert results["weights_mib"] > 3 * results["disk_mib"]  # held in fp32 on the CPU
    assert (results["artefact"], results["answers"]) == ("w4a16", 2) and 0 <= results["equal_answers"] <= 2
    (table, *_) = deployment(collect([folder / "bench"])).tables
    (row,) = table.to_json()["rows"]
    assert row["configuration"] == "W4A16" and row["on disk"]["value"] == results["disk_mib"]
    objective = row["layout-free character error rate"]
    assert objective["value"] == results["scores"]["cer_text"] and results["objective"] == "cer_text"
    assert row["answers equal to the run's"].endswith(" of 2") and row["engine"] == results["answered_by"]


def test_an_export_of_other_weights_is_stale(evaluated, compose, tmp_path):
    folder, _ = evaluated
    config = compose(f"run={folder / 'run'}")
    place, own = tmp_path / "w4a16", folder / "run/export"
    shutil.copytree(own / "w4a16", place)
    assert stale(place, config, Format.w4a16, own) is None
    assert stale(place, config, Format.fp8, own) == "is of other weights"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/adapter_model.safetensors").write_bytes(b"x")
    assert stale(place, config, Format.w4a16, tmp_path / "other") == "is of other weights"
    facts = read_json(place / "export.json")
    (place / "export.json").write_text(json.dumps({**facts, "base": {**facts["base"], "name": "another"}}))
    assert stale(place, config, Format.w4a16, own) == "is of another base"
    (place / "export.json").write_text(json.dumps(facts))
    (place / "model.safetensors").write_bytes((place / "model.safetensors").read_bytes()[:-1000])
    assert stale(place, config, Format.w4a16, own).startswith("is not whole: ")


def test_a_second_export_to_one_folder_is_refused(evaluated, script):
    folder, _ = evaluated
    (folder / "there").mkdir()
    (folder / "verb.py").write_text("import sys; sys.argv[1:1] = ['export']; from medvl.cli import main; main()")
    with locked(folder / "there", name=".out.lock"):
        words = ("run=run", "format=fp8", "export=there/out", "logger=none")
        code, output = script(str(folder / "verb.py"), *words, cwd=folder)
    assert code == 2 and "another process is at work in there" in output


def test_artefacts_that_are_exports_are_of_a_run(script, tmp_path, trained):
    code, output = script("evaluate.py", *QUIET, f"adapter={trained[0]}/export", "artefact=fp8", cwd=tmp_path)
    assert code == 2 and "artefact=fp8 is an export of a run" in output and "Set run=<a run directory>" in output
