"""Images in DICOM files, by pydicom, of which nothing but the pixels is used. The package pydicom is optional.

Names, numbers and dates of patients are in the header, so only the elements in _READ are ever parsed, none of which
holds any. No message quotes an element or an error of pydicom.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import MAX_PAGES, UnreadableImage, format_of
from medvl.data.depth import white_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydicom import Dataset

DICOM_SUFFIXES = (".dcm", ".dicom")
DICOM_BYTES = 2**28  # maximum of one file
_MAGIC, _MAGIC_AT = b"DICM", 128
_NUMBERED = re.compile(r"(\.\d+)?")  # a file named by its UID, as 1.2.840.5, seems to have the suffix .5

_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SHAPE = ["Rows", "Columns", "NumberOfFrames", "PhotometricInterpretation"]
_LUTS = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
_READ = [
    *(*_SHAPE, "SamplesPerPixel", "PlanarConfiguration", "PixelRepresentation", "BitsAllocated", "BitsStored"),
    *("HighBit", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope", "RescaleIntercept"),
    *(f"{lut}{part}" for lut in _LUTS for part in ("Descriptor", "Data")),
    *(f"Segmented{lut}Data" for lut in _LUTS),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
]
_DEFLATED = "1.2.840.10008.1.2.1.99"  # pydicom inflates such a file at once, whatever its size
_RLE = "1.2.840.10008.1.2.5"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_DECODERS = ("pylibjpeg", "libjpeg", "openjpeg", "rle", "jpeg_ls", "gdcm")


def is_dicom(path: Path) -> bool:
    """Whether a file is named as DICOM, or has no suffix and begins as DICOM does."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if not _NUMBERED.fullmatch(path.suffix):
        return False
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def check_dicom() -> None:
    """Refuse DICOM files where their package is missing.

    Raises:
        ValueError: The message names the pip command.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise ValueError(
            'a DICOM file needs pydicom, not installed here. pip install -e ".[dicom]", or remove the DICOM files.'
        )


def decoders() -> str:
    """Return which packages are here that decode compressed files: more of them make more files readable."""
    return " ".join(name for name in ("pydicom", *_DECODERS) if importlib.util.find_spec(name) is not None)


def count_frames(path: str | Path) -> int:
    """Return the number of images in a file that can be drawn.

    Raises:
        UnreadableImage: It is not DICOM, has no image, one that cannot be decoded here, or more than MAX_PAGES.
    """
    with _opened(path, pixels=False) as header:
        if not header.get("Rows") or not header.get("Columns"):
            raise _fault(path, "is a DICOM file without an image")
        if header.get("PhotometricInterpretation") not in (*_GREY, _PALETTE, *_COLOURS):
            raise _fault(path, "is a DICOM file whose colours have no known meaning")
        syntax = header.file_meta.TransferSyntaxUID
        said = syntax.name if syntax.name != str(syntax) else "an unknown syntax"
        if not _is_decodable(header):
            raise _fault(path, f"is a DICOM file compressed as {said}, for which no decoder is installed")
        frames = int(header.get("NumberOfFrames") or 1)
        if frames > MAX_PAGES:
            raise _fault(path, f"has more than {MAX_PAGES:,} pages or frames")
        return max(1, frames)


def _is_decodable(header: Dataset) -> bool:
    """Whether a package is here that decodes the file's compression, if it has one."""
    from pydicom.pixels import get_decoder

    syntax = header.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False
    if syntax == _JPEG_EXTENDED and header.BitsStored > 8 and decoder.available_plugins == ("pillow",):
        return False  # Pillow decodes JPEG of 8 bits only
    return decoder.is_available


