"""Documents of an office visit: the sheet of a patient's diagnoses, and the progress note."""

from __future__ import annotations

from datetime import date, timedelta

from medvl.documents.forms.diagnoses import Diagnosis, drawn_diagnoses
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.medications import other_strength
from medvl.documents.forms.panels import LEANS, drawn_results
from medvl.documents.forms.patient import Patient, allergies, header
from medvl.documents.forms.pen import (
    Pen,
    letterhead,
    medication,
    medications,
    results_line,
    signature,
    state_vitals,
    vitals,
)
from medvl.documents.forms.regimens import Regimen, drawn_regimens
from medvl.types import Heading, Pairs

_SHEETS = ("Patient Diagnosis Sheet", "Problem List", "Diagnosis Sheet", "Diagnosis Summary", "Clinical Summary")


def diagnosis_sheet(form: Form, patient: Patient, on: date) -> None:
    """List diagnoses with their codes, vital signs and what is taken."""
    rng, pen = form.rng, Pen.drawn(form.rng)
    brief = rng.random() < 0.35
    diagnoses = drawn_diagnoses(rng, patient, on, rng.randint(1, 2) if brief else rng.randint(3, 7))
    if rng.random() < 0.3:
        diagnoses += drawn_diagnoses(rng, patient, on, 1, course="acute", beside=diagnoses)
    letterhead(form, _SHEETS, chance=0.2 if brief else 0.6)
    header(form, patient, on, dates=pen.dates, brief=brief)

    def problems() -> None:
        form.section(rng.choice(("Diagnoses", "DIAGNOSES", "Active Problems", "Problem List", "Dx")))
        _problems(form, patient, pen, diagnoses, on)

    def signs() -> None:
        found = vitals(form, patient, pen, diagnoses, most=3 if brief else 8)
        state_vitals(form, found, rng.choice(("Vitals:", "VS:", "VITALS:")))

    def drugs() -> None:
        form.section(rng.choice(("Medications", "MEDICATIONS", "Current Medications", "Current Meds")))
        medications(form, pen, drawn_regimens(rng, patient, diagnoses, 2 if brief else rng.randint(2, 7)))

    def reactions() -> None:
        form.paragraph(allergies(form, patient), rng.choice(("Allergies:", "ALLERGIES:")))

    def beside() -> None:
        """Diagnoses on the left, vital signs on the right."""
        start = len(form.blocks)
        form.section(rng.choice(("Diagnoses", "Active Problems")))
        words = [
            f"{form.field(f'diagnoses.{position}.name', pen.diagnosis(row), 'diagnosis')} "
            f"({form.field(f'diagnoses.{position}.code', row.code, 'code')})"
            for position, row in enumerate(diagnoses)
        ]
        form.lines(words)
        left = form.blocks[start:]
        right = [Heading(rng.choice(("Vitals", "VS"))), Pairs(vitals(form, patient, pen, diagnoses, most=7))]
        del form.blocks[start:]
        form.side_by_side(left, right)

    parts = [problems, signs] if brief and rng.random() < 0.5 else [problems, signs, drugs, reactions]
    if not brief and form.style is Style.two_columns and rng.random() < 0.6:
        parts = [beside, drugs, reactions]
    if rng.random() < 0.5:
        rng.shuffle(parts)
    for part in parts:
        part()
    if not brief:
        signature(form, ("Provider", "PCP", "Physician", "Attending"))


def _problems(form: Form, patient: Patient, pen: Pen, diagnoses: list[Diagnosis], on: date) -> None:
    rng = form.rng
    since, status = rng.random() < 0.4, rng.random() < 0.6
    rows = []
    for position, row in enumerate(diagnoses):
        path = f"diagnoses.{position}"
        cells = [
            form.field(f"{path}.name", pen.diagnosis(row), "diagnosis"),
            form.field(f"{path}.code", row.code, "code"),
        ]
        if since:
            earliest = max(patient.birth.year + max(18, row.ages[0]), on.year - 20)
            year = on.year if row.course != "chronic" else rng.randint(min(earliest, on.year), on.year)
            first = form.field(f"{path}.since", str(year), "date")
            cells.append(f"since {first}" if form.style in (Style.key_value, Style.free_text) else first)
        if status:
            known = "active" if row.course != "chronic" else rng.choice(("active", "stable", "controlled", "chronic"))
            cells.append(form.field(f"{path}.status", known, "text"))
        rows.append(cells)
    head = [rng.choice(("Diagnosis", "Problem", "Condition")), rng.choice(("ICD-10", "ICD-10-CM", "Code"))]
    form.table([*head, *(["Since"] if since else []), *(["Status"] if status else [])], rows)


