"""Compositions: every option resolves; invalid ones are refused with the override that fixes them."""

import copy
import re

import pytest
from conftest import ROOT
from hydra.core.config_store import ConfigStore

from medvl.evaluation.evaluation import Objective
from medvl.model.lora import FullFineTuning, Lora
from medvl.run.config import GROUPS
from medvl.run.suggest import check_owners, suggestions

OPTIONS = [
    f"{path.parent.name}={path.stem}" for name in GROUPS for path in sorted((ROOT / "conf" / name).glob("*.yaml"))
]
OWN = {f"data={name}": ["data.path=."] for name in ("folder", "json", "text")} | {"eval=folder": ["eval.data.path=."]}
OWN["engine=openai"] = ["engine.url=http://127.0.0.1:8000/v1"]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_resolves(compose, option):
    extra = ["precision=fp32"] if option == "lora=none" else ["batch.tokens=8192"]
    assert compose(option, *extra, *OWN.get(option, ())).seed == 42


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_resolves_and_says_what_it_costs(compose, name):
    compose(f"experiment={name}")
    header = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
    assert header.startswith("# @package _global_")
    for word in (f"experiment={name}", "Time:", "Memory:", "Result:"):
        assert word in header


def test_defaults(compose):
    run = compose()
    assert isinstance(run.lora, Lora) and run.lora.r == 64 and run.lora.scale_numerator == 128
    assert run.precision.storage.name == "nf4" and run.precision.double_quant and not run.precision.vision
    assert isinstance(compose("lora=none", "precision=bf16").lora, FullFineTuning)


@pytest.mark.parametrize(("name", "limit"), [("held_out", 72), ("reading", None), ("evaluation_slips", None)])
def test_a_set_that_is_scored_whole_is_so_with_every_model(compose, name, limit):
    for model in ("model=nano", "model=qwen2_5_vl_7b"):
        overrides = [model, "batch.tokens=8192", f"eval={name}"]
        assert compose(*overrides).eval.limit == limit


def test_every_measure_can_be_the_objective(compose):
    for name in ("term", "value", "invalid_json"):
        assert compose(f"eval.objective={name}").eval.objective is Objective[name]


@pytest.mark.parametrize(
    ("overrides", "mended"),
    [
        (["precision=int8", "precision.double_quant=true"], "precision.double_quant=false"),
        (["precision=bf16", "precision.vision=true"], "precision.vision=false"),
        (["lora.alpha=0"], "lora.alpha=128"),
        (["lora.alpha=-3", "lora.r=4"], "lora.alpha=8"),
        (["lora.r=0"], "lora.r=8"),
        (["lora.dropout=1.0"], "lora.dropout=0.05"),
        (["lora.language=[]"], "lora=llm"),
        (["lora.language=[qproj]"], "q_proj"),
        (["lora=none"], "precision=fp32"),
        (["lora=none", "precision=fp16"], "precision=fp32"),
        (["lora.init=pissa"], "lora.init=default"),
        (["trainer.glyphs=1"], "data=reading_pages"),
        (["trainer.cooldown=1.0"], "trainer.cooldown=0.3"),
        (["data=reading_pages", "data.first_stage=9"], "data.first_stage=0"),
        (["data.path=missing.jsonl"], "data.path="),
        (["data.limit=0"], "data.limit=null"),
        (["batch.tokens=100"], "batch.tokens=448"),
        (["render=letter", "batch.tokens=1024"], "render=slip"),
        (["render.margin_pt=112"], "render=slip"),
        (["trainer.epochs=null"], "trainer.max_steps=100"),
        (["trainer.max_steps=0"], "trainer.max_steps=null"),
        (["trainer.accumulate=0"], "trainer.accumulate=1"),
        (["trainer.strategy=fsdp"], "lora=none"),
        (["eval.max_new_tokens=0"], "eval.max_new_tokens=8"),
        (["bench.repeats=0"], "bench.repeats=1"),
        (["hardware.memory_fraction=1.5"], "hardware.memory_fraction=0.9"),
        (["model.max_pixels=100"], "model.max_pixels="),
        (["eval=evaluation_pages", "eval.tokens=10"], "Set eval.tokens="),
        (["replay.tokens=10"], "Set replay.tokens="),
        (["render.margin_pt=-1"], "render.margin_pt=7"),
        (["render.margin_pt=nan"], "render.margin_pt=7"),
        (["render.width_pt=nan"], "render=slip"),
        (["render.dpi=1e300"], "render.dpi=150"),
        (["render.line_pt=1e-300"], "render.line_pt=11"),
        (["model.max_image_pixels=1000"], "model.max_image_pixels=50000000"),
        (["hardware.checkpointing=100"], "hardware.checkpointing=0"),
        (["hardware.cpu_memory_gib=-1"], "hardware.cpu_memory_gib=null"),
        (["hardware.cpu_memory_gib=nan"], "hardware.cpu_memory_gib=null"),
        (["trainer.validation_rows=-1"], "trainer.validation_rows=0"),
        (["trainer.glyphs=nan"], "trainer.glyphs=1"),
        (["gate.tolerance=5"], "gate.tolerance=0.01"),
        (["lora.language=[q_proj,k_proj,q_proj]"], "lora.language=[q_proj,k_proj]"),
        (["lora.vision=[qkv,qkv]"], "lora.vision=[qkv]"),
        (["data.tasks=[transcribe,transcribe]"], "data.tasks=[transcribe]"),
        (["ablation=[blank,blank]"], "ablation=[blank]"),
        (["bench=train", "bench.arms=[ours,ours]"], "bench.arms=[ours]"),
        (["model.revision=foo"], "model.revision=null"),
        (["model.revision=foo", "model.init=random"], "model.revision=null"),
        (["data.seed=-1"], "data.seed=42"),
        (["data=clinical_forms", "data.count=0"], "data.count=120"),
        (["data=forms_and_notes", "data.weights={forms:nan}"], "data.weights"),
        (["data=synthea", "data.path=''"], "Set data.path="),
        (["logger.entity=' '"], "logger.entity="),
        (["logger.tags=['']"], "logger.tags="),
        (["optimizer.betas=[0.9,nan]"], "optimizer.betas="),
        (["eval=folder"], "Set eval.data.path="),
        (["eval=folder", "eval.data.path=nowhere"], "Set eval.data.path="),
        (["eval=folder", "eval.data.path=.", "eval.data.dpi=0"], "eval.data.dpi must lie in 1 to 1200, got 0"),
        (["eval=folder", "data@eval.data=json", "eval.data.path=nowhere"], "Set eval.data.path="),
        (["replay.data.path=nowhere"], "Set replay.data.path="),
        (["run=a", "adapter=b"], "either run or adapter"),
        (["adapter=nowhere"], "adapter="),
    ],
)
def test_what_cannot_be_is_refused_with_the_mending_override(compose, overrides, mended):
    with pytest.raises(ValueError, match=re.escape(mended)):
        compose(*overrides)


