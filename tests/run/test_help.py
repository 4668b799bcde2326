"""--help of the scripts, and what they make of words that are used elsewhere."""

import doctest
import sys

import pytest

from medvl.run import help as helping
from medvl.run import suggest
from medvl.run.help import help_text
from medvl.run.meant import OVERRIDES


@pytest.mark.parametrize("config", ["run", "evaluate"])
def test_every_value_has_its_sentence(config):
    bare = []
    lines = help_text(config, []).splitlines()
    for at, line in enumerate(lines):
        if line.startswith("  ") and line[2].isalpha() and "=" in line.split()[0]:
            told = line.split("  ", 2)[-1].strip() != line.strip()
            bare += [] if told or lines[at + 1].startswith(" " * 30) else [line.strip()]
    assert not bare
    assert max(map(len, lines)) <= 120


def test_the_help_tells_default_unit_and_options():
    text = help_text("run", [])
    for said in (
        "lora.r=64",
        "Rank of the adapters.",
        "precision={bf16, fp16, fp32, fp4, int8, nf4}: how the base weights are stored",
        "One of nf4, fp4, int8, bf16",
        "Width of a page in points.",
        "hardware.cpu_memory_gib=null",
        "(GiB)",
        "optimizer.lr=0.0005",
        "trainer.epochs=1.5",
        "experiment={",
        "seed=42",
    ):
        assert said in text, said
    assert "None:" not in text and "${" not in text
    assert "reading_pages" in help_text("evaluate", ["eval"]) or "eval.data" in help_text("evaluate", ["eval"])


def test_the_help_of_groups_and_options():
    text = help_text("run", ["lora", "lora=seed"])
    assert text.startswith("lora={") and "lora.r=" in text and "optimizer" not in text
    assert "data.schema=null" in help_text("run", ["data", "data=folder", "data.path=x"])
    with pytest.raises(ValueError, match="there is no lorra"):
        help_text("run", ["lorra"])


def told(monkeypatch, capsys, *words, config="run"):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    code = 0
    try:
        suggest.start(lambda: None, ["train.py", *words], config)
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lr=1e-4", "Meant: optimizer.lr=1e-4?"),
        ("learning_rate=1", "Meant: optimizer.lr=1?"),
        ("epochs=3", "Meant: trainer.epochs=3?"),
        ("batch_size=4", "Meant: batch.tokens=4 (the tokens of a row) or trainer.accumulate=4 (the rows of a step)?"),
        ("lora_rank=8", "Meant: lora.r=8?"),
        ("model_name=x", "Meant: model=x or model.path=x?"),
        ("trainer.lr=1", "Meant: optimizer.lr=1?"),
        ("trainer.max_step=3", "Meant: trainer.max_steps=3"),
        ("precision=nf5", "Meant: precision=nf4? Options: bf16, fp16"),
        ("data=synthia", "Meant: data=synthea?"),
        ("model=nano_form", "Meant: experiment=nano_forms or model=nano?"),
        ("--lr=3", "Overrides have no dashes: optimizer.lr=3"),
        ("--epochs", "Overrides have no dashes: trainer.epochs=<value>"),
        ("lr", "lr is no override. Write optimizer.lr=<value>"),
        ("url=http://u:secret@h", "there is no url."),
    ],
)
def test_words_of_other_frameworks(monkeypatch, capsys, word, meant):
    code, out, err = told(monkeypatch, capsys, word)
    assert code == 2 and not out and len(err.splitlines()) == 1 and meant in err and "secret" not in err, err


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "precision=nf4,bf16", "seed=range(3)", "data=glob(*)"],
        ["--cfg", "job"],
        ["-sc", "install=bash"],
        ["--info", "defaults"],
        ["+optimizer.momentum=1", "~logger"],
        ["data=text", "data.colour=x"],
        ["data=forms_and_notes", "data.parts.forms.count=3"],
        ["hydra.run.dir=x", "hydra/launcher=local", "optimizer.momentum=1", "logger.new=1"],
        ["data@eval.data=folder", "eval.data.path=x", "eval=folder"],
        ["lora.r=-1", "data.prompt=a b c"],
        ["--config-dir", "own", "experiment=mine", "model=mine"],
        ["-cd=own", "experiment=mine"],
        ["hydra.searchpath=[own]", "lora=mine"],
    ],
)
def test_what_may_be_right_is_left_to_hydra(words):
    suggest.check_words(words)
    suggest.check_owners(words)


def test_all_that_is_meant_exists():
    known = {*suggest.known_keys(), *suggest.GROUPS, "hydra.run.dir"}
    known |= {f"{group}.{name}" for group, names in (("optimizer", ("lr", "weight_decay")),) for name in names}
    known |= {f"logger.{name}" for name in ("project", "entity", "name", "notes", "group", "tags")}
    for meant in OVERRIDES.values():
        for one in meant.replace(",", " or ").split(" or "):
            assert one.split(" (")[0].strip() in known, one


def test_help_and_version_run_nothing(monkeypatch, capsys):
    code, out, err = told(monkeypatch, capsys, "--help", "lora=all")
    assert code == 0 and "lora.vision=[" in out and not err
    assert told(monkeypatch, capsys, "--version")[1].startswith("medvl ")
    assert told(monkeypatch, capsys, "--help", "lora=al")[0] == 2


def test_examples_in_docstrings():
    for module in (helping, suggest):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed
