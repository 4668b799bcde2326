"""Files in, text out: /extract and /analyze as clients use them, and every kind of bad upload."""

import io
import json
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest
from PIL import Image
from served import encoded, refusal, serving, upload, wait_until_idle

from medvl.data.held import name_of
from medvl.evaluation.calibration import Calibration
from medvl.generation.front import Front
from medvl.serving import uploads
from medvl.serving.service import DECODERS


def test_pages_give_the_text_that_evaluation_would(client, pages, texts):
    answer = client.post("/extract", files=upload(*map(encoded, pages)))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [page["text"] for page in found["pages"]] == texts and any(texts)
    assert [(page["file"], page["page"]) for page in found["pages"]] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert found["finish_reason"] == "stop" and found["fields"] is None and found["model"] == "medvl"
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > sum(map(len, texts)) / 4


def test_a_question_is_answered_about_all_pages(client, pages):
    answer = client.post(
        "/analyze", files=upload(*map(encoded, pages[:2])), data={"prompt": "What is the dose?", "max_tokens": "8"}
    )
    found = answer.json()
    assert answer.status_code == 200 and found["pages"] == 2 and isinstance(found["text"], str)
    assert found["usage"]["completion_tokens"] <= 8


def test_formats_show_the_same_page(client, pages, texts):
    page = pages[2]
    sideways = page.transpose(Image.Transpose.ROTATE_90)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise for viewing
    forms = {
        "webp": encoded(page, "WEBP", lossless=True),
        "tiff": encoded(page, "TIFF"),
        "lying": encoded(sideways, exif=turned),
    }
    for name, content in forms.items():
        answer = client.post("/extract", files=upload(content))
        assert answer.json()["pages"][0]["text"] == texts[2], name


def test_all_pages_of_a_tiff_and_of_a_pdf_are_read(client, pages, texts):
    first, *others = (page.convert("RGB") for page in pages[:3])
    tiff = encoded(first, "TIFF", save_all=True, append_images=others)
    found = client.post("/extract", files=upload(tiff)).json()["pages"]
    assert [page["text"] for page in found] == texts[:3] and [page["page"] for page in found] == [1, 2, 3]
    pytest.importorskip("pypdfium2")
    larger = [page.resize((3 * page.width, 3 * page.height), Image.Resampling.LANCZOS) for page in (first, *others)]
    pdf = encoded(larger[0], "PDF", save_all=True, append_images=larger[1:], resolution=450)
    answer = client.post("/extract", files=upload(pdf))
    assert answer.status_code == 200, answer.text
    assert [page["page"] for page in answer.json()["pages"]] == [1, 2, 3]
    assert all(page["text"] for page in answer.json()["pages"])


def test_few_pdfs_are_drawn_at_a_time_and_without_the_key(client, served, pages, monkeypatch):
    import asyncio

    going, most, start = [], 0, asyncio.create_subprocess_exec

    async def draws(*given):
        nonlocal most
        going.append(1)
        most = max(most, len(going))
        await asyncio.sleep(0.05)
        going.pop()
        yield pages[0].convert("RGB")

    async def starts(*words, env, **options):
        assert "MEDVL_KEY" not in env
        return await start(*words, env=env, **options)

    pdf = encoded(pages[0].convert("RGB"), "PDF")
    monkeypatch.setenv("MEDVL_KEY", "k" * 20)
    with monkeypatch.context() as patched, ThreadPoolExecutor(8) as pool:
        patched.setattr(uploads, "drawn_pages", draws)
        sent = [pool.submit(client.post, "/extract", files=upload(pdf), data={"max_tokens": "1"}) for _ in range(8)]
        assert all(one.result().status_code == 200 for one in sent)
    assert 0 < most <= served[0].drawing._value <= DECODERS
    pytest.importorskip("pypdfium2")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", starts)
    assert client.post("/extract", files=upload(pdf), data={"max_tokens": "1"}).status_code == 200


def test_pdfs_that_are_too_much_or_broken_are_refused(client, pages):
    pytest.importorskip("pypdfium2")
    first = pages[0].convert("RGB")
    many = encoded(first, "PDF", save_all=True, append_images=[first] * 4)
    assert "more than 4 pages" in refusal(client.post("/extract", files=upload(many)), 413, "too_many_pages")
    vast = encoded(first, "PDF", resolution=0.3)
    message = refusal(client.post("/extract", files=upload(vast)), 413, "too_many_pixels")
    assert "more than 40,000,000 pixels" in message
    message = refusal(client.post("/extract", files=upload(b"%PDF-1.7\n%%EOF")), 422, "damaged_image")
    assert message == "File 1 is a PDF that is broken."


