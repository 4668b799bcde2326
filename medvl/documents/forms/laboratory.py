"""The laboratory panel: tests with values, units, reference ranges and flags."""

from __future__ import annotations

from datetime import date
from random import Random

from medvl.documents.forms.diagnoses import drawn_diagnoses
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.panels import PANELS, Result, drawn_results
from medvl.documents.forms.patient import Patient, header, provider
from medvl.documents.forms.pen import Pen, letterhead, result
from medvl.documents.forms.regimens import drawn_regimens

_TITLES = ("Laboratory Report", "Laboratory Results", "Lab Results", "Clinical Laboratory Report", "Lab Panel", "Labs")
_HEADS = (
    ("Test", "Result", "Units", "Reference", "Flag"),
    ("Test", "Value", "Unit", "Ref Range", "Flag"),
    ("Analyte", "Result", "Unit", "Reference Range", "Flag"),
    ("Component", "Value", "Units", "Normal Range", "Abn"),
)


def laboratory(form: Form, patient: Patient, on: date) -> None:
    """Report one to three panels; flags follow from value and range, calculated values from the others."""
    rng, pen = form.rng, Pen.drawn(form.rng)
    brief = rng.random() < 0.35
    diagnoses = drawn_diagnoses(rng, patient, on, rng.randint(0, 3))
    if rng.random() < 0.35:
        diagnoses += drawn_diagnoses(rng, patient, on, 1, course="admitted", beside=diagnoses)
    conditions = [diagnosis.key for diagnosis in diagnoses]
    conditions += [regimen.drug.name for regimen in drawn_regimens(rng, patient, diagnoses, 6)]
    panels = _ordered(rng, patient, 1 if brief else rng.randint(1, 3))
    letterhead(form, _TITLES, chance=0.2 if brief else 0.6)
    header(form, patient, on, dates=pen.dates, brief=brief,
           day_labels=("Collected", "Date Collected", "Collection Date", "Drawn", "Date"))  # fmt: skip
    if not brief and rng.random() < 0.5:
        ordering = form.field("provider.name", provider(rng), "name")
        form.pairs([(rng.choice(("Ordering Provider", "Ordered by", "Requested by")), ordering),
                    ("Specimen", form.field("specimen", rng.choice(("Blood", "Venous blood", "Whole blood")), "text"))]
                   if "ABG" not in {row[1] for row in panels} else [("Ordered by", ordering)])  # fmt: skip
    # All panels at once: what two of them measure is the same value, and stands in the first.
    results = drawn_results(rng, [key for row in panels for key in row[2].split()], patient, on, conditions)
    head, flag_first = rng.choice(_HEADS), rng.random() < 0.25
    position, seen, critical = 0, set(), []
    for title, short, keys, _ in panels:
        asked = [key for key in keys.split() if key not in seen]
        seen.update(asked)
        if brief and len(asked) > 5:
            kept = rng.sample(asked, 5)
            asked = [key for key in asked if key in kept]
        if asked:
            form.section(rng.choice((title, title.upper(), short)))
            _panel(form, pen, [results[key] for key in asked], position, head, flag_first=flag_first)
            critical += [results[key] for key in asked if results[key].flag in ("HH", "LL")]
        position += len(asked)
    if critical and rng.random() < 0.6:
        form.lines(
            [f"Critical {'values' if len(critical) > 1 else 'value'} called to the ordering provider, read back."]
        )


def _ordered(rng: Random, patient: Patient, most: int) -> list[tuple[str, str, str, str]]:
    """Draw panels that a clinician orders together: none that repeats another's tests."""
    panels: list[tuple[str, str, str, str]] = []
    for row in rng.sample([row for row in PANELS if row[3] in ("", patient.sex)], most):
        keys, taken = set(row[2].split()), {key for panel in panels for key in panel[2].split()}
        # Bicarbonate and the carbon dioxide of a metabolic panel are drawn apart, and would disagree.
        if len(keys & taken) < 4 and not ({"co2", "hco3"} <= keys | taken):
            panels.append(row)
    return panels


def _panel(form: Form, pen: Pen, results: list[Result], first: int, head: tuple[str, ...], *, flag_first: bool) -> None:
    rows = [result(form, pen, first + position, found) for position, found in enumerate(results)]
    if form.style in (Style.key_value, Style.free_text):
        # Without columns the range is set off and the flag stands behind the value.
        lines = []
        colon = ":" if form.style is Style.key_value else ""
        for test, value, unit, limits, flag in rows:
            line = f"{test}{colon} {value} {unit}".rstrip() + (f" {flag}" if flag else "")
            lines.append(line + (f" ({limits})" if limits else ""))
        form.lines(lines, bullet="" if colon else "- ")
        return
    order = (0, 1, 4, 2, 3) if flag_first else (0, 1, 2, 3, 4)
    # A column that no row fills is not printed.
    order = tuple(column for column in order if any(row[column] for row in rows))
    form.table([head[column] for column in order], [[row[column] for column in order] for row in rows])
