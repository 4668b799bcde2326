"""The words of clinical documents in XML, as blocks: C-CDA's sections, and the XHTML of FHIR's narratives.

https://hl7.org/cda/stds/core/2.0.0-sd/narrative.html, https://hl7.org/fhir/R4/narrative.html
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from medvl.data.sources.clinical_values import clean
from medvl.types import Block, Heading, Pairs, Table, Text

DEEPEST = 60  # elements within each other
_LINES = {
    "paragraph", "p", "div", "list", "ul", "ol", "dl", "dt", "dd", "caption", "pre", "blockquote", "hr", "br",
    "section", "h1", "h2", "h3", "h4", "h5", "h6", "item", "li",
}  # fmt: skip
_UNSEEN = {"style", "script", "renderMultiMedia", "img"}
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;|quot;|apos;|#)\w{2,31};")


class NoNarrative(Exception):
    """A document whose words cannot be read; the text becomes the reason in prepared.json."""


@dataclass(slots=True)
class Narrative:
    """A document of sections."""

    blocks: list[Block] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    """Keys of whom it is about."""

    @property
    def text(self) -> str:
        """All that it says, line by line."""
        return "\n".join(line for block in self.blocks for line in _lines_of(block))

    @property
    def is_plain(self) -> bool:
        """Whether it has neither headings nor tables."""
        return all(isinstance(block, Text) for block in self.blocks)


class _Builder(ElementTree.TreeBuilder):
    """Builds a tree of limited depth, without a document type and thus without entities."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self._depth += 1
        if self._depth > DEEPEST:
            raise NoNarrative("XML that is nested too deeply")
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, *_: object) -> None:
        raise NoNarrative("XML with a document type, which could name other files")


def parsed(content: bytes | str) -> Element:
    """Parse XML that anyone may have written.

    Raises:
        NoNarrative: It is not XML, has a document type, or is nested too deeply.
    """
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(content)
        return parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise NoNarrative("not XML, or cut off") from error


def clinical_document(content: bytes) -> Narrative:
    """Return the title and the sections of a C-CDA document.

    Raises:
        NoNarrative: It is none, or has no section with words.
    """
    root = parsed(content)
    if _tag(root) != "ClinicalDocument":
        raise NoNarrative("XML that is no clinical document")
    found = Narrative()
    if title := _flat(_child(root, "title")):
        found.blocks.append(Heading(title, level=1))
    for body in (body for component in _children(root, "component") for body in component):
        if _tag(body) == "nonXMLBody":
            raise NoNarrative("a clinical document whose body is a file of another kind")
        for component in _children(body, "component"):
            for section in _children(component, "section"):
                found.blocks += _section(section)
    if not any(not isinstance(block, Heading) for block in found.blocks):
        raise NoNarrative("a clinical document without narrative")
    for target in _children(root, "recordTarget"):
        role = _child(target, "patientRole")
        ids = [] if role is None else _children(role, "id")
        found.patients += [
            f"patient: {one.get('root', '')} {one.get('extension', '')}" for one in ids if _names_one(one)
        ]
    return found


def _names_one(identifier: Element) -> bool:
    """Whether an identifier is that of one patient: a root alone may be that of the hospital."""
    return bool(identifier.get("extension", "").strip() or _UUID.fullmatch(identifier.get("root", "")))


def _section(section: Element) -> Iterator[Block]:
    """Yield the heading and the words of a section and of those in it; nothing if it has no words."""
    blocks: list[Block] = []
    text = _child(section, "text")
    if text is not None:
        blocks += flow(text)
    for component in _children(section, "component"):
        for inner in _children(component, "section"):
            blocks += _section(inner)
    if blocks and (title := _flat(_child(section, "title"))):
        yield Heading(title)
    yield from blocks


def xhtml(div: str) -> list[Block]:
    """Return the words of a FHIR narrative.

    Raises:
        NoNarrative: It cannot be parsed.
    """
    return flow(parsed(_ENTITY.sub(lambda found: html.unescape(found[0]), div)))


def flow(element: Element) -> list[Block]:
    """Return what an element says, as paragraphs, items of lists and tables."""
    blocks: list[Block] = []
    line: list[str] = []

    def end_line() -> None:
        words = clean("".join(line))
        if words == "-":  # of an item whose words are in a paragraph
            return
        if words:
            blocks.append(Text(words))
        line.clear()

    def add(node: Element) -> None:
        line.append(node.text or "")
        for child in node:
            tag = _tag(child)
            if tag == "table":
                end_line()
                blocks.extend(_table(child))
            elif tag in _LINES:
                end_line()
                line.append("- " if tag in ("item", "li") else "")
                add(child)
                if clean("".join(line)) == "-":
                    line.clear()
                end_line()
            elif tag not in _UNSEEN:
                add(child)
            line.append(child.tail or "")

    add(element)
    end_line()
    return blocks


def _table(table: Element) -> Iterator[Block]:
    """Yield a table with a header as such, one without as pairs or lines."""
    caption = _flat(_child(table, "caption"))
    if caption:
        yield Text(caption)
    groups = [table, *(child for child in table if _tag(child) in ("thead", "tbody", "tfoot"))]
    lines = [line for group in groups for line in _children(group, "tr")]
    rows = [[(_tag(cell), _flat(cell)) for cell in line if _tag(cell) in ("th", "td")] for line in lines]
    rows = [row for row in rows if any(text for _, text in row)]
    width = max(map(len, rows), default=0)
    cells = [[text for _, text in row] + [""] * (width - len(row)) for row in rows]
    if len(rows) > 1 and all(tag == "th" for tag, _ in rows[0]):
        yield Table(cells[0], cells[1:])
    elif width == 2:
        yield Pairs([(row[0].rstrip(" :"), row[1]) for row in cells])
    else:
        yield from (Text(", ".join(filter(None, row))) for row in cells)


def _flat(element: Element | None) -> str:
    """Return the words of an element in one line."""
    if element is None:
        return ""
    if not any(_tag(one) in _LINES for one in element.iter()):
        return clean("".join(element.itertext()))
    joined = "; ".join(line for block in flow(element) for line in _lines_of(block))
    return re.sub(r"([,;:.]); ", r"\1 ", joined)


def _lines_of(block: Block) -> list[str]:
    # As medvl.documents.forms.form does, whose file is part of the identity of prepared forms and stays as it is.
    match block:
        case Heading(text=text) | Text(text=text):
            return [text]
        case Pairs(pairs=pairs):
            return [f"{label}: {value}" for label, value in pairs]
        case Table(header=header, rows=rows):
            return [" | ".join(row) for row in (header, *rows)]
    return []


def _tag(element: Element) -> str:
    """Return the name of an element without its namespace; empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _children(element: Element, tag: str) -> list[Element]:
    return [child for child in element if _tag(child) == tag]


def _child(element: Element, tag: str) -> Element | None:
    return next(iter(_children(element, tag)), None)
