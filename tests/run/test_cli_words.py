"""The words of `medvl compare`, `status` and `report`: mistakes end with one line and exit status 2."""

import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from reports import change, make_run, make_small_sweep

from medvl import cli


def medvl(monkeypatch, capsys, *words):
    """Run the command in this process; return its exit status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["medvl", *words])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare"], "0 folders were named; usage: medvl compare"),
        (["compare", "a", "b", "c"], "3 folders were named; usage: medvl compare"),
        (["compare", "a", ""], "usage: medvl compare"),
        (["compare", "a", "b", "--html"], "there is no option --html; usage: medvl compare"),
        (["compare", "a", "gone"], "gone is not a run directory"),
        (["compare", "a", "x" * 300], "is not a run directory"),
        (["compare", "a", "broken"], "broken/status.json is missing or not JSON"),
        (["compare", "a", "odd"], "odd/status.json is damaged: step is text, not a whole number"),
        (["status", "a", "b"], "2 folders were named; usage: medvl status"),
        (["status", "-v"], "there is no option -v; usage: medvl status"),
        (["status", "gone"], "gone is not a sweep: sweep.json is missing"),
        (["status", "broken"], "broken/status.json is missing or not JSON"),
        (["status", "a/config.yaml"], "is not a sweep"),
        (["status", "s"], "s/sweep.json is damaged: it is nested more than 40 deep"),
        (["status"], "there is no sweep below outputs/"),
        (["report"], "0 folders were named; usage: medvl report"),
        (["report", "out=x"], "0 folders were named; usage: medvl report"),
        (["report", "a", "--web"], "there is no option --web; usage: medvl report"),
        (["report", "a", "out="], "out= names no folder"),
        (["report", "a", "out=a/config.yaml"], "out=a/config.yaml is a file"),
        (["report", "broken"], "broken/status.json is missing or not JSON"),
        (["reprot", "a"], "there is no medvl reprot. Meant: medvl report?"),
        (["train"], "there is no medvl train. Meant: python train.py?"),
        (["ls"], "Meant: medvl runs?"),
        (["--foo"], "there is no option --foo"),
        (["prepare", "--json"], "there is no option --json here"),
        (["prepare", "lr=3"], "there is no lr. Meant: optimizer.lr=3?"),
        (["runs", "state=odd"], "state=odd is none of done"),
        (["show", "a", "d9"], "there is no example d9"),
        (["clean", "gone"], "there is no folder gone"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(tmp_path, monkeypatch, capsys, words, said):
    for name in ("a", "b", "broken", "odd"):
        make_run(tmp_path / name)
    (tmp_path / "broken/status.json").write_text('{"state": "do')
    change(tmp_path / "odd/status.json", step="two")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/sweep.json").write_text("[" * 10_000)
    (tmp_path / "outputs/train/dangling").mkdir(parents=True)
    (tmp_path / "outputs/train/dangling/sweep.json").symlink_to("gone")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = medvl(monkeypatch, capsys, *words)
    assert code == 2 and not out and err.startswith("error: ") and said in err and len(err.splitlines()) == 1, err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", [*cli.WORDS, *cli.VERBS])
def test_every_verb_has_its_own_help(monkeypatch, capsys, verb):
    code, out, err = medvl(monkeypatch, capsys, verb, "--help")
    assert code == 0 and not err and f"\nmedvl {verb}" in out and out[0].isupper()
    assert ("overrides of the scripts" in out) == (verb in cli.VERBS)
    assert medvl(monkeypatch, capsys, "help", verb)[1] == out
    assert f"\nmedvl {verb} " in medvl(monkeypatch, capsys, "-h")[1]


def test_the_version_is_told(monkeypatch, capsys):
    for word in ("--version", "version"):
        code, out, err = medvl(monkeypatch, capsys, word)
        assert code == 0 and re.match(r"medvl \d+\.\d+\.\d+( \(commit [0-9a-f]{12}\))?\n$", out) and not err


def test_what_can_be_answered_is_answered(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "a")
    sweep = make_small_sweep(tmp_path / "outputs/train/sweep-lora.r")
    monkeypatch.chdir(tmp_path)
    assert "4 examples of 4 documents" in medvl(monkeypatch, capsys, "compare", "a", str(sweep / "0000000001"))[1]
    assert "3 jobs: 2 done, 1 left" in medvl(monkeypatch, capsys, "status")[1]
    assert medvl(monkeypatch, capsys, "report", "a", "out=b/c")[:2] == (0, "b/c/report.html\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("program", ["train.py", "evaluate.py", "benchmark.py", "medvl"])
def test_a_signal_during_the_imports_ends_in_one_line(tmp_path, program, number):
    (tmp_path / "hydra.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(9)\n")
    (tmp_path / "medvl").write_text("from medvl.cli import main\nmain()\n")  # as pip writes it
    path = ROOT / program if program != "medvl" else tmp_path / program
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 128 + number and not done.stdout
    assert done.stderr == b"interrupted; the same command starts over\n"


def test_a_terminal_without_letters_and_a_reader_that_leaves(tmp_path):
    sweep = make_small_sweep(tmp_path / "s\u00fc\u4e2d")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "medvl.cli", "status", str(sweep)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0 and b"s\\xfc\\u4e2d" in done.stdout and not done.stderr, done
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert not done.stderr, done
