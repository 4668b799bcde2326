"""A trained model as an adapter, merged in bf16 and requantised."""

import pytest
import torch
from conftest import QUIET

from medvl.data.packing import pack
from medvl.hardware.plan import Device, Hardware
from medvl.model.attention import choose
from medvl.model.loading import Model, WeightInit
from medvl.model.lora import Lora
from medvl.model.merging import Artefact, MergeInto
from medvl.model.parts import base_of
from medvl.model.precision import Compute, Precision, Storage
from medvl.record.files import read_json
from medvl.sweeping.plan import SweepPlan
from medvl.training.loss import answer_nats

NAME = "model.language_model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter whose changes are as large as the model's weights."""
    folder = tmp_path_factory.mktemp("adapter")
    hardware = Hardware(device=Device.cpu)
    precision = Precision(storage=Storage.fp32, compute=Compute.fp32)
    plan = hardware.plan(compute="fp32", storage="fp32", attention=choose)
    model = Lora(r=4).apply(Model(init=WeightInit.random).load(precision, hardware, plan).model)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture(scope="module")
def load(adapter, tmp_path_factory):
    def loaded(artefact, storage="nf4", into=MergeInto.original):
        hardware = Hardware(device=Device.cpu)
        precision = Precision(storage=Storage[storage], compute=Compute.fp32, double_quant=storage == "nf4")
        plan = hardware.plan(compute="fp32", storage=storage, attention=choose)
        scratch = tmp_path_factory.mktemp("scratch")
        got = artefact.load(
            Model(init=WeightInit.random), adapter, precision, hardware, plan, scratch=scratch, merge_into=into
        )
        assert not list(scratch.iterdir()) and got.base == "nano (random weights)"
        return got.model

    return loaded


@pytest.fixture(scope="module")
def models(load):
    return {artefact.name: load(artefact) for artefact in Artefact}


def test_the_adapter_stays_beside_its_quantised_base(models):
    layer = models["adapter"].get_submodule(f"base_model.model.{NAME}")
    assert type(layer.base_layer).__name__ == "Linear4bit" and "default" in layer.lora_A


def test_merging_adds_the_adapter_to_bf16_weights(models, load):
    """W + 2 B A, rounded to bf16; other weights stay those of the base."""
    beside = load(Artefact.adapter, "bf16").get_submodule(f"base_model.model.{NAME}")
    a, b = beside.lora_A["default"].weight, beside.lora_B["default"].weight
    merged = models["merged"].get_submodule(NAME)
    assert type(merged) is torch.nn.Linear
    assert torch.equal(merged.weight, (beside.base_layer.weight + 2 * b @ a).bfloat16().float())
    assert (merged.weight - beside.base_layer.weight).abs().max() > 0.01
    base = base_of(load(Artefact.adapter, "bf16"))
    assert torch.equal(models["merged"].model.visual.patch_embed.proj.weight, base.model.visual.patch_embed.proj.weight)


def test_requantising_stores_the_merged_weights_in_the_runs_format(models):
    from bitsandbytes.functional import dequantize_4bit

    layer = models["requantised"].get_submodule(NAME)
    assert type(layer).__name__ == "Linear4bit" and not hasattr(models["requantised"], "peft_config")
    stored = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    merged = models["merged"].get_submodule(NAME).weight
    error = (stored - merged).norm() / merged.norm()
    assert 0.01 < error < 0.15  # the error of NF4 itself


def test_all_forms_answer_nearly_alike(models, encoder, examples):
    batch = pack([encoder.encode(example) for example in examples[:2]])
    with torch.no_grad():
        losses = {name: float(answer_nats(model, batch)) for name, model in models.items()}
    assert len(set(losses.values())) == 3
    assert losses["adapter"] == pytest.approx(losses["merged"], rel=0.1)
    assert losses["requantised"] == pytest.approx(losses["merged"], rel=0.1)


def test_nothing_trained_is_nothing_to_merge(compose, tmp_path):
    with pytest.raises(
        ValueError, match=r"artefact=merged is about a trained adapter.*Set run=<a run directory> or adap"
    ):
        compose("artefact=merged")
    with pytest.raises(ValueError, match=r"whole weights.*Set artefact=adapter"):
        Artefact.requantised.check_folder(tmp_path)
    Artefact.adapter.check_folder(tmp_path)


def test_refusals_come_before_anything_is_loaded(script, tmp_path):
    code, output = script("evaluate.py", *QUIET, "artefact=requantised", cwd=tmp_path)
    assert code == 2 and "error: artefact=requantised is about" in output and "device:" not in output
    code, output = script("train.py", *QUIET, "artefact=merged", cwd=tmp_path)
    assert code == 2 and "evaluate.py run=<run> artefact=merged" in output
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_sweep_scores_the_four(trained, script, tmp_path):
    code, output = script(
        "evaluate.py",
        "-m",
        f"run={trained[0]}",
        "logger=none",
        "artefact=base,adapter,merged,requantised",
        cwd=tmp_path,
    )
    assert code == 0, output
    (sweep,) = (tmp_path / "outputs/evaluate").iterdir()
    base, adapter, *_ = runs = SweepPlan.read(sweep).runs()
    for run, name in zip(runs, ("base", "adapter", "merged", "requantised"), strict=True):
        assert read_json(run / "status.json")["state"] == "done", output
        assert f"artefact: {name}" in (run / "config.yaml").read_text()
        assert read_json(run / "metrics.json")["scores"]["test"]["examples"] == 2
    before_and_after = read_json(trained[0] / "metrics.json")
    assert read_json(adapter / "metrics.json")["scores"]["test"] == before_and_after["after"]
    assert read_json(base / "metrics.json")["scores"]["test"] == before_and_after["before"]
    assert "artefact=requantised" in (sweep / "sweep.txt").read_text()
    sizes = [read_json(run / "metrics.json")["disk_bytes"] for run in runs]
    assert sizes[0] < sizes[1] and sizes[3] < sizes[2] == 16_441_600
