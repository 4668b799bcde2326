"""Cached features of the frozen tower: the same numbers, and never those of another tower."""

import pytest
import torch

from medvl.data.datamodule import Rows
from medvl.data.encoding import UnreadableImage
from medvl.data.features import FeatureCache, resolve_cache, tower_hash
from medvl.data.packing import pack
from medvl.model.lora import Lora
from medvl.model.packed_forward import vision_features
from medvl.model.parts import base_of
from medvl.training.loss import answer_nats


@pytest.fixture
def model(load_nano):
    return Lora(r=8).apply(load_nano("nf4")[0]).train()


def kept(model, encoder, examples, root, **options):
    asked = {"requested": None, "live": False, **options}
    return resolve_cache(asked.pop("requested"), model, encoder.processor, torch.float32, examples, root=root, **asked)


def test_kept_features_give_loss_and_gradients_of_live_ones(model, encoder, examples, tmp_path):
    choice, cache = kept(model, encoder, examples[:3], tmp_path)
    assert choice.value and "MiB free on disk" in choice.reason
    rows, asked = Rows(examples[:3], encoder, cache), {"indices": [0, 1, 2], "window_tokens": 1}

    def step(batch):
        loss = answer_nats(model, batch)
        loss.backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        return loss.detach(), gradients

    live = rows[asked]
    assert len(live["image_keys"]) == len(live["image_grid_thw"]) and "features" not in live
    features = vision_features(base_of(model).model.visual, live)
    cache.keep(live["image_keys"], features, live["image_grid_thw"])
    again = rows[asked]
    assert "pixel_values" not in again and "image_keys" not in again
    assert torch.equal(again["features"], features)
    for name in ("input_ids", "labels", "position_ids", "bounds", "image_grid_thw"):
        assert torch.equal(again[name], live[name]), name
    (loss, gradients), (kept_loss, kept_gradients) = step(live), step(again)
    assert torch.equal(loss, kept_loss) and all(map(torch.equal, gradients, kept_gradients))


def test_a_row_with_one_unknown_page_is_seen_live(model, encoder, examples, tmp_path):
    _, cache = kept(model, encoder, examples[:3], tmp_path)
    rows = Rows(examples[:3], encoder, cache)
    first = rows[{"indices": [0], "window_tokens": 1}]
    features = vision_features(base_of(model).model.visual, first)
    cache.keep(first["image_keys"], features, first["image_grid_thw"])
    mixed = rows[{"indices": [0, 1], "window_tokens": 1}]
    assert "pixel_values" in mixed and len(mixed["image_keys"]) == len(mixed["image_grid_thw"])


def test_another_tower_has_other_features(model, encoder, examples, tmp_path):
    visual = base_of(model).model.visual
    before = tower_hash(visual)
    _, cache = kept(model, encoder, examples[:1], tmp_path)
    with torch.no_grad():
        weight = next(visual.parameters())
        weight.view(-1)[5].add_(1e-3)
    assert tower_hash(visual) != before
    assert kept(model, encoder, examples[:1], tmp_path)[1].folder != cache.folder
    with torch.no_grad():  # reordered weights are another tower
        weight.copy_(weight.flip(0))
    assert tower_hash(visual) not in (before, tower_hash(base_of(model).model.language_model))


def test_a_broken_file_is_made_again_and_a_full_disk_ends_keeping(model, encoder, examples, tmp_path, caplog):
    _, cache = kept(model, encoder, examples[:1], tmp_path)
    batch = pack([encoder.encode(examples[0])])
    features = vision_features(base_of(model).model.visual, batch)
    key = cache.key(examples[0].images[0])
    cache.keep([key], features, batch["image_grid_thw"])
    path = next(cache.folder.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:20])
    assert cache.read(key) is None and "is made again" in caplog.text
    assert not path.exists()  # so that it is kept again
    path.parent.rmdir()
    path.parent.write_text("in the way")
    cache.keep([key], features, batch["image_grid_thw"])
    assert cache.full and "not kept any more" in caplog.text


def test_a_page_that_vanished_is_named(model, encoder, examples, tmp_path):
    _, cache = kept(model, encoder, examples[:1], tmp_path)
    with pytest.raises(UnreadableImage, match=r"gone\.png cannot be read"):
        cache.key(str(tmp_path / "gone.png"))


def test_it_refuses_where_features_change(load_nano, encoder, examples, tmp_path):
    trained = Lora(r=8, vision=["qkv"]).apply(load_nano()[0])
    choice, cache = kept(trained, encoder, examples, tmp_path)
    assert not choice.value and cache is None and "tower or its merger trains" in choice.reason
    with pytest.raises(ValueError, match=r"trains\. Set hardware\.cache_features=null"):
        kept(trained, encoder, examples, tmp_path, requested=True)
    frozen = Lora(r=8).apply(load_nano()[0])
    assert "no two alike" in kept(frozen, encoder, examples, tmp_path, live=True)[0].reason
    assert not kept(frozen, encoder, examples, tmp_path, requested=False)[0].value
    assert isinstance(kept(frozen, encoder, examples, tmp_path, requested=True)[1], FeatureCache)
