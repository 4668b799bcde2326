"""The discharge summary: why a patient was admitted, for how long, what was done and what follows."""

from __future__ import annotations

from datetime import date, timedelta

from medvl.documents.forms.diagnoses import Diagnosis, drawn_diagnoses
from medvl.documents.forms.form import Form
from medvl.documents.forms.panels import LEANS, drawn_results
from medvl.documents.forms.patient import Patient, allergies, header, provider
from medvl.documents.forms.pen import Pen, letterhead, medications, results_line, signature, state_vitals, vitals
from medvl.documents.forms.regimens import Regimen, after_days, drawn_regimens

# What was done, by the diagnosis that led to admission.
_COURSE = {
    "cap": "Chest X-ray showed a lobar infiltrate. Treated with IV antibiotics, then changed to oral therapy.",
    "copdexac": "Treated with nebulized bronchodilators and steroids. Weaned to room air before discharge.",
    "hfacute": "Diuresed with IV furosemide with good urine output. Weight and edema improved.",
    "nstemi": "Cardiac catheterization with stent to the culprit lesion. No recurrent chest pain.",
    "stroke": "CT head without hemorrhage. Deficits improved with therapy. Swallow screen passed.",
    "pe": "CT angiogram confirmed segmental emboli. Hemodynamically stable on anticoagulation.",
    "dvt": "Duplex showed left femoral thrombus. Anticoagulation was started without bleeding.",
    "pyelo": "Urine culture grew E. coli. Afebrile for 24 hours before discharge.",
    "sepsis": "Resuscitated with IV fluids and broad-spectrum antibiotics. Blood cultures cleared.",
    "cdiff": "Stool toxin positive. Diarrhea improved on therapy. Contact precautions observed.",
    "diverticulitis": "CT showed uncomplicated sigmoid diverticulitis. Diet advanced without pain.",
    "pancreatitis": "Managed with IV fluids and bowel rest. Pain resolved and diet was advanced.",
    "gib": "EGD showed a clean-based ulcer. Hemoglobin stable, no further bleeding.",
    "dka": "Treated with insulin drip and IV fluids. Gap closed, bridged to subcutaneous insulin.",
    "aki": "Thought prerenal. Creatinine fell with IV fluids. Nephrotoxins were held.",
    "hypona": "Fluid restriction with slow correction of sodium. Mental status back to baseline.",
    "hip": "Underwent right hip hemiarthroplasty without complication. Weight bearing as tolerated.",
    "covid": "Required supplemental oxygen, weaned to room air. Isolation precautions observed.",
}
# Fewest days of a stay.
_SHORTEST = {
    "hip": 3, "sepsis": 3, "nstemi": 2, "stroke": 2, "hfacute": 2, "pancreatitis": 2, "gib": 2, "dka": 2, "cap": 2,
}  # fmt: skip
_CLINICS = {
    "cap": "Pulmonology", "copdexac": "Pulmonology", "hfacute": "Cardiology", "nstemi": "Cardiology",
    "stroke": "Neurology", "pe": "Hematology", "dvt": "Vascular clinic", "pyelo": "Urology",
    "cdiff": "Infectious disease", "diverticulitis": "Surgery clinic", "pancreatitis": "Gastroenterology",
    "gib": "Gastroenterology", "dka": "Endocrinology", "aki": "Nephrology", "hypona": "Nephrology",
    "hip": "Orthopedics", "covid": "Pulmonology", "sepsis": "Infectious disease",
}  # fmt: skip
_TITLES = ("Discharge Summary", "Hospital Discharge Summary", "Discharge Note", "Discharge Report")


def discharge(form: Form, patient: Patient, on: date) -> None:
    """Sum up a stay that ends on `on`; its length in days is the difference of its dates."""
    rng, pen = form.rng, Pen.drawn(form.rng)
    brief = rng.random() < 0.25
    days = rng.choices(range(1, 15), weights=(6, 9, 10, 10, 8, 6, 5, 4, 3, 2, 2, 1, 1, 1))[0]
    (principal,) = drawn_diagnoses(rng, patient, on - timedelta(days=days), 1, course="admitted")
    days = max(days, _SHORTEST.get(principal.key, 1))
    admitted = on - timedelta(days=days)
    others = drawn_diagnoses(rng, patient, admitted, rng.randint(0, 1 if brief else 5), beside=[principal])
    regimens = drawn_regimens(rng, patient, [principal, *others], 2 if brief else rng.randint(3, 8))
    regimens = [after_days(regimen, days) for regimen in regimens]
    letterhead(form, _TITLES, hospital=True, chance=0.15 if brief else 0.7)
    header(form, patient, on, dates=pen.dates, brief=brief, day_labels=("Date", "Date of Report", "Report Date"))
    form.pairs([
        (rng.choice(("Admitted", "Admission Date", "Date of Admission")),
         form.field("admission.date", pen.day(admitted), "date")),
        (rng.choice(("Discharged", "Discharge Date", "Date of Discharge")),
         form.field("discharge.date", pen.day(on), "date")),
        (rng.choice(("LOS", "Length of Stay")),
         f"{form.field('stay_days', str(days), 'value')} day{'s' if days > 1 else ''}"),
    ])  # fmt: skip
    _diagnoses(form, pen, principal, others)
    parts = [_hospital_course, _state, _discharge_medications]
    if brief:
        _discharge_medications(form, patient, pen, principal, others, regimens, admitted)
    else:
        if rng.random() < 0.3:
            parts[1], parts[2] = parts[2], parts[1]
        for part in parts:
            part(form, patient, pen, principal, others, regimens, admitted)
    _follow_up(form, pen, principal, on, brief=brief)
    if not brief:
        signature(form, ("Attending", "Attending Physician", "Dictated by", "Discharging Provider"))


