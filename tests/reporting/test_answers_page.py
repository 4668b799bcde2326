"""`medvl show`: a page with a run's answers, worst first."""

import doctest
import json
import re

import pytest
from browsing import CHROMIUM, PHONE, browser
from PIL import Image
from reports import make_run, reconfigure, written_rows

from medvl.evaluation.answer_diff import sides
from medvl.reporting import answers
from medvl.reporting.answers import show, wrong_fields

FACTS = {"patient": {"name": "Ada"}, "drugs": [{"name": "aspirin", "dose": "81 mg"}, {"name": "heparin", "dose": "5"}]}
EVIL = '<script>alert("x")</script>'


def row(name, said, errors, task="json", image=None, **changes):
    reference = json.dumps(FACTS) if task == "json" else "Name: Ada | Dose: 81 mg\nStop."
    return {
        "id": name,
        "document": name,
        "kind": "receipt",
        "layout": "form",
        "task": task,
        "images": [image] if image else [],
        "prompt": "Read it.",
        "reference": reference,
        "prediction": said,
        "scores": {"cer": [errors, 100.0], "exact": [float(not errors), 1.0]},
        **changes,
    }


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "run")
    Image.new("L", (300, 200), 200).save(folder / "page.png")
    wrong = json.loads(json.dumps(FACTS))
    wrong["drugs"].reverse()
    wrong["drugs"][1]["dose"] = "8 mg"
    rows = [
        row("good", json.dumps(FACTS), 0, image="page.png"),
        row("dose", json.dumps(wrong), 7, image="page.png"),
        row("evil", EVIL, 90, image="gone.png", kind=EVIL),
        row("text", "Name: Ada\nDose: 8 mg\nStop.", 3, task="transcribe", image="/etc/passwd"),
        row("bare", "something", 0, reference="", scores={}),
    ]
    written_rows(folder / "predictions.jsonl", rows)
    written_rows(folder / "predictions_before.jsonl", [row("dose", "no idea", 80)])
    written_rows(folder / "predictions_replay.jsonl", [row("r1", "{}", 50)])
    return folder


def titles(page):
    return re.findall(r"<h2>(.*?)</h2>.*?<p class=\"soft\">(.*?);", page.read_text(), re.DOTALL)


def test_the_worst_example_comes_first_and_one_can_be_named(run, tmp_path):
    page = show([str(run)])
    assert page == run / "report/answers.html"
    assert [about.split(", ")[-1] for _, about in titles(page)] == ["evil", "dose", "text", "good", "bare"]
    text = page.read_text()
    assert text.count("data:image/") == 1 and "no longer where the run found it" in text
    assert "answer before training" in text and "5 examples, worst first by character error rate" in text
    for words, name in (("dose", "dose"), ("1", "evil"), ("goo", "good")):
        (only,) = titles(show([str(run), words, f"out={tmp_path / 'one.html'}"]))
        assert only[1].endswith(name)
    assert "1 example" in (tmp_path / "one.html").read_text()
    assert len(titles(show([str(run), "limit=2"]))) == 2 and "3 more that did better" in page.read_text()
    assert [about.split(", ")[-1] for _, about in titles(show([str(run), "set=replay"]))] == ["r1"]


def test_what_an_answer_says_is_text(run):
    text = show([str(run)]).read_text()
    assert EVIL not in text and "&lt;script&gt;" in text
    assert "script-src 'sha256-" in text and "http" not in re.sub(r"http-equiv|data:image\S+", "", text)


