"""Image files as the model sees them: upright, on white paper, in 8 bits."""

import struct
from pathlib import Path

import numpy as np
import pytest
from images import GREY, clear, encoded, off, page, png, seen
from PIL import Image

CASES = Path(__file__).parents[3] / "shared" / "cases" / "images"
BACK = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transposition that EXIF's orientation undoes


def packed(depth):
    """The page's rows in samples of 1, 2, 4, 8 or 16 bits, rounded; and its grey levels then."""
    most = 2**depth - 1
    samples = np.rint(GREY / 255 * most).astype(int)
    bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]
    return samples, rows, np.rint(samples / most * 255)


def test_a_drawn_page_looks_as_ever():
    noise = Image.effect_noise((97, 61), 80)
    for image in (noise, noise.convert("RGB"), page(), page().convert("1")):
        assert np.array_equal(seen(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_page_stands_upright(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = page() if orientation == 1 else page().transpose(Image.Transpose(BACK[orientation]))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(form, {})
    assert off(encoded(stored, form, exif=exif, **options)) <= (8 if form == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 400])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert off(encoded(page(), "PNG", exif=exif)) == 0


def test_damaged_exif_does_not_lose_the_page():
    data = encoded(page(), "JPEG", quality=100, exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert off(data) <= 8


@pytest.mark.parametrize(
    ("mode", "form"), [("LA", "PNG"), ("LA", "TIFF"), ("RGBA", "PNG"), ("RGBA", "TIFF"), ("RGBA", "WEBP")]
)
def test_transparent_pixels_are_white_paper(mode, form):
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    assert off(encoded(clear(mode), form, **options)) == 0


def test_half_transparent_ink_is_thin_ink():
    half = Image.fromarray(np.full((4, 4, 2), (0, 128), np.uint8))
    assert seen(encoded(half, "PNG"))[0, 0].tolist() == [127] * 3


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize(("alpha", "stored"), [(1, 50), (2, 100)])
def test_premultiplied_ink_is_not_thinned_twice(alpha, stored, colours):
    """Grey 100 at half opacity is stored as 50 where a TIFF declares its alpha as associated (1)."""
    image = Image.fromarray(np.full((4, 4, colours + 1), (*[stored] * colours, 128), np.uint8))
    data = encoded(image, "TIFF").replace(struct.pack("<HHII", 338, 3, 1, 2), struct.pack("<HHII", 338, 3, 1, alpha))
    assert abs(seen(data) - 177).max() <= 1


def test_palettes_are_looked_up():
    palette = page().convert("RGB").quantize(8)
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        assert off(encoded(palette, form)) <= 1


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white_paper(form):
    indices = Image.frombytes("P", page().size, np.where(GREY == 255, 0, np.where(GREY == 0, 1, GREY)).tobytes())
    indices.putpalette([0, 0, 0, 0, 0, 0, *(level for level in range(2, 256) for _ in range(3))])
    assert off(encoded(indices, form, transparency=0)) == 0


def test_the_opacities_of_palette_entries_count():
    indices = Image.frombytes("P", (2, 1), b"\0\1")
    indices.putpalette([0, 0, 0, 0, 0, 0])
    assert seen(encoded(indices, "PNG", transparency=bytes([0, 128])))[0, :, 0].tolist() == [255, 127]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_level_is_white_paper(depth):
    """The key is a sample of the file's depth: 1 of 0 to 3 is the second of four levels, not nearly black."""
    samples, rows, levels = packed(depth)
    key = samples[10, 31]  # the upright bar
    data = png(*page().size, depth, 0, rows, (b"tRNS", struct.pack(">H", key)))
    assert off(data, np.where(samples == key, 255, levels)) <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_white_paper(depth):
    most = 2**depth - 1
    pixels = np.array([[[0, 0, most], [most, 0, 0], [0, 0, most // 3]]], dtype=f">u{depth // 8}")
    data = png(3, 1, depth, 2, [pixels.tobytes()], (b"tRNS", struct.pack(">HHH", 0, 0, most)))
    assert seen(data)[0].tolist() == [[255] * 3, [255, 0, 0], [0, 0, 85]]


def test_16_bits_with_alpha_are_white_paper():
    pixels = np.stack([np.where(GREY == 255, 0, GREY), np.where(GREY == 255, 0, 255)], -1).astype(">u2") * 257
    assert off(png(*page().size, 16, 4, [row.astype(">u2").tobytes() for row in pixels])) == 0


def test_a_first_frame_smaller_than_the_screen_lies_on_white_paper():
    data = bytearray(encoded(Image.new("P", (4, 4), 0), "GIF"))
    data[6:10] = struct.pack("<HH", 8, 8)  # the screen
    pixels = seen(bytes(data))
    assert pixels.shape == (8, 8, 3) and not pixels[:4, :4].any() and pixels[4:].min() == pixels[:, 4:].min() == 255


WIDE = GREY.astype(np.uint16) * 257


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(WIDE), "PNG"),
        encoded(Image.fromarray(WIDE), "TIFF"),
        encoded(Image.fromarray(WIDE), "TIFF", compression="tiff_lzw"),
        encoded(Image.frombytes("I;16B", page().size, WIDE.astype(">u2").tobytes()), "TIFF"),
        encoded(Image.fromarray(65535 - WIDE), "TIFF", tiffinfo={262: 0}),
        encoded(Image.fromarray(WIDE), "JPEG2000"),
        b"P5 48 32 65535\n" + WIDE.astype(">u2").tobytes(),
        b"P5 48 32 1023\n" + np.rint(GREY / 255 * 1023).astype(">u2").tobytes(),
        png(48, 32, 16, 2, [np.repeat(row, 3).astype(">u2").tobytes() for row in WIDE]),
    ],
    ids=["png", "tiff", "lzw", "big-endian", "min-is-white", "jp2", "pgm", "pgm of 10 bits", "rgb"],
)
def test_16_bits_become_8_not_clipped(data):
    assert off(data) <= 1


def test_a_dark_scan_of_16_bits_stays_dark():
    """A page without black or white: its own range must not become its contrast."""
    assert set(np.unique(seen(encoded(Image.fromarray(WIDE // 2), "PNG"))).tolist()) == {0, 25, 59, 127}


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.int32) * 1000 - 5000,
        GREY.astype(np.int32),
        GREY.astype(np.float32),
        GREY.astype(np.float32) / 255,
        (GREY.astype(np.float32) - 128) * 1e4,
    ],
    ids=["wide", "within 8 bits", "floats within 8 bits", "floats to 1", "wide floats"],
)
def test_32_bits_and_floats_keep_their_range(values):
    assert off(encoded(Image.fromarray(values), "TIFF")) == 0


def test_unsigned_32_bits_are_not_negative():
    data = encoded(Image.fromarray((GREY.astype(np.uint32) * 2**24).view(np.int32)), "TIFF")
    signed = struct.pack("<HHII", 339, 3, 1, 2)  # SampleFormat 2, of Pillow's own files
    assert data.count(signed) == 1
    assert off(data.replace(signed, struct.pack("<HHII", 339, 3, 1, 1))) == 0


def test_floats_that_are_no_numbers_are_the_ends_of_the_range():
    values = np.array([[0, 500, np.nan, np.inf, -np.inf]], np.float32)
    assert seen(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 255, 0, 255, 0]


def test_a_constant_image_has_no_range():
    assert not seen(encoded(Image.fromarray(np.full((4, 4), 300, np.int32)), "TIFF")).any()


def test_min_is_white_of_every_depth():
    floats = Image.fromarray((255 - GREY.astype(np.float32)) * 9)
    for image in (page(), floats):  # Pillow itself turns a page of 8 bits around when it writes it
        assert off(encoded(image, "TIFF", tiffinfo={262: 0})) == 0
    bilevel = page().point(lambda level: 255 * (level > 200)).convert("1")
    assert off(encoded(bilevel, "TIFF", compression="group4"), np.asarray(bilevel.convert("L"))) == 0


def test_cmyk_is_ink():
    colours = page().convert("RGB").convert("CMYK")
    assert off(encoded(colours, "TIFF")) == 0
    assert off(encoded(colours, "JPEG", quality=100)) <= 8  # Adobe's inverted samples


@pytest.mark.parametrize("path", sorted(CASES.glob("*")) if CASES.exists() else [], ids=lambda path: path.name)
def test_the_same_page_in_every_file(path):
    pixels, plain = seen(path), seen(CASES / "plain.png")
    assert pixels.shape == plain.shape and abs(pixels - plain).mean() < 2


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_device_of_fewer_bits_in_a_file_of_16(bits, form):
    values = np.round(GREY.astype(np.float64) / 255 * (2**bits - 1)).astype(np.uint16)
    assert off(encoded(Image.fromarray(values), form)) <= 1


@pytest.mark.parametrize(
    "values",
    [
        np.where(GREY == 255, 1.0001, GREY / 255),
        np.where(GREY == 255, 255.3, GREY),
    ],
    ids=["to 1", "to 255"],
)
def test_floats_that_overshoot_their_scale(values):
    assert off(encoded(Image.fromarray(values.astype(np.float32)), "TIFF")) <= 1


@pytest.mark.parametrize("mark", [-3.4e38, 3.4e38, -1000.0])
def test_a_mark_of_a_missing_pixel_does_not_flatten_the_page(mark):
    values = np.tile(GREY.astype(np.float32) / 255, (40, 40))
    values[0, 0] = mark
    seen_page = seen(encoded(Image.fromarray(values), "TIFF"))[..., 0].astype(int)
    assert abs(seen_page - np.tile(GREY, (40, 40))).ravel()[1:].max() <= 1


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP"])
def test_a_blank_sheet_before_a_page_is_passed_over(form):
    written = page().convert("RGB")
    blank = Image.new("RGB", written.size, "white")
    options = {"lossless": True} if form == "WEBP" else {}
    assert off(encoded(blank, form, save_all=True, append_images=[blank, written], **options)) <= 2
    assert seen(encoded(blank, form, save_all=True, append_images=[blank], **options)).min() == 255