def draw(path: str | Path, number: int, max_pixels: int) -> Image.Image:
    """Draw a frame, from 0 on, in 8 bits: grey levels with black as 0, or RGB.

    Raises:
        UnreadableImage: The file is broken or cut off, or the frame has more pixels than that.
    """
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    with _opened(path, pixels=True) as dataset:
        if dataset.Rows * dataset.Columns > max_pixels:
            raise _fault(path, f"has more than {max_pixels:,} pixels; set model.max_image_pixels")
        if "PixelData" not in dataset:
            raise _fault(path, "is a DICOM file without an image")
        _check_code(dataset, number, max_pixels)
        stored = pixel_array(dataset, index=number)  # (rows, columns) or (rows, columns, 3), in RGB
        if dataset.PhotometricInterpretation in _GREY:
            return Image.fromarray(_grey(stored, dataset))
        if dataset.PhotometricInterpretation == _PALETTE:
            coloured = apply_color_lut(stored, dataset)[..., :3]
            return Image.fromarray(_levels(coloured, 0, 2 ** (8 * coloured.itemsize) - 1))
        return Image.fromarray(_levels(stored, 0, white_of(int(stored.max()), int(dataset.BitsStored))))


def _check_code(dataset: Dataset, number: int, max_pixels: int) -> None:
    """Refuse a compressed frame that would become far more than the file's header says, before it is decoded.

    JPEG of more than 8 bits and JPEG-LS, which Pillow does not know, are left to their own decoders.

    Raises:
        UnreadableImage: It has too many pixels, or is no JPEG or JPEG 2000.
        ValueError: Its run lengths are longer than pixels that are not compressed.
    """
    from pydicom.encaps import get_frame

    syntax, bits = dataset.file_meta.TransferSyntaxUID, dataset.BitsStored
    if not syntax.is_compressed or syntax in _JPEG_LS or (bits > 8 and syntax not in (_RLE, *_JPEG_2000)):
        return
    code = get_frame(dataset.PixelData, number, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    if syntax != _RLE:
        format_of(code, max_pixels)
    elif len(code) > 1024 + 2 * dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8:
        raise ValueError("too many run lengths")


@contextlib.contextmanager
def _opened(path: str | Path, *, pixels: bool) -> Iterator[Dataset]:
    """Read the elements in _READ; every error in the block becomes an UnreadableImage without what pydicom says."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings may quote elements
    try:
        if Path(path).stat().st_size > DICOM_BYTES:
            raise _fault(path, "is a DICOM file that is too large")
        with warnings.catch_warnings(action="ignore"):
            if read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
                raise _fault(path, "is a DICOM file that is deflated as a whole")
            tags: list[Any] = list(_READ)
            yield dcmread(path, specific_tags=tags, stop_before_pixels=not pixels)
    except UnreadableImage:
        raise
    except OSError:
        raise _fault(path, "cannot be read") from None
    except InvalidDicomError:
        raise _fault(path, "is not a DICOM file") from None
    except Exception:  # pydicom does not say what its decoders raise on a damaged file
        raise _fault(path, "is a DICOM file that is broken") from None


def _fault(path: str | Path, reason: str) -> UnreadableImage:
    return UnreadableImage(f"{path} {reason}", reason)


def _grey(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return grey levels after the file's first window; without one, its whole range as in `eight_bits`."""
    from pydicom.pixels import apply_rescale, apply_windowing

    bits, signed = int(dataset.BitsStored), dataset.get("PixelRepresentation") == 1
    values, low = stored, -(2 ** (bits - 1)) if signed else 0
    high = low + 2**bits - 1
    if _has_window(dataset):
        values = apply_rescale(stored, dataset)
        for name in ("RescaleSlope", "RescaleIntercept"):  # else the window is scaled to what they make of the range
            if name in dataset:
                del dataset[name]
        values = apply_windowing(values, dataset)
    elif signed:
        low, high = int(stored.min()), int(stored.max())
    else:
        high = white_of(int(stored.max()), bits)
    levels = _levels(values, low, high)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def _has_window(dataset: Dataset) -> bool:
    """Whether the file has a window that can be applied; some write one of width 0 where they have none."""
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return False
    width = dataset["WindowWidth"]
    return bool(width.VM) and float(width.value[0] if width.VM > 1 else width.value) >= 1


def _levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    import numpy as np

    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    scaled = (values.astype(np.float32) - low) * (255 / ((high - low) or 1))
    return np.clip(scaled, 0, 255).round().astype(np.uint8)