def test_a_private_run_shows_numbers_only(run):
    reconfigure(run, "privacy", "strict")
    text = show([str(run)]).read_text()
    for secret in ("evil", "receipt", "aspirin", "Ada", "Read it", "data:image", "drugs", "<del>", "no idea"):
        assert secret not in text, secret
    assert "privacy=strict" in text and text.count("<article") == 5 and "90.0 %" in text
    with pytest.raises(ValueError, match="there is no example nobody") as refused:
        show([str(run), "nobody"])
    assert "good" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name one run"),
        (["run", "a", "b"], "name one run"),
        (["gone"], "gone is not a run directory"),
        (["run", "nobody"], "there is no example nobody. Name one of the 5: evil, dose"),
        (["run", "d"], "2 examples fit d"),
        (["run", "set=blank"], "predictions_blank.jsonl is missing. It has set=before, set=replay"),
        (["run", "set=../x"], "set=../x names nothing"),
        (["run", "limit=0"], "limit=0 is no number of examples"),
        (["run", "--open"], "there is no option --open"),
        (["run", "out="], "out= names nothing"),
        (["run", "out=run"], "out=run is a folder"),
        (["run", "out=run/config.yaml/x"], "cannot be written"),
    ],
)
def test_wrong_words_are_refused_by_name(run, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(said)):
        show(words)


def test_a_link_in_a_strangers_run_is_not_written_through(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (run / "report").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="is a link"):
        show([str(run)])
    assert not list((tmp_path / "mine").iterdir())


def test_damaged_rows_are_left_out_and_named(run):
    with (run / "predictions.jsonl").open("a") as file:
        file.write("{}\n[]\n")
    text = show([str(run)]).read_text()
    assert "predictions.jsonl is damaged: 2 of 7 rows" in text and text.count("<article") == 5


def test_layout_is_no_difference():
    reference, answer = sides("Dose | 81 mg\nStop", "Dose\n81   mg | Stop")
    assert {piece.kind for piece in (*reference, *answer)} == {"same"}
    reference, answer = sides("a b c", "a x y c z")
    assert [(piece.kind, piece.text) for piece in answer if piece.kind != "same"] == [("wrong", "x y"), ("wrong", "z")]
    assert "".join(piece.text for piece in reference) == "a b c" and sides("", "") == ([], [])


def test_wrong_fields_follow_the_metric():
    said = {"patient": {"name": "ada"}, "drugs": [{"name": "heparin", "dose": "5"}, {"name": "aspirin", "dose": "8"}]}
    assert wrong_fields(row("x", json.dumps(said), 1)) == ["drugs.dose"]
    assert wrong_fields(row("x", "", 1)) == ["drugs.dose", "drugs.name", "patient.name"]
    assert wrong_fields(row("x", "Dose: 81 mg, Name: Ade", 1, task="transcribe")) == ["Name"]
    assert wrong_fields(row("x", "x", 1, reference="{broken", dates="odd")) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_filters_in_a_browser_on_a_phone(run, tmp_path):
    page = show([str(run)])
    visible = "[...document.querySelectorAll('.example:not([hidden])')].map(one => one.id.slice(8)).join()"
    choose = "(() => {{ const it = document.getElementById('{}'); it.value = '{}'; " + (
        "it.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
    )
    with browser(tmp_path / "profile") as tab:
        tab.open(page.as_uri(), *PHONE)
        tab.wait("document.querySelector('#count')?.textContent === '5 of 5 shown'")
        tab.wait("document.querySelector('#example-2 img')?.naturalWidth === 300")
        assert tab.run("document.documentElement.scrollWidth") <= PHONE[0]
        tab.run(choose.format("field", "drugs.dose"))
        assert tab.run(visible) == "1,2"
        tab.run(choose.format("field", ""))
        tab.run(choose.format("bound", "7"))
        assert tab.run(visible) == "1,2" and "at least 7 %" in tab.run("document.querySelector('form').innerText")
        tab.run(choose.format("measure", "exact"))
        tab.run(choose.format("bound", "50"))
        assert tab.run(visible) == "1,2,3" and tab.run("document.getElementById('way').textContent") == "at most"
        assert not tab.faults and not [url for url in tab.asked if not url.startswith(("file:", "data:"))]


def test_the_examples_in_docstrings():
    found = doctest.testmod(answers)
    assert found.attempted and not found.failed
