"""What a diagnostic report concludes in words: its conclusion, coded diagnoses, and attached plain text."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from medvl.data.sources.clinical_values import clean
from medvl.data.sources.fhir import code, concept, items


@dataclass(slots=True)
class Conclusion:
    """The words of a report; empty without any."""

    text: str = ""
    diagnoses: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Of the attached texts."""
    lost: list[str] = field(default_factory=list)
    """Why attachments are not among them."""

    def __bool__(self) -> bool:
        return bool(self.text or self.diagnoses or self.lines)


def conclusion(report: dict[str, Any]) -> Conclusion:
    """Return the words of a DiagnosticReport."""
    coded = [clean(concept(entry) or code(entry)) for entry in items(report, "conclusionCode")]
    found = Conclusion(clean(report.get("conclusion")), list(dict.fromkeys(filter(None, coded))))
    for attachment in items(report, "presentedForm"):
        text = attached_text(attachment)
        lines = [clean(line) for line in (text or "").splitlines()]
        if text is None or not any(lines):
            found.lost.append("an attachment that is not plain text" if text is None else "an empty attachment")
        elif clean(text) != found.text:
            found.lines += lines
    return found


def attached_text(attachment: dict[str, Any]) -> str | None:
    """Decode an attachment; None if it is no plain text, or not in the report itself."""
    kind, data = attachment.get("contentType"), attachment.get("data")
    kind = kind.lower() if isinstance(kind, str) else "text/plain"
    if not (kind.startswith("text/plain") and isinstance(data, str)):
        return None
    encoding = "latin-1" if "8859-1" in kind else "utf-8"
    try:
        return base64.b64decode("".join(data.split()), validate=True).decode(encoding)
    except (binascii.Error, ValueError):
        return None
