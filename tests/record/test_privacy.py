"""What leaves the run directory, and what must not."""

import json
import traceback
from pathlib import Path

import pytest
import torch
from conftest import SMALL, listed
from safetensors.torch import save_file
from wandb_files import only_run, pages

from medvl.data.sources.source import Dropped
from medvl.model.adapters import check_base
from medvl.record.directory import Record
from medvl.record.files import read_jsonl
from medvl.record.privacy import Privacy
from medvl.run.context import RunContext
from medvl.run.datasets import prepare_training
from medvl.tracking.sendable import sendable
from medvl.types import Document, Field

SHORT = (*SMALL, "trainer.max_steps=1", "trainer.epochs=null", "trainer.bar=false", "hydra.run.dir=run")
WORD = "Quetzalcoatlus"  # in no other document, prompt or log
ASKED = "Therizinosaurus"


def documents_with(word, folder):
    texts = [f"CHIEF COMPLAINT: {word} bite, number {at}. The {at} wounds were dressed." for at in range(1, 13)]
    lines = [json.dumps({"sample_name": f"case {at}", "transcription": text}) for at, text in enumerate(texts)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")


def holding(folder, word):
    """Return the files below a folder that contain a word."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_strict_privacy_keeps_texts_in_the_run_directory(script, tmp_path):
    documents_with(WORD, tmp_path)
    own = [word for word in SHORT if "data.limit" not in word]
    data = (
        "data=mtsamples",
        "data.path=records.jsonl",
        "eval.split=minitrain",
        "privacy=strict",
        f"data.prompt=Read it to a {ASKED}",
        f"replay.data.prompt=Read it to a {ASKED}",
    )
    code, output = script("train.py", *own, *data, cwd=tmp_path)
    assert code == 0 and "privacy=strict" in output, output
    run = tmp_path / "run"
    assert WORD in (run / "predictions.jsonl").read_text()  # the record itself is complete
    assert WORD not in output and WORD not in (run / "train.log").read_text()
    assert (run / "wandb").is_dir() and not holding(run / "wandb", WORD)
    assert not list(run.rglob("wandb/**/*.png")) and "predictions" not in only_run(run).history
    assert_prompts_and_paths_stay(run, output)
    said = {}
    for name, word in (("kept", "privacy=strict"), ("shown", "privacy=open")):
        call = ("run=run", f"hydra.run.dir={name}", "ablation=[]", word)
        code, said[name] = script("evaluate.py", *call, cwd=tmp_path)
        assert code == 0, said[name]
    assert WORD not in said["kept"] and not holding(tmp_path / "kept/wandb", WORD)
    assert WORD not in (tmp_path / "kept/evaluate.log").read_text()
    assert holding(tmp_path / "shown/wandb", WORD)
    told = only_run(tmp_path / "shown")
    (row, *_), _ = pages(told, "predictions")
    assert WORD in row["reference"] and told.run.job_type == "evaluate"


def assert_prompts_and_paths_stay(run, output):
    (adapter_metadata,) = run.glob("checkpoints/step-*/medvl.json")
    assert ASKED in (run / "predictions.jsonl").read_text() and ASKED in adapter_metadata.read_text()
    assert ASKED not in output and ASKED not in (run / "train.log").read_text()
    assert not holding(run / "wandb", ASKED) and not holding(run / "wandb", "records.jsonl")
    told = only_run(run)
    assert told.config["data.seed"] == 42 and not {"data.prompt", "data.path", "cache"} & told.config.keys()
    (adapter,) = (one for one in told.artifacts if one.type == "adapter")
    files = {
        entry.path: json.loads(Path(entry.local_path).read_text())
        for entry in adapter.manifest.contents
        if entry.path.endswith(".json")
    }
    assert files["medvl.json"]["base_hash"] and "prompt" not in files["medvl.json"]


def test_strict_withholds_prompts_and_paths_of_every_data_set():
    flat = {"model.path": "a", "data.parts.notes.path": "b", "eval.data.prompt": "c", "run": "d", "lora.r": 8}
    assert Privacy.open.columns(flat) == flat
    assert Privacy.strict.columns(flat) == {"model.path": "a", "lora.r": 8}


def test_an_export_is_sent_without_its_prompt(tmp_path):
    (tmp_path / "medvl.json").write_text(json.dumps({"base": "nano", "prompt": ASKED}))
    (tmp_path / "export.json").write_text("{}")
    files = sorted(tmp_path.iterdir())
    with sendable(files, Privacy.strict) as sent:
        assert [file.name for file in sent] == ["export.json", "medvl.json"]
        assert json.loads(sent[1].read_text()) == {"base": "nano"}
    with sendable(files, Privacy.open) as sent:
        assert sent == files


@pytest.mark.parametrize("privacy", ["open", "strict"])
def test_what_quotes_records_is_printed_as_privacy_says(privacy, compose, cache, encoder, tmp_path, caplog):
    caplog.set_level("INFO")
    run = compose(f"cache={cache}", "trainer.bar=false", f"privacy={privacy}")
    context = RunContext(config=run, record=Record(tmp_path), settings={}, groups={}, main=True)
    dropped = Dropped("record 1", f"{WORD} is no dose")
    fact = Field(path=f"{WORD}.dose", value="Asleep", type="dose")
    read = Document(id="1", kind="note", text="Asleep.", fields=[fact])
    run.data = listed([read, dropped])
    prepare_training(context, encoder)
    assert "1 facts under 1 names" in caplog.text and (WORD in caplog.text) == (privacy == "open")
    run.data = listed([dropped])
    with pytest.raises(ValueError, match="nothing of the 1 records can be used") as refusal:
        prepare_training(context, encoder)
    assert (WORD in str(refusal.value)) == (privacy == "open")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    (tmp_path / "medvl.json").write_text(json.dumps({"base": "nano", "base_hash": "a", "prompt": WORD}))
    caplog.clear()
    check_base(tmp_path, base="nano", base_hash="a", prompt="Read.", named=run.privacy.shows)
    assert "trained with prompt" in caplog.text and (WORD in caplog.text) == (privacy == "open")


@pytest.mark.parametrize("privacy", ["strict", "open"])
def test_an_unreadable_source_is_named_as_privacy_says(privacy, compose, cache, encoder, tmp_path):
    """A CSV without a header has its first row, a patient's, where the names of columns belong."""
    (tmp_path / "notes.csv").write_text(f"{WORD} bit Ada Ordonez,2018-03-12\nnext,row\n")
    run = compose(
        f"cache={cache}", "data=mtsamples", f"data.path={tmp_path}/notes.csv", "trainer.bar=false", f"privacy={privacy}"
    )
    context = RunContext(config=run, record=Record(tmp_path / "run"), settings={}, groups={}, main=True)
    with pytest.raises(ValueError, match=r"column 'transcription'|cannot be read") as refusal:
        prepare_training(context, encoder)
    assert WORD not in "".join(traceback.format_exception(refusal.value))
    run.data = listed(fails())
    with pytest.raises(ValueError) as refusal:
        prepare_training(context, encoder)
    assert (WORD in "".join(traceback.format_exception(refusal.value))) == (privacy == "open")


def fails():
    raise ValueError(f"{WORD} is no column")
    yield


def test_open_privacy_prints_examples(trained):
    run, output = trained
    reference = read_jsonl(run / "predictions.jsonl")[0]["reference"].split("\n")[0]
    assert reference[:20] in output and reference[:20] in (run / "train.log").read_text()
