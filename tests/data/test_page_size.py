"""Every page is brought to the 28-px grid by one function, after which no other resize changes it."""

import io
import pickle

import numpy as np
import pytest
import torch
from asking import within
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from medvl.data.pages import fitted
from medvl.documents.reading import Stage, drawn
from medvl.geometry import MAX_ASPECT, fit

BUDGETS = [(3136, 50176), (3136, 1003520), (200704, 401408)]
SIDES = st.integers(1, 900)


def noise(height, width, mode="RGB"):
    """Return an image in which every pixel matters."""
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(height * 10_000 + width).integers(0, 256, shape, np.uint8))


@pytest.fixture(scope="module")
def encoders(processor):
    return {budget: within(processor, budget) for budget in BUDGETS}


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.sampled_from(BUDGETS), st.sampled_from(["L", "RGB"]))
def test_pixels_are_those_of_the_processors_own_resize(encoders, height, width, budget, mode):
    assume(max(height, width) <= MAX_ASPECT * min(height, width))
    image, encoder = noise(height, width, mode), encoders[budget]
    ours = encoder.encode_images([image], "Read.", None)
    theirs = encoder.processor.image_processor(images=[image], return_tensors="pt")
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
    assert torch.equal(ours["image_grid_thw"], theirs["image_grid_thw"])


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.sampled_from(BUDGETS), st.sampled_from(["L", "RGB"]))
def test_a_fitted_page_is_left_as_it_is(encoders, height, width, budget, mode):
    assume(max(height, width) <= 20 * min(height, width))
    image, encoder = noise(height, width, mode), encoders[budget]
    page = fitted(image, *budget)
    assert page.mode == mode and fitted(page, *budget) is page
    stored = io.BytesIO()
    page.save(stored, format="PNG")
    sent = Image.open(stored)
    again = encoder.processor.image_processor(images=[sent], return_tensors="pt")  # with its own resize
    whole = encoder.processor.image_processor(images=[image], return_tensors="pt")
    assert torch.equal(again["pixel_values"], whole["pixel_values"])


@settings(max_examples=500)
@given(st.integers(1, 8000), st.integers(1, 8000), st.sampled_from(BUDGETS))
def test_only_the_thinnest_pages_have_no_size_that_stays(height, width, budget):
    assume(max(height, width) <= 20 * min(height, width))
    limits = dict(zip(("min_pixels", "max_pixels"), budget, strict=True))
    size = fit(height, width, **limits)
    assert fit(*size, **limits) == size


def test_a_page_that_is_drawn_on_the_grid_is_not_touched(encoders):
    page = Image.fromarray(drawn(Stage(height_px=112), "size", None).pixels)
    assert page.mode == "L" and fitted(page, *BUDGETS[0]) is page
    seen = encoders[BUDGETS[0]].encode_images([page], "Read.", None)["pixel_values"]
    ready = encoders[BUDGETS[0]].processor.image_processor(images=[page], do_resize=False, return_tensors="pt")
    assert torch.equal(seen, ready["pixel_values"])


def test_a_page_too_long_to_see_is_refused():
    with pytest.raises(ValueError, match="longer than 200:1"):
        fitted(noise(2, 500), 3136, 50176)


def test_workers_that_prepare_pages_take_an_encoder_along_without_the_pages_that_it_holds(encoder):
    encoder.held.hold({"memory:1": Image.new("L", (56, 56))})
    try:
        sent = pickle.loads(pickle.dumps(encoder))
        assert len(sent.held) == 0 and len(encoder.held) == 1 and sent.max_pixels == encoder.max_pixels
    finally:
        encoder.held.release(["memory:1"])
