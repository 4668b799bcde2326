"""A server answers in the engine's place: the same pages reach it, faults are counted, refusals are explained."""

import logging
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from asking import about, within
from fake_openai import FakeServer, completion, fingerprint, pixels_of
from PIL import Image

from medvl.data.encoding import open_image
from medvl.data.pages import fitted
from medvl.data.prepare import prepare
from medvl.documents.reading import Stage, drawn
from medvl.generation import remote
from medvl.generation.answer import lines_of
from medvl.generation.endpoint import Endpoint
from medvl.generation.remote import RemoteEngine
from medvl.record.files import read_json, read_jsonl
from medvl.record.signals import Stopped
from medvl.run.checks import check

ENDS = ["repetition", "deadline", "stop"]
PROMPT = "Transcribe this page of the patient called Ada Lovelace."


@pytest.fixture(scope="module")
def pages(encoder, tmp_path_factory):
    """Twelve examples about noise of several sizes, on the grid and off it, grey and coloured."""
    folder, generator = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    sizes = [(56, 84), (61, 97), (140, 28), (90, 30)]
    images = [
        Image.fromarray(generator.integers(0, 256, (*sizes[at % 4], 3) if at % 3 else sizes[at % 4], dtype=np.uint8))
        for at in range(12)
    ]
    return [about([image], encoder, folder, PROMPT) for image in images]


def seen(encoder, path):
    return fitted(open_image(path), encoder.min_pixels, encoder.max_pixels)


def known(encoder, examples):
    """Return what a server that reads perfectly says of each page."""
    return {fingerprint(seen(encoder, path)): f"page {path}" for one in examples for path in one.images}


def asking(encoder, url, **options):
    endpoint = Endpoint(url=url, **{"seconds": 5, "retries": 1, **options})
    return RemoteEngine(endpoint=endpoint, served=endpoint.served(), encoder=encoder)


def test_every_page_gets_its_own_answer_and_few_are_asked_at_a_time(encoder, pages):
    both = replace(pages[0], images=pages[3].images + pages[2].images)
    server, done = FakeServer(known(encoder, pages)), []
    with server.running() as url:
        engine = asking(encoder, url, concurrency=3)
        answers = engine.answers([*pages, both], max_new_tokens=17, tick=done.append)
        again = engine.answers(pages, max_new_tokens=17, batch=1)
    assert [one.text for one in answers[:-1]] == [f"page {example.images[0]}" for example in pages]
    assert answers[-1].text == f"page {pages[3].images[0]}\npage {pages[2].images[0]}"
    assert sum(done) == 13 and 1 < server.most <= 3 and [one.text for one in again] == [a.text for a in answers[:-1]]
    first = {name: value for name, value in server.asked[0].items() if name != "messages"}
    assert first == {"model": "medvl", "temperature": 0, "max_tokens": 17, "logprobs": True}
    (message,) = server.asked[0]["messages"]
    assert message["role"] == "user" and message["content"][1:] == [{"type": "text", "text": PROMPT}]
    assert answers[0].finished and answers[0].log_probabilities == [-0.25]
    assert (
        answers[0].ids[-1] == encoder.ends[0] and len(engine.latency()) == 3 and engine.latency()["latency_p50_ms"] > 0
    )


@pytest.mark.parametrize("budget", [(3136, 1003520), (3136, 6272), (12544, 50176)])
def test_the_pixels_sent_are_the_patches_of_the_local_encoder(processor, pages, budget):
    encoder, server = within(processor, budget), FakeServer()
    with server.running() as url:
        asking(encoder, url, concurrency=1, logprobs=False).answers(pages, max_new_tokens=1)
    for example, asked in zip(pages, server.asked, strict=True):
        page = pixels_of(asked["messages"][0]["content"][0]["image_url"]["url"])
        sent = processor.image_processor(images=[page], do_resize=False, return_tensors="pt")
        local = encoder.encode(example, answer=False)
        assert torch.equal(sent["pixel_values"], local["pixel_values"])
        assert torch.equal(sent["image_grid_thw"], local["image_grid_thw"])
        assert "logprobs" not in asked