_NOTES = ("Progress Note", "Office Visit Note", "Clinic Note", "SOAP Note", "Follow-up Visit")
_COMPLAINTS = {
    "uti": "dysuria and urinary frequency", "cellulitis": "redness and swelling of the right leg",
    "sinusitis": "facial pressure and nasal congestion", "bronchitis": "productive cough",
    "strep": "sore throat and fever", "influenza": "fever, cough and body aches", "zoster": "painful rash on the trunk",
    "bppv": "vertigo with head turning", "nausea": "nausea", "acne": "facial acne", "stone": "left flank pain",
    "hypok": "muscle cramps",
}  # fmt: skip
_WELL = ("No new complaints.", "Feeling well.", "Taking meds as directed.")
_EXAM = (
    "General: no acute distress.", "Lungs: clear bilaterally.", "CV: regular rate, no murmur.",
    "Abd: soft, non-tender.", "Ext: no edema.", "Neuro: alert and oriented x3.", "Skin: warm and dry.",
    "HEENT: moist mucous membranes.",
)  # fmt: skip


def progress_note(form: Form, patient: Patient, on: date) -> None:
    """Write a visit down as subjective, objective, assessment and plan."""
    rng, pen = form.rng, Pen.drawn(form.rng)
    brief = rng.random() < 0.3
    chronic = drawn_diagnoses(rng, patient, on, 1 if brief else rng.randint(2, 4))
    acute = drawn_diagnoses(rng, patient, on, 1, course="acute", beside=chronic) if rng.random() < 0.4 else []
    diagnoses = acute + chronic
    regimens = drawn_regimens(rng, patient, diagnoses, 2 if brief else 7)
    letterhead(form, _NOTES, hospital=False, chance=0.15 if brief else 0.6)
    header(form, patient, on, dates=pen.dates, brief=brief)
    full = rng.random() < 0.5
    leads = ("Subjective", "Objective", "Assessment", "Plan") if full else ("S", "O", "A", "P")
    if form.style is not Style.free_text and full:
        leads = tuple(lead.upper() for lead in leads)
    _subjective(form, patient, pen, diagnoses, acute, on, f"{leads[0]}:", brief=brief)
    state_vitals(form, vitals(form, patient, pen, diagnoses, most=4 if brief else 8, well=not acute), f"{leads[1]}:")
    if not brief:
        form.paragraph(_examined(form, diagnoses), rng.choice(("Exam:", "PE:")))
    known = {field.path: field.value for field in form.fields}
    measured = {"sbp": float(known["vitals.bp"].split("/")[0]), "hr": float(known["vitals.hr"])}
    if rng.random() < (0.3 if brief else 0.75):
        keys = [
            key for row in diagnoses for key in LEANS.get(row.key, {}) if key not in ("lymph", "ph", "pco2", "agap")
        ]
        keys = list(dict.fromkeys([*keys, *rng.sample(("hgb", "wbc", "k", "cr", "glu", "tsh"), 3)]))
        found = drawn_results(rng, keys[: 3 if brief else rng.randint(3, 6)], patient, on,
                              [row.key for row in diagnoses] + [row.drug.name for row in regimens])  # fmt: skip
        measured |= {key: result.value for key, result in found.items() if result.value is not None}
        form.paragraph(
            f"{results_line(form, pen, list(found.values()))}.", rng.choice(("Labs:", "Labs today:", "Data:"))
        )
    _plan(form, pen, diagnoses, regimens, measured, f"{leads[2]}/{leads[3]}:")
    back = on + timedelta(days=7 * rng.choice((1, 2, 4, 6, 8, 12) if not acute else (1, 1, 2)))
    lead = rng.choice(("Follow-up:", "F/U:", "RTC:", "Return visit:"))
    form.paragraph(form.field("follow_up.0.date", pen.day(back), "date"), lead)
    if not brief:
        signature(form, ("Electronically signed by", "Signed", "Provider", "Seen by"))


def _subjective(
    form: Form, patient: Patient, pen: Pen, diagnoses: list[Diagnosis], acute: list[Diagnosis], on: date, lead: str, *,
    brief: bool,
) -> None:  # fmt: skip
    rng = form.rng
    who = f"{patient.age(on)} y/o {'man' if patient.sex == 'M' else 'woman'}"
    if acute:
        complaint = form.field("complaint", _COMPLAINTS[acute[0].key], "text")
        lasted = form.field("complaint_days", str(rng.randint(2, 6)), "value")
        text = f"{who} with {complaint} for {lasted} days."
    else:
        complaint = form.field("complaint", rng.choice(
            ("routine follow-up", "medication follow-up", "annual visit", "chronic care visit")), "text")  # fmt: skip
        text = f"{who} here for {complaint}. {rng.choice(_WELL)}"
    if not brief:
        denied = rng.choice(("chest pain or dyspnea", "fever or chills", "weight loss", "syncope or palpitations"))
        text += f" Denies {'syncope' if acute and 'fever' in denied else denied}."
    form.paragraph(text, lead)
    if not brief or rng.random() < 0.4:
        form.paragraph(allergies(form, patient, reactions=rng.random() < 0.5), rng.choice(("Allergies:", "ALL:")))


