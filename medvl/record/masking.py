"""Masks passwords and keys in what is recorded, printed and sent: a record is meant to be shown to others."""

from __future__ import annotations

import logging
import re
from typing import Any

MASK = "***"
_SECRET = r"pass(?:word|wd|phrase|code)?|pwd|secret|token|key|credentials?|sig(?:nature)?|auth|jwt"
_PORT = r"(?!\d*(?:[\s'\",;)/?#]|$))"  # what follows the colon is no port
_MAIL = r"(?!(?:mailto|e?-?mail|sip|xmpp):)"
_PAIR = rf"{_MAIL}[a-z][\w.+-]*:(?![\\/])[^\s@/'\"]+@(?!sha\d+:)"  # C:\a@b and image:tag@sha256:... are none
_QUOTE = r"['\"](?=[^\s&;'\",)\]}:.])"  # a quote within a value: its text goes on
_KEY = r"((?<![\w.])(?:engine|serve)\.key=['\"]?)"
_RULES = [
    (re.compile(pattern, re.I), put)
    for pattern, put in (
        # scheme://user:password@host, also with a slash in the password, or with blanks and quotes
        (r"(?<=://)(?:[^/\s'\"@]*:[^\s'\"]*|[^/\s'\"]*)@", f"{MASK}@"),
        (rf"(?<=://)[^/\s'\"@:]*:{_PORT}(?=\S)[^/\n@]*@(?:[^\s/'\"]*@)?(?=[\w\[*])", f"{MASK}@"),
        (r"(?<=%3A%2F%2F)(?:(?!%2F)[^\s'\"&/@])*%40", f"{MASK}%40"),
        # user:password@host without //: the value of an override, or before a port or a path
        (rf"((?:\A|=)['\"]?){_PAIR}(?=[\w.:\[\]/-]+['\"]?\Z)", rf"\1{MASK}@"),
        (rf"(?<![\w/:.@-]){_PAIR}(?=[\w.-]+(?::\d|/))", f"{MASK}@"),
        # the secrets of a query, also of one that is percent-encoded in another
        (rf"([?&;#][\w-]*(?:{_SECRET})=)(?:[^\s&;'\"]|{_QUOTE})+", rf"\1{MASK}"),
        # a key in the place of its variable's name
        (
            _KEY + r"(?!(?-i:[A-Z_][A-Z0-9_]*)(?:['\"\s,]|\Z)|null\b)[^\s'\"]+",
            rf"\1{MASK}",
        ),
        (rf"((?:[?&;#=]|%3F|%26|%3B|%23)[\w-]*(?:{_SECRET})%3D)(?:(?!%26|%3B)[^\s&;'\"])+", rf"\1{MASK}"),
    )
]
# The same in a text that is a URL as a whole, which may hold anything.
_URL = r"\A((?:[\w.+~/@-]+=)?['\"]?[a-z][\w+.-]*://"
_WHOLE = [
    (re.compile(pattern, re.I), put)
    for pattern, put in (
        (rf"{_URL})[^/\s'\"@:]*:{_PORT}(?=\S).*@", rf"\1{MASK}@"),
        (rf"{_URL}\S*[?&;#][\w-]*(?:{_SECRET})=)[^&;\n]*?(?=['\"]?(?:[&;\n]|\Z))", rf"\1{MASK}"),
    )
]


def check_variable(option: str, name: str | None, usual: str) -> None:
    """Refuse what is no name of an environment variable where one is asked for: perhaps it is the key itself.

    Raises:
        ValueError: It does not repeat what was typed.
    """
    if name is not None and not re.fullmatch("[A-Z_][A-Z0-9_]*", name):
        raise ValueError(
            f"{option} takes the name of an environment variable, in capitals, not the key itself, which would be "
            f"recorded. Set {option}={usual}."
        )


def masked(text: str) -> str:
    """Return a text without the secrets in it.

    >>> masked("logger.tracking_uri=https://ada:s3cret@host:5000/x and postgresql://h/db?password=abc&ssl=1")
    'logger.tracking_uri=https://***@host:5000/x and postgresql://h/db?password=***&ssl=1'
    """
    for pattern, put in _RULES:
        text = pattern.sub(put, text)
    return text


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
    if not isinstance(node, str):
        return node
    for pattern, put in _WHOLE:
        node = pattern.sub(put, node)
    return masked(node)
