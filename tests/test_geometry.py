"""Pixels, tokens and positions against the reference implementations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qwen_vl_utils.vision_process import smart_resize as utils_resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from medvl.geometry import TOKEN_PX, fit, positions, visual_tokens

SIDES = st.integers(30, 5000)


@given(SIDES, SIDES, st.sampled_from([3136, 50176]), st.sampled_from([100352, 1003520, 12845056]))
def test_fit_is_the_processors_resize(height, width, low, high):
    ours = fit(height, width, min_pixels=low, max_pixels=high)
    assert ours == smart_resize(height, width, factor=TOKEN_PX, min_pixels=low, max_pixels=high)
    theirs = utils_resize(height, width, factor=TOKEN_PX, min_pixels=low, max_pixels=high)
    assert ours == theirs or 0 in theirs  # qwen-vl-utils reduces thin images to size 0


@pytest.mark.parametrize("size", [(1, 300), (0, 10), (5000, 20)])
def test_absurd_images_are_refused(size):
    with pytest.raises(ValueError, match="longer than 200:1"):
        fit(*size, min_pixels=3136, max_pixels=1003520)


def test_visual_tokens_wants_multiples():
    with pytest.raises(ValueError, match="height_px must be a positive multiple of 28, got 100"):
        visual_tokens(100, 28)


@pytest.mark.parametrize("grids", [[(1, 16, 24)], [(1, 4, 8), (1, 10, 2)], [(1, 2, 2), (1, 2, 2), (1, 30, 40)]])
def test_positions_are_the_models_own(nano, grids):
    torch.manual_seed(0)
    ids = [torch.randint(0, 200, (5,))]
    for _, rows, columns in grids:
        ids += [torch.full((rows * columns // 4,), nano.config.image_token_id), torch.randint(0, 200, (7,))]
    ids, grid = torch.cat(ids), torch.tensor(grids)
    is_image = ids == nano.config.image_token_id
    reference, _ = nano.model.get_rope_index(ids[None], is_image.int()[None], image_grid_thw=grid)
    ours = positions(is_image, grid)
    assert torch.equal(ours[1:], reference[:, 0]) and torch.equal(ours[0], torch.arange(len(ids)))


def test_a_cut_image_is_an_error():
    with pytest.raises(ValueError, match="is cut"):
        positions(torch.tensor([False, True, True, False]), torch.tensor([[1, 4, 4]]))
