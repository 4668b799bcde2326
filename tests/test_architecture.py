"""Project rules that no linter checks: sizes, import times, committed files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "medvl"
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", [*FILES, *sorted(ROOT.glob("*.py"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path):
    source = path.read_text()
    limit = 60 if path.parent == ROOT else 300
    assert len(source.splitlines()) <= limit
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


def test_test_files_have_names_of_their_own():
    """pytest imports them by their names, so that a second one of a name is not collected."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_composition_does_not_load_torch():
    """--help, tab completion and refusals must respond within a second."""
    heavy = ("torch", "transformers", "lightning", "peft", "datasets", "wandb")
    code = f"import sys, medvl.run.launch; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_no_absolute_paths_or_outputs_are_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert not [name for name in tracked if name.startswith("outputs/") and not name.endswith(".gitkeep")]
    private = {str(ROOT), f"{Path.home()}/", f"{Path('/home')}/"}  # paths of this machine
    for name in tracked:
        if Path(name).suffix in (".py", ".yaml", ".md", ".cfg", ".json", ".sh"):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not [word for word in private if word in text], name
