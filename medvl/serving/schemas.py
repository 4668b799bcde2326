"""Answers after a JSON Schema: what is asked, and what the answer must follow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from medvl.data.schema import Schema
from medvl.documents.tasks import JSON
from medvl.metrics.extraction import json_object
from medvl.serving.refusals import Refused

PARAM = "schema"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that a client wants."""

    prompt: str
    """That of the json task, as in training."""
    schema: dict[str, Any]
    """Of the answer: all keys, in the client's order, and null for what a page does not have."""

    @classmethod
    def read(cls, text: str) -> Fields:
        """Read a JSON Schema.

        Raises:
            Refused: 422, it is none of an object, or has a keyword that is not supported.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Refused(422, "schema is not a JSON object.", "bad_schema", param=PARAM)
        try:
            root = Schema.of(content, "The schema").root
        except ValueError as error:
            raise Refused(422, str(error), "bad_schema", param=PARAM) from None
        return cls(JSON[0].format(schema=json.dumps(root.shape(), ensure_ascii=False)), root.json_schema())

    def of(self, text: str) -> dict[str, Any] | None:
        """Return the fields in an answer; None if it holds no whole JSON object."""
        return json_object(text)
