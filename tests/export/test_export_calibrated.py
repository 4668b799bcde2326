"""format=awq and gptq: the folder for llm-compressor, and the export of its result.

llm-compressor is not installed here: weights rounded by compressed-tensors, which it writes too, stand for its result.
"""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from medvl.data.encoding import Encoder
from medvl.documents.tasks import TRANSCRIBE
from medvl.export import calibrate
from medvl.export.calibration import take_result
from medvl.export.card import card
from medvl.export.formats import Format
from medvl.export.quantise import quantise, write_settings
from medvl.export.weights import write_states
from medvl.model.loading import Model
from medvl.record.files import read_json, read_jsonl
from medvl.run.calibration_job import check_job, check_same
from medvl.run.export_target import adapter_hash

VERB = "import sys; sys.argv[1:1] = ['export']; from medvl.cli import main; main()"
ASK = "Read this page."
WORDS = ("run=run", "format=awq", "logger=none", f"model.ask='{ASK}'")


def run_by_hand(job, scheme="W4A16"):
    """Write what calibrate.py would, with the full names that llm-compressor writes under ignore."""
    result = job / calibrate.RESULT
    result.mkdir(exist_ok=True)
    quantised = quantise(load_file(job / "model/model.safetensors"), scheme)
    quantised.settings.ignore = [name for name in quantised.settings.ignore if not name.startswith("re:")]
    write_states(quantised.states, result)
    shutil.copy(job / "model/config.json", result)
    write_settings(quantised.settings, result)
    return result


@pytest.fixture(scope="module")
def exported(trained, script, tmp_path_factory):
    """A copy of a run with the folder for llm-compressor and the export of its result; tests must not change it."""
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copytree(trained[0], folder / "run", ignore=shutil.ignore_patterns("wandb"))
    (folder / "verb.py").write_text(VERB)
    said = []
    for name in ("job", "export"):
        code, output = script(str(folder / "verb.py"), *WORDS, f"hydra.run.dir={name}", cwd=folder)
        assert code == 0, output
        said.append(output)
        if name == "job":
            run_by_hand(folder / "run/export/awq-calibration")
    return folder, said


@pytest.fixture(scope="module")
def job(exported):
    return exported[0] / "run/export/awq-calibration"


def test_the_folder_for_llm_compressor_is_complete(exported, job):
    names = {path.name for path in job.iterdir()}
    assert names >= {"calibrate.py", "requirements.txt", "README.md", "job.json", "calibration.jsonl", "pages", "model"}
    assert (job / "calibrate.py").read_text() == Path(calibrate.__file__).read_text()
    assert "llmcompressor==" in (job / "requirements.txt").read_text()
    assert "Run calibrate.py there" in exported[1][0] and job.stat().st_mode & 0o077 == 0
    told = read_json(job / "job.json")
    assert (told["method"], told["scheme"], told["merged_into"]) == ("awq", "W4A16", "dequantised")


def test_it_is_calibrated_on_the_training_split_alone(exported, job):
    rows = read_jsonl(job / "calibration.jsonl")
    assert rows and read_json(job / "job.json")["examples"] == len(rows)
    scored = {row["reference"] for row in read_jsonl(exported[0] / "export/predictions.jsonl")}
    assert scored and not scored & {row["response"] for row in rows}
    prompts = {row["prompt"] for row in rows}
    assert ASK in prompts and TRANSCRIBE not in prompts  # what the base is asked
    assert all((job / name).is_file() for row in rows for name in row["images"])


def test_the_script_feeds_the_tokens_that_training_saw(job, monkeypatch):
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoProcessor

    disable_progress_bar()
    monkeypatch.setattr(calibrate, "HERE", job)
    rows = read_jsonl(job / "calibration.jsonl")[:2]
    processor = AutoProcessor.from_pretrained(job / "model")
    encoder = Encoder(Model().processor())
    for row, told in zip(rows, calibrate.dataset(rows, processor), strict=True):
        given = calibrate.collate([told])
        images = [calibrate_image(job / name) for name in row["images"]]
        mine = encoder.encode_images(images, row["prompt"], row["response"])
        assert given["input_ids"].tolist() == [mine["input_ids"].flatten().tolist()[:-1]]  # without the end of the turn
        assert given["pixel_values"].equal(mine["pixel_values"].to(given["pixel_values"].dtype))


def calibrate_image(path):
    from PIL import Image

    return Image.open(path).convert("RGB")


def test_its_result_is_read_scored_and_has_a_card(exported, job):
    place = exported[0] / "run/export/awq"
    facts = read_json(place / "export.json")
    assert (facts["format"], facts["scheme"], facts["quantised"], facts["tensors"]) == ("awq", "W4A16", 42, 224)
    beside, merged = facts["parity"]["logits"]
    assert beside["positions"] and merged["max_logit_difference"] > 0 and facts["parity"]["answers"]["of"] == 2
    assert "calibrated on pages of the training split" in card(facts)
    assert {"tokenizer.json", "preprocessor_config.json", "generation_config.json"} <= facts["files"].keys()
    assert "re:.*visual.*" in read_json(place / "config.json")["quantization_config"]["ignore"]


def test_the_next_steps_are_refused_by_name(exported, job, compose, tmp_path):
    config = compose(f"run={exported[0] / 'run'}", "format=awq")
    own = exported[0] / "run/export"
    check_same(config, own / "awq", adapter_hash(own))
    with pytest.raises(ValueError, match=r"awq-calibration is of other weights\. Delete it"):
        check_same(config, own / "awq", "ab")
    (tmp_path / "awq-calibration").mkdir()
    with pytest.raises(ValueError, match="is there and none that medvl wrote"):
        check_job(config, tmp_path / "awq")
    shutil.copy(job / "job.json", tmp_path / "awq-calibration")
    with pytest.raises(ValueError, match=r"waits for its result\. Run calibrate\.py there"):
        check_job(config, tmp_path / "awq")
    config.force = True
    check_job(config, tmp_path / "awq")
    live = compose("data=reading_pages", "data.live=true", "format=awq")
    with pytest.raises(ValueError, match=r"Set data\.live=false"):
        check_job(live, tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: run_by_hand(folder.parent, "W8A16"), "is not quantised to W4A16"),
        (lambda folder: shutil.copy(folder.parent / "model/config.json", folder), "does not say how it is quantised"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
        (lambda folder: changed(folder / "model.safetensors"), r"another model: its visual\.merger\.mlp\.0\.bias"),
    ],
)
def test_another_result_is_refused(job, tmp_path, change, said):
    shutil.copytree(job, tmp_path / "job")
    change(tmp_path / "job/quantised")
    states = load_file(job / "model/model.safetensors")
    with pytest.raises(ValueError, match=said):
        take_result(tmp_path / "job/quantised", states, Model().config(), "W4A16", tmp_path)


def changed(file):
    states = load_file(file)
    states["visual.merger.mlp.0.bias"] += 1
    save_file(states, file)


def test_an_artefact_that_is_not_calibrated_yet_is_refused(exported, script):
    code, output = script("evaluate.py", "run=run", "artefact=gptq", "logger=none", cwd=exported[0])
    assert code == 2 and "gptq is not there, and is not written here. Run medvl export run=run format=gptq" in output


def test_the_recipe_names_what_is_left_alone(job):
    told = json.loads((job / "job.json").read_text())
    assert told["ignore"] == ["re:.*visual.*", "re:.*lm_head"] and told["longest"] > 10
    assert Format.awq.calibrated == Format.gptq.calibrated == "W4A16" and Format.w4a16.calibrated is None
