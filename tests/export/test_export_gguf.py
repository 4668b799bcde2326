"""GGUF: every tensor by llama.cpp's name, blocks that change nothing, faults refused; a real llama.cpp reads pages."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from asking import about
from PIL import Image

from medvl.documents.reading import Stage, drawn
from medvl.export.formats import Format
from medvl.export.gguf_files import MODEL, PROJECTOR, check_gguf, gguf_names, requantise, write_gguf
from medvl.export.gguf_tensors import Windows, split, widened
from medvl.export.gguf_tokens import NO_MERGE, RULE, check_rule
from medvl.export.ollama import modelfile
from medvl.export.weights import published_states, wanted_names
from medvl.generation.endpoint import Endpoint
from medvl.generation.llama_cpp import PLACE, SERVER, GgufModel, LlamaCpp
from medvl.generation.remote import RemoteEngine
from medvl.model.loading import Model, WeightInit
from medvl.record.files import read_json, read_jsonl
from medvl.run.artefacts import check_artefact
from medvl.run.export_target import stale
from medvl.run.loading import trained_folder

SIZES = [
    (224, 56),
    (224, 84),
    (300, 100),
    (341, 97),
    (168, 168),
    (199, 140),
    (252, 56),
    (280, 70),
    (140, 140),
    (336, 50),
]
SIZES += [(112, 196), (308, 84)]
BUDGET = {"min_pixels": 3136, "max_pixels": 1003520}


@pytest.fixture(scope="module")
def states(reader):
    return published_states(reader.model)


@pytest.fixture(scope="module")
def config(reader):
    return reader.model.config


@pytest.fixture(scope="module")
def written(reader, states, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(states, config, reader.encoder.processor, folder, name="nano", kind="F16", **BUDGET)
    return folder


def read(file):
    from gguf import GGUFReader

    return GGUFReader(file)


def test_both_files_hold_every_tensor(written, config):
    assert check_gguf(written, config) == 177
    model, projector = (read(written / name) for name in (MODEL, PROJECTOR))
    kinds = {tensor.name: tensor.tensor_type.name for tensor in [*model.tensors, *projector.tensors]}
    assert kinds["blk.5.ffn_down.weight"] == kinds["v.patch_embd.weight.1"] == kinds["mm.2.weight"] == "F16"
    assert kinds["v.blk.5.attn_k.bias"] == kinds["output_norm.weight"] == "F32"
    told = {name: field.contents() for one in (model, projector) for name, field in one.fields.items()}
    assert told["qwen2vl.rope.dimension_sections"] == [8, 12, 12, 0] and told["qwen2vl.rope.freq_base"] == 1e4
    assert told["clip.vision.n_wa_pattern"] == 3 and told["clip.vision.block_count"] == 6
    assert told["clip.projector_type"] == "qwen2.5vl_merger" and told["clip.vision.image_max_pixels"] == 1003520


def test_values_are_those_of_the_model(written, states):
    tensors = {tensor.name: tensor.data for name in (MODEL, PROJECTOR) for tensor in read(written / name).tensors}
    weight = states["visual.blocks.4.attn.qkv.weight"].float()
    found = [torch.tensor(tensors[f"v.blk.5.attn_{part}.weight"].astype("float32")) for part in "qkv"]
    assert torch.equal(torch.cat(found), weight.half().float())
    patches = torch.tensor(tensors["v.patch_embd.weight.1"].astype("float32"))
    assert torch.equal(patches, states["visual.patch_embed.proj.weight"][:, :, 1].half().float())
    assert not tensors["v.blk.0.ffn_down.weight"].any() and (tensors["v.blk.0.ln1.weight"] == 1).all()


def test_eight_bits_are_smaller_and_near(reader, states, config, written, tmp_path):
    from gguf import dequantize

    write_gguf(states, config, reader.encoder.processor, tmp_path, name="nano", kind="Q8_0", **BUDGET)
    assert check_gguf(tmp_path, config) == 177
    assert (tmp_path / MODEL).stat().st_size < 0.6 * (written / MODEL).stat().st_size
    assert (tmp_path / PROJECTOR).stat().st_size == (written / PROJECTOR).stat().st_size
    (found,) = [tensor for tensor in read(tmp_path / MODEL).tensors if tensor.name == "blk.2.attn_q.weight"]
    weight = states["model.layers.2.self_attn.q_proj.weight"].float()
    apart = torch.tensor(dequantize(found.data, found.tensor_type)) - weight
    assert found.tensor_type.name == "Q8_0" and 0 < apart.abs().max() <= weight.abs().max() / 250


def test_blocks_ahead_change_nothing(reader, states, config):
    """nano attends to the whole page in blocks 1 and 4 of 5; with one more ahead, in each third one."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel as Tower

    assert Windows.of(config) == Windows(every=3, ahead=1)
    vision = replace_config(config.vision_config)
    towers = []
    for ahead, full in ((0, [1, 4]), (1, [2, 5])):
        own = replace_config(vision, depth=5 + ahead, fullatt_block_indexes=full, _attn_implementation="sdpa")
        tower = Tower(own).float().eval()
        named = {name.removeprefix("visual."): t for name, t in widened(states, ahead).items() if name[0] == "v"}
        tower.load_state_dict(named)
        towers.append(tower)
    pixels = torch.randn(10 * 14, 1176, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (tower(pixels, grid_thw=torch.tensor([[1, 10, 14]])).pooler_output for tower in towers)
    assert torch.equal(one, other) and one.std() > 0


def replace_config(config, **changes):
    import copy

    changed = copy.deepcopy(config)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


@pytest.mark.parametrize(("shape", "text"), [("qwen2_5_vl_7b", 339), ("qwen2_5_vl_3b", 434)])
def test_names_of_large_models_are_those_of_published_files(shape, text):
    config = Model(shape=shape, init=WeightInit.random).config()
    assert Windows.of(config) == Windows(every=8, ahead=0)
    model, projector = gguf_names(config)
    assert (len(model), len(projector)) == (text, 519)
    assert ("output.weight" in model) is (shape == "qwen2_5_vl_7b")
    assert {"v.blk.31.attn_out.bias", "v.post_ln.weight", "mm.0.bias", "v.patch_embd.weight.1"} < projector
    sources = {name for name in wanted_names(config) if "qkv" not in name and "patch_embed" not in name}
    assert len({part for name in sources for part, _ in split(name)}) == len(sources)


def test_attention_that_a_file_cannot_say_is_refused(config):
    odd = replace_config(config, vision_config=replace_config(config.vision_config, fullatt_block_indexes=[0, 1, 4]))
    with pytest.raises(ValueError, match=r"whole pages in blocks \[0, 1, 4\] of 5.*Set format=merged"):
        Windows.of(odd)


def test_missing_and_foreign_tensors_are_refused(reader, states, config, written, tmp_path):
    processor = reader.encoder.processor
    lacking = {name: tensor for name, tensor in states.items() if name != "visual.merger.mlp.2.bias"}
    write_gguf(lacking, config, processor, tmp_path, name="nano", kind="F16", **BUDGET)
    with pytest.raises(ValueError, match=r"mmproj\.gguf lacks 1 of 103 tensors, such as mm\.2\.bias"):
        check_gguf(tmp_path, config)
    wrong = {f"model.{name}" if name[0] == "v" else name: tensor for name, tensor in states.items()}
    with pytest.raises(ValueError, match=r"no name for the tensor model\.visual\."):
        write_gguf(wrong, config, processor, tmp_path, name="nano", kind="F16", **BUDGET)
    blind = {name: tensor for name, tensor in states.items() if name[0] != "v"}
    write_gguf(blind, config, processor, tmp_path, name="nano", kind="F16", **BUDGET)
    with pytest.raises(ValueError, match=r"mmproj\.gguf holds no tensor; 103 are wanted"):
        check_gguf(tmp_path, config)
    (tmp_path / PROJECTOR).write_bytes((written / PROJECTOR).read_bytes()[:50_000])
    with pytest.raises(ValueError, match=r"mmproj\.gguf is cut off or no GGUF file"):
        check_gguf(tmp_path, config)
    (tmp_path / PROJECTOR).unlink()
    with pytest.raises(ValueError, match=r"lacks mmproj\.gguf"):
        check_gguf(tmp_path, config)
    huge = {
        **states,
        "model.norm.weight": states["model.norm.weight"],
        "model.embed_tokens.weight": states["model.embed_tokens.weight"] * 1e6,
    }
    with pytest.raises(ValueError, match=r"token_embd\.weight holds values that f16 cannot"):
        write_gguf(huge, config, processor, tmp_path, name="nano", kind="F16", **BUDGET)


def test_the_tokenizer_is_the_base_s(written, reader):
    told = read(written / MODEL).fields
    tokens, types = (told[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    vocabulary = reader.encoder.processor.tokenizer.get_vocab()
    assert all(tokens[index] == token for token, index in vocabulary.items()) and len(tokens) == 288
    assert types[0] == 1 and types[258] == 3 and types[287] == 5 and tokens[287] == "[PAD287]"
    assert told["tokenizer.ggml.merges"].contents() == [NO_MERGE] and told["tokenizer.ggml.pre"].contents() == "qwen2"
    assert told["tokenizer.ggml.eos_token_id"].contents() == 258
    assert told["tokenizer.chat_template"].contents() == reader.encoder.processor.chat_template


def test_another_tokenizer_is_refused():
    rule = {"type": "Split", "pattern": {"Regex": RULE}}
    check_rule({"pre_tokenizer": {"pretokenizers": [rule]}, "model": {"type": "BPE"}})
    rule["pattern"] = {"Regex": r"\p{N}{1,3}"}
    with pytest.raises(ValueError, match="does not split text as Qwen2's"):
        check_rule({"pre_tokenizer": {"pretokenizers": [rule]}, "model": {"type": "BPE"}})


def test_a_modelfile_holds_the_base_s_prompt(reader):
    text = modelfile(reader.encoder.processor, model=MODEL, projector=PROJECTOR, context=4096)
    assert text.startswith("FROM ./model.gguf\nFROM ./mmproj.gguf\n") and "PARAMETER num_ctx 4096" in text
    assert '<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}"""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text and "PARAMETER temperature 0" in text


@pytest.fixture(scope="module")
def llama():
    if PLACE not in os.environ and shutil.which(SERVER) is None:
        pytest.skip(f"there is no {SERVER} on the PATH, and {PLACE} names none")
    return LlamaCpp.find()


def served(folder):
    return GgufModel(model=folder / MODEL, projector=folder / PROJECTOR, name="nano", context=1024, **BUDGET)


def page(number, width, height):
    stage = Stage(width_px=width // 28 * 28, height_px=height // 28 * 28, prose=0.5, plain=0.5)
    canvas = Image.new("L", (width, height), 255)
    canvas.paste(Image.fromarray(drawn(stage, f"gguf/{number}", None).pixels))
    return canvas


def test_llama_cpp_reads_pages_of_many_sizes_as_our_engine(llama, written, reader, tmp_path):
    asked = [about([page(number, *size)], reader.encoder, tmp_path) for number, size in enumerate(SIZES)]
    with llama.serve(served(written)) as url:
        endpoint = Endpoint(url=url, concurrency=1, logprobs=llama.tells_probabilities)
        remote = RemoteEngine(endpoint=endpoint, served=endpoint.served(), encoder=reader.encoder)
        theirs = remote.answers(asked, max_new_tokens=48)
    ours = reader.answers(asked, max_new_tokens=48)
    assert [(one.text, one.finish_reason) for one in theirs] == [(one.text, one.finish_reason) for one in ours]
    assert len({one.text for one in ours}) == 12


@pytest.fixture(scope="module")
def evaluated(trained, script, fake_llama, tmp_path_factory):
    """A copy of a run that evaluate.py has scored as GGUF, by a program that answers always the same."""
    folder = tmp_path_factory.mktemp("scored")
    shutil.copytree(trained[0], folder / "run", ignore=shutil.ignore_patterns("wandb"))
    words = ("run=run", "artefact=gguf", "logger=none", "ablation=[]", "hydra.run.dir=said")
    before, os.environ[PLACE] = os.environ.get(PLACE), fake_llama
    try:
        code, output = script("evaluate.py", *words, cwd=folder)
    finally:
        os.environ.pop(PLACE) if before is None else os.environ.update({PLACE: before})
    assert code == 0, output
    return folder, output


def test_evaluate_writes_serves_and_scores(evaluated, fake_llama):
    folder, output = evaluated
    place = folder / "run/export/gguf"
    assert f"{place.relative_to(folder)} is not there; it is written now" in output
    assert {file.name for file in place.iterdir()} == {MODEL, PROJECTOR, "Modelfile", "README.md", "export.json"}
    facts, result = read_json(place / "export.json"), read_json(folder / "said/metrics.json")
    assert facts["tensors"] == 177 and facts["engine"] == "llama.cpp by llama-server 7"
    assert facts["bytes"] == result["disk_bytes"] > 15e6 and facts["parity"]["answers"]["of"] == 2
    assert result["artefact"] == "gguf" and result["answered_by"] == facts["engine"] and result["latency_p50_ms"] > 0
    assert {row["prediction"] for row in read_jsonl(folder / "said/predictions.jsonl")} == {"Name: Ada"}
    text = (place / "README.md").read_text()
    assert "library_name: gguf" in text and "| scored by | llama.cpp by llama-server 7 |" in text
    assert "largest logit difference" not in text and "answers equal the run's" in text
    port = json.loads(Path(f"{fake_llama}.json").read_text())[-1]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def test_a_whole_export_is_not_written_again(evaluated, compose, monkeypatch, fake_llama):
    folder, form = evaluated[0], Format.gguf
    monkeypatch.chdir(folder)
    config = compose("run=run", "artefact=gguf")
    trained = trained_folder(config)
    assert stale(folder / "run/export/gguf", config, form, trained) is None
    whole = (folder / "run/export/gguf" / PROJECTOR).read_bytes()
    (folder / "run/export/gguf" / PROJECTOR).write_bytes(whole[:1000])
    assert "is not whole" in stale(folder / "run/export/gguf", config, form, trained)
    (folder / "run/export/gguf" / PROJECTOR).write_bytes(whole)
    monkeypatch.setenv(PLACE, fake_llama)
    check_artefact(config, "evaluate", trained)
    for script, changed, said in (
        ("serve", {}, "is for evaluate.py and benchmark.py. Leave it out"),
        ("benchmark", {"bench": None}, "Set bench=model"),
        ("evaluate", {"run": None}, "start llama-server on it"),
    ):
        other = compose("run=run", "artefact=gguf")
        vars(other).update(changed)
        with pytest.raises(ValueError, match=said):
            check_artefact(other, script, trained)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="Start it without torchrun"):
        check_artefact(config, "evaluate", trained)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv(PLACE, str(folder))
    with pytest.raises(ValueError, match=r"neither llama-server nor.*Install llama\.cpp"):
        check_artefact(config, "evaluate", trained)


def test_four_bits_are_written_by_llama_quantize(written, tmp_path):
    program = tmp_path / "llama-quantize"
    program.write_text('#!/bin/sh\n[ "$3" = Q4_K_M ] || { echo "no such type"; exit 1; }\ncp "$1" "$2"\n')
    program.chmod(0o755)
    folder = tmp_path / "export"
    shutil.copytree(written, folder)
    requantise(folder, program, "Q4_K_M")
    assert {file.name for file in folder.iterdir()} == {MODEL, PROJECTOR}
    with pytest.raises(ValueError, match=r"Q5 failed: no such type\. Set format=gguf_q8_0"):
        requantise(folder, program, "Q5")
