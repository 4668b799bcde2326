"""FHIR resources by name: which version counts, and what a reference names, across all files of a folder.

https://hl7.org/fhir/R4/references.html, https://hl7.org/fhir/R4/bundle.html#references
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from medvl.data.sources.entries import DELETED, Entry, identifier
from medvl.data.sources.fhir import items, part


class Store:
    """The resources that documents are drawn from.

    Equal ids in two files need not mean one resource: small numbers are used again by every server. A reference
    therefore means the resource that lies nearest: in the same bundle, the same file, the same folder, elsewhere.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._named: dict[str, list[Entry]] = {}

    def add(self, entry: Entry) -> None:
        """Add a resource; of two versions, the older one gets a reason and a successor."""
        self.entries.append(entry)
        plain = f"{entry.type}/{entry.id}"
        if entry.id:
            for known in self._named.get(plain, ()):
                if known.successor is None and entry.successor is None:
                    _succeed(known, entry)
            self._named.setdefault(plain, []).append(entry)
            self._named.setdefault(f"urn:uuid:{entry.id}", []).append(entry)
        if entry.url and entry.url != f"urn:uuid:{entry.id}":
            self._named.setdefault(entry.url, []).append(entry)

    def find(self, reference: Any, holder: Entry, *types: str) -> tuple[dict[str, Any], Entry | None]:
        """Return the resource of one of the types that a Reference names; empty if there is none.

        A contained resource comes without an entry: it is a part of its holder.
        """
        name = reference.get("reference") if isinstance(reference, dict) else None
        if not isinstance(name, str):
            return {}, None
        if name.startswith("#"):
            inner = (one for one in items(holder.content, "contained") if identifier(one) == name[1:])
            return next((one for one in inner if one.get("resourceType", types[0]) in types), {}), None
        found = self._entry(name.partition("/_history/")[0], holder)
        while found is not None and found.successor is not None:
            found = found.successor
        if found is None or found.type not in types or found.reason == DELETED:
            return {}, None
        return found.content, found

    def _entry(self, name: str, holder: Entry) -> Entry | None:
        server = _server(holder)
        keys = [f"{server}/{name}", name] if server else [name]
        if "://" in name:
            server, *rest = name.rsplit("/", 2)
            keys = [name, "/".join(rest)]
        for key in keys:
            named = [one for one in self._named.get(key, ()) if not server or _server(one) in ("", server)]
            if named:
                return max(named, key=lambda entry: _shared(entry.scope, holder.scope))
        return None


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many of the enclosing folders, files and bundles are the same."""
    pairs = zip(one, other, strict=False)
    return next((depth for depth, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _server(entry: Entry) -> str:
    """Return the address of the server that holds a resource; empty if its url does not tell."""
    tail = f"/{entry.type}/{entry.id}"
    return entry.url.removesuffix(tail) if "://" in entry.url and entry.url.endswith(tail) else ""


def _succeed(known: Entry, entry: Entry) -> None:
    """Decide which of two resources with one name counts; both do if nothing tells that they are the same one."""
    if _server(known) and _server(entry) and _server(known) != _server(entry):
        return
    newer = _is_newer(entry, known)
    if newer is None and _equal(known, entry):
        entry.reason, entry.successor = entry.reason or "repeats an earlier resource", known
        return
    if newer is None and known.scope == entry.scope and entry.newest_first:
        newer = False
    if newer is not None:
        older, later = (known, entry) if newer else (entry, known)
        older.reason, older.successor = "deleted later" if later.reason == DELETED else "an older version", later


def _equal(known: Entry, entry: Entry) -> bool:
    try:
        return known.content == entry.content and known.reason == entry.reason
    except RecursionError:
        return False


def _is_newer(one: Entry, other: Entry) -> bool | None:
    """Return whether one resource is a newer version than another; None if they do not tell."""
    for read in (_version, _updated):
        first, second = read(one), read(other)
        if first is not None and second is not None and first != second:
            return first > second
    return None


def _meta(entry: Entry, key: str) -> str:
    found = part(entry.content, "meta").get(key)
    return str(found) if isinstance(found, str | int) else ""


def _version(entry: Entry) -> float | None:
    found = _meta(entry, "versionId")
    return float(found) if found.isascii() and found.isdigit() and len(found) < 16 else None


def _updated(entry: Entry) -> float | None:
    try:
        moment = datetime.fromisoformat(_meta(entry, "lastUpdated"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
