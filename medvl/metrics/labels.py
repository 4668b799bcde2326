"""Which label a value of a text stands under: systolic 120, diastolic 80 does not state a diastolic pressure of 120."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from medvl.metrics.label_lists import Column, Pairs, Span, has_digit, items_in, split_labels
from medvl.metrics.normalize import mentions, normal
from medvl.metrics.spelling import UNITS

# Words for the same key. A key of a path that is in none of them is its own word.
_WORDS = [
    set(group.split(", "))
    for group in (
        "bp, blood pressure",
        "systolic, sbp, sys, systolic bp, systolic blood pressure, bp systolic",
        "diastolic, dbp, dia, diastolic bp, diastolic blood pressure, bp diastolic",
        "hr, heart rate, pulse, pulse rate",
        "rr, respiratory rate, respirations, resp, resp rate",
        "temp, temperature, t",
        "spo2, oxygen saturation, o2 sat, o2 saturation, sats, sat",
        "map, mean arterial pressure",
        "age, aged, year old, years old, year-old, years-old, years of age, y/o, yo",
        "weight, wt, body weight, weighing, weighs",
        "height, ht, tall",
        "bmi, body mass index",
        "dob, d.o.b, date of birth, birth date, born",
        "mrn, medical record number, record number, chart",
        "sex, gender",
        "phone, tel, telephone",
        "admitted, admission date, date of admission, admit date",
        "discharged, discharge date, date of discharge",
        "los, length of stay, stay days, days of stay",
        "sodium, na",
        "potassium, k",
        "chloride, cl",
        "bicarbonate, hco3, bicarb",
        "calcium, ca",
        "magnesium, mg",
        "phosphate, po4, phos, phosphorus",
        "creatinine, cr, creat",
        "urea, bun, blood urea nitrogen",
        "glucose, glu, blood glucose, blood sugar",
        "hemoglobin, haemoglobin, hgb, hb",
        "hematocrit, haematocrit, hct",
        "platelets, plt, platelet count",
        "wbc, white blood cells, white cell count, white blood cell count",
        "hba1c, a1c",
        "ast, sgot",
        "alt, sgpt",
        "ebl, estimated blood loss, blood loss",
        "lvef, ef, ejection fraction",
        "tidal per kg, tidal volume per kg",
        "fio2, fraction of inspired oxygen",
    )
]
# Words for keys, whether or not a fact has them: a list of labels may name what no fact states.
_COMMON = {normal(word): "sex" not in group for group in _WORDS for word in group if not re.fullmatch(UNITS, word)}
_BEHIND = re.compile(r"years?[ -]old|years of age|y/o|yo|tall")  # labels that follow their values only
_CLAUSE = re.compile(r"[;\n]|,(?!\d)|(?<=[\w)%])\.(?=\s|$)")
_JOINED = re.compile(r"[\W_]*(?:(?:and|of|the|for)[\W_]+)*")  # between two labels of one value: age/sex
_FILLERS = r"(?:(?:is|was|are|were|the|a|an|and|of|at|on|in|by|to|with|for|from)\b\W*)*"
_PRINTED = re.compile(rf"^\W*{_FILLERS}([^\W\d][^\d,;]*?)\W*{_FILLERS}$")
MOST_WORDS = 4  # of a printed label
_UNIT = rf"[^\S\n]*(?:(?:{UNITS})(?!\w)[^\S\n]*)?"
_BRACKETED = re.compile(rf"{_UNIT}[(\[][^\w\n]*")  # 120 mmHg (systolic)
_DIRECTLY_AFTER = re.compile(rf"{_UNIT}[-:=]?[^\S\n]*(?:(?:for|as)\b\W*)?(?:the\b\W*)?")
_TO_BEHIND = re.compile(rf"{_UNIT}[-\s]*")
_DIRECTLY_BEFORE = re.compile(r"[\s:=]*(?:(?:is|was|are|were|of|at)\b\W*)*")


@dataclass(frozen=True)
class Labels:
    """The labels of facts that stand side by side: the words of their paths, and those that a reference prints."""

    paths: Mapping[str, tuple[str, ...]]
    """Name of each fact to the keys that tell it from the others, the outermost first."""
    printed: Mapping[str, frozenset[str]]
    """Name of each fact to the labels before its value in the reference."""
    values: Mapping[str, str]
    """Name of each fact to its value, normalised."""

    @classmethod
    def read(cls, paths: Mapping[str, tuple[str, ...]], values: Mapping[str, str], references: Iterable[str]) -> Labels:
        """Return the labels of facts.

        Args:
            values: Name of each fact to its value, normalised.
            references: Normalised texts that state the values.
        """
        printed: dict[str, set[str]] = {name: set() for name in paths}
        for text in references:
            spans = {name: mentions(text, value) for name, value in values.items()}
            ends = sorted(end for found in spans.values() for _, end in found)
            for name, found in spans.items():
                for start, _ in found if len(found) == 1 else ():
                    since = max([_clause(text, start)[0], *(end for end in ends if end <= start)])
                    label = _PRINTED.match(text[since:start])
                    if label and len(label[1].split()) <= MOST_WORDS:
                        printed[name].add(" ".join(label[1].split()))
        return cls(paths, {name: frozenset(labels) for name, labels in printed.items()}, values)

    @cached_property
    def _covers(self) -> dict[str, dict[str, set[int]]]:
        """Map every label to the facts it may name, each with the positions of the keys that it states."""
        covers: dict[str, dict[str, set[int]]] = {}
        for name, keys in self.paths.items():
            for at, key in enumerate(keys):
                for word in _words(key):
                    covers.setdefault(word, {}).setdefault(name, set()).add(at)
            for label in self.printed[name]:
                covers.setdefault(label, {}).setdefault(name, set()).add(len(keys) - 1)
        return covers

    @cached_property
    def _search(self) -> re.Pattern[str]:
        return _any_of(self._covers)

    def states(self, text: str, name: str, value: str) -> bool:
        """Return whether a normalised text states a fact's value, and not under the label of another.

        A value without a label counts if the text does not name the fact's own label elsewhere.
        """
        spans = mentions(text, value)
        if not spans or len(self.paths) < 2:
            return bool(spans)
        labels, _, _ = self._parsed(text)
        verdicts = [self._owns(text, labels, span, name) for span in spans]
        return True in verdicts or (None in verdicts and not self._names(text, labels, spans, name))

    @cached_property
    def _search_any(self) -> re.Pattern[str]:
        return _any_of({*self._covers, *_COMMON})

    @cached_property
    def _known(self) -> dict[str, tuple[list[Span], list[Span], Pairs]]:
        return {}

    def _parsed(self, text: str) -> tuple[list[Span], list[Span], Pairs]:
        """Return the places of a text's labels and values, and the values that belong to labels by their order."""
        if text not in self._known:
            labels = [found.span() for found in self._search.finditer(text)]
            items = items_in(text, labels, self.values.values())
            pairs = Pairs()
            rest = [found.span() for found in self._search_any.finditer(text)]
            rest = [one for one in rest if not _BEHIND.fullmatch(text[slice(*one)])]
            rest = [one for one in rest if all(end <= one[0] or start >= one[1] for start, end in items)]
            while rest:
                group = _joined(text, rest)
                rest = rest[len(group) :]
                columns = self._columns(text, group)
                if len(columns) > 1:
                    pairs.add(text, group, columns, items)
            self._known[text] = labels, items, pairs
        return self._known[text]

    def _columns(self, text: str, group: Sequence[Span]) -> list[Column]:
        """Return what the labels of a group name one after the other; nothing if no fact is among it."""
        columns: list[Column] = []
        for part in split_labels(text, group):
            words = [text[start:end] for start, end in part]
            whole = self._fitting(text, part) if all(word in self._covers for word in words) else set()
            for word, one in zip(words, part, strict=True):
                named = whole if len(whole) == 1 else self._fitting(text, [one])
                if word not in self._covers:
                    columns.append(Column(None, _COMMON[word]))
                elif len(named) == 1:
                    (name,) = named
                    column = Column(name, has_digit(self.values[name]))
                    columns += [column] if columns[-1:] != [column] else []
        return columns if any(column.fact is not None for column in columns) else []

    def _owns(self, text: str, labels: list[Span], span: Span, name: str) -> bool | None:
        """Return whether the label of a value is the fact's; None if it has none, or one of several."""
        _, items, pairs = self._parsed(text)
        if paired := pairs.column(span):
            return None if paired[0] is None else paired[0].fact == name
        labels = [(start, end) for start, end in labels if end <= span[0] or start >= span[1]]
        behind = [one for one in labels if _BEHIND.fullmatch(text[slice(*one)])]
        if own := [one for one in behind if one[0] >= span[1] and _TO_BEHIND.fullmatch(text[span[1] : one[0]])]:
            return self._means(text, own, name)
        labels = [one for one in labels if one not in behind]
        begin, stop = _clause(text, span[0])
        stop = max(stop, _clause(text, span[1])[1])
        before = [one for one in labels if begin <= one[0] and one[1] <= span[0]]
        after = [one for one in labels if span[1] <= one[0] and one[1] <= stop]
        if after and self._is_bracketed(text, span, _joined(text, after)):
            return self._means(text, _joined(text, after), name)
        own = before  # without the title of a section
        while own and len(self._fitting(text, _joined(text, own))) > 1:
            own = own[1:]
        here = [one for one in items if begin <= one[0] and one[1] <= stop]
        if before and after and _is_value_first(text, span, here, own, after):
            return self._means(text, _joined(text, after), name)
        if before or after:
            group = _joined(text, before[::-1]) if before else _joined(text, after)
            return self._means(text, group, name)
        # Sodium was low, at 138; and a label on the line above its value.
        line = text.rfind("\n", 0, span[0]) + 1
        above = text.rfind("\n", 0, max(0, line - 1)) + 1
        carried = [one for one in labels if line <= one[0] and one[1] <= span[0]]
        if not carried and begin == line:
            carried = [one for one in labels if above <= one[0] and not text[one[1] : line].strip(" :\n")]
            carried = [one for one in carried if one[1] <= line]
            return self._means(text, _joined(text, carried[::-1]), name) if carried else None
        return (carried and self._means(text, _joined(text, carried[::-1]), name)) or None

    def _is_bracketed(self, text: str, span: Span, group: Sequence[Span]) -> bool:
        """Return whether a label of one fact stands alone in the brackets behind a value."""
        opened = _BRACKETED.fullmatch(text[span[1] : group[0][0]])
        closed = re.match(r"[^\w\n]*?[)\]]", text[group[-1][1] :])
        return bool(opened and closed) and len(self._fitting(text, group)) == 1

    def _means(self, text: str, group: Sequence[Span], name: str) -> bool:
        """Return whether no other fact fits the labels of a value better."""
        return name in self._fitting(text, group)

    def _fitting(self, text: str, group: Sequence[Span]) -> set[str]:
        """Return the facts that fit some labels best."""
        stated: dict[str, set[int]] = {}
        for start, end in group:
            for fact, keys in self._covers.get(text[start:end], {}).items():
                stated.setdefault(fact, set()).update(keys)
        fits = {fact: (len(keys), len(keys) == len(self.paths[fact])) for fact, keys in stated.items()}
        best = max(fits.values(), default=None)
        return {fact for fact, fit in fits.items() if fit == best}

    def _names(self, text: str, labels: list[Span], spans: Sequence[Span], name: str) -> bool:
        """Return whether a text has the fact's own label, that of its last key."""
        last, unsure = len(self.paths[name]) - 1, self._parsed(text)[2].unsure
        return any(
            (start, end) not in unsure
            and last in self._covers[text[start:end]].get(name, ())
            and all(end <= begin or start >= stop for begin, stop in spans)
            and self._means(text, _joined(text, [one for one in labels if one[1] <= end][::-1]), name)
            for start, end in labels
        )


