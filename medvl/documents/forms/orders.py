"""Orders of drugs as hospitals write them, kept away from patients who are allergic to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.patient import Patient


@dataclass(frozen=True, slots=True)
class Order:
    """A drug with the ways in which it is ordered; the parts of each field are divided by bars."""

    drug: str
    doses: str
    route: str
    frequencies: str
    allergy: str = ""
    """Cross-allergy groups as `Allergy.group` names them, parted by commas."""
    purpose: str = ""
    """Orders of one purpose exclude each other; empty: it excludes none."""

    def drawn(self, rng: Random) -> tuple[str, str, str]:
        """Draw a dose, a route and a frequency."""
        return rng.choice(self.doses.split("|")), rng.choice(self.route.split("|")), self.frequency(rng)

    def frequency(self, rng: Random) -> str:
        return rng.choice(self.frequencies.split("|"))


def suited(rng: Random, orders: Iterable[Order], patient: Patient) -> list[Order]:
    """Return those orders that a patient tolerates, one for each purpose, in their own order."""
    known = {allergy.group for allergy in patient.allergies if allergy.group}
    names = " ".join(allergy.substance.lower() for allergy in patient.allergies)
    fit = [
        order for order in orders
        if not known & set(order.allergy.split(",")) and order.drug.lower().split()[0] not in names
    ]  # fmt: skip
    chosen: dict[str, Order] = {}
    for order in rng.sample(fit, len(fit)):
        chosen.setdefault(order.purpose or order.drug, order)
    return [order for order in fit if chosen[order.purpose or order.drug] is order]


def words(form: Form, path: str, order: Order, actions: Sequence[str] = ()) -> list[str]:
    """Register drug, dose, route, frequency and, where given, what is done about it; return their words."""
    dose, route, frequency = order.drawn(form.rng)
    parts = [
        form.field(f"{path}.drug", order.drug, "name"),
        form.field(f"{path}.dose", dose, "dose", critical=True),
        form.field(f"{path}.route", route, "route"),
        form.field(f"{path}.frequency", frequency, "frequency"),
    ]
    if dose == order.doses.split("|")[0]:  # the lowest dose is nothing to arrive at
        actions = [action for action in actions if action.lower() != "increase"]
    if actions:
        parts.append(form.field(f"{path}.action", form.rng.choice(actions), "text"))
    return parts


def state(form: Form, rows: Sequence[Sequence[str]], last: str = "") -> None:
    """State orders in a table, numbered lines or plain lines; `last` is the head of a fifth column."""
    style = form.rng.random()
    if form.style in (Style.ruled_table, Style.table) or (form.style is Style.two_columns and style < 0.5):
        form.table(["Drug", "Dose", "Route", "Frequency"] + [last] * bool(last), rows)
        return
    told = [f"{row[4].strip()}: {' '.join(row[:4])}" if last and style < 0.5 else
            " ".join(row[:4]) + (f" ({row[4]})" if last else "") for row in rows]  # fmt: skip
    if style < 0.35:
        form.lines([f"{number}. {line}" for number, line in enumerate(told, 1)])
    elif style < 0.6 and form.style is Style.free_text:
        form.paragraph("; ".join(told) + ".")
    else:
        form.lines(told, bullet="- ")
