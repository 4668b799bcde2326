"""What errors of other libraries say, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has none; the type leads if it tells more."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0].strip().rstrip(".:")
    return text if isinstance(error, OSError | ValueError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
