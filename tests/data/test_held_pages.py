"""Pages in memory: the model sees of them what it sees of their files, and they last as long as they are held."""

import pytest
import torch
from PIL import Image

from medvl.data.decoding import UnreadableImage, open_image
from medvl.data.held import HeldPages, name_of


@pytest.mark.parametrize("size", [(336, 112), (500, 19), (1400, 1700), (20, 3000), (28, 28), (3000, 16)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_patches_are_those_of_the_file(encoder, tmp_path, size, mode):
    page = Image.effect_noise(size, 80).convert(mode)
    page.save(tmp_path / "page.png")
    fitted = encoder.fitted(open_image((tmp_path / "page.png").read_bytes()))
    name = name_of(fitted)
    encoder.held.hold({name: fitted})
    try:
        held, read = encoder.patches(name), encoder.patches(str(tmp_path / "page.png"))
    finally:
        encoder.held.release([name])
    assert torch.equal(held["pixel_values"], read["pixel_values"]) and torch.equal(held["grid"], read["grid"])


def test_a_page_lasts_as_long_as_anybody_holds_it(encoder):
    held, page = HeldPages(), Image.new("L", (28, 28))
    held.hold({"a": page})
    held.hold({"a": page.copy(), "b": page})
    held.release(["a"])
    assert held.get("a") is page and len(held) == 2
    held.release(["a", "b"])
    assert held.get("a") is None and len(held) == 0
    with pytest.raises(UnreadableImage):
        encoder.patches("memory:gone")
