"""Image files for tests: one grey page in many encodings."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

from medvl.data.decoding import open_image


def page(size=(48, 32)):
    """A grey page whose four corners differ."""
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    pen.rectangle((2, 2, 20, 6), fill=0)
    pen.rectangle((30, 3, 34, 26), fill=119)
    pen.rectangle((3, 20, 8, 29), fill=51)
    return image


GREY = np.asarray(page())


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def seen(data):
    return np.asarray(open_image(data)).astype(int)


def off(data, ink=GREY):
    """The largest difference between what is seen and a grey page."""
    pixels = seen(data)
    assert pixels.shape == (*ink.shape, 3)
    return abs(pixels - ink[..., None].astype(int)).max()


def png(width, height, depth, colour, rows, *chunks):
    """Write a PNG whose samples Pillow cannot write itself; `rows` are packed."""
    blocks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *chunks]
    blocks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in blocks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def clear(mode, colour=0):
    """The page with black, transparent pixels where it is white."""
    grey = np.where(GREY == 255, colour, GREY).astype(np.uint8)
    alpha = np.where(GREY == 255, 0, 255).astype(np.uint8)
    colours = (grey,) * (3 if mode == "RGBA" else 1)
    return Image.fromarray(np.stack((*colours, alpha), -1))