def test_a_served_model_answers_as_it_does_here(reader, tmp_path):
    """The server's model is the local engine, which sees the pages that came over the wire; one is on the grid."""
    stages = [Stage(plain=0.5, prose=0.5, height_px=height, width_px=112) for height in (56, 84, 112)]
    drawings = [Image.fromarray(drawn(stage, f"served/{at + 1}", None).pixels) for at, stage in enumerate(stages)]
    drawings = [page.crop((0, 0, page.width - 3 * at, page.height - 2 * at)) for at, page in enumerate(drawings)]
    asked, received = [about([page], reader.encoder, tmp_path) for page in drawings], threading.Lock()

    class Serving(FakeServer):
        def usual(self, body):
            page, text = body["messages"][0]["content"]
            with received:
                one = about([pixels_of(page["image_url"]["url"])], reader.encoder, tmp_path, text["text"])
                (answer,) = reader.answers([one], max_new_tokens=body["max_tokens"])
            told = {"content": [{"logprob": value} for value in answer.log_probabilities]}
            return completion(answer.text, answer.finish_reason, logprobs=told)

    local = reader.answers(asked, max_new_tokens=34, batch=1)
    with Serving().running() as url:
        remote = asking(reader.encoder, url, seconds=60).answers(asked, max_new_tokens=34)
    assert {one.finish_reason for one in local} == {"stop", "length"}
    for here, there in zip(local, remote, strict=True):
        assert (here.text, here.finish_reason) == (there.text, there.finish_reason)
        assert here.log_probabilities == pytest.approx(there.log_probabilities, abs=1e-4)
        assert not here.finished or here.ids == there.ids


def test_json_by_a_schema_is_asked_of_the_server(encoder, pages):
    schema, server = {"type": "object", "properties": {"dose": {"type": "string"}}}, FakeServer()
    with server.running() as url:
        engine = asking(encoder, url, concurrency=1)
        engine.answers(pages[:3], max_new_tokens=9, schemas=[schema, None, None])
        engine.answers(pages[:1], max_new_tokens=9)
    formats = [asked.get("response_format") for asked in server.asked]
    assert formats[0] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    assert formats[1:] == [None] * 3 and len(engine.seconds) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(encoder, pages, status):
    """Four times, though `retries` is 0: that one is full is no fault."""

    def plan(number, asked):
        return (status, {"Retry-After": "0.2"}, {"error": "full"}) if number < 4 else None

    server = FakeServer(known(encoder, pages), plan)
    with server.running() as url:
        answers = asking(encoder, url, retries=0).answers(pages[:1], max_new_tokens=9)
    assert answers[0].text.startswith("page") and len(server.asked) == 5
    assert np.diff(server.times).min() >= 0.19


def test_what_fails_once_is_asked_again_and_what_fails_for_good_is_counted(encoder, pages, caplog):
    lost = {
        fingerprint(seen(encoder, pages[at].images[0])): act for at, act in ((2, "drop"), (4, 3.0), (6, (500, {}, {})))
    }
    met = set()

    def plan(number, asked):
        page = fingerprint(pixels_of(asked["messages"][0]["content"][0]["image_url"]["url"]))
        first = page not in met
        met.add(page)
        return lost.get(page, "drop" if first and number % 3 == 1 else None)

    with FakeServer(known(encoder, pages), plan).running() as url, caplog.at_level(logging.DEBUG):
        answers = asking(encoder, url, seconds=1).answers(pages, max_new_tokens=9)
    assert [at for at, one in enumerate(answers) if one.finish_reason == "failed"] == [2, 4, 6]
    assert all(one.text == ("" if at in (2, 4, 6) else f"page {pages[at].images[0]}") for at, one in enumerate(answers))
    assert "3 of 12 requests to 127.0.0.1:" in caplog.text and "1 x no answer within 1 s" in caplog.text
    assert "HTTP 500" in caplog.text and "base64" not in caplog.text and PROMPT not in caplog.text


