"""What the page says and draws, without Gradio: refusals, boxes, differences, scores, previews, options."""

import json
import subprocess
import sys

import httpx
import pytest
from conftest import ROOT
from PIL import Image
from served import encoded

from medvl.metrics.registry import METRICS
from medvl.serving import refusals
from medvl.ui import __main__ as command
from medvl.ui import benchmarks, differences, extraction
from medvl.ui.client import Service, Trouble
from medvl.ui.guard import Guard
from medvl.ui.previews import previews

BUSY = "The service is busy. Too many requests wait already. Try again in 3 s."
VALUE = {"path": "drugs.0.dose", "value": "5 <mg>", "confidence": 0.931, "accepted": True, "cut": False}


def answering(status, body, **headers):
    answer = httpx.Response(status, headers=headers, **({"json": body} if isinstance(body, dict) else {"text": body}))
    return Service("http://there:8000/", transport=httpx.MockTransport(lambda request: answer))


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (refusals.full(2.5), BUSY),
        (refusals.loading(), "not ready. The model is being loaded. Try again in 5 s."),
        (refusals.too_late(), "The service took too long."),
        (refusals.too_many_bytes(9), "more than 9 bytes. Send fewer or smaller pages"),
        (refusals.Refused(401, "The key is missing or wrong.", "bad_key"), "--key NAME"),
        (refusals.Refused(415, "A file is not PNG.", "unsupported_format"), "cannot read this. A file is not PNG."),
        (refusals.Refused(422, "File 1 is damaged.", "damaged_image"), "File 1 is damaged."),
    ],
)
def test_refusals_of_the_service_are_told_in_words(refused, said):
    with pytest.raises(Trouble) as told:
        answering(refused.status_code, refused.body(), **(refused.headers or {})).extract([b"x"], "")
    assert said in str(told.value) and told.value.status == refused.status_code


def test_whatever_else_answers_is_told_in_words():
    def fails(error):
        def sent(request):
            raise error("no", request=request)

        return Service("http://there", transport=httpx.MockTransport(sent))

    cases = {
        "not medvl serve (status 502)": answering(502, "<h1>Bad gateway</h1>"),
        "not medvl serve (status 200)": answering(200, "<h1>Hello</h1>"),
        "Start one: medvl serve": fails(httpx.ConnectError),
        "did not answer in time": fails(httpx.ReadTimeout),
        "broke off (RemoteProtocolError)": fails(httpx.RemoteProtocolError),
    }
    for said, service in cases.items():
        with pytest.raises(Trouble) as told:
            service.analyze([b"x"], "?")
        assert said in str(told.value)
        assert said in service.state()
    refused = refusals.Refused(404, "No run is served.", "no_run")
    assert answering(404, refused.body()).records() is None


def test_a_request_holds_no_name_of_a_file_and_no_proxy_is_asked(monkeypatch):
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, json={"pages": []})

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    Service("http://there", "k" * 16, httpx.MockTransport(answer)).extract([b"one", b"two"], ' {"a": 1}')
    (request,) = seen
    sent = request.read()
    assert request.headers["authorization"] == "Bearer " + "k" * 16 and b'filename="2"' in sent and b'{"a": 1}' in sent
    assert not Service("http://there")._client._mounts


def test_times_are_read_from_the_metrics():
    text = 'medvl_request_seconds_count{endpoint="/extract"} 4.0\nmedvl_request_seconds_sum{endpoint="/extract"} 6.0\n'
    assert answering(200, text).times() == {"/extract": (4, 1.5)}


def shown(*values, **more):
    answer = {"pages": [{"file": 1, "page": 1}], "values": list(values), "finish_reason": "stop", **more}
    return extraction.shown(answer, {(1, 1): "data:image/png;base64,AAAA"})


def test_boxes_stand_where_the_evidence_says_in_the_style_of_their_grade():
    evidence = {"file": 1, "page": 1, "box": [0.1, 0.2, 0.35, 1.7]}
    html = extraction.boxes([VALUE, {**VALUE, "evidence": evidence}], (1, 1))
    assert html.count("mv-box") == 1 and "<b>2</b>" in html and "mv-accepted" in html
    assert "left:10.00%;top:20.00%;width:25.00%;height:80.00%" in html  # what leaves the page ends at its edge
    assert "5 &lt;mg&gt;" in html and "93.1 %" in html
    assert extraction.boxes([{**VALUE, "evidence": evidence}], (1, 2)) == ""
    graded = [(True, 0.9, "accepted"), (False, 0.9, "below"), (None, 0.9, "likely"), (None, 0.3, "doubtful"),
              (None, None, "unknown")]  # fmt: skip
    for accepted, sure, name in graded:
        value = {**VALUE, "accepted": accepted, "confidence": sure, "evidence": evidence}
        assert f"mv-box mv-{name}" in extraction.boxes([value], (1, 1))


def test_the_legend_explains_the_grades_that_can_occur():
    for accepted, sure, titles in (
        (True, 0.9, ["accepted", "below threshold"]),
        (None, 0.9, ["likely right", "doubtful"]),
        (None, None, ["uncalibrated"]),
    ):
        html = shown({**VALUE, "accepted": accepted, "confidence": sure}, calibration="forms, val split")
        legend = html.partition("mv-legend")[2].partition("</ul>")[0]
        assert legend.count("<li>") == len(titles) and all(f">{title}<" in legend for title in titles)


