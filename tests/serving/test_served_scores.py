"""What evaluation asks of medvl's own service is what its engine answers here, also when the service is full."""

from dataclasses import replace

import pytest
from asking import about
from served import serving

from medvl.benchmarks.model import ModelBench
from medvl.benchmarks.served import served as timed
from medvl.documents.reading import Stage, drawn
from medvl.evaluation.evaluation import Evaluation
from medvl.generation.endpoint import Endpoint
from medvl.generation.remote import RemoteEngine

SHAPE = 'Answer in JSON: {"dose": "", "route": ""}'


@pytest.fixture(scope="module")
def asked(reader, tmp_path_factory):
    """Twelve small pages, one in four of them asked for JSON, with references that end answers after 40 tokens."""
    from PIL import Image

    folder, examples = tmp_path_factory.mktemp("scored"), []
    for at in range(12):
        stage = Stage(plain=0.5, prose=0.5, height_px=28 + 28 * (at % 3), width_px=112)
        page = Image.fromarray(drawn(stage, f"scored/{at}", None).pixels)
        one = about([page], reader.encoder, folder, *([SHAPE] if at % 4 == 3 else []))
        task, known = ("json", '{"dose": "5 mg"}') if at % 4 == 3 else ("transcribe", "a")
        tokens = one.tokens - one.answer_tokens + 36
        examples.append(replace(one, id=str(at), response=known, task=task, answer_tokens=36, tokens=tokens))
    return examples


@pytest.mark.parametrize("constrained", [False, True])
def test_a_served_model_scores_as_it_does_here(reader, asked, constrained):
    how = Evaluation(constrained=constrained)
    local = how.run(reader, asked, bar=False)
    with serving(reader, rows=1, queue=4, pages=1) as (_, client):
        endpoint = Endpoint(url=f"{client.base_url}/v1", concurrency=12, seconds=120)
        remote = RemoteEngine(endpoint=endpoint, served=endpoint.served(), encoder=reader.encoder)
        rows = how.run(remote, asked, bar=False)
        results = timed(remote, asked, ModelBench(warmup=0, repeats=2, new_tokens=8))
        refused = client.get("/metrics").text
    for key in ("id", "prediction", "finish_reason", "scores"):
        assert [row[key] for row in rows] == [row[key] for row in local]
    assert len({row["prediction"] for row in rows}) > 8 and results["first_token_ms"] > 0
    assert "429" in refused