def test_suggestions():
    assert "lora.r" in suggestions(["lora.rank=8"])[0]
    assert "trainer.max_steps" in suggestions(["trainer.steps=8"])[0]
    assert "Meant: optimizer.lr?" in suggestions(["optimzer.lr=1"])[0]
    assert not suggestions(["lora.r=8", "hydra.verbose=true", "-m", "optimizer.lr=1"])
    assert not suggestions(
        ["engine.url=http://a/v1", "replay.limit=3", "reader.languages=eng"]
    )  # groups that may be null
    assert "Meant: engine.url" in suggestions(["engine.ur=http://a/v1"])[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["engine.url=http://a/v1"], r"engine=local has no engine\.url\. Set engine=openai\."),
        (["engine=local", "engine.key=A"], r"engine=local has no engine\.key\. Set engine=openai\."),
        (["-m", "engine=local,openai", "engine.url=a"], r"Set engine=openai, and engine=local in a run of its own\."),
        (["reader.languages=deu"], r"reader=model has no reader\.languages\. Set reader=tesseract\."),
    ],
)
def test_options_without_their_group_are_refused(words, said):
    with pytest.raises(ValueError, match=said):
        check_owners(words)
    check_owners(["engine=openai", "engine.url=http://a/v1", "reader=tesseract", "reader.languages=deu"])


def test_help_does_not_copy_the_schemas_for_every_group_and_loading_does():
    store = ConfigStore.instance()
    assert copy.deepcopy(store).repo is store.repo
    first, second = (store.load("hydra/schema/lora.yaml").node for _ in range(2))
    first.r = 3
    assert second.r == 64


@pytest.mark.parametrize(
    ("overrides", "epochs", "steps"),
    [
        ([], 1.5, None),
        (["model=qwen2_5_vl_7b"], 1.0, None),
        (["trainer.max_steps=200"], None, 200),
        (["model=qwen2_5_vl_7b", "trainer.max_steps=200"], None, 200),
        (["trainer.epochs=2", "trainer.max_steps=200"], 2.0, 200),
        (["trainer.epochs=2"], 2.0, None),
        (["experiment=smoke"], None, 8),
    ],
)
def test_whoever_sets_max_steps_gets_them_unless_epochs_is_set_too(compose, overrides, epochs, steps):
    trainer = compose(*overrides).trainer
    assert (trainer.epochs, trainer.max_steps) == (epochs, steps)
