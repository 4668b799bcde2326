"""bench=generate: what it measures, and what it refuses."""

import pytest

from medvl.benchmarks.generation import GenerateBench, _one_a_page


def test_every_arm_is_timed_on_the_same_prompts(script, tmp_path):
    overrides = ["bench=generate", "bench.arms=[transformers,static,eager,ours]", "bench.batches=[1,3]"]
    sizes = ["bench.new_tokens=4", "bench.rounds=1", "bench.pages=5", "bench.page_tokens=4", "data.limit=9"]
    sizes += ["bench.requests=6", "bench.requests_per_s=50"]
    code, said = script("benchmark.py", *overrides, *sizes, "logger=none", "hydra.run.dir=run", cwd=tmp_path)
    assert code == 0, said
    from medvl.record.files import read_json

    results = read_json(tmp_path / "run" / "benchmark.json")
    rows = results["rows"]
    assert list(rows) == [f"{arm} {batch}" for batch in (1, 3) for arm in ("transformers", "static", "eager", "ours")]
    assert all(row["tokens_per_s"] > 0 and row["first_token_ms"] > 0 for row in rows.values())
    assert rows["transformers 1"]["ratio"] == 1 and results["tokens_per_s"] == rows["ours 3"]["tokens_per_s"]
    assert (
        results["pages"]["ours"]["pages"] == 5
        and 1 <= results["pages"]["different"] <= 5
        and results["pages"]["transformers"]["pages_per_s"] > 0
    )
    assert 0 < results["prefill_percent"] <= 200 and results["weights_ratio"] is None
    assert 0 < results["floor_percent"] <= 200 and "CUDA graphs need a CUDA device" in results["choices"]["captured"]
    assert (tmp_path / "run" / "generation_speed.png").stat().st_size > 10_000
    asked = results["requests"]
    assert asked["count"] == 6 and 0 < asked["first_token_p50_ms"] <= asked["first_token_p99_ms"]
    assert asked["first_token_p50_ms"] < asked["answer_p50_ms"] <= asked["answer_p95_ms"] and asked["answers_per_s"] > 0
    assert "6 requests, 50 a second, at random: first token after" in said
    assert "ours, captured" in said and "pages/s" in said


@pytest.mark.parametrize(
    "options",
    [
        {"arms": ["vllm"]},
        {"arms": []},
        {"batches": []},
        {"batches": [0]},
        {"new_tokens": 1},
        {"rounds": 0},
        {"requests_per_s": 0},
    ],
    ids=str,
)
def test_what_cannot_be_timed_is_refused(options):
    with pytest.raises(ValueError, match=r"bench\.\w+"):
        GenerateBench(**options)


def test_no_page_is_asked_about_twice_while_there_are_others(examples):
    pages = _one_a_page([*examples, *examples])
    assert len(pages) == len({tuple(one.images) for one in examples}) and pages[0] is examples[0]
