"""Rules of the house that a machine can hold: who imports whom, how large things are, what loads when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "medvl"
FILES = sorted(PACKAGE.rglob("*.py"))
# A module imports from its own row or from rows above it; modules of row 1 do not know each other.
ROWS = [
    {"types", "geometry", "table", "claim"},
    {"precision", "lora", "attention", "hardware", "prompt", "measures", "record", "privacy", "energy"},
    {"documents", "data", "model", "random_init", "loss", "shapes", "kernels", "features"},
    {
        "learner",
        "engine",
        "evaluation",
        "bench",
        "page_bench",
        "train_bench",
        "train_arms",
        "memory",
        "tuning",
        "sweeping",
        "audit",
        "figures",
        "comparison",
        "artefact",
        "differences",
        "gate",
        "reporting",
    },
    {"config", "composition"},
    {"process", "job", "mirrored", "session", "launch", "suggest"},
    {"cli", "doctor"},
]
ONLY_IN = {
    "hydra": {"config", "composition", "cli", "sweeping"},
    "omegaconf": {"config", "composition", "launch", "cli", "sweeping"},
    "optuna": {"sweeping", "reporting"},
    "lightning": {"learner", "data", "job"},
    "wandb": {"learner", "reporting"},
    "jinja2": {"reporting"},
}


def name_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def row_of(name):
    return next(number for number, row in enumerate(ROWS) if name in row)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", [file for file in FILES if file.name != "__init__.py"], ids=str)
def test_imports_point_upwards(path):
    own = name_of(path)
    for module in imports(path):
        top, *rest = module.split(".")
        assert own in ONLY_IN.get(top, {own}), f"{own} imports {top}"
        if top == "medvl" and rest:
            other = rest[0]
            assert row_of(other) <= row_of(own), f"{own} imports {other}"
            assert own == other or row_of(other) < row_of(own) or row_of(own) != 1, f"{own} imports {other}"


@pytest.mark.parametrize("path", [*FILES, *sorted(ROOT.glob("*.py"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path):
    source = path.read_text()
    limit = 60 if path.parent == ROOT else 300
    assert len(source.splitlines()) <= limit
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


def test_composition_does_not_load_torch():
    """--help, tab completion and refusals answer in a second."""
    heavy = ("torch", "transformers", "lightning", "peft", "datasets", "wandb")
    code = f"import sys, medvl.launch; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_module_has_a_row():
    assert {name_of(path) for path in FILES} - {"__init__"} == set().union(*ROWS)


def test_no_absolute_paths_or_outputs_are_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert not [name for name in tracked if name.startswith("outputs/") and not name.endswith(".gitkeep")]
    private = {str(ROOT), f"{Path.home()}/", f"{Path('/home')}/"}  # as this machine has them
    for name in tracked:
        if Path(name).suffix in (".py", ".yaml", ".md", ".cfg", ".json", ".sh"):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not [word for word in private if word in text], name
