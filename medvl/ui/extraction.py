"""What /extract answers, as HTML: pages with boxes on them, text, and a table of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from medvl.ui.markup import ending, heading, notice, percent, table

EXAMPLE_SCHEMA = """{
  "type": "object",
  "properties": {
    "patient": {
      "type": "object",
      "properties": {"name": {"type": "string"}, "born": {"type": "string"}}
    },
    "date": {"type": "string"},
    "medication": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {"drug": {"type": "string"}, "dose": {"type": "string"}}
      }
    }
  }
}"""
Previews = Mapping[tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class Grade:
    """How far a value can be trusted; told apart by colour, by line and by words."""

    name: str
    title: str
    about: str


# Blue, vermilion and grey of Okabe and Ito's palette for colour-blind readers, with a line of its own each: style.css.
ACCEPTED = Grade("accepted", "accepted", "sure enough for the error rate that the service was started with")
BELOW = Grade("below", "below threshold", "not sure enough: look at the page")
LIKELY = Grade("likely", "likely right", "at least 80 %; the service was started without an error rate, or none holds")
DOUBTFUL = Grade("doubtful", "doubtful", "less than 80 %: look at the page")
UNKNOWN = Grade("unknown", "uncalibrated", "nobody measured how far it can be trusted")
LEAST_LIKELY = 0.8


def grade(value: Mapping[str, Any]) -> Grade:
    """Return the grade of one entry of `values`."""
    accepted, sure = value.get("accepted"), value.get("confidence")
    if accepted is None:
        return UNKNOWN if sure is None else LIKELY if sure >= LEAST_LIKELY else DOUBTFUL
    return ACCEPTED if accepted else BELOW


def _grades(values: Sequence[Mapping[str, Any]]) -> tuple[Grade, ...]:
    """Return the grades that values of one answer can have."""
    seen = {grade(value) for value in values if value["value"] is not None}
    for pair in ((ACCEPTED, BELOW), (LIKELY, DOUBTFUL)):
        if seen & set(pair):
            return pair
    return (UNKNOWN,)


def shown(answer: Mapping[str, Any], images: Previews) -> str:
    """Return the HTML of an answer.

    Args:
        images: Data URIs by number of file and page.
    """
    values = answer.get("values")
    if values is None:
        return "".join(_page(page, images, _text(page)) for page in answer["pages"])
    drawn = "".join(_page(page, images, "", values) for page in answer["pages"])
    fields = _fields(values, placed=answer.get("pointing") is not None)
    return f'{_calibration(answer)}<div class="mv-fields"><div>{fields}</div><div>{drawn}</div></div>'


def _page(page: Mapping[str, Any], images: Previews, text: str, values: Sequence[Mapping[str, Any]] = ()) -> str:
    place = (page["file"], page["page"])
    uri = images.get(place)
    name = f"File {int(place[0])}, page {int(place[1])}"
    if uri is None:
        seen = notice(f"{name} cannot be shown here; the service has read it.", "note")
    else:
        seen = f'<div class="mv-sheet"><img src="{escape(uri)}" alt="{name}">{boxes(values, place)}</div>'
    cut = ending(page.get("finish_reason") or "stop")
    return (
        f'<section class="mv-page">{heading(name, cut)}<div class="mv-beside{"" if text else " mv-alone"}">'
        f"<div>{seen}</div>{text}</div></section>"
    )


def _text(page: Mapping[str, Any]) -> str:
    return f'<pre class="mv-text">{escape(page.get("text") or "")}</pre>'


def boxes(values: Sequence[Mapping[str, Any]], place: tuple[int, int]) -> str:
    """Return a box for every value that stands on a page, under the number that it has in the table."""
    drawn = []
    for number, value in enumerate(values, 1):
        evidence = value.get("evidence")
        if not evidence or (evidence["file"], evidence["page"]) != place:
            continue
        left, top, right, bottom = (100 * min(max(float(edge), 0.0), 1.0) for edge in evidence["box"])
        style = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
        title = escape(f"{value['path']}: {value['value']} ({_sureness(value)})")
        drawn.append(
            f'<div class="mv-box mv-{grade(value).name}" style="{style}" title="{title}"><b>{number}</b></div>'
        )
    return "".join(drawn)


def _sureness(value: Mapping[str, Any]) -> str:
    sure = value.get("confidence")
    return grade(value).title if sure is None else f"{grade(value).title}, {percent(sure)}"


def _fields(values: Sequence[Mapping[str, Any]], *, placed: bool) -> str:
    if not values:
        return notice("The schema has no fields.", "note")
    rows = []
    for number, value in enumerate(values, 1):
        field = f'<b class="mv-number">{number}</b>{escape(value["path"]).replace(".", ".<wbr>")}'
        if value["value"] is None:
            rows.append((field, "<em>not on the page</em>", "", ""))
            continue
        cut = ' <span class="mv-mark mv-cut">cut off</span>' if value.get("cut") else ""
        said = f'<strong class="mv-said">{escape(str(value["value"]))}</strong>{cut}'
        known, sure = grade(value), value.get("confidence")
        trust = f'<span class="mv-mark mv-{known.name}">{known.title}</span>'
        rows.append((field, said, trust if sure is None else f"{percent(sure)} {trust}", _place(value)))
    head = ("field", "value", "confidence", "stands on")
    return table(head if placed else head[:-1], rows if placed else [row[:-1] for row in rows], "stack")


def _place(value: Mapping[str, Any]) -> str:
    evidence = value.get("evidence")
    if not evidence:
        return '<span class="mv-mark mv-cut">no page</span> check it'
    return f"file {int(evidence['file'])}, page {int(evidence['page'])}"


def _calibration(answer: Mapping[str, Any]) -> str:
    known = answer.get("calibration") or "uncalibrated"
    said = (
        "This model is uncalibrated: confidence cannot be told. medvl calibrate run=... measures it."
        if known == "uncalibrated"
        else f"Confidence is the probability of being right, fitted on {known}."
    )
    legend = "".join(
        f'<li><span class="mv-mark mv-{one.name}">{one.title}</span> {escape(one.about)}</li>'
        for one in _grades(answer["values"])
    )
    if (pointing := answer.get("pointing")) is not None:
        said += (
            f" Boxes are where the model looked: of held-out pages, {percent(pointing)} of them lay on their values."
        )
    return f'<p>{escape(said)} {ending(answer["finish_reason"])}</p><ul class="mv-legend">{legend}</ul>'
