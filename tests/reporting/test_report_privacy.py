"""Texts in a report: escaped, and with privacy=strict not shown at all."""

import json
import shutil

from reports import change, copy, reconfigure

from medvl.record.files import read_json, read_jsonl, write_json
from medvl.reporting.collection import collect
from medvl.reporting.report import write

ATTACK = "<script>document.title='owned'</script><img src=x onerror=alert(1)> & more"


def poison(run, text=ATTACK):
    """Put a text in every place that shows text of a model or document."""
    for file in run.glob("predictions*.jsonl"):
        rows = [
            {
                **row,
                "prediction": f"{text} {row['prediction']}",
                "kind": f"kind {text}",
                "prompt": text,
                "reference": f"{row['reference']} {text}",
            }
            for row in read_jsonl(file)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_a_model_writes_is_text_and_no_markup(trained, tmp_path):
    run = copy(trained[0], tmp_path / "run")
    poison(run)
    change(run / "environment.json", overrides=[ATTACK])
    html = write([run], tmp_path / "out").read_text()
    assert "<script" not in html and "onerror=alert(1)&gt;" in html and "<img src=x" not in html
    assert "<script" not in (tmp_path / "out/BENCHMARK_REPORT.md").read_text()


def test_strict_privacy_shows_no_page_and_no_text(trained, tmp_path):
    secret = "Zyxwvut Qponml"
    run = copy(trained[0], tmp_path / "run")
    poison(run, secret)
    shown = write([run], tmp_path / "open")
    assert secret in shown.read_text() and 'alt="The page' in shown.read_text()
    reconfigure(run, "privacy", "strict")
    hidden = write([run], tmp_path / "strict")
    words = {
        word for row in read_jsonl(run / "predictions.jsonl") for word in row["reference"].split() if len(word) > 9
    }
    for file in hidden.parent.iterdir():
        text = file.read_text()
        assert secret not in text and not [word for word in words if word in text], file
    assert 'alt="The page' not in hidden.read_text() and "no page and no text of it is shown" in hidden.read_text()


def test_strict_privacy_keeps_the_words_of_an_error(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")
    assert "learning rate: -1.0" in write([folder], tmp_path / "open").read_text()
    (folder / "ffffffffff/config.yaml").write_text("privacy: strict\n")
    html = write([folder], tmp_path / "strict").read_text()
    assert "learning rate: -1.0" not in html and "Traceback of" not in html and "ValueError" in html


def test_a_job_that_was_refused_is_as_private_as_its_sweep(sweep, tmp_path):
    folder = shutil.copytree(sweep, tmp_path / "s")

    def refused():
        return next(run for run in collect([folder]).sweeps[0].runs if run.path.name == "ffffffffff")

    assert not refused().config and not refused().private
    plan = read_json(folder / "sweep.json")
    told = [{**job, "overrides": [*job["overrides"], "privacy=strict"]} for job in plan["jobs"]]
    write_json(folder / "sweep.json", plan | {"jobs": told})
    assert refused().private
    write_json(folder / "sweep.json", plan)
    reconfigure(folder / plan["jobs"][2]["run"], "privacy", "strict")
    assert refused().private
