"""JSON in a text that need not be any."""

from __future__ import annotations

import json
from typing import Any


def json_in(text: str) -> Any:
    """Return what a text says in JSON, fractions as they are written; None if it says nothing in JSON.

    >>> json_in('{"total": 9.00}'), json_in("9,00")
    ({'total': '9.00'}, None)
    """
    try:
        return json.loads(text, parse_float=str)
    except (ValueError, RecursionError):  # the latter: nested too deeply
        return None
