"""evaluate.py alone: how well a model reads, by kind and page height."""

import hydra
import pytest
from conftest import QUIET, ROOT
from omegaconf import OmegaConf

from medvl.data.sources.fixed_pages import FixedPages
from medvl.data.sources.reading_pages import ReadingPages
from medvl.evaluation.evaluation import Ablation
from medvl.metrics.breakdown import breakdown, breakdown_table
from medvl.record.files import read_json, read_jsonl
from medvl.run.composition import GROUPS
from medvl.run.config import resolve
from medvl.types import Document


def compose(root, *overrides):
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hydra.compose(root, overrides=list(overrides), return_hydra_config=True)


def test_both_roots_are_alike_but_for_what_is_scored():
    run, own = compose("run"), compose("evaluate")
    chosen = [cfg.hydra.runtime.choices for cfg in (run, own)]
    assert {name for name in GROUPS if chosen[0][name] != chosen[1][name]} == {"eval"}
    values = [OmegaConf.to_container(cfg) for cfg in (run, own)]
    assert {name for name in values[0] if values[0][name] != values[1][name]} - {"hydra"} == {"eval", "ablation"}
    assert values[0]["hydra"]["run"] == values[1]["hydra"]["run"]


def test_an_experiment_wins_over_the_root():
    own = compose("evaluate", "experiment=seed_recipe")
    OmegaConf.set_struct(own, False)
    del own["hydra"]
    run = resolve(own)
    assert isinstance(run.eval.data, FixedPages) and run.ablation == [Ablation.blank]


def test_the_reading_set_covers_type_and_height():
    run = compose("evaluate")
    OmegaConf.set_struct(run, False)
    del run["hydra"]
    source = resolve(run).eval.data
    assert isinstance(source, ReadingPages)
    pages = [item for item in source.read() if isinstance(item, Document)]
    assert 60 <= len(pages) <= 80
    kinds = [page.kind for page in pages]
    assert {kind.split()[0] for kind in kinds} == {"mono", "sans", "serif", "times"}
    assert 0.25 < sum("scanned" in kind for kind in kinds) / len(kinds) < 0.55
    assert len({page.layout for page in pages}) == 5
    whole = [page.questions[0][1] == page.text for page in pages]
    assert sum(whole) > 0.8 * len(whole)


def row(number, errors, kind="mono clean", layout="28 px high", **scores):
    return {
        "id": number,
        "document": str(number),
        "kind": kind,
        "layout": layout,
        "scores": {"cer": [errors, 10.0], **scores},
    }


def test_a_breakdown_sums_each_part():
    rows = [row(1, 1, layout="112 px high"), row(2, 3), row(3, 4, "times scanned"), row(4, 0, "times scanned")]
    parts = breakdown(rows, "cer")
    assert list(parts["layout"]) == ["28 px high", "112 px high"]  # sorted numerically, not alphabetically
    assert parts["kind"]["times scanned"] == {"value": 0.2, "interval": (0.0, 0.4), "examples": 2, "documents": 2}
    assert parts["layout"]["112 px high"] == {"value": 0.1, "interval": None, "examples": 1, "documents": 1}
    lines = breakdown_table(parts, "cer").splitlines()
    assert lines[0].split() == ["character", "error", "rate", "by", "kind", "examples", "documents"]
    assert lines[2].split() == ["times", "scanned", "20.00", "%", "[0.0,", "40.0]", "2", "2"]
    assert "by layout" in lines[3] and len(lines) == 6


def test_one_kind_has_no_breakdown():
    assert breakdown([row(1, 1), row(2, 1)], "cer") == {}
    parts = breakdown([row(1, 1), row(2, 1, "times clean")], "combined")
    assert list(parts) == ["kind"] and parts["kind"]["times clean"] == {
        "value": None,
        "interval": None,
        "examples": 0,
        "documents": 0,
    }
    assert "n/a" in breakdown_table(parts, "combined")


@pytest.fixture(scope="module")
def bare(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    small = [word for word in QUIET if "eval.limit" not in word]
    code, output = script("evaluate.py", *small, "eval.limit=5", "hydra.run.dir=run", cwd=folder)
    assert code == 0, output
    return folder / "run", output


def test_the_bare_model_is_asked_to_read_and_what_without_the_page(bare):
    run, output = bare
    assert "5 examples of all splits" in output and "evaluating with blank pages" in output
    results = read_json(run / "metrics.json")
    assert set(results["scores"]) == {"all", "blank"} and len(results["verdicts"]) == 1
    rows = read_jsonl(run / "predictions.jsonl")
    assert len({row["layout"] for row in rows}) > 1
    assert set(results["breakdown"]["layout"]) == {row["layout"] for row in rows}
    scored = sum("cer" in row["scores"] for row in rows)
    assert sum(cell["examples"] for cell in results["breakdown"]["layout"].values()) == scored == 5
    assert "character error rate by layout" in " ".join(output.split())


def test_a_run_is_scored_on_its_own_data(trained, script, tmp_path):
    code, output = script("evaluate.py", f"run={trained[0]}", "logger=none", "hydra.run.dir=run", cwd=tmp_path)
    assert code == 0 and "blank" not in output, output
    assert set(read_json(tmp_path / "run/metrics.json")["scores"]) == {"test"}
    code, output = script(
        "evaluate.py",
        f"run={trained[0]}",
        "logger=none",
        "eval=reading",
        "eval.limit=2",
        "eval.max_new_tokens=4",
        "hydra.run.dir=read",
        cwd=tmp_path,
    )
    assert code == 0, output
    read, own = ({row["id"] for row in read_jsonl(tmp_path / name / "predictions.jsonl")} for name in ("read", "run"))
    assert len(read) == 2 and own and not read & own
