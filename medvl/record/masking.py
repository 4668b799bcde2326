"""Masks passwords and keys in what is recorded, printed and sent: a record is meant to be shown to others."""

from __future__ import annotations

import logging
import re
from typing import Any

MASK = "***"
# scheme://user:password@host, also with a slash in the password; and the secrets of a URL's query.
_USER = re.compile(r"(?<=://)(?:[^/\s'\"@]*:[^\s'\"]*|[^/\s'\"]*)@")
_SECRET = r"pass(?:word|wd|phrase|code)?|pwd|secret|token|key|credentials?|sig(?:nature)?|auth|jwt"
_QUERY = re.compile(rf"([?&;#][\w-]*(?:{_SECRET})=)[^\s&;'\"]+", re.I)


def masked(text: str) -> str:
    """Return a text without the secrets in it.

    >>> masked("logger.tracking_uri=https://ada:s3cret@host:5000/x and postgresql://h/db?password=abc&ssl=1")
    'logger.tracking_uri=https://***@host:5000/x and postgresql://h/db?password=***&ssl=1'
    """
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(f"{MASK}@", text))


class Masking(logging.Filter):
    """Masks the secrets in every line of a log, whoever wrote it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        return True


def without_secrets(node: Any) -> Any:
    """Return plain containers with every text in them masked."""
    if isinstance(node, dict):
        return {key: without_secrets(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_secrets(value) for value in node]
    return masked(node) if isinstance(node, str) else node
