"""Images that a text holds: data URIs and base64."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from medvl.data.sources.paths import HEAD_BYTES, IMAGE_BYTES, ImageMissing, is_image

_URI = re.compile(r"data:[\w.+/-]*(?:;[\w.+-]+=[^;,]*)*(;base64)?,", re.IGNORECASE)
_HEAD = 4 * HEAD_BYTES  # characters; whole groups of base64
_SHORTEST = 40  # characters of base64; the smallest images have more


def inline_image(text: str) -> bytes | None:
    """Return the image that a text holds as a data URI or as base64; None if it is neither, but a name.

    Raises:
        ImageMissing: It holds no image, or too large a one.
    """
    uri = _URI.match(text)
    if uri is None:
        return _decoded(text) if _begins_as_image(text) else None
    if len(text) > 2 * IMAGE_BYTES:
        raise ImageMissing("its image is too large")
    body = text[uri.end() :]
    content = _decoded(body) if uri[1] else unquote_to_bytes(body)
    if not is_image(content[:HEAD_BYTES]):
        raise ImageMissing("its data URI is not an image")
    return content


def _begins_as_image(text: str) -> bool:
    if len(text) < _SHORTEST:
        return False
    try:
        return is_image(base64.b64decode(text[:_HEAD], validate=True)[:HEAD_BYTES])
    except (binascii.Error, ValueError):
        return False


def _decoded(text: str) -> bytes:
    if len(text) > 2 * IMAGE_BYTES:
        raise ImageMissing("its image is too large")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageMissing("its image is no whole base64") from error
    if len(content) > IMAGE_BYTES:
        raise ImageMissing("its image is too large")
    return content
