"""How the author of one clinic document writes, and the parts that several kinds of document share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from random import Random

from medvl.documents.forms.chance import bell
from medvl.documents.forms.diagnoses import Diagnosis
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.panels import Result
from medvl.documents.forms.patient import (
    DateStyle,
    Patient,
    body_mass_index,
    facility,
    phone,
    provider,
    written_date,
)
from medvl.documents.forms.regimens import Hand, Regimen
from medvl.types import Text

# What H, L, HH and LL are called.
_FLAGS = (
    {"H": "H", "L": "L", "HH": "HH", "LL": "LL"},
    {"H": "H", "L": "L", "HH": "H*", "LL": "L*"},
    {"H": "High", "L": "Low", "HH": "Critical High", "LL": "Critical Low"},
    {"H": "H", "L": "L", "HH": "CH", "LL": "CL"},
    {"H": "HIGH", "L": "LOW", "HH": "PANIC HIGH", "LL": "PANIC LOW"},
)


@dataclass(frozen=True, slots=True)
class Pen:
    """The habits that one document keeps to from top to bottom."""

    dates: DateStyle
    hand: Hand
    drug_name: Callable[[str], str]
    brand: bool
    """Whether the trade name follows the drug's own."""
    short_tests: bool
    short_diagnoses: bool
    flags: dict[str, str]
    normal: str
    """The flag of a normal value; empty: none is written."""
    fahrenheit: bool
    pounds: bool

    @classmethod
    def drawn(cls, rng: Random) -> Pen:
        return cls(
            dates=DateStyle.drawn(rng), hand=Hand.drawn(rng),
            drug_name=rng.choices((str, str.lower, str.upper), weights=(5, 3, 1))[0], brand=rng.random() < 0.15,
            short_tests=rng.random() < 0.5, short_diagnoses=rng.random() < 0.4, flags=rng.choice(_FLAGS),
            normal=rng.choices(("", "N", "WNL"), weights=(8, 1, 1))[0], fahrenheit=rng.random() < 0.7,
            pounds=rng.random() < 0.3,
        )  # fmt: skip

    def day(self, day: date) -> str:
        return written_date(self.dates, day)

    def drug(self, regimen: Regimen) -> str:
        name = self.drug_name(regimen.drug.name)
        return f"{name} ({regimen.drug.brand})" if self.brand else name

    def diagnosis(self, diagnosis: Diagnosis) -> str:
        return diagnosis.abbreviation if self.short_diagnoses and diagnosis.abbreviation else diagnosis.name


def letterhead(form: Form, titles: Sequence[str], *, hospital: bool | None = None, chance: float = 0.6) -> None:
    """Open the document: at times with the facility, its telephone number below, and always with a title."""
    rng = form.rng
    if rng.random() < chance:
        line = form.field("facility.name", facility(rng, hospital=hospital), "name")
        if rng.random() < 0.3:
            line += f"\n{rng.choice(('Tel', 'Phone', 'Ph'))} {form.field('facility.phone', phone(rng), 'phone')}"
        form.blocks.append(Text(line, bold=0))
    title = rng.choice(titles)
    form.title(rng.choices((title, title.upper()), weights=(2, 1))[0])


def signature(form: Form, labels: Sequence[str]) -> None:
    """Close the document with who answers for it."""
    name = form.field("provider.name", provider(form.rng), "name")
    form.lines([f"{form.rng.choice(labels)}: {name}"])


def medication(form: Form, pen: Pen, position: int, regimen: Regimen) -> list[str]:
    """Register one entry of `medications`; return its name, dose, route and frequency for the page.

    Behind the frequency stands what follows a loading dose.
    """
    path = f"medications.{position}"
    route, frequency = regimen.written(pen.hand)
    words = [
        form.field(f"{path}.name", pen.drug(regimen), "name"),
        form.field(f"{path}.dose", regimen.dose, "dose", critical=True),
        form.field(f"{path}.route", route, "route"),
        form.field(f"{path}.frequency", frequency, "frequency"),
    ]
    if regimen.then is not None:
        days = form.field(f"{path}.loading_days", str(regimen.days), "value", critical=True)
        dose = form.field(f"{path}.maintenance_dose", regimen.then.dose, "dose", critical=True)
        _, often = regimen.then.written(pen.hand)
        often = form.field(f"{path}.maintenance_frequency", often, "frequency")
        words[-1] += f" x {days} {'day' if regimen.days == 1 else 'days'}, then {dose} {often}"
    return words


MEDICATION_HEADERS = (
    ("Medication", "Dose", "Route", "Frequency"),
    ("Drug", "Dose", "Route", "Freq"),
    ("Med", "Dose", "Rte", "Freq"),
)


def medications(form: Form, pen: Pen, regimens: Sequence[Regimen], *, first: int = 0) -> None:
    """List what a patient takes, as a table or line by line; a written `none` where the list is empty."""
    rows = [medication(form, pen, first + position, regimen) for position, regimen in enumerate(regimens)]
    if not rows:
        form.lines([form.rng.choice(("None.", "No regular medications.", "No medications."))])
    elif form.rng.random() < 0.3:
        numbered = form.rng.random() < 0.5
        form.lines([f"{number}. " * numbered + " ".join(row) for number, row in enumerate(rows, 1)])
    else:
        form.table(form.rng.choice(MEDICATION_HEADERS), rows)