def test_odd_images_are_read_or_refused_and_never_harm_the_next(client, pages, texts):
    cut = encoded(pages[3].convert("RGB"), "JPEG")
    bomb = encoded(Image.new("1", (12000, 12000)))
    wrong = {
        "strip": (encoded(Image.new("RGB", (1, 3000))), 422, "extreme_aspect"),
        "cut": (cut[: len(cut) // 2], 422, "damaged_image"),
        "head": (b"\x89PNG\r\n\x1a\n damaged", 422, "damaged_image"),
        "bomb": (bomb, 413, "too_many_pixels"),
        "gif": (encoded(pages[0], "GIF"), 415, "unsupported_format"),
        "text": (b"<svg></svg>", 415, "unsupported_format"),
        "none": (b"", 415, "unsupported_format"),
        "animation": (encoded(pages[0], "WEBP", save_all=True, append_images=[pages[3]]), 415, "unsupported_format"),
    }
    for content, status, code in wrong.values():
        refusal(client.post("/extract", files=upload(content)), status, code)
        refusal(client.post("/extract", files=upload(encoded(pages[0]), content)), status, code)
    assert client.post("/extract", files=upload(encoded(Image.new("L", (500, 19), 255)))).status_code == 200
    assert client.post("/extract", files=upload(encoded(pages[0]))).json()["pages"][0]["text"] == texts[0]


def test_a_bomb_is_refused_by_its_header(client):
    import resource

    bomb = encoded(Image.new("1", (12000, 12000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(client.post("/extract", files=upload(bomb)), 413, "too_many_pixels")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024  # KiB; decoded, it takes 400 MB


def test_too_many_bytes_are_refused_before_or_while_they_come(client):
    kind = "multipart/form-data; boundary=x"
    head = HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)
    head.putrequest("POST", "/extract")
    for name, value in (("Content-Type", kind), ("Content-Length", str(10**12))):
        head.putheader(name, value)
    head.endheaders()
    assert head.getresponse().status == 413  # nothing of the body was sent
    head.close()

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield bytes(100_000)

    answer = client.post("/extract", headers={"Content-Type": kind}, content=body())
    assert "3,000,000 bytes" in refusal(answer, 413, "too_many_bytes")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": "9999"}, "max_tokens must lie in [1, 400]"),
        ({"max_tokens": "-3"}, "not a whole number"),
        ({"max_tokens": "\u0663"}, "not a whole number"),
        ({"language": "en"}, "is unknown; there are files, schema, max_tokens"),
        ({"schema": "{"}, "schema is not a JSON object"),
        ({"schema": "[]"}, "schema is not a JSON object"),
        ({"schema": '{"type": "string"}'}, "describes no object"),
        ({"schema": '{"properties": {"a": {"patternProperties": {}}}}'}, "'patternProperties' at a"),
    ],
)
def test_wrong_fields_are_refused_by_name(client, pages, fields, message):
    answer = client.post("/extract", files=upload(encoded(pages[0])), data=fields)
    assert answer.status_code in (400, 422) and message in answer.json()["error"]["message"]


def test_what_is_no_form_is_refused(client):
    refusal(client.post("/extract", json={}), 415, "unsupported_body")
    refusal(client.post("/extract", files={"files": (None, "text")}), 422, "bad_field")
    refusal(client.post("/extract", files={"schema": (None, "{}")}), 422, "no_file")
    headers = {"Content-Type": "multipart/form-data"}
    refusal(client.post("/extract", headers=headers, content=b"--x"), 422, "bad_form")
    headers["Content-Type"] += "; boundary=x"
    for content in (b"--x\r\n\r\n\r\n", b"--x", b"", b"--x\r\nA: b\r\n\r\n"):
        assert client.post("/extract", headers=headers, content=content).status_code == 422
    page = encoded(Image.new("RGB", (56, 28)))
    for count in (5, 30):
        refusal(client.post("/extract", files=upload(*[page] * count)), 413, "too_many_pages")
    long = [*upload(page), ("schema", ("schema.json", b" " * 300_000, "application/json"))]
    refusal(client.post("/extract", files=long), 413, "too_many_bytes")
    refusal(client.post("/analyze", files=upload(page)), 422, "bad_field")


def test_uploads_never_reach_a_disk(client, pages, monkeypatch):
    def refuses(*given, **options):
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuses)
    noise = Image.effect_noise((1400, 1400), 100)
    assert len(encoded(noise)) > 1_500_000
    answer = client.post("/extract", files=upload(encoded(noise)), data={"max_tokens": "1"})
    assert answer.status_code == 200, answer.text


def test_the_pixel_budget_of_the_model_holds(client, served):
    huge = encoded(Image.new("L", (5000, 5000), 255))
    used = client.post("/extract", files=upload(huge), data={"max_tokens": "1"}).json()["usage"]
    assert used["prompt_tokens"] <= served[0].front.engine.encoder.max_pixels // 28**2 + 100


def test_pages_at_the_same_time_are_not_mixed_up(client, served, pages, texts):
    """Under one name, in one batch: what is kept of a page is kept under its pixels."""
    with ThreadPoolExecutor(4) as pool:
        sent = [at % 4 for at in range(8)]
        answers = list(pool.map(lambda at: client.post("/extract", files=upload(encoded(pages[at]))), sent))
    assert [answer.json()["pages"][0]["text"] for answer in answers] == [texts[at] for at in sent]
    wait_until_idle(served[0])


def test_the_name_of_a_page_tells_pixels_modes_and_sizes_apart():
    white = Image.new("L", (56, 28), 255)
    other = white.copy()
    other.putpixel((0, 0), 254)
    pages = [white, other, white.resize((28, 56)), white.convert("RGB"), Image.new("L", (56, 56), 255)]
    assert len({name_of(page) for page in pages}) == len(pages) and name_of(white) == name_of(white.copy())


def test_what_a_page_does_not_fit_into_is_said(reader, pages):
    with serving(reader, width=300, tokens=280) as (_, client):
        answer = client.post("/extract", files=upload(encoded(pages[2])))
        assert "more than the 300 of a slot" in refusal(answer, 400, "context_length_exceeded")
        answer = client.post("/extract", files=upload(encoded(pages[2])), data={"max_tokens": "2"})
        assert answer.status_code == 200 and answer.json()["finish_reason"] == "length"


def test_fields_after_a_schema(client, pages, monkeypatch):
    """The prompt is that of training; the answer has all keys of the schema, in their order."""
    submit, asked = Front.submit, []
    monkeypatch.setattr(
        Front, "submit", lambda self, one, *given, **more: asked.append(one) or submit(self, one, *given, **more)
    )
    schema = '{"type": "object", "properties": {"patient": {"properties": {"name": {}}}, "dose": {"enum": ["5", "6"]}}}'
    for sent in ({"data": {"schema": schema}}, {"files": {"schema": ("s.json", io.BytesIO(schema.encode()))}}):
        files = [*upload(*map(encoded, pages[:2])), *sent.get("files", {}).items()]
        found = client.post("/extract", files=files, data={"max_tokens": "40", **sent.get("data", {})}).json()
        assert list(found["fields"]) == ["patient", "dose"] and list(found["fields"]["patient"]) == ["name"]
        assert found["fields"]["dose"] in ("5", "6", None)
        name, dose = found["values"]
        assert (name["path"], dose["path"], dose["value"]) == ("patient.name", "dose", found["fields"]["dose"])
        assert found["calibration"] == "uncalibrated" and name["confidence"] is None
        assert name["log_probability"] <= name["least"] <= 0 < name["mass"] <= 1 and name["tokens"] > 0
        assert [page["text"] for page in found["pages"]] == [None, None]
        assert asked[-1].prompt.endswith('after this schema: {"patient": {"name": ""}, "dose": ""}')
        assert len(asked[-1].images) == 2


def test_confidence_is_that_of_the_calibration_of_the_run(client, served, pages, monkeypatch):
    seen = {"lows": [-1e9] * 4, "highs": [1e9] * 4, "means": [0.0] * 4, "scales": [1.0] * 4}
    regression = {"weights": [1.0, 0.0, 0.0, 0.0], "bias": 2.0}
    known = Calibration(**seen, **regression, fitted_on="made values", documents=10, values=100)
    monkeypatch.setattr(served[0], "calibration", known)
    schema = json.dumps({"properties": {"dose": {"enum": ["5 mg"]}, "none": {"enum": []}}})
    found = client.post("/extract", files=upload(encoded(pages[0])), data={"schema": schema}).json()
    assert found["calibration"] == "made values"
    for value in found["values"]:
        sure = 1 / (1 + math.exp(-value["log_probability"] - 2))
        assert value["confidence"] == (None if value["value"] is None else pytest.approx(sure))
