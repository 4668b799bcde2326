"""Answers after a JSON Schema: what is asked, and what the answer must follow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medvl.data.schema import Schema
from medvl.documents.tasks import JSON
from medvl.generation.values import SaidValue, said_values
from medvl.metrics.extraction import json_object
from medvl.serving.refusals import Refused

if TYPE_CHECKING:
    from medvl.evaluation.calibration import Calibration
    from medvl.evaluation.evidence import Evidence
    from medvl.generation.answer import Answer
    from medvl.generation.stream import Spelling
    from medvl.serving.uploads import Upload

PARAM = "schema"
UNCALIBRATED = "uncalibrated"


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

    def of(
        self,
        answer: Answer,
        spelling: Spelling,
        uploads: Sequence[Upload],
        calibration: Calibration | None,
        evidence: Evidence | None,
        error: float,
        transcript: str | None = None,
    ) -> dict[str, Any]:
        """Return the fields in an answer and what is known of their values; both None if it is no whole JSON.

        Args:
            error: Wanted share of wrong values among accepted ones.
            transcript: Of all pages; needed if the calibration is of transcripts.
        """
        fields = json_object(answer.text)
        try:
            values = said_values(answer, spelling)
        except ValueError:  # it was given up: its grammar became too complex
            fields, values = None, []

        def told(value: SaidValue) -> dict[str, Any]:
            spot = None if evidence is None else evidence.of(value, answer.seen)
            where = None if spot is None else {**uploads[spot.image].place, "box": list(spot.box)}
            return {**_told(value, calibration, error, transcript), "evidence": where}

        return {
            "fields": fields,
            "values": None if fields is None else [told(value) for value in values],
            "calibration": UNCALIBRATED if calibration is None else calibration.fitted_on,
            "pointing": None if evidence is None else evidence.measured.get("pointing"),
        }


def _told(value: SaidValue, calibration: Calibration | None, error: float, transcript: str | None) -> dict[str, Any]:
    """Return a value with its confidence, which there is of values that are stated."""
    said = asdict(value)
    del said["inside"]
    if calibration is None or not value.tells:
        return {**said, "confidence": None, "accepted": None}
    accepted = calibration.accepts(value, error, transcript)
    return {**said, "confidence": calibration.confidence(value, transcript), "accepted": accepted}
