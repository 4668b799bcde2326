"""DICOM files as pages: every colour space and depth, frames, compression, damage, and nothing of the header."""

import importlib.util
import io
import json
import logging

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pack_bits
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from test_folders import every, page, prepared, read

from medvl.data import dicom
from medvl.data.decoding import UnreadableImage
from medvl.data.sources.folder import Folder

PATIENT, NUMBER = "Quillfeather^Zebulon", "MRN-77310042"
RAMP = np.arange(64 * 48).reshape(64, 48)


def capture(path, pixels, syntax=ExplicitVRLittleEndian, **elements):
    """Write a secondary capture with a patient's name; of unsigned grey levels unless the elements say otherwise."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.826.0.1.3680043.77310042"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT, NUMBER, "19310203"
    dataset.ImageComments = f"seen {PATIENT}"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    if isinstance(pixels, np.ndarray):
        dataset.Rows, dataset.Columns = pixels.shape[:2] if pixels.ndim == 2 else pixels.shape[-3:-1]
        dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
        if pixels.shape[-1] == 3:
            dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    if "BitsStored" in dataset:
        dataset.HighBit = dataset.BitsStored - 1
    data = pixels.tobytes() if isinstance(pixels, np.ndarray) else pixels
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if syntax.is_compressed or dataset.BitsAllocated <= 8 else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def drawn(path, number=0, most=10**6):
    assert dicom.count_frames(path) > number
    return np.asarray(dicom.draw(path, number, most))


def fault(path, most=10**6):
    with pytest.raises(UnreadableImage) as raised:
        dicom.count_frames(path)
        dicom.draw(path, 0, most)
    assert PATIENT not in str(raised.value)
    return raised.value.reason


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


GREY = (RAMP % 256).astype(np.uint8)
DEEP = (RAMP % 4096).astype(np.uint16)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


@pytest.mark.parametrize(
    ("pixels", "elements", "expected"),
    [
        (GREY, {}, GREY),
        (GREY, {"PhotometricInterpretation": "MONOCHROME1"}, 255 - GREY),
        (GREY, {"WindowCenter": "", "WindowWidth": ""}, GREY),
        (GREY, {"WindowCenter": 10, "WindowWidth": 0}, GREY),
        (DEEP, {}, DEEP * (255 / 4095)),
        (DEEP, {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}, 255 - DEEP * (255 / 4095)),
        (DEEP, {"WindowCenter": 1000, "WindowWidth": 201}, np.clip((DEEP - 899.5) / 200, 0, 1) * 255),
        (DEEP, {"WindowCenter": [1000, 9], "WindowWidth": [201, 5]}, np.clip((DEEP - 899.5) / 200, 0, 1) * 255),
        (
            DEEP,
            {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": -24, "WindowWidth": 201},
            np.clip((DEEP - 899.5) / 200, 0, 1) * 255,
        ),
        ((DEEP.astype(np.int16) - 500), {"PixelRepresentation": 1}, DEEP * (255 / DEEP.max())),
        (COLOUR, {}, COLOUR),
        (COLOUR.astype(np.uint16) * 257, {}, COLOUR),
    ],
)
def test_colours_and_depths(tmp_path, pixels, elements, expected):
    found = drawn(capture(tmp_path / "a.dcm", pixels, **elements))
    assert found.dtype == np.uint8 and found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).max() <= 1


def test_one_bit_a_palette_and_luminance(tmp_path):
    bits = GREY % 2
    lines = capture(tmp_path / "bits.dcm", pack_bits(bits.ravel()), Rows=64, Columns=48, BitsAllocated=1, BitsStored=1)
    assert np.array_equal(drawn(lines), bits * 255)
    table = {}
    for name, values in zip(("Red", "Green", "Blue"), (range(256), range(255, -1, -1), [7] * 256), strict=True):
        table[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        table[f"{name}PaletteColorLookupTableData"] = (np.array(values, np.uint16) * 257).tobytes()
    palette = capture(tmp_path / "palette.dcm", GREY, PhotometricInterpretation="PALETTE COLOR", **table)
    assert np.array_equal(drawn(palette), np.stack([GREY, 255 - GREY, np.full_like(GREY, 7)], axis=-1))
    luminance = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    ybr = drawn(capture(tmp_path / "ybr.dcm", luminance, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(ybr.astype(int) - COLOUR).max() <= 3


def test_compressed_pixels(tmp_path):
    jpeg = encapsulate([encoded(COLOUR, "JPEG", quality=100, subsampling=0)])
    shape = {"Rows": 64, "Columns": 48, "BitsAllocated": 8, "BitsStored": 8}
    colours = shape | {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_FULL_422"}
    found = drawn(capture(tmp_path / "jpeg.dcm", jpeg, JPEGBaseline8Bit, **colours))
    assert np.abs(found.astype(int) - COLOUR).mean() < 3
    wavelets = encapsulate([encoded(GREY, "JPEG2000", no_jp2=True)])
    assert np.array_equal(drawn(capture(tmp_path / "j2k.dcm", wavelets, JPEG2000Lossless, **shape)), GREY)
    runs = pydicom.dcmread(capture(tmp_path / "rle.dcm", GREY))
    runs.compress(RLELossless)
    runs.save_as(tmp_path / "rle.dcm")
    assert np.array_equal(drawn(tmp_path / "rle.dcm"), GREY)


def test_files_that_cannot_be_drawn_say_why(tmp_path):
    shape = {"Rows": 64, "Columns": 48, "BitsAllocated": 8, "BitsStored": 8}
    whole = capture(tmp_path / "whole.dcm", GREY).read_bytes()
    for name, content in (("cut", whole[:-500]), ("header", whole[:200]), ("foreign", b"GIF89a" * 99), ("empty", b"")):
        (tmp_path / f"{name}.dcm").write_bytes(content)
    report = pydicom.dcmread(tmp_path / "whole.dcm")
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.save_as(tmp_path / "report.dcm")
    del (pixelless := pydicom.dcmread(tmp_path / "whole.dcm")).PixelData
    pixelless.save_as(tmp_path / "pixelless.dcm")
    capture(tmp_path / "jpegls.dcm", encapsulate([b"\xff\xd8\xff\xf7"]), JPEGLSLossless, **shape)
    (tmp_path / "other.dcm").write_bytes(whole.replace(ExplicitVRLittleEndian.encode(), b"1.2.840.99999.1.2.1"))
    capture(tmp_path / "hsv.dcm", GREY, PhotometricInterpretation="HSV")
    capture(tmp_path / "frames.dcm", GREY, NumberOfFrames=10**9)
    bomb = encapsulate([encoded(np.zeros((900, 900), np.uint8), "JPEG")])
    capture(tmp_path / "bomb.dcm", bomb, JPEGBaseline8Bit, **shape)
    runs = encapsulate([(1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x81\0" * 99_999])
    capture(tmp_path / "runs.dcm", runs, RLELossless, **shape)
    deep = shape | {"BitsAllocated": 16, "BitsStored": 12}
    capture(tmp_path / "deep.dcm", encapsulate([b"\xff\xd8\xff\xc1"]), JPEGExtended12Bit, **deep)
    capture(tmp_path / "deflated.dcm", GREY, DeflatedExplicitVRLittleEndian)
    none = "for which no decoder is installed"
    assert {path.stem: fault(path, 10_000) for path in tmp_path.iterdir() if path.stem != "whole"} == {
        "cut": "is a DICOM file that is broken",
        "header": "is a DICOM file without an image",
        "foreign": "is not a DICOM file",
        "empty": "is not a DICOM file",
        "report": "is a DICOM file without an image",
        "pixelless": "is a DICOM file without an image",
        "jpegls": f"is a DICOM file compressed as JPEG-LS Lossless Image Compression, {none}",
        "other": f"is a DICOM file compressed as an unknown syntax, {none}",
        "hsv": "is a DICOM file whose colours have no known meaning",
        "frames": "has more than 1,000 pages or frames",
        "bomb": "has more than 10,000 pixels; set model.max_image_pixels",
        "runs": "is a DICOM file that is broken",
        "deep": f"is a DICOM file compressed as JPEG Extended (Process 2 and 4), {none}",
        "deflated": "is a DICOM file that is deflated as a whole",
    }


def test_the_size_is_checked_before_pixels_are_decoded(tmp_path, monkeypatch):
    path = capture(tmp_path / "large.dcm", GREY, Rows=60_000, Columns=60_000)
    monkeypatch.setattr(pydicom.pixels, "pixel_array", lambda *_, **__: pytest.fail("decoded"))
    assert fault(path) == "has more than 1,000,000 pixels; set model.max_image_pixels"


def test_no_name_of_the_header_is_kept(tmp_path, encoder, cache, caplog, recwarn):
    """Nor any number of it: in no file that is written, under no file name, in no line of the log."""
    caplog.set_level(logging.DEBUG)
    pages = tmp_path / "pages"
    pages.mkdir()
    capture(pages / "a.dcm", np.asarray(page("Sodium 141")))
    (pages / "a.txt").write_text("Sodium 141")
    bad = capture(pages / "bad.dcm", GREY, WindowCenter="2222222", WindowWidth="50")
    bad.write_bytes(bad.read_bytes().replace(b"2222222", b"Zebulon"))  # where pydicom expects a number
    (pages / "bad.txt").write_text("bad")
    capture(pages / "hsv.dcm", GREY, PhotometricInterpretation="QUILLFEATHER")
    made = prepared(pages, encoder, cache)
    assert [one.response for one in every(made)] == ["Sodium 141"]
    assert made.account["dropped"] == {
        "an image is a DICOM file that is broken": 1,
        "is a DICOM file whose colours have no known meaning": 1,
    }
    documents, _ = read(pages)
    written = [file for file in cache.rglob("*") if file.is_file()]
    with Image.open(every(made)[0].images[0]) as image:
        assert image.format == "PNG" and not image.info
    kept = [str(file).encode() + file.read_bytes() for file in written]
    kept += [repr(documents).encode(), repr(made.account).encode(), caplog.text.encode()]
    kept += [str(warning.message).encode() for warning in recwarn]
    for secret in (b"quillfeather", b"zebulon", b"77310042", b"19310203"):
        assert not [text for text in kept if secret in text.lower()]


def test_frames_and_labels_are_those_of_any_page(tmp_path, encoder, cache):
    frames = np.stack([np.asarray(page(f"page {number}")) for number in range(4)])
    capture(tmp_path / "a.dcm", frames, NumberOfFrames=4, Rows=168, Columns=280)
    (tmp_path / "a.txt").write_text("page 0\fpage 1\fpage 2")
    for name in ("scan", "1.2.840.5"):
        capture(tmp_path / name, np.asarray(page(name)))
        (tmp_path / f"{name}.json").write_text(json.dumps({"total": name}))
    (tmp_path / "README").write_text("no page")
    made = prepared(tmp_path, encoder, cache, pages=3)
    assert sorted(one.response for one in every(made)) == [
        "page 0",
        "page 1",
        "page 2",
        '{"total": "1.2.840.5"}',
        '{"total": "scan"}',
    ]
    assert made.account["dropped"] == {"a file that is no page": 1} and made.account["parts"] == {
        "beyond data.pages": 1
    }
    (second,) = [one for one in every(made) if one.response == "page 1"]
    with Image.open(second.images[0]) as image:
        assert np.array_equal(np.asarray(image), frames[1])
    alone, _ = read(tmp_path / "scan")
    assert [field.value for field in alone[0].fields] == ["scan"]


def test_without_pydicom_the_command_is_named(tmp_path, monkeypatch):
    capture(tmp_path / "a.dcm", GREY)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[dicom\]"'):
        read(tmp_path)


def test_a_new_decoder_prepares_dicom_files_anew(tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    page("a").save(tmp_path / "plain" / "a.png")
    (tmp_path / "captures").mkdir()
    capture(tmp_path / "captures" / "a.dcm", GREY)
    folders = [Folder(path=str(tmp_path / name)) for name in ("plain", "captures")]
    before = [folder.fingerprint() for folder in folders]
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found("json" if name == "gdcm" else name))
    assert [folder.fingerprint() == key for folder, key in zip(folders, before, strict=True)] == [True, False]
