"""Several processes answer a part each, and score as one does."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist
from conftest import SMALL

from medvl.generation import sharing
from medvl.generation.sharing import join, parts, shared
from medvl.types import Example


def asked(*tokens, images=None):
    return [
        Example(
            id=str(at),
            document="d",
            split="val",
            images=[(images or {}).get(at, f"{at}.png")],
            prompt="",
            response="",
            tokens=count,
        )
        for at, count in enumerate(tokens)
    ]


def test_parts_hold_every_example_once_and_are_even():
    examples = asked(*range(100, 200))
    found = parts(examples, 3)
    assert sorted(index for part in found for index in part) == list(range(100))
    loads = [sum(examples[index].tokens for index in part) for part in found]
    assert max(loads) - min(loads) <= 200


def test_questions_about_one_page_stay_together():
    examples = asked(5, 5, 5, 5, images={0: "a.png", 3: "a.png"})
    assert sorted(parts(examples, 3)) == [[0, 3], [1], [2]]
    assert parts(asked(7), 2) == [[0], []]


def test_one_process_shares_with_nobody(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not join()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not join()


@pytest.fixture
def second_of_two(monkeypatch):
    """This process as rank 1 of two; the other one says what the test sets."""
    other = ({}, "")

    def gather(told, own, group):
        told[:] = [other, own]

    def says(answers, fault=""):
        nonlocal other
        other = (answers, fault)

    monkeypatch.setattr(sharing, "_group", lambda: None)
    monkeypatch.setattr(dist, "get_world_size", lambda group: 2)
    monkeypatch.setattr(dist, "get_rank", lambda group: 1)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    return says


def test_answers_come_in_the_order_of_the_examples(second_of_two):
    examples, ticks = asked(9, 8, 7, 6), []
    first, second = parts(examples, 2)
    second_of_two({index: f"theirs {index}" for index in first})
    found = shared(examples, lambda own: [f"ours {one.id}" for one in own], ticks.append)
    assert found == [f"{'ours' if index in second else 'theirs'} {index}" for index in range(4)]
    assert ticks == [len(first)]


def test_a_rank_that_fails_ends_all(second_of_two):
    second_of_two({}, "OSError: disk full")
    with pytest.raises(RuntimeError, match="rank 0 could not answer: OSError: disk full"):
        shared(asked(9, 8), lambda own: ["" for _ in own], None)

    def fails(own):
        raise ValueError("page.png is damaged")

    with pytest.raises(ValueError, match="damaged"):
        shared(asked(9, 8), fails, None)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def side_by_side(script, name, words, cwd):
    """Run a script as two ranks of one host."""
    port = str(free_port())

    def start(rank):
        ranked = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return script(name, *words, cwd=cwd, env={**ranked, "NODE_RANK": "0", "OMP_NUM_THREADS": "1"})

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(start, "01"))


def read(folder, name):
    return [json.loads(line) for line in (folder / "run" / name).read_text().splitlines()]


def test_two_ranks_score_as_one(script, tmp_path):
    words = [*SMALL, "eval.limit=5", "ablation=[blank]", "hydra.run.dir=run"]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    code, said = script("evaluate.py", *words, cwd=one)
    assert code == 0, said
    for code, said in side_by_side(script, "evaluate.py", words, two):
        assert code == 0, said
    for name in ("predictions.jsonl", "predictions_blank.jsonl"):
        assert read(one, name) == read(two, name) and len(read(one, name)) == 5
    scores = [json.loads((folder / "run" / "metrics.json").read_text()) for folder in (one, two)]
    assert all(score.pop("answer_s") > 0 for score in scores)
    assert scores[0] == scores[1]


def test_ranks_that_trained_together_score_together(script, tmp_path):
    words = [
        *SMALL,
        "logger=none",
        "trainer.devices=2",
        "trainer.max_steps=1",
        "trainer.epochs=null",
        "eval.before=false",
    ]
    (first, said), (second, also) = side_by_side(script, "train.py", [*words, "hydra.run.dir=run"], tmp_path)
    assert (first, second) == (0, 0), said + also
    assert len(read(tmp_path, "predictions.jsonl")) == 2
