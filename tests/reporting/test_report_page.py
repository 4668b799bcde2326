"""Reports of benchmarks, and how a report looks in a browser at the width of a phone."""

import json
import re
import subprocess

import pytest
from browsing import CHROMIUM, QUIET_BROWSER
from conftest import QUIET
from reports import copy, reconfigure

from medvl.record.files import read_json, write_json
from medvl.reporting import figures
from medvl.reporting.collection import collect
from medvl.reporting.deployment import benches, deployment, label_of
from medvl.reporting.report import write


@pytest.fixture(scope="module")
def three_way(script, trained, tmp_path_factory):
    """The baseline project's comparison: benchmarks of the base in two precisions, and of the adapter in one."""
    folder = tmp_path_factory.mktemp("three_way")
    short = (
        "logger=none",
        "bench.repeats=1",
        "bench.warmup=0",
        "bench.new_tokens=4",
        "bench.train_steps=0",
        "bench.accuracy=true",
    )
    for name, words in {
        "fp32": ["precision=fp32", *QUIET],
        "nf4": ["precision=nf4", *QUIET],
        "lora": [f"run={trained[0]}"],
    }.items():
        code, output = script("benchmark.py", *words, *short, f"hydra.run.dir={name}", cwd=folder)
        assert code == 0, output
    return folder


def place(folder, number):
    """Look up the value of a number of FINAL_REPORT.json in the file that it names as its source."""
    node = read_json(folder / number["file"])
    for part in number["key"].split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


def test_every_measurement_stands_unrounded_where_it_says(scored, three_way, tmp_path):
    runs = {"run": scored, "nf4": three_way / "nf4"}
    write(list(runs.values()), tmp_path)
    numbers = read_json(tmp_path / "FINAL_REPORT.json")
    assert len(numbers["measurements"]) > 50
    assert all(place(runs[number["run"]], number) == number["value"] for number in numbers["measurements"])
    cells = [
        cell
        for section in numbers["tables"].values()
        for table in section.values()
        if isinstance(table, dict)
        for row in table["rows"]
        for cell in row.values()
        if isinstance(cell, dict)
    ]
    stored = [cell for cell in cells if cell["file"].endswith(".json") and " " not in cell["key"]]
    assert len(stored) > 30 and all(place(runs[cell["run"]], cell) == cell["value"] for cell in stored)
    bounds = [cell for cell in stored if "interval" in cell]
    assert bounds and all(place(runs[c["run"]], {**c, "key": c["interval_key"]}) == c["interval"] for c in bounds)


def test_configurations_are_compared_as_the_seed_did(three_way, tmp_path):
    paths = [three_way / name for name in ("lora", "nf4", "fp32")]
    html = write(paths, tmp_path).read_text()
    tables = read_json(tmp_path / "FINAL_REPORT.json")["tables"]["deployment"]
    rows = {row["configuration"]: row for row in tables["configurations"]["rows"]}
    assert list(rows) == ["FP32", "NF4", "NF4+LoRA"]
    measured = {name: read_json(three_way / name / "benchmark.json") for name in ("fp32", "nf4", "lora")}
    assert rows["NF4"]["peak memory"]["value"] == measured["nf4"]["peak_mib"]
    accuracy = rows["NF4+LoRA"]["combined accuracy"]
    assert accuracy["value"] == measured["lora"]["scores"]["combined"] and accuracy["key"] == "scores.combined"
    relative = {row["configuration"]: row for row in tables["relative"]["rows"]}
    expected = measured["nf4"]["peak_mib"] / measured["fp32"]["peak_mib"] - 1
    assert relative["NF4"]["peak memory, %"]["value"] == pytest.approx(expected)
    change = measured["lora"]["scores"]["combined"] - measured["fp32"]["scores"]["combined"]
    assert relative["NF4+LoRA"]["combined accuracy, points"]["value"] == pytest.approx(change)
    assert relative["NF4+LoRA"]["paired verdict"] == "cannot tell" and relative["FP32"]["paired verdict"] is None
    assert "Pareto front" in html and "FP32" in html


def test_the_comparison_of_the_seed_comes_first(three_way, tmp_path):
    fourth = copy(three_way / "lora", tmp_path / "fourth")
    reconfigure(fourth, "precision.storage", "fp32")
    found = collect([fourth, *(three_way / name for name in ("lora", "nf4", "fp32"))])
    assert list(benches(found)) == ["FP32", "NF4", "NF4+LoRA", "FP32+LoRA"]
    (table, *_) = deployment(found).tables
    assert "FP32+LoRA: the adapter on the base in FP32, not quantised." in table.caption


def test_the_forms_of_a_trained_model_are_compared_with_what_the_run_trained(three_way, tmp_path):
    export = copy(three_way / "lora", tmp_path / "export")
    reconfigure(export, "artefact", "w4a16")
    tables = deployment(collect([three_way / "lora", export])).tables
    (configurations, relative) = (table.to_json()["rows"] for table in tables)
    assert [row["configuration"] for row in configurations] == ["NF4+LoRA", "W4A16"]
    measured = read_json(three_way / "lora/benchmark.json")
    assert configurations[0]["answers equal to the run's"] == f"{measured['equal_answers']} of {measured['answers']}"
    assert relative[1]["peak memory, %"]["value"] == 0
    served = copy(three_way / "lora", tmp_path / "gguf")  # llama.cpp tells neither its memory nor the weights' in it
    reconfigure(served, "artefact", "gguf_q8_0")
    told = read_json(served / "benchmark.json")
    write_json(
        served / "benchmark.json", {key: told[key] for key in told if not key.endswith(("weights_mib", "peak_mib"))}
    )
    (row,) = deployment(collect([served])).tables[0].to_json()["rows"]
    assert row["configuration"] == "GGUF_Q8_0" and row["on disk"]["value"] == told["disk_mib"] and "weights" not in row
    assert not deployment(collect([three_way / "lora"])).tables[1:]


