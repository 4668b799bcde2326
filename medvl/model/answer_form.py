"""How bases of the same architecture were taught to write an answer."""

from __future__ import annotations

import re
from enum import Enum

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\n(?:.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)


class AnswerForm(Enum):
    """What stands around the text of an answer."""

    plain = "plain"
    front_matter = "front_matter"  # YAML between two lines of ---, about the page: olmOCR

    @property
    def head_tokens(self) -> int:
        """Room for what stands before the text: olmOCR's head has 110 characters, at most as many tokens."""
        return 0 if self is AnswerForm.plain else 112

    def text(self, said: str) -> str:
        r"""Return what a model says of the page itself.

        >>> AnswerForm.front_matter.text("---\nprimary_language: en\n---\nAspirin 81 mg")
        'Aspirin 81 mg'
        >>> AnswerForm.front_matter.text("Aspirin 81 mg\n---\n"), AnswerForm.plain.text("---\n---\nx")
        ('Aspirin 81 mg\n---\n', '---\n---\nx')
        """
        if self is AnswerForm.plain:
            return said
        found = _FRONT_MATTER.match(said)
        return said if found is None else said[found.end() :].lstrip("\n")