def _examined(form: Form, diagnoses: list[Diagnosis]) -> str:
    rng = form.rng
    keys = {row.key for row in diagnoses}
    found = list(_EXAM)
    if "afib" in keys:
        found[2] = "CV: irregularly irregular, no murmur."
    if keys & {"copd", "bronchitis"}:
        found[1] = "Lungs: scattered expiratory wheezes."
    if "cellulitis" in keys:
        found[4] = "Ext: right leg warm and erythematous."
    if keys & {"hfref", "hfpef"}:
        found[4] = "Ext: trace pedal edema."
    if "strep" in keys:
        found[7] = "HEENT: tonsillar exudate."
    if "zoster" in keys:
        found[6] = "Skin: vesicles in a dermatomal pattern."
    if keys & {"eczema", "psoriasis", "acne"}:
        found[6] = "Skin: lesions as described."
    return " ".join(found[index] for index in sorted(rng.sample(range(len(found)), rng.randint(3, 5))))


def _plan(
    form: Form, pen: Pen, diagnoses: list[Diagnosis], regimens: list[Regimen], measured: dict[str, float], lead: str
) -> None:
    """Number the diagnoses, each with what is done about it: a drug goes on, changes or is started."""
    rng = form.rng
    coded, positions = rng.random() < 0.4, iter(range(len(regimens)))
    lines = []
    for number, row in enumerate(diagnoses):
        text = form.field(f"diagnoses.{number}.name", pen.diagnosis(row), "diagnosis")
        if coded:
            text += f" ({form.field(f'diagnoses.{number}.code', row.code, 'code')})"
        steps = [
            _step(form, pen, next(positions), regimen, measured) for regimen in regimens if regimen.indication is row
        ]
        lines.append(f"{number + 1}. {text}: " + "; ".join(steps or [rng.choice(_ADVICE)]) + ".")
    form.lines([lead, *lines])


_ADVICE = ("Stable, continue to monitor", "Supportive care", "Recheck at next visit", "Counseled, will follow")


# By what a drug's dose is steered: the finding, the limits between which it may go either way, and whether more of the
# drug is called for above them (1) or below (-1).
_PRESSURE, _SUGAR = ("sbp", 110.0, 135.0, 1), ("a1c", 6.5, 7.5, 1)
_STEERED = {
    **dict.fromkeys(("ACE inhibitor", "ARB", "ARNI", "dihydropyridine", "thiazide", "vasodilator", "alpha-2 agonist"),
                    _PRESSURE),
    **dict.fromkeys(("biguanide", "sulfonylurea", "GLP-1 agonist", "SGLT2 inhibitor", "DPP-4 inhibitor",
                     "thiazolidinedione", "basal insulin", "mealtime insulin"), _SUGAR),
    **dict.fromkeys(("beta blocker", "nonselective beta blocker", "non-dihydropyridine"), ("hr", 60.0, 90.0, 1)),
    "statin": ("ldl", 70.0, 100.0, 1), "thyroid hormone": ("tsh", 0.4, 4.5, 1), "antithyroid": ("tsh", 0.4, 4.5, -1),
    "xanthine oxidase inhibitor": ("uric", 4.0, 6.0, 1), "potassium": ("k", 3.5, 5.0, -1), "MRA": ("k", 3.5, 5.0, -1),
    "anticoagulant": ("pt", 24.4, 36.6, -1), "mood stabilizer": ("lithium", 0.6, 1.2, -1),
}  # fmt: skip


def direction(regimen: Regimen, measured: dict[str, float]) -> int:
    """Return which way a dose may be changed after what was measured: up (1), down (-1) or either (0)."""
    key, low, high, sign = _STEERED.get(regimen.drug.group, ("", 0.0, 0.0, 0))
    if key == "a1c" and key not in measured:
        key, low, high = "glu", 100.0, 160.0
    value = measured.get(key)
    return 0 if value is None or low <= value <= high else sign if value > high else -sign


def _step(form: Form, pen: Pen, position: int, regimen: Regimen, measured: dict[str, float]) -> str:
    rng, path = form.rng, f"medications.{position}"
    course = regimen.indication is not None and regimen.indication.course == "acute"
    changed = other_strength(rng, regimen, direction(regimen, measured)) if not course and rng.random() < 0.2 else None
    word = "Start" if course else "Change" if changed else rng.choice(("Continue", "Continue", "Cont"))
    words = medication(form, pen, position, regimen)
    action = form.field(f"{path}.action", word, "action")
    text = f"{action} {' '.join(words)}"
    if changed is not None:
        text += f" to {form.field(f'{path}.new_dose', changed.dose, 'dose', critical=True)}"
    if regimen.drug.days and course:
        text += f" x {form.field(f'{path}.days', rng.choice(regimen.drug.days.split()), 'value')} days"
    return text
