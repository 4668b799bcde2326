"""Image files that are refused before they are decoded, those of several pages, and what is shown of them."""

import base64
import json
import struct
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import listed
from images import GREY, clear, encoded, off, page, png, seen
from PIL import Image, ImageFile

from medvl.data import decoding, features, prepare
from medvl.data.decoding import MAX_PAGES, UnreadableImage, count_pages, open_image, viewable
from medvl.data.encoding import Encoder
from medvl.data.pages import PageFolder, digest
from medvl.data.ready_images import ReadyImages
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.fonts import Font
from medvl.documents.render import Render, Sheet
from medvl.evaluation.diff_figure import _band
from medvl.evaluation.evaluation import Ablation, ablated
from medvl.reporting.gallery import picture
from medvl.tracking.mlflow import MLflow
from medvl.tracking.tensorboard import TensorBoard
from medvl.tracking.wandb import Wandb
from medvl.types import Document, Example

COUNTED = "a further page or frame of an image file"


def frames(form, count):
    first, *rest = [Image.new("L", (40, 30), 255 - 20 * at) for at in range(count)]
    return encoded(first, form, save_all=True, append_images=rest)


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_pages_are_counted(form):
    data = frames(form, 4)
    assert count_pages(data) == 4 and count_pages(frames(form, 1)) == 1
    assert np.unique(seen(data)).tolist() == [255]


def test_a_damaged_further_page_counts_as_one():
    data = bytearray(frames("TIFF", 2))
    (start,) = struct.unpack("<I", data[4:8])
    after = start + 2 + 12 * struct.unpack("<H", data[start : start + 2])[0]
    data[after : after + 4] = struct.pack("<I", len(data) + 1000)  # of the next page
    assert count_pages(bytes(data)) == 2 and np.unique(seen(bytes(data))).tolist() == [255]


def test_a_file_of_very_many_pages_is_refused():
    chunk = struct.pack(">II", 2**31 - 1, 0)  # an animation that claims so many frames
    with pytest.raises(UnreadableImage, match="more than 1,000 pages or frames"):
        count_pages(png(1, 1, 8, 0, [b"\0"], (b"acTL", chunk)))
    assert MAX_PAGES == 1000


def prepared(items, encoder, cache):
    documents = [
        Document(id=name, images=images, questions=[("What is it?", "A page.")]) for name, images in items.items()
    ]
    return prepare.prepare(listed(documents), Render(), encoder, budget=2048, cache=cache, workers=1, bar=False)


def test_further_pages_are_dropped_and_counted(encoder, tmp_path):
    found = prepared(
        {"one": [frames("TIFF", 3)], "two": [encoded(page(), "PNG"), frames("GIF", 2)], "three": [b"no image"]},
        encoder,
        tmp_path,
    )
    (source,) = found.account["sources"].values()
    assert source["raw"] == 3 == source["kept"] + source["dropped"] and source["kept"] == 2
    assert source["parts"] == {COUNTED: 3} and source["reasons"] == {"an image is not an image, or cut off": 1}
    assert source["pages"] == 3 and source["examples"] == 2
    assert any(COUNTED in line for line in found.lines())
    recorded = json.loads(next(tmp_path.glob("prepared/*/prepared.json")).read_text())
    assert [row["reason"] for row in recorded["dropped_records"]].count(COUNTED) == 3


def test_a_document_without_examples_is_dropped_for_its_own_reason(encoder, tmp_path):
    first, *rest = [Image.new("L", (300, 1)), Image.new("L", (300, 1))]
    thin = encoded(first, "TIFF", save_all=True, append_images=rest)
    found = prepared({"good": [encoded(page(), "PNG")], "thin": [thin]}, encoder, tmp_path)
    (source,) = found.account["sources"].values()
    assert source["reasons"] == {"an image is empty or longer than 200:1": 1} and source["parts"] == {COUNTED: 1}


def test_equal_faults_of_images_are_counted_together(encoder, tmp_path):
    noise = [encoded(Image.effect_noise((90, 90 + at), 80), "PNG") for at in range(3)]
    items = {"good": [encoded(page(), "PNG")]}
    items |= {f"cut {at}": [data[: 3000 + 700 * at]] for at, data in enumerate(noise)}
    items |= {f"gone {at}": [str(tmp_path / f"{at}.png")] for at in range(2)}
    items |= {f"thin {at}": [encoded(Image.new("L", (300 + at, 1)), "PNG")] for at in range(2)}
    items |= {f"big {at}": [encoded(Image.new("1", (9000, 6000 + at)), "PNG")] for at in range(2)}
    found = prepared(items, encoder, tmp_path / "cache")
    assert found.account["dropped"] == {
        "an image cannot be read: image file is truncated": 3,
        "an image cannot be read: No such file or directory": 2,
        "an image is empty or longer than 200:1": 2,
        "an image has more than 50,000,000 pixels; set model.max_image_pixels": 2,
    }


