"""The vital-sign chart: rows of observations with mean pressures, warning scores and body measures that add up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from random import Random

from medvl.documents.forms import early_warning
from medvl.documents.forms.charting import Habits, clamped, fahrenheit, grid, series, some, stepped, whole
from medvl.documents.forms.form import Form
from medvl.documents.forms.patient import Patient, allergies, body_mass_index, header, provider
from medvl.documents.forms.pen import letterhead

TITLES = ("VITAL SIGNS", "Vital Signs Record", "Vital Sign Chart", "Observation Chart", "TPR Chart", "Vitals Flowsheet",
          "Nursing Observations", "Vital Signs Flow Sheet")  # fmt: skip
_WARDS = ("4 West", "5 North", "Med-Surg", "Telemetry", "PACU", "ED", "Oncology", "Ortho", "Step-down", "Ward 7B",
          "Surgical short stay", "Acute medical unit", "CCU", "Rehab", "3 East")  # fmt: skip
_NOTES = {
    "well": ("No complaints", "Resting comfortably", "Tolerating diet", "Ambulated in hall", "Family at bedside"),
    "sick": (
        "MD notified",
        "Rapid response called",
        "Blood cultures sent",
        "Fluid bolus given",
        "Repeat vitals in 1 h",
    ),
}


@dataclass(frozen=True, slots=True)
class _Course:
    """Where a patient's observations start; they wander from there."""

    rate: tuple[int, int]
    spo2: tuple[int, int]
    sbp: tuple[int, int]
    pulse: tuple[int, int]
    temp_c: tuple[float, float]
    weight: int
    """How often it comes up."""


_COURSES = (
    _Course((12, 18), (96, 99), (112, 146), (62, 88), (36.3, 37.3), 10),  # well
    _Course((14, 18), (95, 99), (148, 186), (66, 92), (36.4, 37.2), 4),  # hypertensive
    _Course((18, 26), (92, 96), (98, 132), (92, 118), (38.0, 39.4), 4),  # febrile
    _Course((22, 30), (89, 94), (86, 108), (108, 134), (38.3, 39.8), 2),  # septic
    _Course((20, 28), (87, 92), (118, 150), (84, 112), (36.6, 37.9), 2),  # lungs
    _Course((12, 16), (95, 99), (94, 122), (42, 58), (36.1, 36.9), 2),  # bradycardic
    _Course((14, 20), (94, 98), (92, 118), (96, 122), (36.2, 37.2), 2),  # bleeding or dry
    _Course((10, 14), (93, 97), (98, 124), (52, 74), (34.6, 36.0), 1),  # cold
)


@dataclass(kw_only=True, slots=True)
class _Observation:
    """One row of the chart."""

    rate: int
    spo2: int
    liters: int
    """Of oxygen per minute; 0: room air."""
    sbp: int
    dbp: int
    pulse: int
    temp_c: float
    consciousness: str
    """A C V P U, as NEWS2 has it."""
    pain: int

    def points(self, hypercapnic: bool) -> list[int]:
        return early_warning.parts(
            rate=self.rate, spo2=self.spo2, oxygen=self.liters > 0, sbp=self.sbp, pulse=self.pulse,
            alert=self.consciousness == "A", temp_c=self.temp_c, hypercapnic=hypercapnic,
        )  # fmt: skip


def _observations(rng: Random, course: _Course, count: int) -> list[_Observation]:
    """Draw a course over time."""
    rate, spo2, sbp = whole(rng, *course.rate), whole(rng, *course.spo2), whole(rng, *course.sbp)
    pulse, temp_c, pain = whole(rng, *course.pulse), stepped(rng, *course.temp_c, 0.1), rng.choice((0, 0, 2, 3, 5, 7))
    share = stepped(rng, 0.54, 0.66, 0.01)  # of the diastolic in the systolic pressure
    liters = rng.choice((1, 2, 2, 3, 4)) if spo2 < 94 or rng.random() < 0.15 else 0
    rows = []
    for _ in range(count):
        drowsy = rate >= 25 and sbp < 100
        rows.append(_Observation(
            rate=rate, spo2=spo2, liters=liters, sbp=sbp, dbp=round(sbp * share) + rng.randint(-3, 3),
            pulse=pulse, temp_c=temp_c, consciousness=rng.choice("ACV") if drowsy else "A", pain=pain,
        ))  # fmt: skip
        rate, spo2 = clamped(rate + rng.randint(-2, 2), 8, 36), clamped(spo2 + rng.randint(-1, 1), 84, 100)
        sbp, pulse = clamped(sbp + rng.randint(-9, 9), 76, 224), clamped(pulse + rng.randint(-7, 7), 38, 148)
        temp_c = round(min(max(temp_c + rng.randint(-2, 2) / 10, 34.2), 40.4), 1)
        pain = clamped(pain + rng.randint(-2, 1), 0, 10)
    return rows