@pytest.mark.parametrize(
    ("artefact", "run", "label"),
    [
        ("adapter", None, "NF4"),
        ("base", "r", "NF4"),
        ("adapter", "r", "NF4+LoRA"),
        ("merged", "r", "NF4 merged"),
        ("w4a16", "r", "W4A16"),
    ],
)
def test_labels(three_way, tmp_path, artefact, run, label):
    folder = copy(three_way / "nf4", tmp_path / "one")
    reconfigure(folder, "artefact", artefact)
    reconfigure(folder, "run", run)
    (one,) = collect([folder]).runs
    assert label_of(one) == label and list(benches(collect([folder]))) == [label]


def test_figures_are_text_in_the_ink_of_the_page():
    points = [
        figures.Point(label=f"<{name}>", x=x, y=y) for name, x, y in (("a", 1, 0.5), ("b", 1.01, 0.5), ("c", 3, 0.4))
    ]
    svg = figures.plane(points, "MiB & more", "%", higher_is_better=True)
    assert "&lt;a&gt;" in svg and "currentColor" in svg and "#010203" not in svg
    assert "http://www.w3.org" in svg and not re.search(r'(?:href|src)="http', svg)
    other = figures.plane(points[:2], "MiB", "%", higher_is_better=True)
    assert not set(re.findall(r' id="([^"]+)"', svg)) & set(re.findall(r' id="([^"]+)"', other))
    lines = {f"run {at}": [(1, 0.5), (2, 0.4)] for at in range(12)}
    assert "best: run 7" in figures.curves(lines, "loss", best="run 7")


PROBE = """<script>
const wide = document.documentElement.scrollWidth, shown = [...document.querySelectorAll('svg, img')];
for (const fold of document.querySelectorAll('details')) fold.open = true;
const boxes = shown.map(one => one.getBoundingClientRect());
const texts = [...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height);
document.body.setAttribute('data-probe', JSON.stringify({wide, window: innerWidth, title: document.title,
  figures: boxes.length, empty: boxes.filter(box => box.width < 40 || box.height < 10).length,
  broken: [...document.querySelectorAll('img')].filter(one => !one.naturalWidth).length, small: Math.min(...texts)}));
</script>"""


FRAME = """<body><iframe width="390" height="844" srcdoc="{}"></iframe>
<script>onload = () => {{ document.title = frames[0].document.body.dataset.probe }}</script>"""


def browse(folder, html):
    """Open a page in a frame as wide as a phone; return its measurements, the browser's log and requests."""
    allowed = html.replace("img-src data:;", "img-src data:; script-src 'unsafe-inline';")
    probed = allowed.replace("</body>", f"{PROBE}</body>").replace("&", "&amp;").replace('"', "&quot;")
    (folder / "phone.html").write_text(FRAME.format(probed))
    (folder / "plain.html").write_text(html)
    phone = opened(folder, "phone.html")
    title = re.search(r"<title>(.*?)</title>", phone.stdout, re.DOTALL)
    assert title, phone.stdout[-2000:] + phone.stderr[-2000:]
    plain = opened(folder, "plain.html", f"--log-net-log={folder / 'net.json'}")
    asked = set(re.findall(r'"url":"(https?://[^"]*)"', (folder / "net.json").read_text()))
    own = ("google", "gvt1.com")  # requests of the browser itself
    return json.loads(title.group(1)), plain.stderr, [url for url in asked if not any(name in url for name in own)]


def opened(folder, name, *options):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        *QUIET_BROWSER,
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        *options,
        "--dump-dom",
    ]
    return subprocess.run([*command, f"file://{folder / name}"], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look at the page with")
def test_the_browser_would_see_what_is_wrong(tmp_path):
    html = """<!doctype html><title>x</title><body><img src="http://127.0.0.1:9/x.png">
        <div style="width: 900px">wide</div><svg width="10" height="2"><text style="font-size: 5px">a</text></svg>
        <script>console.error("no")</script></body>"""
    seen, log, asked = browse(tmp_path, html)
    assert seen["wide"] >= 900 and seen["empty"] and seen["broken"] == 1 and seen["small"] < 10
    assert "CONSOLE" in log and asked == ["http://127.0.0.1:9/x.png"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look at the page with")
@pytest.mark.parametrize("which", ["run", "sweep", "three_way"])
def test_a_browser_shows_the_page(scored, sweep, three_way, tmp_path, which):
    paths = {
        "run": [scored],
        "sweep": [sweep],
        "three_way": [three_way / name for name in ("fp32", "nf4", "lora")],
    }[which]
    html = write(paths, tmp_path / "out").read_text()
    seen, log, asked = browse(tmp_path, html)
    assert seen["window"] == 390 and seen["wide"] <= 390  # wide content scrolls in its own box
    assert seen["figures"] >= 2 and seen["empty"] == 0 and seen["broken"] == 0
    assert seen["small"] >= 10  # height in px of a figure's letters on a phone
    assert "CONSOLE" not in log and not asked