def never_decoded(monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda self: pytest.fail("pixels were decoded"))


@pytest.mark.parametrize(
    "data",
    [
        png(20000, 8900, 1, 0, [b""]),  # 178 megapixels
        png(60000, 60000, 8, 2, [b""]),  # beyond Pillow's own limit
        b"GIF89a" + struct.pack("<HH", 9000, 9000) + b"\0\0\0,\0\0\0\0" + struct.pack("<HH", 9000, 9000) + b"\0\2\0;",
        b"P5 10000 10000 255\n",
        encoded(Image.new("1", (10000, 5001)), "BMP"),
        encoded(Image.new("1", (10000, 5001)), "TIFF", compression="group4"),
    ],
    ids=["png", "huge", "gif", "pgm", "bmp", "tiff"],
)
def test_too_many_pixels_are_refused_from_the_header(data, encoder, tmp_path, monkeypatch):
    never_decoded(monkeypatch)
    path = tmp_path / "bomb.img"
    path.write_bytes(data)
    folder = PageFolder(Render(), tmp_path / "pages")
    folder.folder.mkdir()
    example = Example(id="a", document="a", split="test", images=[str(path)], prompt="What?", response="A.")
    for opens in (open_image, count_pages, ReadyImages(folder).look, lambda _: encoder.encode(example)):
        with pytest.raises(UnreadableImage, match=r"more than 50,000,000 pixels; set model\.max_image_pixels"):
            opens(str(path))
    with pytest.raises(UnreadableImage, match="pixels"):
        ablated([example], Ablation.blank, tmp_path)
    assert folder.spill(data) == data and not list(folder.folder.iterdir())
    assert picture(path) == ("", (0, 0)) and viewable(path) is None


