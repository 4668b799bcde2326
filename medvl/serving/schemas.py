"""Answers after a JSON Schema: what is asked, what the answer may be, and how it is read."""

from __future__ import annotations

import json
from typing import Any

from medvl.data.schema import Schema
from medvl.documents.tasks import JSON
from medvl.metrics.extraction import json_object
from medvl.serving.refusals import Refused


def prompt_after(schema: dict[str, Any], param: str) -> str:
    """Return the prompt of the json task for a schema, as in training.

    Raises:
        Refused: 422, it is no schema of an object, or has a keyword that is not supported.
    """
    try:
        shape = Schema.of(schema, "The schema").root.shape()
    except ValueError as error:
        raise Refused(422, str(error), "bad_schema", param=param) from None
    return JSON[0].format(schema=json.dumps(shape, ensure_ascii=False))


def parsed(text: str, param: str) -> dict[str, Any]:
    """Return a schema that was sent as text.

    Raises:
        Refused: It is no JSON object.
    """
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise Refused(422, f"{param} is not a JSON object.", "bad_schema", param=param)
    return schema


def fields_of(text: str) -> dict[str, Any] | None:
    """Return the fields in an answer; None if it holds no whole JSON object."""
    return json_object(text)
