"""Images within a request as data URIs (RFC 2397); nothing is ever fetched or opened by name."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from medvl.serving.refusals import Refused

_HEAD = re.compile(r"\s*data:([^,]{0,500}),", re.IGNORECASE)
_TABLE = bytes.maketrans(b"-_", b"+/")  # the alphabet for URLs, to the usual one
_BLANKS = b" \t\r\n\f\v"


def content_of(uri: str, param: str) -> bytes:
    """Return the bytes of a data URI: with or without a type and parameters, in either alphabet, padded or not.

    Raises:
        Refused: It is something else, of which nothing is repeated.
    """
    head = _HEAD.match(uri)
    if head is None:
        message = "An image must be a data URI (data:image/png;base64,...). This server opens no addresses or files."
        raise Refused(400, message, "unsupported_url", param=param)
    try:
        # Only percent signs are decoded: a plus sign is one.
        content = unquote_to_bytes(uri[head.end() :]) if "%" in uri else uri[head.end() :].encode("ascii")
        if head[1].rpartition(";")[2].strip().lower() != "base64":
            return content
        plain = content.translate(_TABLE, _BLANKS).rstrip(b"=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (UnicodeError, binascii.Error, ValueError):
        raise Refused(422, "A data URI does not hold base64.", "damaged_image", param=param) from None
