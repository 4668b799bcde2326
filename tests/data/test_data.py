"""Splits, preparation, packing and loading."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medvl.data.encoding import UnreadableImage, open_image
from medvl.data.packing import PackedSampler, fill_rows, pack
from medvl.data.splits import assign, take
from medvl.types import Document, Example


def made(tokens):
    return [
        Example(
            id=str(i), document="d", split="train", images=[], prompt="", response="", answer_tokens=n // 2, tokens=n
        )
        for i, n in enumerate(tokens)
    ]


TOKENS = st.lists(st.integers(2, 300), min_size=1, max_size=80)


@given(st.integers(3, 400))
def test_splits_depend_on_the_set_not_on_the_order(count):
    documents = [Document(id=f"{number:04}") for number in range(count)]
    assign(documents, 42)
    again = [Document(id=document.id) for document in documents]
    random.Random(1).shuffle(again)
    assign(again, 42)
    assert {d.id: d.split for d in documents} == {d.id: d.split for d in again}
    shares = Counter(d.split for d in documents)
    assert set(shares) == {"train", "val", "test"}
    assert shares["val"] == shares["test"] == max(1, round(0.1 * count))


def test_the_split_of_2377_documents():
    documents = [Document(id=f"{number:04}") for number in range(2377)]
    assign(documents, 42)
    assert Counter(d.split for d in documents) == {"train": 1901, "val": 238, "test": 238}


@given(st.integers(3, 300), st.integers(1, 300))
def test_a_limit_moves_no_document_to_another_split(count, limit):
    whole = [Document(id=f"{number:04}") for number in range(count)]
    assign(whole, 42)
    part = take(whole, limit)
    assert {document.split for document in part} == {"train", "val", "test"}
    assert len(part) == max(3, min(limit, count)) or limit < 3
    assert all(document in whole for document in part)


def test_a_sources_own_split_holds():
    documents = [Document(id="a", split="test"), *(Document(id=f"b{n}") for n in range(10))]
    assign(documents, 42)
    assert documents[0].split == "test"


@given(TOKENS, st.integers(300, 900))
def test_rows_hold_every_example_once_within_the_budget(tokens, budget):
    examples = made(tokens)
    rows = fill_rows(examples, range(len(examples)), budget)
    assert sorted(index for row in rows for index in row) == list(range(len(examples)))
    assert all(row and sum(examples[index].tokens for index in row) <= budget for row in rows)


def test_an_example_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="an example of 300 tokens fits no row of 299"):
        fill_rows(made([100, 300]), range(2), 299)


@settings(max_examples=50)
@given(TOKENS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 12), st.data())
def test_the_stream_resumes_anywhere_and_ranks_agree(tokens, accumulate, ranks, steps, data):
    examples = made(tokens)

    def sampler(rank):
        return PackedSampler(examples, budget=400, seed=7, accumulate=accumulate, ranks=ranks, rank=rank, steps=steps)

    streams = [list(sampler(rank)) for rank in range(ranks)]
    assert {len(stream) for stream in streams} == {steps * accumulate} == {len(sampler(0))}
    for step in range(steps):
        window = [row for stream in streams for row in stream[step * accumulate : (step + 1) * accumulate]]
        tokens_of = sum(examples[index].answer_tokens for row in window for index in row["indices"])
        assert {row["window_tokens"] for row in window} == {tokens_of}
    start = data.draw(st.integers(0, steps * accumulate))
    resumed = sampler(0)
    resumed.start = start
    assert list(resumed) == streams[0][start:]


def test_an_epoch_shows_every_example_and_the_next_is_shuffled_anew():
    examples = made([100] * 40)
    rows = list(PackedSampler(examples, budget=400, seed=1, epochs=2))
    first, second = rows[:10], rows[10:]
    assert sorted(i for row in first for i in row["indices"]) == list(range(40))
    assert sorted(i for row in second for i in row["indices"]) == list(range(40))
    assert first != second


def test_what_no_row_can_hold_is_refused():
    with pytest.raises(ValueError, match=r"Set batch\.tokens=500"):
        PackedSampler(made([10, 500]), budget=400, seed=1, steps=1)
    with pytest.raises(ValueError, match="no example to train on"):
        PackedSampler([], budget=400, seed=1, steps=1)


def test_pack_lays_examples_side_by_side(encoder, examples):
    encoded = [encoder.encode(example) for example in examples[:3]]
    batch = pack(encoded)
    lengths = [example.tokens for example in examples[:3]]
    assert batch["input_ids"].shape == (1, sum(lengths)) and batch["position_ids"].shape == (4, 1, sum(lengths))
    assert batch["bounds"].tolist() == [0, lengths[0], sum(lengths[:2]), sum(lengths)]
    assert batch["longest"] == max(lengths) and batch["bounds"].dtype == torch.int32
    starts = batch["position_ids"][:, 0, batch["bounds"][:-1].long()]
    assert (starts == 0).all()
    answers = (batch["labels"] != -100).sum()
    assert int(answers) == sum(example.answer_tokens for example in examples[:3])


def test_the_pixel_budget_takes_effect(encoder):
    images = encoder.processor.image_processor
    grid = images(images=[Image.new("RGB", (4000, 4000))], return_tensors="pt")["image_grid_thw"]
    assert int(grid.prod()) * 14 * 14 <= encoder.max_pixels == 1003520
    encoded = encoder.encode_images([Image.new("L", (4000, 4000))], "x", "y")
    assert int((encoded["input_ids"] == encoder.image_token).sum()) == int(grid.prod()) // 4


def test_a_processor_that_ignores_the_budget_is_caught(processor):
    import copy

    from medvl.model.loading import budget_pixels

    class Deaf(type(processor.image_processor)):
        size = property(lambda self: {"shortest_edge": 3136, "longest_edge": 12845056}, lambda self, value: None)

    deaf = copy.copy(processor)
    deaf.image_processor = copy.copy(processor.image_processor)
    deaf.image_processor.__class__ = Deaf
    with pytest.raises(AssertionError, match="ignores max_pixels=50176"):
        budget_pixels(deaf, 3136, 50176)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello"])
def test_unreadable_images_are_named(tmp_path, content):
    path = tmp_path / "page.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"page\.png is not an image, or cut off"):
        open_image(str(path))
    with pytest.raises(UnreadableImage, match=r"gone\.png cannot be read: .*No such file"):
        open_image(str(tmp_path / "gone.png"))


def test_a_truncated_image_is_named(tmp_path):
    path = tmp_path / "cut.png"
    Image.effect_noise((400, 400), 50).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UnreadableImage, match=r"cut\.png cannot be read"):
        open_image(str(path))


def test_transparency_becomes_paper(tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(path)
    assert open_image(str(path)).getpixel((5, 5)) == (255, 255, 255)