def _cells(form: Form, rows: list[_Observation], american: bool, hypercapnic: bool) -> list[tuple[str, list[str]]]:
    """Register the observations; the first three always stand, the rest is the ward's custom."""
    rng = form.rng
    heat = [fahrenheit(row.temp_c) if american else row.temp_c for row in rows]
    sign = "F" if american else "C"
    scores = [row.points(hypercapnic) for row in rows]
    suffix = "%" if rng.random() < 0.4 else ""
    on_oxygen = [f"{row.liters} L" if row.liters else "RA" for row in rows]
    # With the score go all the observations that it is made of, so that it can be checked.
    scored = len(rows) > 1 and rng.random() < 0.35
    known = [
        ("bp", "BP", [f"{row.sbp}/{row.dbp}" for row in rows]),
        ("hr", rng.choice(("HR", "HR", "Pulse", "P")), [f"{row.pulse}" for row in rows]),
        ("rr", rng.choice(("RR", "RR", "Resp", "R")), [f"{row.rate}" for row in rows]),
        ("temp", rng.choice((f"Temp ({sign})", f"T °{sign}", f"Temp °{sign}")), [f"{degrees:.1f}" for degrees in heat]),
        ("spo2", rng.choice(("SpO2", "O2 sat", "Sat")), [f"{row.spo2}{suffix}" for row in rows]),
        ("oxygen", "O2", on_oxygen),
        ("map", "MAP", [f"{round((row.sbp + 2 * row.dbp) / 3)}" for row in rows]),
        ("pain", rng.choice(("Pain", "Pain /10")), [f"{row.pain}" for row in rows]),
        ("consciousness", rng.choice(("ACVPU", "LOC")), [row.consciousness for row in rows]),
        ("news2", rng.choice(("NEWS2", "NEWS")), [f"{sum(points)}" for points in scores]),
    ]
    if scored:
        kept = [*known[:6], known[8], known[9]] + ([known[7]] if rng.random() < 0.3 else [])
    else:
        kept = known[:3] + some(rng, known[3:8], 1, 5)
    kinds = {"news2": "score", "consciousness": "text", "oxygen": "text"}
    columns = []
    for key, label, values in kept:
        high = [key == "news2" and sum(points) >= 7 for points in scores]
        columns.append((label, [
            form.field(f"vitals.{number}.{key}", value, kinds.get(key, "value"), critical=high[number])
            for number, value in enumerate(values)
        ]))  # fmt: skip
    return columns


def _body(form: Form, patient: Patient, american: bool) -> None:
    """State weight, height and the body mass index that follows from both as they are written."""
    rng = form.rng
    kg, cm = round(patient.weight_kg + rng.randint(-9, 9) / 10, 1), round(patient.height_cm)
    bmi = body_mass_index(kg, cm)
    weight, height = f"{kg:.1f} kg", f"{cm} cm"
    if american and rng.random() < 0.7:
        inches = round(cm / 2.54)
        weight = f"{kg * 2.20462:.1f} lb ({kg:.1f} kg)"
        height = f"{inches // 12}'{inches % 12}\" ({cm} cm)"
    form.pairs([
        (rng.choice(("Weight", "Wt")), form.field("body.weight", weight, "value", critical=True)),
        (rng.choice(("Height", "Ht")), form.field("body.height", height, "value")),
        ("BMI", form.field("body.bmi", bmi + rng.choice(("", " kg/m2")), "value")),
    ])  # fmt: skip


def vital_sign_chart(form: Form, patient: Patient, on: date) -> None:
    """Write one day of observations, from a single set to eight."""
    rng = form.rng
    habits = Habits.drawn(rng)
    american = rng.random() < 0.5
    letterhead(form, TITLES, hospital=True, chance=0.3)
    brief = rng.random() < 0.5
    header(form, patient, on, brief=brief)
    pairs = []
    if rng.random() < 0.6:
        pairs.append((rng.choice(("Unit", "Ward", "Location")), form.field("ward", rng.choice(_WARDS), "text")))
    if rng.random() < 0.4:
        pairs.append(("Allergies", allergies(form, patient, reactions=not brief)))
    if pairs:
        form.pairs(pairs)
    course = rng.choices(_COURSES, weights=[course.weight for course in _COURSES])[0]
    rows = _observations(rng, course, rng.choice((1, 2, 3, 3, 4, 4, 5, 6) if brief else (3, 4, 4, 5, 6, 7, 8)))
    body = rng.random() < (0.9 if len(rows) == 1 else 0.55)
    if body and rng.random() < 0.5:
        _body(form, patient, american)
        body = False
    step = rng.choice((15, 30, 60)) if rng.random() < 0.3 else rng.choice((60, 120, 240, 240))
    start = rng.choice((0, 60, 360, 420, 480, 600, 840)) + rng.choice((0, 0, 15, 30, 5, 42))
    times = [
        form.field(f"vitals.{number}.time", habits.time(start + step * number + rng.choice((0, 0, 0, 2, 5))), "time")
        for number in range(len(rows))
    ]
    hypercapnic = all(86 <= row.spo2 <= 92 for row in rows) and rng.random() < 0.5
    columns = _cells(form, rows, american, hypercapnic)
    scored = any("NEWS" in label for label, _ in columns)
    if len(rows) == 1 and rng.random() < 0.6:
        form.pairs([(rng.choice(("Time", "Taken at")), times[0]), *((label, cells[0]) for label, cells in columns)])
    elif len(rows) == 1:
        grid(form, ["Time", *(label for label, _ in columns)], [[times[0], *(cells[0] for _, cells in columns)]])
    else:
        series(form, times, columns)
    if hypercapnic and scored:
        form.lines([f"SpO2 {form.field('spo2_scale', 'scale 2', 'text')} (target 88-92%)"])
    if body:
        _body(form, patient, american)
    _remarks(form, rows[-1].points(hypercapnic), scored)


def _remarks(form: Form, points: list[int], scored: bool) -> None:
    rng = form.rng
    if scored and rng.random() < 0.6:
        text = form.field("response", early_warning.response(points), "text", critical=sum(points) >= 7)
        form.paragraph(text, "Escalation:")
    elif rng.random() < 0.4:
        form.paragraph(f"{rng.choice(_NOTES['sick' if sum(points) >= 5 else 'well'])}.", "Note:")
    if rng.random() < 0.5:
        name = f"{provider(rng).split(',')[0].removeprefix('Dr. ')}, {rng.choice(('RN', 'LPN', 'CNA'))}"
        form.lines([f"{rng.choice(('Recorded by', 'RN', 'Signed', 'Initials'))}: {form.field('nurse', name, 'name')}"])