def _diagnoses(form: Form, pen: Pen, principal: Diagnosis, others: list[Diagnosis]) -> None:
    rng = form.rng
    coded = rng.random() < 0.5
    lines = []
    for position, row in enumerate([principal, *others]):
        text = form.field(f"diagnoses.{position}.name", pen.diagnosis(row), "diagnosis")
        if coded:
            text += f" ({form.field(f'diagnoses.{position}.code', row.code, 'code')})"
        lines.append(text)
    if rng.random() < 0.5:
        form.paragraph(lines[0], rng.choice(("Principal Diagnosis:", "Primary Dx:", "Admitted for:")))
        if others:
            form.paragraph("; ".join(lines[1:]), rng.choice(("Secondary Diagnoses:", "Other Dx:", "PMH:")))
    else:
        form.section(rng.choice(("Discharge Diagnoses", "Diagnoses", "Final Diagnoses", "DIAGNOSES")))
        form.lines([f"{number}. {line}" for number, line in enumerate(lines, 1)])


def _hospital_course(
    form: Form,
    patient: Patient,
    pen: Pen,
    principal: Diagnosis,
    others: list[Diagnosis],
    regimens: list[Regimen],
    admitted: date,
) -> None:
    rng = form.rng
    opening = rng.choice(("Patient was admitted from the ED.", "Admitted via the emergency department.",
                          "Admitted from clinic.", "Transferred from an outside facility."))  # fmt: skip
    text = f"{opening} {_COURSE[principal.key]}"
    if rng.random() < 0.6:
        keys = list(dict.fromkeys(["wbc", "hgb", "k", "cr", *LEANS.get(principal.key, {})]))
        keys = [key for key in keys if key not in ("agap", "lymph", "ph", "pco2")]
        rng.shuffle(keys)
        found = drawn_results(rng, keys[: rng.randint(2, 4)], patient, admitted,
                              [principal.key, *(row.key for row in others)])  # fmt: skip
        text += f" Admission labs: {results_line(form, pen, list(found.values()))}."
    form.section(rng.choice(("Hospital Course", "HOSPITAL COURSE", "Brief Hospital Course")))
    form.paragraph(text)


def _state(
    form: Form,
    patient: Patient,
    pen: Pen,
    principal: Diagnosis,
    others: list[Diagnosis],
    regimens: list[Regimen],
    admitted: date,
) -> None:
    rng = form.rng
    state_vitals(form, vitals(form, patient, pen, others, most=6), rng.choice(("Discharge Vitals:", "Vitals at D/C:")))
    went = form.field("disposition", rng.choice(
        ("Skilled nursing facility", "Acute rehab", "Home with PT") if principal.key in ("hip", "stroke")
        else ("Home", "Home", "Home with family", "Home with home health")), "text")  # fmt: skip
    state = form.field("condition", rng.choice(("Stable", "Good", "Improved", "Fair")), "text")
    form.pairs([(rng.choice(("Disposition", "Discharged to")), went), (rng.choice(("Condition", "Status")), state)])


def _discharge_medications(
    form: Form,
    patient: Patient,
    pen: Pen,
    principal: Diagnosis,
    others: list[Diagnosis],
    regimens: list[Regimen],
    admitted: date,
) -> None:
    rng = form.rng
    form.paragraph(allergies(form, patient, reactions=rng.random() < 0.5), rng.choice(("Allergies:", "ALLERGIES:")))
    form.section(rng.choice(("Discharge Medications", "DISCHARGE MEDICATIONS", "Meds at Discharge", "D/C Meds")))
    medications(form, pen, regimens)


def _follow_up(form: Form, pen: Pen, principal: Diagnosis, on: date, *, brief: bool) -> None:
    rng = form.rng
    whom = [(rng.choice(("PCP", "Primary care")), rng.randint(5, 14)), (_CLINICS[principal.key], rng.randint(10, 42))]
    lines = []
    for position, (clinic, wait) in enumerate(whom[: 1 if brief else rng.randint(1, 2)]):
        day = on + timedelta(days=wait)
        day -= timedelta(days=max(0, day.weekday() - 4))  # no appointments at weekends
        text = form.field(f"follow_up.{position}.clinic", clinic, "text")
        if not brief and rng.random() < 0.4:
            text += f" ({form.field(f'follow_up.{position}.provider', provider(rng), 'name')})"
        lines.append(f"{text} on {form.field(f'follow_up.{position}.date', pen.day(day), 'date')}")
    if brief:
        form.paragraph(f"{lines[0]}.", rng.choice(("Follow-up:", "F/U:")))
        return
    form.section(rng.choice(("Follow-up", "FOLLOW-UP", "Follow Up Appointments", "F/U")))
    form.lines(lines, bullet=rng.choice(("", "- ")))
    if rng.random() < 0.5:
        form.paragraph(rng.choice((
            "Return to the ED for fever, chest pain or shortness of breath.", "Call with any worsening of symptoms.",
            "Activity as tolerated. Regular diet.", "Low sodium diet. Daily weights.",
        )))  # fmt: skip