def _words(key: str) -> Iterator[str]:
    words = re.sub(r"[\s_-]+", " ", key).strip().casefold()
    first, _, rest = words.rpartition(" ")
    yield from {words, *(normal(word) for group in _WORDS if words in group for word in group)}
    if first:
        yield f"{rest} of {first}"  # complaint_days: days of complaint


def _clause(text: str, at: int) -> Span:
    """Return start and end of the clause at a position."""
    begin = max((found.end() for found in _CLAUSE.finditer(text, 0, at)), default=0)
    following = _CLAUSE.search(text, at)
    return begin, following.start() if following else len(text)


def _is_value_first(
    text: str, span: Span, items: Sequence[Span], before: Sequence[Span], after: Sequence[Span]
) -> bool:
    """Return whether the labels of a clause follow their values: 120 systolic over 80 diastolic."""
    if not items or items[0][0] > (before or after)[0][0] or after[-1][0] < items[-1][0]:
        return False
    if not _DIRECTLY_AFTER.fullmatch(text[span[1] : after[0][0]]):
        return False
    begin = _clause(text, items[0][0])[0]
    leads = not re.search(r"\w", text[begin : items[0][0]])
    return not before or leads or not _DIRECTLY_BEFORE.fullmatch(text[before[-1][1] : span[0]])


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})(?!\w)")


def _joined(text: str, nearest_first: Sequence[Span]) -> list[Span]:
    """Return the nearest label with those that nothing but punctuation parts from it."""
    group: list[Span] = []
    for one in nearest_first:
        if group:
            between = text[one[1] : group[-1][0]] if one < group[-1] else text[group[-1][1] : one[0]]
            if not _JOINED.fullmatch(between):
                break
        group.append(one)
    return group
