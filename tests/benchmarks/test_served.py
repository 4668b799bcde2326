"""benchmark.py times a server as its client sees it, and says what of a server it cannot measure."""

import time

import pytest
from fake_openai import FakeServer, completion

from medvl.benchmarks.model import ModelBench
from medvl.benchmarks.served import served
from medvl.generation.endpoint import Endpoint
from medvl.generation.remote import RemoteEngine
from medvl.record.files import read_json
from medvl.run.checks import check


class Speaking(FakeServer):
    """Says six words of any page, 20 ms apart."""

    def usual(self, body):
        answer = super().usual(body)
        return answer if not isinstance(answer, list) else [answer[0], *WORDS, answer[-1]]


WORDS = [{"choices": [{"delta": {"content": f"{word} "}}]} for word in ("take", "aspirin", "81", "mg", "once", "daily")]


def asking(encoder, url, **options):
    endpoint = Endpoint(url=url, **{"seconds": 5, **options})
    return RemoteEngine(endpoint=endpoint, served=endpoint.served(), encoder=encoder)


def test_tokens_are_timed_as_they_arrive(encoder, examples):
    """The role comes first, and is no token; six words come from 40 to 140 ms, and are 20 tokens as the server says."""
    server = Speaking(models=[{"id": "m", "owned_by": "vllm"}])
    with server.running() as url:
        results = served(asking(encoder, url), examples, ModelBench(batch=2, new_tokens=9, warmup=1, repeats=3))
    assert len(server.asked) == 8 and server.most == 2
    assert server.asked[0]["max_tokens"] == 9 and server.asked[0]["stream"] and server.asked[0]["ignore_eos"]
    assert len(results["samples"]["first_token_ms"]) == 6 and len(results["samples"]["latency_ms"]) == 3
    assert 39 < results["first_token_ms"] < results["latency_p50_ms"] and results["latency_p50_ms"] > 139
    assert results["each_token_ms"] == pytest.approx(100 / 19, rel=0.5) and results["output_tokens"] == 6 * 20


def test_tokens_are_counted_where_the_server_does_not(encoder, examples):
    server = Speaking()
    server.usage = None
    with server.running() as url:
        results = served(asking(encoder, url), examples, ModelBench(new_tokens=9, warmup=0, repeats=1))
    assert results["output_tokens"] == 6 and "ignore_eos" not in server.asked[0]


def test_a_connection_that_the_server_has_ended_is_opened_again(encoder, examples):
    """As llama-server does with one that stood idle for 5 s while the next page was encoded."""
    server = Speaking(plan=lambda number, asked: "drop" if number == 1 else None)
    with server.running() as url:
        results = served(asking(encoder, url), examples, ModelBench(new_tokens=9, warmup=0, repeats=3))
    assert len(server.asked) == 4 and len(results["samples"]["latency_ms"]) == 3


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (completion("all at once"), "sends its answers in one piece"),
        ((429, {}, {}), r"is busy \(HTTP 429\)\. Set bench\.batch=1"),
        ((400, {}, {"error": "no images"}), r"refuses the request \(HTTP 400: no images\)"),
        ("drop", "no server with OpenAI's interface answers"),
        (3.0, r"no whole answer within 0\.5 s\. Set engine\.seconds=1"),
    ],
)
def test_what_cannot_be_timed_is_said(encoder, examples, planned, said):
    started = time.monotonic()
    with Speaking(plan=lambda number, asked: planned).running() as url, pytest.raises(ValueError, match=said):
        served(asking(encoder, url, seconds=0.5), examples, ModelBench(repeats=2))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("bench", ["train", "generate", "pages"])
def test_other_benchmarks_measure_this_process(compose, bench):
    words = (f"bench={bench}", "engine=openai", "engine.url=http://127.0.0.1:9/v1", "logger=none")
    with pytest.raises(ValueError, match="Set bench=model, or engine=local"):
        check(compose(*words), "benchmark")


def test_benchmark_py_times_a_server(script, tmp_path):
    words = ("data.count=24", "eval.limit=2", "bench.repeats=2", "bench.accuracy=true", "logger=none")
    with Speaking().running() as url:
        run = ("engine=openai", f"engine.url={url}", "hydra.run.dir=timed")
        code, output = script("benchmark.py", *run, *words, cwd=tmp_path)
    results = read_json(tmp_path / "timed/benchmark.json")
    assert code == 0 and results["first_token_ms"] > 39 and results["scores"]["cer"] > 0.5, output
    assert "its memory, loading and training are not measured" in output and "latency_p99_ms" in output
    assert read_json(tmp_path / "timed/status.json")["objective"]["value"] == results["each_token_ms"]
    assert read_json(tmp_path / "timed/environment.json")["choices"]["engine"]["value"] == "medvl"
