"""The packed loss against transformers', and isolation of examples from their neighbours in a row."""

import pytest
import torch

from medvl.data.packing import pack
from medvl.model import attention, packed_forward
from medvl.training import loss
from medvl.types import IGNORE


@pytest.fixture(scope="module")
def encoded(encoder, examples):
    return [encoder.encode(example) for example in examples[:4]]


def reference(model, example):
    """Losses by transformers' forward pass on one example alone."""
    ids = example["input_ids"][None]
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            mm_token_type_ids=(ids == model.config.image_token_id).int(),
            pixel_values=example["pixel_values"],
            image_grid_thw=example["image_grid_thw"],
        ).logits[0]
    targets = example["labels"][1:]
    return torch.nn.functional.cross_entropy(logits[:-1], targets, ignore_index=IGNORE, reduction="none")


def token_losses(model, batch):
    """Losses of the answer tokens of a packed row."""
    hidden, targets = loss.answer_states(model, batch)
    return torch.nn.functional.cross_entropy(model.lm_head(hidden), targets, reduction="none")


def test_packed_equals_transformers_one_by_one(nano, encoded):
    expected = torch.cat([part[part > 0] for part in (reference(nano, example) for example in encoded)])
    with torch.no_grad():
        packed = token_losses(nano, pack(encoded))
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.5  # the losses differ: constants would pass any test


def test_packed_equals_unpacked(nano, encoded):
    with torch.no_grad():
        alone = sum(loss.answer_nats(nano, pack([example])) for example in encoded)
        together = loss.answer_nats(nano, pack(encoded))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("changed", ["text", "page"])
def test_a_change_in_one_example_leaves_its_neighbours_alone(nano, encoded, changed):
    batch = pack(encoded)
    other = {**encoded[1]}
    if changed == "text":
        other["input_ids"] = other["input_ids"].clone()
        other["input_ids"][-20:-1] = 65
    else:
        other["pixel_values"] = -other["pixel_values"]
    with torch.no_grad():
        before = token_losses(nano, batch)
        after = token_losses(nano, pack([encoded[0], other, *encoded[2:]]))
    counts = [int((example["labels"] != IGNORE).sum()) for example in encoded]
    own = slice(counts[0], counts[0] + counts[1])
    neighbours = torch.ones(len(before), dtype=torch.bool)
    neighbours[own] = False
    if changed == "page":
        torch.testing.assert_close(before[neighbours], after[neighbours], atol=1e-6, rtol=0)
        assert (before[own] - after[own]).abs().max() > 1e-3
    else:
        torch.testing.assert_close(before[neighbours], after[neighbours], atol=1e-6, rtol=0)
        assert (before[own][-15:] - after[own][-15:]).abs().max() > 1e-3


def test_chunks_change_nothing(nano, encoded, monkeypatch):
    with torch.no_grad():
        whole = loss.answer_nats(nano, pack(encoded))
        monkeypatch.setattr(loss, "LOGITS", 17 * 288)
        chunked = loss.answer_nats(nano, pack(encoded))
    torch.testing.assert_close(whole, chunked, rtol=1e-6, atol=0)


def test_every_answer_token_counts_once(nano, encoded):
    _, targets = loss.answer_states(nano, pack(encoded))
    expected = torch.cat([example["labels"][example["labels"] != IGNORE] for example in encoded])
    assert torch.equal(targets, expected)


def test_a_frozen_vision_tower_builds_no_graph(load_nano, encoded):
    model, _, _ = load_nano()
    model.requires_grad_(False)
    assert not packed_forward.vision_features(model.model.visual, pack(encoded)).requires_grad
    model.model.visual.merger.requires_grad_(True)
    assert packed_forward.vision_features(model.model.visual, pack(encoded)).requires_grad


def test_segments_of_any_length(nano):
    """Consecutive segments of equal length are batched; the result equals that of each segment alone."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 60, 16) for heads in (4, 2, 2))
    bounds = torch.tensor([0, 8, 16, 24, 25, 40, 60], dtype=torch.int32)
    for causal in (True, False):
        out = attention._segments_sdpa(query, key, value, bounds, 20, causal, None)
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            alone = torch.nn.functional.scaled_dot_product_attention(
                *(x[:, :, start:stop] for x in (query, key, value)), is_causal=causal, enable_gqa=True
            ).transpose(1, 2)
            torch.testing.assert_close(out[:, start:stop], alone)


def test_attention_choice():
    cpu = torch.device("cpu")
    assert attention.choose("auto", cpu, torch.float32).value == "sdpa"
    with pytest.raises(ValueError, match=r"needs a CUDA device\. Set hardware\.attention=auto"):
        attention.choose("varlen", cpu, torch.bfloat16)


@pytest.mark.gpu
def test_the_varlen_kernel_agrees_with_sdpa():
    torch.manual_seed(0)
    bounds = torch.tensor([0, 300, 301, 700, 1024], dtype=torch.int32, device="cuda")
    for head_dim in (80, 128):
        states = [torch.randn(1, heads, 1024, head_dim, device="cuda", dtype=torch.bfloat16) for heads in (8, 2, 2)]
        for causal in (True, False):
            ours = attention._segments_varlen(*states, bounds, 399, causal, None)
            exact = attention._segments_sdpa(*(x.float() for x in states), bounds, 399, causal, None)
            assert (ours.float() - exact).norm() / exact.norm() < 1e-2