def vitals(
    form: Form, patient: Patient, pen: Pen, diagnoses: Sequence[Diagnosis], *, most: int = 8, well: bool = True
) -> list[tuple[str, str]]:
    """Register vital signs; return labels with values, at least the first two.

    Args:
        well: Whether an acute illness has passed, or never was.
    """
    rng = form.rng
    keys = {diagnosis.key for diagnosis in diagnoses}
    high = 12 if "htn" in keys else 0
    systolic = round(min(max(bell(rng, 124 + high, 11), 94), 188))
    diastolic = round(min(max(systolic * rng.uniform(0.56, 0.66), 52), 108))
    ill = not well and any(diagnosis.course != "chronic" for diagnosis in diagnoses)
    pulse = round(min(max(bell(rng, 92 if ill else 74, 9), 50), 128))
    celsius = rng.uniform(37.2, 38.8) if ill and keys & _FEVERISH else rng.uniform(36.3, 37.2)
    saturation = rng.randint(91, 96) if keys & {"copd", "copdexac"} else rng.randint(95, 100)
    per_kg = 2.20462 if pen.pounds else 1
    weight, height = f"{patient.weight_kg * per_kg:.{0 if pen.pounds else 1}f}", f"{patient.height_cm:.0f}"
    found = [
        ("BP", "vitals.bp", f"{systolic}/{diastolic}", " mmHg"),
        ("HR", "vitals.hr", f"{pulse}", " bpm"),
        ("RR", "vitals.rr", f"{rng.randint(17, 22) if ill else rng.randint(12, 18)}", "/min"),
        ("Temp", "vitals.temp", f"{celsius * 1.8 + 32:.1f}" if pen.fahrenheit else f"{celsius:.1f}",
         " F" if pen.fahrenheit else " C"),
        ("SpO2", "vitals.spo2", f"{saturation}", rng.choice(("%", "% RA"))),
        ("Wt", "vitals.weight", weight, " lb" if pen.pounds else " kg"),
        ("Ht", "vitals.height", height, " cm"),
        ("BMI", "vitals.bmi", body_mass_index(float(weight) / per_kg, int(height)), ""),
    ][:most]  # fmt: skip
    if form.style is not Style.free_text and rng.random() < 0.5:
        found[2:] = rng.sample(found[2:], rng.randint(min(1, len(found) - 2), len(found) - 2))
    units = rng.random() < 0.6
    return [
        (label, form.field(path, value, "value") + (unit if units or path == "vitals.temp" or "lb" in unit else ""))
        for label, path, value, unit in found
    ]


_FEVERISH = {"cap", "pyelo", "sepsis", "cellulitis", "influenza", "covid", "strep", "diverticulitis"}


def state_vitals(form: Form, pairs: Sequence[tuple[str, str]], lead: str = "Vitals:") -> None:
    """Write vital signs in one line or as labelled facts."""
    if form.rng.random() < 0.5:
        form.paragraph(", ".join(f"{label} {value}" for label, value in pairs) + ".", lead)
    else:
        form.section(lead.rstrip(":"))
        form.pairs(pairs)


def result(form: Form, pen: Pen, position: int, found: Result) -> tuple[str, str, str, str, str]:
    """Register one entry of `results`; return test, value, unit, range and flag, empty where none is written."""
    path, analyte = f"results.{position}", found.analyte
    name = analyte.abbreviation if pen.short_tests else analyte.name
    critical = found.flag in ("HH", "LL")
    test = form.field(f"{path}.test", name, "name")
    value = form.field(f"{path}.value", found.text, "value", critical=critical)
    if found.value is None:
        return test, value, "", "", ""
    unit = form.field(f"{path}.unit", analyte.unit, "unit") if analyte.unit not in ("ratio", "units") else ""
    limits = form.field(f"{path}.range", analyte.written_range(found.sex), "range")
    word = pen.flags[found.flag] if found.flag else pen.normal
    flag = form.field(f"{path}.flag", word, "flag", critical=critical) if word else ""
    return test, value, unit, limits, flag


def results_line(form: Form, pen: Pen, results: Sequence[Result]) -> str:
    """Register results and write them in a row, as notes do: test, value and flag, no ranges."""
    words = []
    for position, found in enumerate(results):
        path, analyte = f"results.{position}", found.analyte
        critical = found.flag in ("HH", "LL")
        line = form.field(f"{path}.test", analyte.abbreviation if pen.short_tests else analyte.name, "name")
        line += f" {form.field(f'{path}.value', found.text, 'value', critical=critical)}"
        if found.flag:
            line += f" ({form.field(f'{path}.flag', pen.flags[found.flag], 'flag', critical=critical)})"
        words.append(line)
    return "; ".join(words)
