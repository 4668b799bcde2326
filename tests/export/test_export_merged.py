"""medvl export: a folder of merged weights that other engines load, with lineage, parity and scores."""

import json
import shutil

import pytest
import yaml
from conftest import QUIET, ROOT
from safetensors.torch import load_file, save_file
from wandb_files import only_run

from medvl.evaluation.gate import Verdict
from medvl.export.card import card
from medvl.export.lineage import LICENCES, licence_lines, licence_of
from medvl.export.push import push
from medvl.export.weights import check_written, wanted_names
from medvl.model.loading import Model, WeightInit
from medvl.model.merging import MergeInto
from medvl.model.names import published
from medvl.model.precision import Precision, Storage
from medvl.record.files import read_json, read_jsonl
from medvl.run.export_target import check_export, check_trained

VERB = "import sys; sys.argv[1:1] = ['export']; from medvl.cli import main; main()"


@pytest.fixture(scope="module")
def export(script, tmp_path_factory):
    """Return a function that runs medvl export as a user does."""
    verb = tmp_path_factory.mktemp("verb") / "medvl_export.py"
    verb.write_text(VERB)
    return lambda *words, cwd, logger="none": script(str(verb), *words, f"logger={logger}", cwd=cwd)


@pytest.fixture(scope="module")
def merged(trained, export, tmp_path_factory):
    """A copy of a run with its merged model in export/merged, and what was printed; tests must not change it."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(trained[0], folder / "run", ignore=shutil.ignore_patterns("wandb"))
    code, output = export("run=run", "hydra.run.dir=said", cwd=folder, logger="wandb")
    assert code == 0, output
    return folder, output


@pytest.fixture(scope="module")
def place(merged):
    return merged[0] / "run/export/merged"


def test_the_folder_holds_every_tensor_under_its_published_name(place):
    states = load_file(place / "model.safetensors")
    assert len(states) == 140 and states.keys() == wanted_names(Model().config())
    assert {str(tensor.dtype) for tensor in states.values()} == {"torch.bfloat16"}
    assert "visual.merger.mlp.0.weight" in states and "model.layers.5.mlp.up_proj.weight" in states
    base = load_file(ROOT / "medvl/shapes/nano/model.safetensors")
    told = {published(name): tensor for name, tensor in base.items() if name != "lm_head.weight"}
    changed = {name for name in states if not states[name].equal(told[name])}
    assert changed and all(name.startswith("model.layers.") for name in changed)
    assert {oct(file.stat().st_mode & 0o777) for file in place.iterdir()} == {oct(place.stat().st_mode & 0o666)}
    assert not list(place.parent.glob(".*")) and (place.parent / "adapter_model.safetensors").is_file()


def test_transformers_loads_it_without_medvl(place):
    """With a tokenizer, a template, the pixel budget, and generation that no habit of the base changes."""
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(place, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.generation_config.do_sample is False and model.generation_config.repetition_penalty is None
    processor = AutoProcessor.from_pretrained(place)
    images = read_json(place / "preprocessor_config.json")
    assert (
        (images["min_pixels"], images["max_pixels"])
        == (3136, 1003520)
        == tuple(processor.image_processor.size[edge] for edge in ("shortest_edge", "longest_edge"))
    )
    assert processor.chat_template == Model().processor().chat_template
    assert processor.tokenizer.get_vocab() == Model().processor().tokenizer.get_vocab()
    assert read_json(place / "generation_config.json")["eos_token_id"] == [258, 256]


def test_older_readers_find_what_they_look_for(place):
    """transformers 4 fails at a list under extra_special_tokens, and reads the rotation under its older names."""
    tokenizer, config = (read_json(place / f"{name}.json") for name in ("tokenizer_config", "config"))
    assert "extra_special_tokens" not in tokenizer and "<|image_pad|>" in tokenizer["additional_special_tokens"]
    assert config["text_config"]["rope_scaling"]["mrope_section"] == [8, 12, 12]


def test_evaluate_reads_the_folder_and_answers_as_the_merged_model(merged, script):
    folder, _ = merged
    common = ("logger=none", "run=run")
    for name, words in {"a": ("artefact=merged",), "b": ()}.items():
        if name == "b":
            common = (*QUIET, "model.path=run/export/merged", "precision=bf16", "eval=held_out", "ablation=[]")
        code, output = script("evaluate.py", *common, *words, f"hydra.run.dir={name}", cwd=folder)
        assert code == 0, output
    answers = {name: read_jsonl(folder / name / "predictions.jsonl") for name in ("a", "b", "said")}
    told = {name: [(row["id"], row["prediction"]) for row in rows] for name, rows in answers.items()}
    assert told["a"] == told["b"] == told["said"] and len(told["a"]) == 2


def test_the_card_says_where_it_comes_from(merged, place):
    facts, run = read_json(place / "export.json"), merged[0] / "run"
    assert facts["run"]["data_hash"] == read_json(run / "prepared.json")["fingerprint"]
    assert facts["run"]["commit"] == read_json(run / "environment.json")["commit"]
    assert facts["run"]["scores"]["after"] == read_json(run / "metrics.json")["after"]
    assert facts["base"] == {
        "name": "nano",
        "revision": None,
        "licence": "apache-2.0",
        "architecture": facts["base"]["architecture"],
    }
    beside, alike = facts["parity"]["logits"]
    assert 0 <= beside["max_logit_difference"] < 0.5 and beside["positions"] > 10
    assert alike["against"] == "the merged model" and alike["max_logit_difference"] == 0
    assert facts["parity"]["answers"]["of"] == 2 and facts["publishable"] and facts["tensors"] == 140
    text = (place / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0" and head["base_model"] == "nano"
    assert (
        facts["run"]["data_hash"] in text and "Not for clinical use" in text and "| base | adapter | export |" in text
    )
    assert str(merged[0]) not in text + json.dumps(facts)


def test_wandb_draws_the_line_from_the_run_over_the_adapter_to_the_export(merged, place, trained):
    """The adapter is one artifact in both runs: of the same name and contents."""
    training, exporting = only_run(trained[0]), only_run(merged[0] / "said")
    (made,) = [one for one in training.artifacts if one.type == "adapter"]
    (used,) = [one for one in exporting.artifacts if one.type == "adapter"]
    (export,) = [one for one in exporting.artifacts if one.type == "export"]
    assert (made.name, made.digest) == (used.name, used.digest) and made.name == f"adapter-{training.run.run_id}"
    assert used.use_after_commit and not made.use_after_commit and not export.use_after_commit
    scores = [json.loads(one.metadata) for one in (made, used, export)]
    after = read_json(merged[0] / "run/metrics.json")["after"]["cer"]
    assert scores[0]["after/cer"] == scores[1]["after/cer"] == after
    facts = read_json(place / "export.json")
    assert scores[2]["export/cer"] == facts["scores"]["summary"]["cer"] and scores[2]["adapter"] == facts["adapter"]
    assert export.name == f"{made.name.replace('adapter', 'export')}-merged"
    assert {entry.path for entry in export.manifest.contents} == {"README.md", "export.json"}
    assert exporting.summary["format"] == "merged" and exporting.summary["publishable"] == "true"


def test_it_may_be_pushed(place):
    told = push([str(place), "repo=clinic/reader"])
    assert "model.safetensors" in told and "licence apache-2.0" in told and "edited" not in told
    assert "stays here" not in told and told.endswith("--yes sends it.")


def test_a_worse_export_is_not_marked_publishable(compose, place, monkeypatch):
    from medvl.run import exporting

    facts = read_json(place / "export.json")
    told = []

    class Context:
        config = compose()
        say = staticmethod(told.append)

    facts["run"]["gate"] = Verdict(verdict="worse", why=["..."]).to_json()
    rows = read_jsonl(place.parents[2] / "said/predictions.jsonl")
    judged = exporting._judge(Context, (rows, facts["scores"]["summary"]), [], "cer_text", facts)
    assert not judged["publishable"] and "worse than its base" in judged["why"][0] and "force=true" in told[-1]
    assert "**Not marked publishable**: The run's own gate" in card({**facts, **judged})
    Context.config.force = True
    assert exporting._judge(Context, (rows, facts["scores"]["summary"]), [], "cer_text", facts)["publishable"]


def test_both_bases_and_a_second_time(merged, export):
    """The dequantised base is what training saw, and so the default."""
    folder, _ = merged
    code, output = export("run=run", "merge_into=original", "force=true", "export=again", cwd=folder)
    assert code == 0, output
    facts, default = (read_json(place / "export.json") for place in (folder / "again", folder / "run/export/merged"))
    assert (facts["merged_into"], default["merged_into"]) == ("original", "dequantised")
    assert facts["parity"]["logits"][0]["against"] == "the adapter on its original base"
    one, other = (load_file(file / "model.safetensors") for file in (folder / "again", folder / "run/export/merged"))
    name = "model.layers.0.mlp.up_proj.weight"
    assert one.keys() == other.keys() and (one[name] - other[name]).abs().max() > 0
    code, output = export("run=run", cwd=folder)
    assert code == 2 and "export/merged is there already. Set force=true to replace it" in output


def test_a_base_is_exported_as_it_is(export, tmp_path):
    code, output = export("model=nano", *QUIET, "export=base", cwd=tmp_path)
    assert code == 0, output
    states, base = (load_file(file / "model.safetensors") for file in (tmp_path / "base", ROOT / "medvl/shapes/nano"))
    assert all(states[published(name)].equal(tensor) for name, tensor in base.items() if name != "lm_head.weight")
    facts = read_json(tmp_path / "base/export.json")
    assert facts["run"] is None and facts["merged_into"] is None and facts["parity"]["answers"] is None
    assert "# nano, merged" in (tmp_path / "base/README.md").read_text()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "no folder is named to write to"),
        (["export=out", "artefact=merged", "adapter=."], r"artefact=merged is for evaluate\.py"),
        (["export=out", "model.init=random"], r"Set model\.init=pretrained"),
        (["export=out", "precision=int8", "merge_into=dequantised"], r"Set merge_into=original"),
        (["export=taken", "force=true"], "is there and no export of medvl"),
        (["export=link"], "is reached by a link"),
        (["run=unfinished"], r"unfinished is no finished training run.*adapter="),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(compose, tmp_path, monkeypatch, trained, overrides, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/thesis.txt").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "taken")
    (tmp_path / "unfinished").mkdir()
    shutil.copy(trained[0] / "config.yaml", tmp_path / "unfinished")
    status = {**read_json(trained[0] / "status.json"), "state": "interrupted"}
    (tmp_path / "unfinished/status.json").write_text(json.dumps(status))
    with pytest.raises(ValueError, match=said):
        check_export(compose(*overrides))


def test_whole_weights_are_no_adapter(tmp_path):
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds no adapter but whole weights.*set model\.path="):
        check_trained(tmp_path)


def test_other_scripts_do_not_take_its_options(script, tmp_path):
    code, output = script("evaluate.py", *QUIET, "export=out", cwd=tmp_path)
    assert code == 2 and "export= is for medvl prepare and medvl export" in output


def test_a_missing_or_foreign_tensor_is_refused(tmp_path, place):
    states = load_file(place / "model.safetensors")
    wanted = wanted_names(Model().config())
    last = states.pop("visual.merger.mlp.2.weight")
    save_file(states, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks 1 of 140 tensors, such as visual\.merger"):
        check_written(tmp_path, wanted)
    save_file({**states, "model.visual.merger.mlp.2.weight": last}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="lacks 1 of 140"):
        check_written(tmp_path, wanted)
    with pytest.raises(ValueError, match="belongs neither to the vision tower nor"):
        published("language_model.norm.weight")


def test_the_names_of_a_large_model_are_those_on_the_hub():
    names = wanted_names(Model(shape="qwen2_5_vl_7b", init=WeightInit.random).config())
    assert len(names) == 729  # as in its model.safetensors.index.json
    assert {"lm_head.weight", "model.embed_tokens.weight", "visual.blocks.31.attn.qkv.bias"} < names


def test_licences(tmp_path):
    assert licence_of(Model()) == "apache-2.0"
    assert licence_of(Model(path="Qwen/Qwen2.5-VL-3B-Instruct")) == "qwen-research"
    assert licence_of(Model(path=str(tmp_path))) == "unknown" == licence_of(Model(path="someone/else"))
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: [x\n---\n")
    assert licence_of(Model(path=str(tmp_path))) == "unknown"
    for base, licence in LICENCES.items():
        assert yaml.safe_load("\n".join(licence_lines(licence, base)))["license"] in ("apache-2.0", "mit", "other")


def test_dequantising_keeps_what_is_not_quantised():
    assert MergeInto.dequantised.storage(Precision(storage=Storage.fp32)).storage is Storage.bf16
    settled = {storage.name: MergeInto.auto.settled(Precision(storage=storage)).name for storage in Storage}
    assert [name for name, into in settled.items() if into == "dequantised"] == ["nf4", "fp4"]
    assert MergeInto.auto.storage(Precision()).resident
    assert (
        MergeInto.dequantised.storage(Precision()).resident and MergeInto.original.storage(Precision()).upcast is False
    )