def test_fields_say_what_is_absent_cut_off_or_nowhere():
    html = shown({**VALUE, "evidence": None}, calibration="forms, val split", pointing=0.875)
    assert (
        "87.5 % of them lay on their values" in html
        and "no page" in html
        and "check it" in html
        and "forms, val split" in html
        and "5 &lt;mg&gt;" in html
    )
    html = shown({**VALUE, "cut": True, "confidence": None, "accepted": None}, calibration="uncalibrated")
    assert "cut off" in html and "medvl calibrate" in html and "stands on" not in html and "no page" not in html
    html = shown({**VALUE, "evidence": None}, pointing=None)  # nothing tells places
    assert "stands on" not in html and "check it" not in html and "lay on" not in html
    html = shown({**VALUE, "value": None, "evidence": None}, pointing=0.5)
    assert "not on the page" in html and "check it" not in html
    assert "cannot be shown" in extraction.shown(
        {"pages": [{"file": 1, "page": 1, "text": "<b>", "finish_reason": "length"}]}, {}
    )


def test_only_the_words_that_differ_are_marked():
    base, tuned = differences.differing("dose: 81 mg <b>", "dose: 8 mg daily <b>")
    assert base == "dose: <mark>81</mark> mg &lt;b&gt;" and "<mark>8</mark> mg" in tuned and "daily" in tuned
    same = {"text": "a b", "finish_reason": "stop"}
    assert "are the same" in differences.beside(same, same)
    long = {"text": "a " * 4000, "finish_reason": "length"}
    assert "are the same" not in differences.beside(long, {**long, "text": "b " * 4000})
    assert "--base-url" in differences.beside(same, None)
    assert "no answer" in differences.beside(same, Trouble("no answer"))


def test_scores_are_named_as_in_the_registry():
    assert {key: (one.title, one.higher_is_better) for key, one in METRICS.items()} == benchmarks.METRICS


def test_records_that_lack_parts_are_shown():
    scores = {"cer": 1.2, "value": None, "examples": 3}
    metrics = {"before": {"cer": 0.5, "examples": 3}, "after": scores, "intervals": {"after": {"cer": [0.9, 1.4]}}}
    calibration = {"fitted_on": "<forms>", "documents": 4, "values": 40, "thresholds": {"0.05": None}}
    records = {"run": "r", "status": {}, "metrics": metrics, "benchmark": {"latency_p50_ms": 12.3}}
    evidence = {"measured": {"values": 9, "pointing": 0.816, "chance": 0.04, "missed": 0.0, "flagged": None}}
    html = benchmarks.report({**records, "calibration": calibration, "evidence": evidence}, {"/extract": (2, 0.5)})
    assert "invented values left" not in html and "left without a place" in html
    for said in (
        "81.6",
        "120.00 <small>[90.0, 140.0]",
        "+70.00",
        "12.3&nbsp;ms",
        "0.50&nbsp;s",
        "&lt;forms&gt;",
        "never",
        "width:100.00%",
    ):
        assert said in html
    empty = {"run": "r", "status": None, "metrics": None, "benchmark": None, "calibration": None}
    assert "no scores" in benchmarks.report(empty, {}) and "medvl serve run=" in benchmarks.report(None, {})


def test_pages_are_shown_as_the_browser_or_another_process_draws_them():
    pytest.importorskip("pypdfium2")
    page = Image.new("RGB", (60, 40), "white")
    tiled, plain = encoded(page, "TIFF", compression="jpeg"), encoded(page, "TIFF", save_all=True, append_images=[page])
    files = [encoded(page), plain, tiled, b"GIF89a", b"%PDF-1.7 broken"]
    files.append(encoded(page, "PDF", save_all=True, append_images=[page]))
    found = previews(files)
    assert sorted(found) == [(1, 1), (2, 1), (2, 2), (6, 1), (6, 2)]  # JPEG in TIFF is not decoded
    assert found[1, 1].startswith("data:image/png;base64,") and found[6, 2].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("words", "mended"),
    [
        (["--url", "there:8000"], "--url http://127.0.0.1:8000"),
        (["--base-url", "http://there/v1"], "--base-url http"),
        (["--url", "http://a:secret@there"], "--key"),
        (["--port", "0"], "--port 7860"),
        (["--host", "0.0.0.0"], "--login"),
        (["--key", "sk-secret"], "--key MEDVL_KEY"),
        (["--key", "MEDVL_UI_NONE"], "export MEDVL_UI_NONE="),
        (["--login", "MEDVL_UI_SHORT"], "fewer than 16 characters"),
    ],
)
def test_options_that_cannot_be_are_refused(words, mended, monkeypatch):
    monkeypatch.setenv("MEDVL_UI_SHORT", "secret")
    with pytest.raises(ValueError) as refused:
        command.options(words)
    assert mended in str(refused.value) and "secret" not in str(refused.value)


def test_only_known_hosts_are_answered():
    import asyncio

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def asked(host):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "headers": [(b"host", host)]}
        await Guard(inside, command.LOCAL, command.POLICY)(scope, None, send)
        return sent[0]

    good, bad = asyncio.run(asked(b"LOCALHOST:7860")), asyncio.run(asked(b"evil.example:7860"))
    assert good["status"] == 200 and b"content-security-policy" in dict(good["headers"]) and bad["status"] == 403


def test_the_page_needs_nothing_of_medvl():
    """Else it would not start in its own environment."""
    code = "import sys; from medvl.ui import __main__, benchmarks, client, differences, extraction, previews; "
    code += "print([name for name in sys.modules if name.startswith('medvl.') and not name.startswith('medvl.ui')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
