"""Counted image tokens are those that the processor makes, for images of any size."""

import pytest
import torch
from asking import within
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from medvl.data.live import LiveRows
from medvl.data.sources.reading_pages import ReadingPages
from medvl.documents.reading import Stage
from medvl.documents.render import Render
from medvl.geometry import MAX_ASPECT, TOKEN_PX, fit, visual_tokens

BUDGETS = [(784, 784), (3136, 50176), (3136, 100352), (12544, 12544), (50176, 200704)]
SIDES = st.one_of(st.integers(1, 60), st.integers(1, 700))


@pytest.fixture(scope="module")
def encoders(processor):
    """An encoder for each of the pixel budgets."""
    return {budget: within(processor, budget) for budget in BUDGETS}


def refused(height, width):
    return max(height, width) > MAX_ASPECT * min(height, width)


@settings(max_examples=80, deadline=None)
@given(SIDES, SIDES, st.sampled_from(BUDGETS))
def test_counted_tokens_are_the_encoded_ones(encoders, height, width, budget):
    assume(not refused(height, width))
    encoder = encoders[budget]
    counted = encoder.counts("Read.", "A page.", [(height, width)])
    encoded = encoder.encode_images([Image.new("RGB", (width, height))], "Read.", "A page.")
    assert counted["visual_tokens"] == (encoded["image_grid_thw"].prod(-1) // 4).tolist()
    assert counted["tokens"] == len(encoded["input_ids"])


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((200, 1), 29), ((1, 200), 29), ((1, 1), 4), ((13, 2000), 25), ((14, 28), 6), ((15, 28), 6), ((300, 13), 10)],
)
def test_sides_below_half_a_token(encoders, size, tokens):
    encoder = encoders[3136, 100352]
    height, width = size
    counted = encoder.counts("Read.", "A page.", [size])["visual_tokens"]
    made = encoder.processor.image_processor(images=[Image.new("RGB", (width, height))], return_tensors="pt")
    assert counted == [int(made["image_grid_thw"].prod()) // 4] == [tokens]


@settings(max_examples=500)
@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 10**6), st.integers(784, 10**7))
def test_fit_is_the_processors_resize_from_one_pixel_up(height, width, low, high):
    assume(low <= high)
    if refused(height, width):
        for resize in (lambda *size: fit(*size, min_pixels=low, max_pixels=high), smart_resize):
            with pytest.raises(ValueError, match="200"):
                resize(height, width)
        return
    ours = fit(height, width, min_pixels=low, max_pixels=high)
    assert ours == smart_resize(height, width, factor=TOKEN_PX, min_pixels=low, max_pixels=high)


@pytest.mark.parametrize("side", [28, 30, 300])
def test_the_tokens_of_a_drawn_page_are_the_encoded_ones(encoders, side):
    render = Render(max_side_px=side)
    encoder = encoders[3136, 50176]
    height, width = render.size_px
    encoded = encoder.encode_images([Image.new("RGB", (width, height))], "Read.", None)
    budget = {"min_pixels": encoder.min_pixels, "max_pixels": encoder.max_pixels}
    assert render.page_tokens(**budget) == int(encoded["image_grid_thw"].prod()) // 4


def test_live_pages_have_the_size_that_the_model_sees(encoders):
    small, fits = ReadingPages(stages=[Stage(height_px=28, width_px=56)]), ReadingPages()
    with pytest.raises(ValueError, match=r"pages of 56 x 28 px.* Set model\.min_pixels"):
        LiveRows(small, encoders[3136, 100352], 512)
    row = LiveRows(fits, encoders[3136, 100352], 1024)[{"key": "a", "stage": 0, "rows": 1}]
    stage = fits.stages[0]
    tokens = visual_tokens(stage.height_px, stage.width_px)
    assert torch.equal(row["image_grid_thw"].prod(-1) // 4, torch.full((len(row["image_grid_thw"]),), tokens))
