"""The referral letter: one clinician asks another for help, mostly in prose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from medvl.documents.forms.charting import article, capitalised, halves, joined, physician, some
from medvl.documents.forms.diagnoses import DIAGNOSES, Diagnosis, drawn_diagnoses
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.panels import drawn_results
from medvl.documents.forms.patient import Patient, allergies, facility, header, phone, provider
from medvl.documents.forms.pen import Pen, letterhead, medication, results_line
from medvl.documents.forms.regimens import drawn_regimens

TITLES = ("Referral Letter", "Specialty Referral", "Consultation Request", "Referral", "Outpatient Referral",
          "Referral for Consultation")  # fmt: skip
_CLOSINGS = (
    "Thank you for seeing this pleasant patient.", "I appreciate your help with this patient's care.",
    "Please send a copy of your note to our office.", "Many thanks for your opinion.",
    "We will continue routine care in the meantime.",
)  # fmt: skip
_URGENCIES = ("Routine", "Routine", "Urgent", "Semi-urgent", "Expedited", "Within 2 weeks", "Within 4 weeks")


@dataclass(frozen=True, slots=True)
class _Need:
    """Why one specialty is asked; lists are parted by bars."""

    specialty: str
    diagnosis: str
    """Key of `DIAGNOSES`."""
    complaints: str
    requests: str
    tests: str
    """Keys of `ANALYTES` that a letter about it quotes."""
    signs: str


_NEEDS = (
    _Need("Endocrinology", "t2dm", "fasting sugars of 180 to 240 at home|rising HbA1c|polyuria",
          "insulin titration|CGM and medication review|diabetes management", "a1c glu cr egfr", "Monofilament reduced"),
    _Need("Endocrinology", "hyperthyroid", "weight loss and palpitations|tremor and heat intolerance",
          "evaluation and treatment|uptake scan and management", "tsh ft4 tpo", "Fine tremor, no proptosis"),
    _Need("Cardiology", "afib", "palpitations|fatigue with irregular pulse", "rhythm control|ablation evaluation",
          "tsh k mg hgb", "Irregularly irregular rhythm"),
    _Need("Cardiology", "hfref", "dyspnea on one flight of stairs|orthopnea", "optimization of GDMT|device evaluation",
          "bnp k cr na", "JVP 9 cm, 1+ edema"),
    _Need("Cardiology", "cad", "exertional chest pressure|angina relieved by rest", "stress testing|angiography",
          "ldl hdl tc a1c", "Lungs clear, no murmur"),
    _Need("Nephrology", "ckd4", "progressive fatigue|ankle swelling", "CKD management|dialysis planning",
          "cr egfr bun k hgb phos", "Trace edema, BP above goal"),
    _Need("Nephrology", "dkd", "foamy urine|rising creatinine on two checks",
          "albuminuria management|renal biopsy opinion",
          "cr egfr uacr a1c", "No edema"),
    _Need("Gastroenterology", "ida", "fatigue and intermittent melena|dyspnea on exertion", "EGD and colonoscopy",
          "hgb mcv ferritin iron", "Conjunctival pallor"),
    _Need("Gastroenterology", "gerd", "daily heartburn|nocturnal regurgitation", "EGD|pH testing",
          "hgb alt", "Mild epigastric tenderness"),
    _Need("Hepatology", "cirrhosis", "abdominal distension|easy bruising", "variceal screening|HCC surveillance",
          "plt alb tbil inr", "Spider angiomata, no asterixis"),
    _Need("Rheumatology", "ra", "morning stiffness over one hour|swollen MCP joints",
          "DMARD initiation|biologic therapy",
          "crp esr hgb", "Synovitis of MCP 2-3 bilaterally"),
    _Need("Rheumatology", "gout", "repeated flares|recurrent podagra", "urate-lowering therapy",
          "uric cr egfr", "Tophus at left elbow"),
    _Need("Pulmonology", "copd", "repeated exacerbations|dyspnea on level ground", "PFTs|oxygen assessment",
          "wbc hgb co2", "Prolonged expiration, no wheeze"),
    _Need("Pulmonology", "asthma", "nightly cough|frequent albuterol use", "spirometry|step-up therapy",
          "eos wbc", "Scattered expiratory wheeze"),
    _Need("Sleep Medicine", "osa", "loud snoring and daytime sleepiness|witnessed apneas",
          "polysomnography|CPAP titration",
          "tsh co2", "Mallampati 4, neck 43 cm"),
    _Need("Neurology", "migraine", "frequent disabling headaches|aura with visual changes", "preventive therapy|Botox",
          "tsh esr", "Nonfocal neurologic exam"),
    _Need("Neurology", "epilepsy", "two breakthrough seizures|staring spells", "EEG and medication review",
          "na glu", "Nonfocal neurologic exam"),
    _Need("Neurosurgery", "radiculopathy", "leg pain with numbness|pain below the knee on walking", "surgical opinion",
          "crp", "Straight leg raise positive at 40 degrees"),
    _Need("Orthopaedic Surgery", "oa", "knee pain limiting stairs|pain at rest",
          "knee replacement evaluation|injection",
          "crp hgb", "Crepitus, flexion to 105 degrees"),
    _Need("Urology", "bph", "nocturia four times nightly|weak stream", "cystoscopy|surgical options", "psa cr",
          "Prostate enlarged, smooth"),
    _Need("Gynecology", "endometriosis", "dysmenorrhea and dyspareunia|pelvic pain", "laparoscopy|hormonal therapy",
          "hgb ferritin", "Adnexal tenderness"),
    _Need("Dermatology", "psoriasis", "spreading plaques|scalp involvement", "biologic therapy|phototherapy",
          "alt wbc", "Plaques over 8% BSA"),
    _Need("Psychiatry", "mdd", "persistent low mood|poor sleep and appetite", "medication management",
          "tsh vb12", "Flat affect, no SI"),
    _Need("Hematology", "b12", "paresthesias|macrocytosis on two counts", "workup of anemia", "hgb mcv vb12", "Pallor"),
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class _Letter:
    form: Form
    patient: Patient
    on: date
    need: _Need
    main: Diagnosis
    others: list[Diagnosis]
    pen: Pen
    brief: bool

    def addresses(self) -> None:
        """State who writes to whom."""
        form, rng = self.form, self.form.rng
        to = form.field("recipient.name", physician(rng), "name")
        specialty = form.field("recipient.specialty", self.need.specialty, "text")
        sender = form.field("provider.name", provider(rng), "name")
        line = f"{to}, {specialty}"
        if rng.random() < 0.5:
            line += f", {form.field('recipient.facility', facility(rng), 'name')}"
        pairs = [("To", line), ("From", sender)]
        if rng.random() < 0.4:
            pairs.append((rng.choice(("Fax", "Office fax", "Ph")), form.field("sender.phone", phone(rng), "phone")))
        urgency = form.field("urgency", rng.choice(_URGENCIES), "text", critical=False)
        pairs.append((rng.choice(("Urgency", "Priority")), urgency))
        if form.style in (Style.free_text, Style.key_value):
            form.lines([f"{label}: {value}" for label, value in pairs])
        else:
            form.pairs(pairs)

    def reason(self) -> None:
        form, rng, need = self.form, self.form.rng, self.need
        name = form.field("diagnosis", self.pen.diagnosis(self.main), "diagnosis")
        request = form.field("request", rng.choice(need.requests.split("|")), "text")
        complaint = form.field("complaint", rng.choice(need.complaints.split("|")), "text")
        span = form.field("duration", f"{rng.randint(2, 11)} {rng.choice(('weeks', 'months'))}", "value")
        age, who = self.patient.age(self.on), {"M": "man", "F": "woman"}[self.patient.sex]
        they, their = {"M": ("He", "his"), "F": ("She", "her")}[self.patient.sex]
        code = ""
        if rng.random() < 0.4:
            code = f" ({form.field('icd10', self.main.code, 'code')})"
        texts = (
            f"I would be grateful for your help with this {age}-year-old {who} with {name}{code}. {they} reports "
            f"{complaint} for {span}. I am requesting {request}.",
            f"Kindly see this patient, {article(age)} {age} y/o {who}, for {request}. Diagnosis: {name}{code}. "
            f"Symptoms over the past {span}: {complaint}.",
            f"Reason: {name}{code}. Over {span} the patient has noted {complaint}, which interferes with {their} daily "
            f"routine. Please evaluate for {request}.",
        )  # fmt: skip
        greeting = "Dear colleague,\n" if rng.random() < 0.4 else ""
        form.paragraph(greeting + rng.choice(texts))

    def history(self) -> None:
        form, rng = self.form, self.form.rng
        if not self.others:
            return
        past = [
            form.field(f"history.{number}", self.pen.diagnosis(known), "diagnosis")
            for number, known in enumerate(self.others)
        ]  # fmt: skip
        they = {"M": "His", "F": "Her"}[self.patient.sex]
        form.paragraph(rng.choice((f"Past history: {'; '.join(past)}.", f"{they} history includes {joined(past)}.")))

    def medications(self) -> None:
        form, rng, pen = self.form, self.form.rng, self.pen
        regimens = drawn_regimens(
            rng, self.patient, [self.main, *self.others], rng.randint(1, 3 if self.brief else 7), courses=False
        )
        rows = [medication(form, pen, number, regimen) for number, regimen in enumerate(regimens)]
        if not rows:
            form.paragraph("None.", "Medications:")
        elif form.style in (Style.ruled_table, Style.table) and len(rows) > 2:
            form.table(["Medication", "Dose", "Route", "Frequency"], rows)
        else:
            told = [" ".join(row) for row in rows]
            lead = rng.choice(("Current medications are", "The patient takes", "Medications:"))
            form.paragraph(f"{lead} {joined(told)}.")

    def allergies(self) -> None:
        form, rng = self.form, self.form.rng
        told = allergies(form, self.patient, reactions=not self.brief)
        if self.patient.allergies and rng.random() < 0.4:
            form.paragraph(f"Please note allergies to {told}.")
        else:
            form.paragraph(f"{told}.", rng.choice(("Allergies:", "ALLERGIES:", "Allergy:")))

    def results(self) -> None:
        form, rng, need = self.form, self.form.rng, self.need
        keys = some(rng, need.tests.split(), 1, 5)
        conditions = {known.key for known in (self.main, *self.others)}
        found = drawn_results(rng, keys, self.patient, self.on, conditions)
        when = self.pen.day(self.on - timedelta(days=rng.randint(1, 40)))
        day = form.field("results_date", when, "date")
        told = results_line(form, self.pen, [found[key] for key in keys if found[key].value is not None])
        form.paragraph(rng.choice((
            f"Recent results ({day}): {told}.", f"Labs from {day}: {told}.", f"On {day}: {told}.",
        )))  # fmt: skip
        if rng.random() < 0.5:
            form.paragraph(f"{need.signs}.", "Exam:")


def referral_letter(form: Form, patient: Patient, on: date) -> None:
    """Write a letter to the specialty that one of the patient's diagnoses calls for."""
    rng = form.rng
    need = rng.choice([need for need in _NEEDS if DIAGNOSES[need.diagnosis].suits(patient, on)])
    main, brief = DIAGNOSES[need.diagnosis], rng.random() < 0.4
    others = drawn_diagnoses(rng, patient, on, rng.randint(0, 2 if brief else 5), beside=[main])
    pen = Pen.drawn(rng)
    letter = _Letter(
        form=form, patient=patient, on=on, need=need, main=main, others=others, pen=pen, brief=brief
    )  # fmt: skip
    letterhead(form, TITLES, hospital=False, chance=0.5)
    if rng.random() < 0.5:
        letter.addresses()
        header(form, patient, on, dates=pen.dates, brief=brief)
    else:
        header(form, patient, on, dates=pen.dates, brief=brief)
        letter.addresses()
    letter.reason()
    parts: list[Callable[[], None]] = [letter.history, letter.medications, letter.allergies, letter.results]
    parts = some(rng, parts, 2, 3) if brief else parts
    if rng.random() < 0.3:
        rng.shuffle(parts)
    if letter.medications in parts and letter.allergies in parts and rng.random() < 0.5:
        parts = [write for write in parts if write not in (letter.medications, letter.allergies)]
        parts.insert(rng.randint(0, len(parts)), lambda: halves(form, letter.medications, letter.allergies))
    for write in parts:
        write()
    if rng.random() < 0.6:
        form.paragraph(" ".join(some(rng, _CLOSINGS, 1, 2)))
    if rng.random() < 0.5:
        sender = next(field.value for field in form.fields if field.path == "provider.name")
        form.lines([capitalised(rng.choice(("sincerely,", "with thanks,", "best regards,"))), sender])
    elif rng.random() < 0.3:
        form.lines([rng.choice(("Enclosures: recent labs", "Encl: labs, ECG", "cc: patient chart"))])
