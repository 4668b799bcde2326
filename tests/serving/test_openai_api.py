"""/v1/chat/completions: by the official client, with every form of a data URI, and refusals by name."""

import base64
import contextlib
import json
import socket
import threading

import openai
import pytest
from PIL import Image
from served import chat, encoded, refusal, turn, uri

from medvl.documents.tasks import TRANSCRIBE
from medvl.generation.front import Front


@pytest.fixture(scope="module")
def official(client):
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as own:
        yield own


def test_the_official_client_reads_a_page(official, pages, texts):
    assert [model.id for model in official.models.list()] == ["medvl"]
    answer = official.chat.completions.create(
        model="medvl", messages=turn(uri(encoded(pages[1]))), logprobs=True, temperature=0, n=1, seed=3
    )
    (choice,) = answer.choices
    assert choice.message.content == texts[1] and choice.finish_reason == "stop" and answer.object == "chat.completion"
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == texts[1] and all(token.logprob <= 0 for token in tokens)
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == texts[1]
    assert answer.usage.completion_tokens == len(tokens) + 1  # the end of the turn is no text
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_official_client_streams(official, pages, texts):
    chunks = list(
        official.chat.completions.create(
            model="medvl",
            messages=turn(uri(encoded(pages[2]))),
            stream=True,
            logprobs=True,
            stream_options={"include_usage": True},
        )
    )
    *pieces, last = chunks
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == texts[2]
    assert pieces[0].choices[0].delta.role == "assistant" and pieces[-1].choices[0].finish_reason == "stop"
    told = [token for piece in pieces if piece.choices[0].logprobs for token in piece.choices[0].logprobs.content]
    assert "".join(token.token for token in told) == texts[2] and not last.choices
    assert last.usage.completion_tokens == len(told) + 1 and len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(client, pages):
    body = {"model": "medvl", "messages": turn(uri(encoded(pages[0]))), "stream": True, "max_tokens": 3}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]" and json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert "usage" not in json.loads(events[-2])


def test_errors_have_their_kinds(official, pages):
    page = uri(encoded(pages[0]))
    with pytest.raises(openai.BadRequestError, match="temperature is not supported but for 0"):
        official.chat.completions.create(model="medvl", messages=turn(page), temperature=0.7)
    with pytest.raises(openai.NotFoundError, match="one model: medvl") as missing:
        official.chat.completions.create(model="gpt-4o", messages=turn(page))
    assert missing.value.code == "model_not_found" and "gpt" not in str(missing.value)
    with pytest.raises(openai.UnprocessableEntityError) as damaged:
        official.chat.completions.create(model="medvl", messages=turn(uri(b"\x89PNG\r\n\x1a\n")), stream=True)
    assert damaged.value.code == "damaged_image"


def test_forms_of_data_uris(client, pages, texts):
    page = encoded(pages[0])
    plain = base64.b64encode(page).decode()
    forms = {
        "charset": f"data:image/png;charset=utf-8;base64,{plain}",
        "no type": f"data:;base64,{plain}",
        "wrong type": f"data:application/octet-stream;base64,{plain}",
        "upper": f"DATA:IMAGE/PNG;BASE64,{plain}",
        "spaced": f" data:image/png; base64 ,{plain}",
        "url-safe": "data:image/png;base64," + base64.urlsafe_b64encode(page).decode(),
        "lines": "data:image/png;base64," + base64.encodebytes(page).decode(),
        "no padding": "data:image/png;base64," + plain.rstrip("="),
        "percent": "data:image/png;base64," + plain.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "raw": "data:image/png," + "".join(f"%{byte:02X}" for byte in page),
    }
    for name, written in forms.items():
        answer = chat(client, written, max_tokens=8)
        assert answer.status_code == 200, (name, answer.text)
        said = answer.json()["choices"][0]["message"]["content"]
        assert said and texts[0].startswith(said), name


@pytest.mark.parametrize("written", ["data:image/png;base64,!!!", "data:image/png;base64,\u00e9", "data:;base64,a"])
def test_damaged_data_uris(client, written):
    refusal(chat(client, written), 422, "damaged_image")