def test_reasons_for_the_end_of_an_answer(encoder, pages, caplog):
    said = {
        1: completion(None),
        2: completion("cut", "length"),
        3: completion("withheld", "content_filter"),
        4: {"choices": []},
        5: completion("half \ud800", logprobs={"content": [{"logprob": None}]}),
        6: (200, {}, b"[" * 100_000),
        8: completion("ab ab", "length", stop_reason="repetition"),
        9: completion("late", "length", stop_reason="deadline"),
        10: completion("vllm", "stop", stop_reason=151645),
    }
    with FakeServer(known(encoder, pages), lambda number, asked: said.get(number)).running() as url:
        answers = asking(encoder, url, concurrency=1).answers(pages[:11], max_new_tokens=9)
    reasons = [one.finish_reason for one in answers]
    assert reasons == ["stop", "stop", "length", "failed", "failed", "stop", "failed", "stop", *ENDS]
    assert [one.text for one in answers[1:7]] == ["", "cut", "", "", "half ?", ""] and not answers[5].log_probabilities
    assert list(lines_of(answers[8:])) == [
        "1 of 3 answers were cut at the server's time limit",
        "1 of 3 answers ended in a loop, repeating their last tokens",
    ]
    assert "3 of 11 requests" in caplog.text and "withheld" not in caplog.text


@pytest.mark.parametrize(
    ("status", "told", "said"),
    [
        (
            400,
            {"error": {"message": "at most 4096 tokens"}},
            r"\(HTTP 400: at most 4096 tokens\).* or eval\.max_new_tokens=",
        ),
        (404, {"message": "The model `m` does not exist."}, r"HTTP 404: The model `m` does not exist.*engine\.model="),
        (404, {"detail": "Not Found"}, r"engine\.url=http://127\.0\.0\.1:8000/v1"),
        (401, {"error": "no"}, r"wants an API key .*Set engine\.key="),
        (
            422,
            {"detail": [{"msg": "no field logprobs", "input": "AAAA"}]},
            r"no field logprobs\).*engine\.logprobs=false",
        ),
        (307, {}, r"sends requests elsewhere \(HTTP 307\)\. Set engine\.url="),
    ],
)
def test_a_refused_first_request_ends_it_all(encoder, pages, status, told, said):
    server = FakeServer(plan=lambda number, asked: (status, {"Location": "/v1/other"}, told))
    with server.running() as url, pytest.raises(ValueError, match=said):
        asking(encoder, url, model="m").answers(pages, max_new_tokens=9)
    assert len(server.asked) == 1


@pytest.mark.parametrize("quoted", ["prompt", "image", "both"])
def test_an_error_quotes_neither_page_nor_prompt(encoder, pages, quoted):
    def plan(number, asked):
        page, text = asked["messages"][0]["content"]
        words = {"prompt": text["text"], "image": page["image_url"]["url"][30:200], "both": str(asked)}[quoted]
        return 400, {}, {"error": {"message": f"cannot read {words}"}}

    with FakeServer(plan=plan).running() as url, pytest.raises(ValueError) as caught:
        asking(encoder, url).answers(pages, max_new_tokens=9)
    assert "(HTTP 400)" in str(caught.value) and "Ada" not in str(caught.value)


def test_a_server_that_answers_nothing_gives_no_scores(encoder, pages):
    with (
        FakeServer(plan=lambda number, asked: (500, {}, {})).running() as url,
        pytest.raises(ValueError, match=r"answered none of 3 requests \(3 x HTTP 500\)"),
    ):
        asking(encoder, url, retries=0).answers(pages[:3], max_new_tokens=9)
    with (
        FakeServer(plan=lambda number, asked: (503, {}, {})).running() as url,
        pytest.raises(ValueError, match=r"1 x HTTP 503 for 0.3 s"),
    ):
        asking(encoder, url, seconds=0.3).answers(pages[:1], max_new_tokens=9)
    server = FakeServer(plan=lambda number, asked: "drop")
    with server.running() as url, pytest.raises(ValueError, match="did not answer the first request"):
        asking(encoder, url).answers(pages, max_new_tokens=9)
    assert len(server.asked) == 2  # the first of twelve, with one repetition


