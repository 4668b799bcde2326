"""Wrong inputs as a user sees them: one sentence with its mend, exit status 2, no traceback, nothing left or lost."""

import json
import re

import pytest
from conftest import ROOT

RECORD = '{"sample_name": "a", "transcription": "CHIEF COMPLAINT: cough."}\n'

# Script, overrides, and what the message must name: the fault's place or the override that mends it.
TYPED = [
    ("train.py", ["lora.rank=8"], "lora.r"),
    ("train.py", ["precision=nf5"], "Meant: precision=nf4?"),
    ("train.py", ["model=nano_form"], "Meant: experiment=nano_forms or model=nano?"),
    ("train.py", ["lr=1e-4"], "Meant: optimizer.lr=1e-4?"),
    ("train.py", ["--lora_rank=8"], "Overrides have no dashes: lora.r=8"),
    ("train.py", ["eval.data.path=x"], "Set eval=folder"),
    ("train.py", ["replay=none", "replay.limit=3"], "Set replay=narrative"),
    ("train.py", ["lora.r=eight"], "could not be converted to Integer"),
    ("train.py", ["precision.storage=fp8"], "nf4"),
    ("train.py", ["trainer.epoch=2"], "trainer.epochs"),
    ("train.py", ["experiment=smok"], "smoke"),
    ("train.py", ["data.limit=many"], "could not be converted to Integer"),
    ("train.py", ["render.margin_pt=[1"], "render.margin_pt"),
    ("train.py", ["lora.alpha=-1"], "error: lora.alpha must be above 0"),
    ("train.py", ["lora.r=0"], "Set lora.r="),
    ("train.py", ["lora.r=1000000000"], "Set lora.r="),
    ("train.py", ["lora.dropout=1"], "Set lora.dropout="),
    ("train.py", ["lora.language=[qproj]"], "q_proj"),
    ("train.py", ["lora=none"], "Set precision=fp32"),
    ("train.py", ["lora.init=pissa"], "Set precision=bf16"),
    ("train.py", ["lora.init=loftq", "precision=bf16"], "Set lora.init=pissa"),
    ("train.py", ["optimizer.lr=-1"], "Set optimizer.lr="),
    ("train.py", ["optimizer.lr=[1e-4]"], "Set optimizer.lr="),
    ("train.py", ["optimizer.lr=fast"], "Set optimizer.lr="),
    ("train.py", ["optimizer.lr=nan"], "Set optimizer.lr="),
    ("train.py", ["optimizer.lr=null"], "Set optimizer.lr="),
    ("train.py", ["optimizer.betas=[1.5,0.9]"], "Set optimizer.betas="),
    ("train.py", ["optimizer.weight_decay=-1"], "Set optimizer.weight_decay="),
    ("train.py", ["+optimizer.momentum=0.9"], "Set optimizer=adamw"),
    ("train.py", ["optimizer._target_=os.system"], "Set optimizer=adamw"),
    ("train.py", ["optimizer._target_=torch.optim.Adamw"], "Set optimizer=adamw"),
    ("train.py", ["logger._target_=builtins.exec"], "Set logger=wandb"),
    ("train.py", ["+logger.colour=red"], "logger.project"),
    ("train.py", ["logger.mode=sometimes"], "Set logger.mode=auto"),
    ("train.py", ["logger=mlflow", "logger.tracking_uri=mlruns"], "Set logger.tracking_uri="),
    ("train.py", ["hardware=h200"], "Set hardware=cpu"),
    ("train.py", ["hardware.device=cuda"], "Set hardware=cpu"),
    ("train.py", ["hardware.attention=varlen"], "Set hardware.attention=auto"),
    ("train.py", ["hardware.memory_fraction=2"], "Set hardware.memory_fraction="),
    ("train.py", ["hardware.memory_floor_gib=0"], "Set hardware.memory_floor_gib=8"),
    ("train.py", ["hardware.memory_floor_gib=1e6"], "set hardware.memory_floor_gib=null"),
    ("train.py", ["hardware.workers=-1"], "Set hardware.workers="),
    ("train.py", ["trainer.devices=4097"], "Set trainer.devices="),
    ("train.py", ["trainer.strategy=fsdp"], "Set lora=none"),
    ("train.py", ["trainer.epochs=null"], "Set trainer.max_steps="),
    ("train.py", ["trainer.max_steps=0"], "Set trainer.max_steps="),
    ("train.py", ["trainer.warmup=2"], "Set trainer.warmup="),
    ("train.py", ["trainer.glyphs=1"], "Set data=reading_pages"),
    ("train.py", ["data=reading_pages"], "Set trainer.max_steps="),
    ("train.py", ["batch.tokens=10"], "Set batch.tokens="),
    ("train.py", ["render=letter", "batch.tokens=1024"], "render=slip"),
    ("train.py", ["model.max_pixels=1"], "Set model.max_pixels="),
    ("train.py", ["model.path=./nowhere/model"], "Set model.path="),
    ("train.py", ["model.path=/nowhere"], "Set model.path="),
    ("train.py", ["data.path=nowhere.jsonl"], "Set data.path="),
    ("train.py", ["data=mtsamples", "data.path=file"], ".jsonl or .csv"),
    ("train.py", ["data=pathvqa", "data.hub=null"], "Set data.path="),
    ("train.py", ["data=json"], "Set data.path="),
    ("train.py", ["data=text"], "Set data.path="),
    ("train.py", ["data=text", "data.path=file", "data.colum=note"], "data.column"),
    ("train.py", ["data._source_=Lines"], "Set data._source_=<module>.<class>"),
    ("train.py", ["data._source_=nowhere.Lines"], "Set data._source_=<module>.<class>"),
    ("evaluate.py", ["data=json.JSONDecoder"], "docs/data.md shows one"),
    ("train.py", ["resume=nowhere"], "Set resume="),
    ("train.py", ["resume=folder"], "config.yaml is missing"),
    ("train.py", ["run=folder"], "evaluate.py"),
    ("train.py", ["artefact=merged"], "Set artefact=adapter"),
    ("train.py", ["ablation=[blank]"], "evaluate"),
    ("train.py", ["hydra.run.dir=file"], "hydra.run.dir="),
    ("train.py", ["hydra.run.dir="], "Set hydra.run.dir="),
    ("train.py", ["cache="], "Set cache="),
    ("train.py", ["seed=-1"], "Set seed=42"),
    ("train.py", ["data=folder"], "Set data.path="),
    ("train.py", ["data=json", "data.path=gone.json"], "Set data.path="),
    ("train.py", ["optimizer=null"], "adamw_8bit"),
    ("train.py", ["optimizer=adamw_8bit", "optimizer.eps=0"], "Set optimizer.eps=1e-6"),
    ("train.py", ["logger=mlflow", "logger.tracking_uri=foo://bar"], "Set logger.tracking_uri="),
    ("train.py", ["logger.project=a/b"], "Set logger.project="),
    ("train.py", ["logger.project="], "Set logger.project="),
    ("train.py", ["logger.tags=foo"], "Set logger.tags="),
    ("train.py", ["data=clinical_forms", "data.count=2"], "Set data.count="),
    ("train.py", ["render.dpi=1e6"], "Set render.dpi=150"),
    ("train.py", ["render.dpi=inf"], "Set render=slip"),
    ("train.py", ["cache=/dev/null"], "Set cache="),
    ("train.py", ["data=synthea", "data.path="], "Set data.path="),
    ("train.py", ["repeat=all"], "needs -m"),
    ("train.py", ["sweep=lora_rank"], "needs -m"),
    ("evaluate.py", ["launcher=submitit_local"], "needs -m"),
    ("train.py", ["hydra.launcher.jobs=4"], "needs -m"),
    ("evaluate.py", ["eval=1"], "held_out"),
    ("train.py", ["trainer.epochs=inf"], "Set trainer.epochs="),
    ("train.py", ["trainer.clip=nan"], "Set trainer.clip="),
    ("train.py", ["gate.tolerance=nan"], "Set gate.tolerance="),
    ("train.py", ["hydra.run.dir=" + "x" * 300], "hydra.run.dir="),
    ("evaluate.py", ["run=folder"], "config.yaml is missing"),
    ("evaluate.py", ["adapter=folder"], "adapter_model.safetensors"),
    ("evaluate.py", ["adapter=nowhere"], "Set adapter="),
    ("evaluate.py", ["artefact=merged"], "Set run="),
    ("evaluate.py", ["eval.max_new_tokens=0"], "Set eval.max_new_tokens="),
    ("evaluate.py", ["eval=held_outs"], "held_out"),
    ("evaluate.py", ["eval=held_out", "ablation=[]", "eval.split=all"], "Set eval.split=test"),
    ("evaluate.py", ["ablation=[empty]"], "blank"),
    ("evaluate.py", ["resume=folder"], "Set run="),
    ("benchmark.py", ["bench.repeats=0"], "Set bench.repeats=1"),
    ("benchmark.py", ["bench=train", "bench.arms=[theirs]"], "ours"),
    ("benchmark.py", ["bench=train", "lora=none", "precision=fp32"], "Set lora=llm"),
    ("benchmark.py", ["bench=trains"], "train"),
    ("benchmark.py", ["export=folder"], "prepare"),
]

