"""Where a text must state a fact: under its label, and that of a list's item where the item is named."""

from __future__ import annotations

from collections.abc import Sequence

from medvl.metrics.labels import Labels
from medvl.metrics.normalize import normal, states, value
from medvl.metrics.scopes import scopes_of
from medvl.types import DateOrder, Field


class Places:
    """The places of some facts, learnt from their paths and from texts that state them."""

    def __init__(self, fields: Sequence[Field], references: Sequence[str], dates: DateOrder) -> None:
        self.dates, self.values = dates, {field.path: value(field.value, dates) for field in fields}
        self.flat: list[Field] = []
        lists: dict[tuple[str, ...], dict[tuple[str, ...], list[Field]]] = {}
        keys: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}
        for field in fields:
            path = tuple(field.path.split("."))
            depth = max((at for at, key in enumerate(path[:-1], start=1) if key.isdigit()), default=0)
            keys.setdefault(path[:depth], {})[field.path] = tuple(key for key in path[depth:] if not key.isdigit())
            if depth:
                anywhere = tuple("*" if key.isdigit() else key for key in path[:depth])
                lists.setdefault(anywhere, {}).setdefault(path[:depth], []).append(field)
            else:
                self.flat.append(field)
        self.lists = [list(items.values()) for items in lists.values()]
        texts = [normal(one, dates) for one in references]
        self.labels: dict[str, Labels] = {}
        for place, paths in keys.items():
            labels = Labels.read(paths, {path: self.values[path] for path in paths}, () if place else texts)
            self.labels.update(dict.fromkeys(paths, labels))
        # Facts that need no label: the entries of a plain list, and what a reference states without it.
        self.free = {field.path for field in fields if field.path.rpartition(".")[2].isdigit()}
        for one in references:
            labelled = {field.path for field in self.right(one)}
            self.free, before = set(self.values), self.free
            anyhow = {field.path for field in self.right(one)}
            self.free = before | anyhow - labelled

    def right(self, answer: str) -> list[Field]:
        """Return the facts that a text states in the right place."""
        text = normal(answer, self.dates)
        right = [field for field in self.flat if self._states(text, field)]
        for items in self.lists:
            right += self._right_in_list(items, answer.splitlines())
        return right

    def _states(self, text: str, field: Field) -> bool:
        expected = self.values[field.path]
        if field.path in self.free:
            return states(text, expected)
        return self.labels[field.path].states(text, field.path, expected)

    def _right_in_list(self, items: list[list[Field]], lines: list[str]) -> list[Field]:
        """Return the right facts of a list's items; the first field of an item names it."""
        named: dict[str, list[list[Field]]] = {}
        for item in items:
            named.setdefault(self.values[item[0].path], []).append(item)
        scopes = scopes_of(list(named), lines, self.dates)
        right = []
        for name, group in named.items():
            places = scopes[name]
            if len(group) == 1:
                places = ["\n".join(places)] if places else []
            right += assigned(
                [
                    [[field for field in item if field is item[0] or self._states(place, field)] for place in places]
                    for item in group
                ]
            )
        return right


def assigned(pairs: list[list[list[Field]]]) -> list[Field]:
    """Return the facts of the pairing, each row and column used at most once, that matches the most facts."""
    from scipy.optimize import linear_sum_assignment

    if not pairs or not pairs[0]:
        return []
    rows, columns = linear_sum_assignment([[len(found) for found in row] for row in pairs], maximize=True)
    return [field for row, column in zip(rows, columns, strict=True) for field in pairs[row][column]]
