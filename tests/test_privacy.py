"""What leaves the run directory, and what must not."""

import json

from conftest import SMALL
from wandb_files import only_run, pages

from medvl.record import read_jsonl

SHORT = (*SMALL, "trainer.max_steps=1", "trainer.epochs=null", "trainer.bar=false", "hydra.run.dir=run")
WORD = "Quetzalcoatlus"  # in no other document, prompt or log


def documents_with(word, folder):
    texts = [f"CHIEF COMPLAINT: {word} bite, number {at}. The {at} wounds were dressed." for at in range(1, 13)]
    lines = [json.dumps({"sample_name": f"case {at}", "transcription": text}) for at, text in enumerate(texts)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")


def holding(folder, word):
    """Return the files below a folder in which a word stands."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_strict_privacy_keeps_texts_in_the_run_directory(script, tmp_path):
    documents_with(WORD, tmp_path)
    own = [word for word in SHORT if "data.limit" not in word]
    data = ("data=mtsamples", "data.path=records.jsonl", "eval.split=minitrain", "privacy=strict")
    code, output = script("train.py", *own, *data, cwd=tmp_path)
    assert code == 0 and "privacy=strict" in output, output
    run = tmp_path / "run"
    assert WORD in (run / "predictions.jsonl").read_text()  # the record itself is whole
    assert WORD not in output and WORD not in (run / "train.log").read_text()
    assert (run / "wandb").is_dir() and not holding(run / "wandb", WORD)
    assert not list(run.rglob("wandb/**/*.png")) and "predictions" not in only_run(run).history
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


def test_open_privacy_prints_examples(trained):
    run, output = trained
    reference = read_jsonl(run / "predictions.jsonl")[0]["reference"].split("\n")[0]
    assert reference[:20] in output and reference[:20] in (run / "train.log").read_text()