def test_what_a_server_lists():
    with FakeServer(models=[{"id": "a/b", "owned_by": "vllm"}]).running() as url:
        served = Endpoint(url=url).served()
        assert served.request == {"model": "a/b", "temperature": 0, "repetition_penalty": 1.0}
        assert str(served.choice(8)).startswith(
            f"a/b (vllm at {url[7:-3]}; weights, adapter and precision are its own;"
        )
        assert "it lists only a/b" in Endpoint(url=url, model="c").served().choice(8).reason
        with pytest.raises(ValueError, match=r"has no such address .*Set .*engine\.url=http://127\.0\.0\.1:8000/v1"):
            Endpoint(url=url.removesuffix("/v1")).check()
    with FakeServer(models=[{"id": "a"}, {"id": "b"}]).running() as url:
        with pytest.raises(ValueError, match=r"lists 2 models \(a, b\)\. Set engine\.model=a\."):
            Endpoint(url=url).check()
        assert Endpoint(url=url, model="b").served().by == ""
    with FakeServer(models=None).running() as url:
        assert Endpoint(url=url, model="m").served().others == ""
    with FakeServer(models=[None]).running() as url, pytest.raises(ValueError, match="its list of models is none"):
        Endpoint(url=url).check()
    with pytest.raises(
        ValueError, match=r"answers at 127\.0\.0\.1:\d+ \(no connection\)\. Start it, or set engine\.url="
    ):
        Endpoint(url=url).check()


def test_an_api_key_comes_from_the_environment(encoder, pages, monkeypatch):
    monkeypatch.setenv("FAKE_KEY", "s3cret")
    with FakeServer(known(encoder, pages), key="s3cret").running() as url:
        assert asking(encoder, url, key="FAKE_KEY").answers(pages[:1], max_new_tokens=9)[0].finished
        with pytest.raises(ValueError, match=r"wants an API key \(HTTP 401: Incorrect.*Set engine\.key=<the name"):
            Endpoint(url=url).check()
        monkeypatch.setenv("FAKE_KEY", "0ther")
        with pytest.raises(ValueError, match="does not take the API key in FAKE_KEY") as caught:
            Endpoint(url=url, key="FAKE_KEY").check()
        assert "0ther" not in str(caught.value)
        monkeypatch.delenv("FAKE_KEY")
        with pytest.raises(ValueError, match="Run export FAKE_KEY=<the key>"):
            Endpoint(url=url, key="FAKE_KEY").check()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"Set engine\.url=http://127\.0\.0\.1:8000/v1, or engine=local"),
        (["engine.url=127.0.0.1:8000"], "is no address of a server"),
        (["engine.url=ftp://a/v1"], "is no address of a server"),
        (["engine.url='http://ada:pa55@/v1'"], r"engine\.url=http://\*\*\*@/v1 is no address"),
        (["engine.url=http://a:0/v1"], "is no address of a server"),
        (["engine.url=http://a/v1", "engine.key=sk-abc"], r"Set engine\.key=OPENAI_API_KEY"),
        (["engine.url=http://a/v1", "engine.concurrency=0"], r"Set engine\.concurrency=8"),
        (["engine.url=http://a/v1", "engine.retries=-1"], r"Set engine\.retries=3"),
        (["engine.url=http://a/v1", "engine.seconds=nan"], r"Set engine\.seconds=300"),
    ],
)
def test_options_that_cannot_be(compose, words, said):
    with pytest.raises(ValueError, match=said) as caught:
        compose("engine=openai", *words)
    assert "pa55" not in str(caught.value) and "sk-abc" not in str(caught.value)