def test_a_tile_larger_than_its_image_is_refused(monkeypatch):
    """A TIFF of 16 x 16 px in one tile of 60,000 x 60,000 px, which libtiff would unpack as a whole."""
    tags = [
        (256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 60000), (323, 4, 60000), (324, 4, 8), (325, 4, 8),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    never_decoded(monkeypatch)
    with pytest.raises(UnreadableImage, match="more than 50,000,000 pixels"):
        open_image(data)


def test_the_limit_is_an_override_that_reaches_the_workers(compose, processor, tmp_path):
    model = compose("model.max_image_pixels=100000").model
    encoder = Encoder(processor, model.max_image_pixels)
    small, large = encoded(Image.new("L", (30, 30), 9), "PNG"), encoded(page().resize((400, 300)), "PNG")
    found = prepared({"small": [small], "large": [large]}, encoder, tmp_path)
    assert found.account["dropped"] == {"an image has more than 100,000 pixels; set model.max_image_pixels": 1}
    again = prepared({"small": [small], "large": [large]}, Encoder(processor), tmp_path)
    assert not again.account["dropped"]
    (example,) = [one for part in again.examples.values() for one in part if "large" in one.id][:1]
    with pytest.raises(UnreadableImage, match="more than 100,000 pixels"):
        encoder.encode(example)


@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_a_limit_that_cannot_be_kept_is_refused(compose, value):
    with pytest.raises(ValueError, match=r"from 1 to 178956970, got .* Set model\.max_image_pixels=50000000\."):
        compose(f"model.max_image_pixels={value}")


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICO", "PCX", "TGA", "PALM"])
def test_other_formats_are_not_opened(form, tmp_path):
    data = encoded(Image.new("1" if form == "PALM" else "RGB", (32, 32)), form)
    with pytest.raises(UnreadableImage, match="is not an image, or cut off"):
        open_image(data)
    assert PageFolder(Render(), tmp_path).spill(data) == data


def test_bombs_in_metadata_are_refused():
    text = b"Comment\0\0" + zlib.compress(bytes(2**21))
    with pytest.raises(UnreadableImage, match="cannot be read"):
        open_image(png(1, 1, 8, 0, [b"\0"], (b"zTXt", text)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "JPEG2000"])
def test_any_cut_or_flipped_byte_is_an_unreadable_image_or_an_image(form):
    data = encoded(page().convert("RGB"), form)
    rng = np.random.default_rng(5)
    for at in rng.integers(1, len(data), 60):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            try:
                count_pages(damaged)
                assert open_image(damaged).mode == "RGB"
            except UnreadableImage as error:
                assert error.reason and "bytes" not in error.reason.partition(":")[0]


@pytest.fixture
def sideways(tmp_path):
    """A photograph that lies on its side, half of it transparent, as the cache keeps it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / ("0" * 24 + ".png")
    path.write_bytes(encoded(clear("LA").transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    return path


def test_figures_and_reports_show_what_the_model_sees(sideways, encoder, tmp_path):
    assert off(sideways) == 0
    uri, size = picture(sideways)
    assert size == page().size and off(base64.b64decode(uri.partition(",")[2])) == 0
    row = {"images": [str(sideways)], "reference": "a", "prediction": "b", "prompt": "Read", "scores": {}}
    row |= {"id": "a/1", "kind": "page", "task": "transcribe", "layout": "image", "document": "a"}
    assert np.array_equal(np.asarray(_band("first", None, row, "cer").page), np.asarray(open_image(sideways)))
    row["images"] = [str(tmp_path / "gone.png")]
    assert _band("first", None, row, "cer").page.size[0] > 0
    example = Example(id="a", document="a", split="test", images=[str(sideways)], prompt="What?", response="A.")
    (blank,) = ablated([example], Ablation.blank, tmp_path)
    assert open_image(blank.images[0]).size == page().size
    grids = [encoder.encode(one)["image_grid_thw"].tolist() for one in (example, blank)]
    assert grids[0] == grids[1]


class Recorder:
    """Keeps the calls that a tracker makes to its service."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *given, **named: self.calls.append((name, given, named))


@pytest.fixture
def three(sideways, tmp_path):
    """Rows of a photograph that lies on its side, of a plain page and of one that was deleted."""
    plain = tmp_path / "plain.png"
    page().save(plain)
    told = {"kind": "page", "task": "vqa", "prompt": "What?", "reference": "a", "prediction": "b", "scores": {}}
    names = (sideways, plain, tmp_path / "gone.png")
    return [told | {"id": str(at), "images": [str(name)]} for at, name in enumerate(names)]


def test_only_plain_files_are_shown_as_they_are(three):
    lying, plain, gone = (Path(row["images"][0]) for row in three)
    assert off(encoded(viewable(lying), "PNG")) == 0 and viewable(plain) == plain and viewable(gone) is None
    others = [clear("RGBA"), Image.fromarray(GREY.astype(np.uint16) * 257), page().convert("CMYK")]
    for image, form in [*zip(others, ("PNG", "PNG", "JPEG"), strict=True), (page(), "TIFF")]:
        plain.write_bytes(encoded(image, form))
        assert isinstance(viewable(plain), Image.Image)


def test_mlflow_gets_what_the_model_sees(three):
    tracker = MLflow.__new__(MLflow)
    tracker.client, tracker.run_id = Recorder(), "r"
    tracker.pages("predictions", three)
    (image, drawn, text) = tracker.client.calls
    assert image[0] == "log_image" and off(encoded(image[1][1], "PNG")) == 0
    assert drawn[:2] == ("log_artifact", ("r", three[1]["images"][0], "pages"))
    assert text[1][1].count("![") == 2 and Path(image[2]["artifact_file"]).name in text[1][1]


def test_wandb_gets_what_the_model_sees(three):
    tracker = Wandb.__new__(Wandb)
    tracker.run = Recorder()
    tracker.pages("predictions", three)
    ((_, (logged,), _),) = tracker.run.calls
    lying, plain, gone = logged["predictions"].get_column("page")
    assert off(encoded(lying.image, "PNG")) == 0 and gone is None
    assert Path(plain._path).read_bytes() == Path(three[1]["images"][0]).read_bytes()


def test_tensorboard_gets_what_the_model_sees(three):
    tracker = TensorBoard.__new__(TensorBoard)
    tracker.writer, tracker.step = Recorder(), 3
    tracker.pages("predictions", three)
    shown = [given[1] for name, given, _ in tracker.writer.calls if name == "add_image"]
    assert len(shown) == 2 and all(off(encoded(Image.fromarray(pixels), "PNG")) == 0 for pixels in shown)


def test_another_decoder_makes_prepared_data_and_features_anew(encoder, processor, tmp_path, monkeypatch):
    def keys():
        tower = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(tower.weight), torch.nn.init.ones_(tower.bias)
        kept = features.FeatureCache.under(tmp_path, tower, processor, torch.float32).folder
        return kept, prepare._key(MTSamples(limit=5), Render(), encoder, 2048)

    before = keys()
    assert keys() == before
    for module in (decoding, features, prepare):
        monkeypatch.setattr(module, "DECODER", decoding.DECODER + 1)
    assert all(one != other for one, other in zip(before, keys(), strict=True))


def test_drawn_pages_keep_their_names_and_so_their_scans(tmp_path):
    """The name of a drawn page seeds its scan, so that a new decoder must not change it."""
    name = PageFolder(Render(), tmp_path).name(Sheet(Font.mono, []))
    assert name == f"{digest(f'3{asdict(Render())}{Font.mono}[]')}.png"


def test_a_stored_image_that_a_power_cut_emptied_is_written_again(tmp_path):
    folder = PageFolder(Render(), tmp_path)
    data = encoded(page(), "PNG")
    path = Path(folder.spill(data))
    path.write_bytes(b"")
    assert Path(folder.spill(data)).read_bytes() == data