# Lines of a data file in the working directory, and the words that make a script read it.
READ = [
    ("empty.jsonl", "", ["data=mtsamples"]),
    ("list.jsonl", "[]\n[]\n", ["data=mtsamples"]),
    ("nothing.csv", "a,b\n1,2\n", ["data=mtsamples"]),
    ("latin.jsonl", RECORD.replace("cough", "fi\xe8vre").encode("latin-1"), ["data=mtsamples"]),
    ("rows.json", '[{"image": "a.png", "note": "b"}]', ["data=json"]),
    ("rows.json", '[{"image": "a.png", "question": "b", "answer": "c"}]', ["data=json"]),
    ("rows.csv", "a,b\n1,2\n", ["data=text"]),
    ("note.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", ["data=text"]),
    ("folder", None, ["data=json"]),
    ("folder", None, ["data=text"]),
    ("folder", None, ["data=pubmedvision"]),
    ("folder", None, ["data=synthea"]),
    ("folder", None, ["data=pathvqa"]),
    ("file.json", "{}", ["data=synthea"]),
    ("file.json", '{"resourceType": "Bundle"', ["data=synthea"]),
]


def documented():
    """Return what docs/troubleshooting.md says of a command: (script, *overrides): the pattern of its answer."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    told = re.findall(r"```bash\npython (.+)\n```\n\n```text\n(.+)\n```", page)
    return {tuple(command.split()): re.escape(answer).replace(r"\.\.\.", ".*") for command, answer in told}


def state(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(code, output):
    lines = [line for line in output.splitlines() if line.strip()]
    assert code == 2, output
    assert "Traceback" not in output and len(lines) < 40, output
    return output


@pytest.mark.parametrize(
    ("name", "overrides", "mend"), TYPED, ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None
)
def test_what_is_typed_wrong(script, tmp_path, name, overrides, mend):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    before = state(tmp_path)
    output = refused(*script(name, *overrides, cwd=tmp_path))
    assert mend in output, output
    assert re.search(documented().get((name, *overrides), ""), output), output
    assert state(tmp_path) == before and not list(tmp_path.glob("outputs/*/*"))


@pytest.mark.parametrize(("file", "content", "words"), READ)
def test_data_that_cannot_be_read(script, tmp_path, file, content, words):
    path = tmp_path / file
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = state(tmp_path)
    output = refused(*script("train.py", *words, f"data.path={path}", "logger=none", "hydra.run.dir=run", cwd=tmp_path))
    assert re.search(r"error: .*", output)
    assert {name: data for name, data in state(tmp_path).items() if not name.startswith("run/")} == before
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert status["state"] == "failed" and "Traceback" not in output


def test_the_commonest_mistakes_of_the_guide_are_among_them():
    assert len(documented()) == 20 and documented().keys() <= {(name, *words) for name, words, _ in TYPED}


def test_there_are_sixty_and_more():
    assert len(TYPED) + len(READ) >= 60 and len({(name, *words) for name, words, _ in TYPED}) == len(TYPED)