def test_what_a_server_cannot_be_combined_with(compose, tmp_path, monkeypatch):
    here = ("engine=openai", "engine.url=http://127.0.0.1:9/v1", "logger=none")
    for words, said in (
        (["reader=tesseract"], "Set reader=model, or engine=local"),
        ([f"adapter={tmp_path}"], "Leave them out, or set engine=local"),
        ([f"run={tmp_path}", "artefact=merged"], "Leave them out, or set engine=local"),
        (["privacy=strict", "engine.url=http://example.org/v1"], "or privacy=open"),
        (["hardware=h200"], "no server"),  # which needs no GPU here
        (["privacy=strict"], "no server with OpenAI's interface answers at 127.0.0.1:9"),  # it is on this machine
    ):
        with pytest.raises(ValueError, match=said):
            check(compose(*here, *words), "evaluate")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="Start it without torchrun"):
        check(compose(*here), "evaluate")


@pytest.fixture(scope="module")
def reading(encoder, cache):
    """Return a server that transcribes the forms that evaluate.py scores below, and the overrides that ask it."""
    import hydra
    from conftest import ROOT

    from medvl.run.config import resolve

    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = resolve(hydra.compose("run", overrides=["data.count=24"]))
    forms = prepare(config.data, config.render, encoder, budget=config.batch.tokens, cache=cache, workers=1, bar=False)
    texts = {fingerprint(seen(encoder, one.images[0])): one.response for one in forms.examples["test"]}
    words = ("engine=openai", "data.count=24", "eval=held_out", "eval.limit=3", "logger=none", "trainer.bar=false")
    return texts, words


def test_evaluate_py_scores_a_server(reading, script, tmp_path):
    texts, words = reading
    with FakeServer(texts, key="s3cret").running() as url:
        code, output = script(
            *("evaluate.py", *words, f"engine.url={url}", "engine.key=FAKE_KEY", "hydra.run.dir=read"),
            cwd=tmp_path,
            env={"FAKE_KEY": "s3cret"},
        )
        assert code == 0, output
        code, refused = script("evaluate.py", *words, f"engine.url={url}", "hydra.run.dir=no", cwd=tmp_path)
        assert code == 2 and "error: " in refused and "Set engine.key=" in refused and not (tmp_path / "no").exists()
        code, refused = script("train.py", "engine=openai", f"engine.url={url}", "logger=none", cwd=tmp_path)
        assert code == 2 and "engine=openai is for evaluate.py and benchmark.py, not for train" in refused
    rows, results = read_jsonl(tmp_path / "read/predictions.jsonl"), read_json(tmp_path / "read/metrics.json")
    assert len(rows) == 3 and all(row["prediction"] == row["reference"] and row["tokens"] for row in rows)
    assert results["scores"]["test"]["cer"] == 0 == results["scores"]["test"]["cer_text"]
    assert results["scores"]["blank"]["cer"] == 1 and results["latency_p99_ms"] >= results["latency_p50_ms"] > 0
    environment = (tmp_path / "read/environment.json").read_text()
    choices = read_json(tmp_path / "read/environment.json")["choices"]
    assert choices["groups"]["engine"] == "openai" and choices["engine"]["value"] == "medvl"
    assert (
        choices["engine"]["reason"].startswith(f"fake at {url[7:-3]}; weights") and "s3cret" not in environment + output
    )
    assert "base64" not in output and "HTTP Request" not in output and "POST" not in output


def test_ctrl_c_stops_at_once(reading, script, tmp_path):
    texts, words = reading
    server = FakeServer(texts, lambda number, asked: 60.0 if number else None)
    with server.running() as url:
        process = script("evaluate.py", *words, f"engine.url={url}", "hydra.run.dir=stopped", cwd=tmp_path, wait=False)
        until = time.monotonic() + 120
        while len(server.asked) < 2 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        stopped = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert time.monotonic() - stopped < 10 and process.returncode == 130, output
    assert "Traceback" not in output and read_json(tmp_path / "stopped/status.json")["state"] == "interrupted"


def test_a_signal_that_meets_a_group_of_tasks_is_itself_again():
    inner = BaseExceptionGroup("tasks", [ValueError("a request"), BaseExceptionGroup("more", [Stopped(130)])])
    with pytest.raises(Stopped) as raised, remote._signals_alone():
        raise inner
    assert raised.value.code == 130
    with pytest.raises(ExceptionGroup), remote._signals_alone():
        raise ExceptionGroup("tasks", [ValueError("a request")])
