"""Texts of runs in a report are text: in the page, in its figures and attributes, in Markdown and in the W&B report."""

import json
from html.parser import HTMLParser

import pytest
from reports import answers, change, make_bench, make_evaluation, make_run, make_small_sweep, reconfigure, written_rows

from medvl.record.files import read_json
from medvl.reporting.report import write
from medvl.reporting.wandb_report import publish

MARKUP = (
    "</script></svg></style></title><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='alert(3)' "
    "[a](javascript:alert(4)) ![b](http://evil.example/b.png) `c` {{ 7*7 }} | d \\| --> ]]> &lt; \u4e2d"
)
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "nav",
        "ul",
        "li",
        "a",
        "main",
    ),
    *("div", "span", "b", "section", "table", "thead", "tbody", "tr", "th", "td", "small", "figure", "figcaption"),
    *("details", "summary", "pre", "article", "ins", "del", "footer"),
    *("svg", "g", "defs", "path", "text", "tspan", "use", "clippath", "rect"),
}


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.names = set(), set(), set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.names |= {name for name, _ in attributes}
        self.links |= {value for name, value in attributes if name in ("href", "src", "xlink:href")}


def hostile(run):
    """Put markup in every text of a run's files."""
    rows = [
        {**row, **{key: f"{MARKUP} {row[key]}" for key in ("id", "kind", "task", "prompt", "reference", "prediction")}}
        for row in answers()
    ]
    for name in ("predictions", "predictions_before"):
        written_rows(run / f"{name}.jsonl", rows)
    device = {"type": "cuda", "name": MARKUP}
    groups = {"data": MARKUP, MARKUP: "x"}
    change(run / "environment.json", commit=MARKUP, command=[MARKUP], device=device, choices={"groups": groups})
    change(run / "environment.json", overrides=[f"{MARKUP}={MARKUP}"])
    change(run / "status.json", gate={"verdict": MARKUP, "why": [MARKUP]})
    if (run / "metrics.json").exists():
        change(run / "metrics.json", verdict=MARKUP, verdicts=[MARKUP])
    side = {"kinds": {MARKUP: 1.0}}
    change(run / "audit.json", verdict=MARKUP, faults=[MARKUP], train=side, evaluated=side)
    reconfigure(run, "artefact", MARKUP)
    reconfigure(run, "run", MARKUP)
    return run


@pytest.fixture
def paths(tmp_path):
    """Hostile runs of each script with a hostile name, and a sweep with hostile overrides and a failure."""
    name = "'\"><script>alert(5)<!--`[x](javascript:y)|&"
    train, bench = hostile(make_run(tmp_path / name)), hostile(make_bench(tmp_path / "bench"))
    evaluation = hostile(make_evaluation(tmp_path / "evaluation"))
    metrics = read_json(evaluation / "metrics.json")
    metrics["scores"], metrics["intervals"] = ({MARKUP: metrics[key]["test"]} for key in ("scores", "intervals"))
    metrics["breakdown"] = {MARKUP: {MARKUP: metrics["breakdown"]["kind"]["kind 0"]}}
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    sweep = make_small_sweep(tmp_path / f"sweep{name}")
    hostile(sweep / "0000000000")
    change(sweep / "0000000001/status.json", state="failed", error=MARKUP, traceback=MARKUP)
    jobs = [
        {**job, "overrides": [f"lora.r={MARKUP}{at}"]} for at, job in enumerate(read_json(sweep / "sweep.json")["jobs"])
    ]
    change(sweep / "sweep.json", jobs=jobs)
    (train / "metrics.jsonl").write_text(f'{{"step": "{"x"}"}}\n')
    return [train, bench, evaluation, sweep]


def test_no_text_of_a_run_is_markup_in_the_page(paths, tmp_path):
    html = write(paths, tmp_path / "out").read_text()
    page = Page(html)
    assert page.tags <= TAGS, page.tags - TAGS
    assert not [name for name in page.names if name.startswith("on")]
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert html.count("</title>") == html.count("</style>") == 1 and "{{ 7*7 }}" in html
    assert "&lt;script&gt;alert(5)" in html and "alert(3)" in html


def test_no_text_of_a_run_is_markup_in_markdown(paths, tmp_path):
    write(paths, tmp_path / "out")
    text = (tmp_path / "out/BENCHMARK_REPORT.md").read_text()
    assert "\\[a\\](javascript:alert(4))" in text and "![b](" not in text and "[a](" not in text and "[x](" not in text
    assert "<script" not in text and "<img" not in text and "\\`c\\`" in text
    rows = [line for line in text.splitlines() if "alert(1)" in line and line.startswith("| ")]
    assert rows and all("\\| d \\\\\\|" in row for row in rows)


def test_no_text_of_a_run_is_markup_in_wandb(paths, tmp_path, monkeypatch):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_MODE", "offline")
    publish(paths, tmp_path)
    blocks = read_json(tmp_path / "wandb_report.json")["spec"]["blocks"]
    texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert any("alert(1)" in text for text in texts)
    assert not [text for text in texts if "<script" in text or "[a](" in text or "![b](" in text]


def test_a_text_cannot_become_another_block_of_markdown():
    from medvl.reporting.tables import paragraph

    texts = ["# h", "- x", "> q", "===", "a\n\n# b", "a\u2028# b", "[x]: http://evil.example"]
    assert [paragraph(text) for text in texts] == [
        *("\\# h", "\\- x", "\\> q", "\\===", "a # b", "a # b", "\\[x\\]: http://evil.example"),
    ]