def test_addresses_and_paths_are_neither_fetched_nor_repeated(client, tmp_path, pages):
    asked = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        port = listener.getsockname()[1]

        def listen():
            with contextlib.suppress(TimeoutError):
                asked.append(listener.accept()[0])

        thread = threading.Thread(target=listen)
        thread.start()
        secret = tmp_path / "secret.png"
        secret.write_bytes(encoded(pages[0]))
        places = [f"http://127.0.0.1:{port}/secret.png", f"HTTPS://127.0.0.1:{port}/secret", str(secret)]
        places += [f"file://{secret}", "/etc/secret", "//secret", "secret", "", "data", "ftp://secret", "blob:secret"]
        for place in places:
            for stream in (False, True):
                answer = chat(client, place, stream=stream)
                message = refusal(answer, 400, "unsupported_url")
                assert "opens no addresses or files" in message and "secret" not in answer.text
        thread.join()
    assert not asked


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"temperature": 1}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": False}, "temperature"),
        ({"n": 2}, "n"),
        ({"top_p": 0.9}, "top_p"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"frequency_penalty": 0.1}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"stop": ["\n"]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"mm_processor_kwargs": {"max_pixels": 9}}, "mm_processor_kwargs"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"guided_json": {}}, "guided_json"),
        ({"best_of": 2}, "best_of"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(client, pages, given, named):
    answer = chat(client, uri(encoded(pages[0])), **given)
    assert f"The parameter {named} is not" in refusal(answer, 400, "unsupported_parameter")
    assert answer.json()["error"]["param"] == named


def test_what_changes_nothing_is_taken(client, pages):
    harmless = {"temperature": 0.0, "top_p": 1, "n": 1, "stop": None, "user": "u", "seed": 1, "metadata": {"a": "b"}}
    answer = chat(client, uri(encoded(pages[0])), max_completion_tokens=2, max_tokens=5, **harmless)
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 2
    assert answer.json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "medvl", "messages": []}, "messages"),
        ({"model": "medvl"}, "messages: Field required"),
        ({"messages": [{"role": "user", "content": "?"}]}, "model: Field required"),
        ({"model": "medvl", "messages": [{"role": "user", "content": "only text"}]}, "at least one image_url"),
        ({"model": "medvl", "messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"model": "medvl", "messages": turn("data:,") + turn("data:,")}, "one user turn"),
        ({"model": "medvl", "messages": turn("data:,"), "max_tokens": 0}, "max_tokens must lie in [1, 400]"),
        ({"model": "medvl", "messages": turn("data:,"), "max_tokens": 10**9}, "max_tokens must lie in [1, 400]"),
        ({"model": "medvl", "messages": turn(*["data:,"] * 5)}, "more than 4 pages"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_wrong_requests(client, body, message):
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code in (400, 413) and message in answer.json()["error"]["message"], answer.text


def test_detail_that_cannot_be_honoured_and_other_parts_are_refused(client, pages):
    for part in (
        {"type": "image_url", "image_url": {"url": uri(encoded(pages[0])), "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "c2VjcmV0"}},
        {"type": "image_url", "image_url": "c2VjcmV0"},
    ):
        body = {"model": "medvl", "messages": [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400 and "c2VjcmV0" not in answer.text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 50_000, b'{"messages": ' + b"1" * 6000 + b"}", b"NaN"]
)
def test_broken_json_is_a_bad_request(client, content):
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/chat/completions", headers=headers, content=content).status_code == 400


@pytest.fixture
def asked(monkeypatch):
    """The examples that are asked."""
    submit, seen = Front.submit, []
    monkeypatch.setattr(
        Front, "submit", lambda self, one, *given, **more: seen.append(one) or submit(self, one, *given, **more)
    )
    return seen


def test_a_system_turn_comes_before_the_users_text(client, pages, asked):
    messages = [{"role": "system", "content": "Be brief."}, *turn(uri(encoded(pages[0])))]
    body = {"model": "medvl", "messages": messages, "max_tokens": 2}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert asked[-1].prompt == f"Be brief.\n{TRANSCRIBE}"


def test_answers_follow_a_response_format(client, pages, asked):
    """Whole and streamed, also where the tokens do not suffice; the prompt stays as it was sent."""
    schema = {"type": "object", "properties": {"dose": {"enum": ["5 mg", "6 mg"]}}, "required": ["dose"]}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    page = uri(encoded(pages[0]))
    for most in (1, 40):
        said = chat(client, page, response_format=named, max_tokens=most).json()["choices"][0]["message"]["content"]
        assert json.loads(said)["dose"] in ("5 mg", "6 mg") and asked[-1].prompt == TRANSCRIBE
    body = {"model": "medvl", "messages": turn(page), "stream": True, "response_format": named}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    streamed = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert json.loads(streamed)["dose"] in ("5 mg", "6 mg")
    said = chat(client, page, response_format={"type": "json_object"}, max_tokens=30).json()["choices"][0]
    assert isinstance(json.loads(said["message"]["content"]), dict)


def test_response_formats_that_cannot_be_kept_are_refused(client, pages):
    page = uri(encoded(pages[0]))
    for schema in ({"patternProperties": {"a": {}}}, {"properties": {"dose": {"contentEncoding": "x"}}}, {"type": "x"}):
        named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        for stream in (False, True):
            message = refusal(chat(client, page, response_format=named, stream=stream), 422, "bad_schema")
            assert "type" in schema or next(iter(schema)) in message or "contentEncoding" in message
    for wanted in ({"type": "json_schema"}, {"type": "text", "json_schema": {"schema": {}}}, {"type": "xml"}):
        refusal(chat(client, page, response_format=wanted), 400, "bad_field")


def test_several_images_are_seen(client, pages):
    urls = [uri(encoded(page)) for page in pages[:2]]
    one, two = (chat(client, *urls[:count], max_tokens=1).json()["usage"]["prompt_tokens"] for count in (1, 2))
    assert two > one + 3
    odd = uri(encoded(Image.new("RGB", (1, 3000))))
    refusal(chat(client, urls[0], odd), 422, "extreme_aspect")


def test_half_characters_are_no_fault_of_ours(client, pages):
    def sent(**body):
        whole = {"model": "medvl", "max_tokens": 2, "messages": turn(uri(encoded(pages[0]))), **body}
        headers = {"Content-Type": "application/json"}  # written in ASCII, as a client may
        return client.post("/v1/chat/completions", content=json.dumps(whole), headers=headers)

    assert sent(messages=turn(uri(encoded(pages[0])), text="\ud800 What is this?")).status_code == 200
    schema = {"type": "object", "properties": {"\ud800": {"foo": 1}}}
    refusal(
        sent(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}), 422, "bad_schema"
    )
    form = {"schema": json.dumps({"type": "object", "properties": {"\ud800": {"type": "foo"}}})}
    refusal(client.post("/extract", files=[("files", ("a.png", encoded(pages[0])))], data=form), 422, "bad_schema")
