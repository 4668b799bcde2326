"""The operative note: what was done, by whom, for how long, what was found, and the orders that follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from medvl.documents.forms import orders
from medvl.documents.forms.charting import Habits, capitalised, halves, physician, some, stepped, whole
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.operations import AFTERCARE, ANTIBIOTICS, OPERATIONS, Operation
from medvl.documents.forms.patient import Patient, allergies, header, provider
from medvl.documents.forms.pen import letterhead

TITLES = ("OPERATIVE NOTE", "Operative Report", "OPERATIVE REPORT", "Brief Operative Note", "Op Note",
          "Report of Operation", "Postoperative Note")  # fmt: skip
_LENGTH = re.compile(r"\{(\d+)-(\d+) ([^}]+)\}")
_FLUIDS = ("LR", "Lactated Ringer's", "NS", "Plasma-Lyte", "crystalloid")
_POSITIONS = {
    "Obstetrics": "supine with left uterine displacement", "Urology": "in dorsal lithotomy",
    "Gynecology": "in dorsal lithotomy", "Neurosurgery": "prone on a Wilson frame",
}  # fmt: skip
_COMPLICATIONS = ("None", "None", "None", "None apparent", "None immediate", "None known")
_DIETS = ("Clear liquids, advance as tolerated", "NPO except meds", "Regular diet", "Ice chips only", "Cardiac diet")
_DISPOSITIONS = ("PACU, stable", "PACU in stable condition", "PACU, extubated", "Surgical floor", "Step-down unit")


@dataclass(kw_only=True, slots=True)
class _Note:
    form: Form
    patient: Patient
    habits: Habits
    operation: Operation
    side: str
    """Right, left, or empty."""
    age: int
    minutes: int
    """From incision to closure."""

    def sided(self, text: str) -> str:
        if not self.side:
            return text
        return self.form.rng.choice(
            (f"{text}, {self.side.lower()}", f"{text}, {self.side[0]}", f"{text} ({self.side})")
        )

    def team(self) -> None:
        form, rng, operation = self.form, self.form.rng, self.operation
        before = self.sided(rng.choice(operation.diagnoses))
        after = rng.choice(("Same", "Same", before))
        pairs = [
            (rng.choice(("Preoperative Dx", "Pre-op Diagnosis", "Preop Dx")),
             form.field("preoperative_diagnosis", before, "diagnosis")),
            (rng.choice(("Postoperative Dx", "Post-op Diagnosis", "Postop Dx")),
             form.field("postoperative_diagnosis", after, "diagnosis")),
            (rng.choice(("Procedure", "Operation", "Procedure performed")),
             form.field("procedure", self.sided(rng.choice(operation.names)), "procedure", critical=True)),
            ("Surgeon", form.field("surgeon", physician(rng), "name")),
        ]  # fmt: skip
        if rng.random() < 0.7:
            pairs.append((rng.choice(("Assistant", "First assist", "Asst")),
                          form.field("assistant", provider(rng), "name")))  # fmt: skip
        pairs.append(("Anesthesia", form.field("anesthesia.type", rng.choice(operation.anesthesia), "text")))
        if rng.random() < 0.6:
            pairs.append(("Anesthesiologist", form.field("anesthesia.provider", physician(rng), "name")))
        if rng.random() < 0.5:
            low = 3 if operation.specialty in ("Cardiac Surgery", "Vascular Surgery") else 1 + (self.age > 40)
            asa = f"{rng.choice(('', 'ASA '))}{min(4, rng.randint(low, low + 1))}{'E' if operation.urgent else ''}"
            pairs.append(("ASA class", form.field("anesthesia.asa", asa, "value")))
        if form.style is Style.two_columns:
            for label, value in pairs[:3]:
                form.paragraph(value, f"{label}:")
            pairs = pairs[3:]
        form.pairs(pairs)

    def times(self) -> None:
        form, rng, habits, operation = self.form, self.form.rng, self.habits, self.operation
        minutes = self.minutes
        start = rng.randint(0, 1380) if operation.urgent and rng.random() < 0.4 else rng.randint(435, 960)
        labels = rng.choice((("Incision", "Closure"), ("Start", "End"), ("Time in", "Time out"), ("Cut", "Close")))
        form.pairs([
            (labels[0], form.field("times.start", habits.time(start), "time")),
            (labels[1], form.field("times.end", habits.time(start + minutes), "time")),
            (rng.choice(("Duration", "Operative time", "Total time")),
             form.field("times.duration", habits.duration(minutes, rng), "value")),
        ])  # fmt: skip

    def fluids(self) -> None:
        form, rng, habits, operation = self.form, self.form.rng, self.habits, self.operation
        low, high = operation.ebl_ml
        ebl = whole(rng, low, high, 5 if high <= 100 else 25)
        crystalloid = whole(rng, 500, 1600, 50) + 100 * (ebl // 100)
        pairs = [("EBL", form.field("blood_loss", habits.volume(ebl), "value"))]
        fluid = rng.choice(_FLUIDS)
        pairs.append((rng.choice(("IV fluids", "IVF", "Fluids")),
                      form.field("fluids", f"{habits.volume(crystalloid)} {fluid}", "value")))  # fmt: skip
        if operation.specialty != "Urology" and rng.random() < 0.75:
            pairs.append((rng.choice(("UOP", "Urine output")),
                          form.field("urine_output", habits.volume(whole(rng, 50, 650, 25)), "value")))  # fmt: skip
        if ebl >= 500 and operation.specialty != "Obstetrics" and rng.random() < 0.7:
            units = rng.randint(1, 3)
            blood = f"PRBC {units} unit{'s' * (units > 1)}"
            pairs.append(("Blood products", form.field("blood_products", blood, "dose", critical=True)))
        form.pairs(pairs)

    def measures(self) -> None:
        form, rng, operation = self.form, self.form.rng, self.operation
        pairs = []
        for path, label, low, high, step, unit in operation.measures:
            amount = whole(rng, low, high, int(step))
            if unit == "min":  # no tourniquet or clamp outlasts the operation
                amount = min(amount, round(0.8 * self.minutes))
            value = f"{self.habits.amount(amount)} {unit}".strip()
            pairs.append((label, form.field(path, value, "value")))
        if pairs:
            form.pairs(pairs)

    def findings(self) -> None:
        form, rng = self.form, self.form.rng
        chosen = some(rng, self.operation.findings, 2, 4)
        told = [
            form.field(f"findings.{number}.finding", _LENGTH.sub(self._length, text), "finding")
            for number, text in enumerate(chosen)
        ]
        lead = rng.choice(("Findings", "Operative findings", "Intraoperative findings"))
        if rng.random() < 0.5:
            form.paragraph(". ".join(told) + ".", f"{self.habits.head(lead)}:")
        else:
            form.section(self.habits.head(lead))
            form.lines(told, bullet="- ")

    def _length(self, match: re.Match[str]) -> str:
        low, high, unit = int(match[1]), int(match[2]), match[3]
        rng = self.form.rng
        number = stepped(rng, low, high, 0.1) if unit == "cm" and high < 20 else whole(rng, low, high)
        if unit == "mL":
            return self.habits.volume(10 * (round(number) // 10))
        return f"{number:g}%" if unit == "%" else f"{number:g} {unit}"

    def removed(self) -> None:
        """State specimens, drains, complications and counts."""
        form, rng, operation = self.form, self.form.rng, self.operation
        specimen = ", ".join(operation.specimen) or "None"
        drain = rng.choice(operation.drains or ("None",))
        pairs = [
            (rng.choice(("Specimens", "Specimen", "Path")), form.field("specimens", specimen, "text")),
            ("Drains", form.field("drains", drain, "text")),
            ("Complications", form.field("complications", self._complication(), "text", critical=True)),
        ]
        if rng.random() < 0.4:
            pairs.append(("Counts", "correct x2"))
        if rng.random() < 0.6:
            pairs.append((rng.choice(("Disposition", "Transferred to", "Dispo")),
                          form.field("disposition", rng.choice(_DISPOSITIONS), "text")))  # fmt: skip
        form.pairs(pairs)

    def _complication(self) -> str:
        rng, operation = self.form.rng, self.operation
        if rng.random() < 0.1 and operation.specialty in ("General Surgery", "Colorectal Surgery"):
            return rng.choice(("Serosal tear, repaired", "Minor bleeding, controlled", "Enterotomy, repaired"))
        return rng.choice(_COMPLICATIONS)

    def implants(self) -> None:
        form, rng, operation = self.form, self.form.rng, self.operation
        rows = []
        for number, (name, sizes) in enumerate(operation.implants):
            rows.append([
                form.field(f"implants.{number}.name", name, "device"),
                form.field(f"implants.{number}.size", rng.choice(sizes.split("|")), "value"),
            ])  # fmt: skip
        if rows:
            grafts = operation.specialty == "Cardiac Surgery"
            form.section(self.habits.head("Grafts" if grafts else rng.choice(("Implants", "Hardware", "Implanted"))))
            form.table(["Graft" if grafts else "Implant", "Diameter" if grafts else "Size"], rows)

    def description(self) -> None:
        form, rng, operation = self.form, self.form.rng, self.operation
        posture = _POSITIONS.get(operation.specialty, "supine")
        opening = rng.choice((
            f"The patient was brought to the OR and placed {posture}.",
            f"After informed consent the patient was taken to the operating room and positioned {posture}.",
            f"Patient identified in holding, site marked, brought to room {rng.randint(1, 24)}, positioned {posture}.",
        ))  # fmt: skip
        prepped = rng.choice((
            "Prepped with chlorhexidine and draped in sterile fashion.",
            "The field was prepped and draped in the usual manner.",
        ))  # fmt: skip
        timed = rng.choice(("Time-out confirmed patient, procedure and site.", "A surgical time-out was completed."))
        closing = rng.choice((
            "Hemostasis was confirmed, the wound closed in layers and a dressing applied.",
            "The field was dry at closure. Counts were correct. The patient tolerated the procedure well.",
            "Closed with absorbable suture; sterile dressing. Patient awakened without incident.",
        ))  # fmt: skip
        form.paragraph(f"{opening} {prepped} {timed} {closing}", rng.choice(("Description:", "Procedure in detail:")))

    def aftercare(self, brief: bool) -> None:
        form, rng, operation = self.form, self.form.rng, self.operation
        bleeding = operation.specialty in ("Cardiac Surgery", "Neurosurgery", "Urology")
        fit = orders.suited(rng, [*ANTIBIOTICS, *AFTERCARE], self.patient)
        fit = [order for order in fit if not (bleeding and order.purpose in ("NSAID", "clots"))]
        fit = [order for order in fit if not (self.age >= 75 and order.purpose == "NSAID")]
        form.section(self.habits.head(rng.choice(("Post-op orders", "Postoperative orders", "Orders", "Plan"))))
        chosen = some(rng, fit, 1, 3) if brief else some(rng, fit, 3, 6)
        orders.state(form, [orders.words(form, f"orders.{number}", order) for number, order in enumerate(chosen)])
        if rng.random() < 0.6:
            diet = form.field("diet", rng.choice(_DIETS), "text")
            form.lines(
                [f"Diet: {diet}", rng.choice(("Ambulate POD 0", "OOB to chair", "Bed rest tonight", "PT/OT eval"))]
            )


def operative_note(form: Form, patient: Patient, on: date) -> None:
    """Write the note of one operation that suits the patient's sex and age."""
    rng, age = form.rng, patient.age(on)
    possible = [
        operation for operation in OPERATIONS
        if operation.sex in ("", patient.sex) and operation.ages[0] <= age <= operation.ages[1]
    ]  # fmt: skip
    operation, habits = rng.choice(possible), Habits.drawn(rng)
    side = rng.choice(("Right", "Left")) if operation.sided else ""
    note = _Note(form=form, patient=patient, habits=habits, operation=operation, side=side, age=age,
                 minutes=whole(rng, *operation.minutes))  # fmt: skip
    letterhead(form, TITLES, hospital=True, chance=0.45)
    brief = rng.random() < 0.35
    header(form, patient, on, brief=brief, day_labels=("Date of Surgery", "DOS", "Date of Operation", "Surgery Date"))
    if rng.random() < 0.4:
        form.pairs([("Service", operation.specialty), ("Allergies", allergies(form, patient, reactions=not brief))])
    note.team()
    if not brief and rng.random() < 0.5:
        halves(form, note.times, note.fluids)
    else:
        parts = [note.times, note.fluids]
        rng.shuffle(parts)
        for write in parts[: 1 if brief and rng.random() < 0.4 else 2]:
            write()
    middle = [note.findings, note.measures, note.implants, note.removed]
    if rng.random() < 0.4:
        rng.shuffle(middle)
    for write in some(rng, middle, 1, 3) if brief else middle:
        write()
    if not brief and rng.random() < 0.55:
        note.description()
    if rng.random() < 0.8:
        note.aftercare(brief)
    if rng.random() < 0.4:
        signed = form.fields[next(i for i, known in enumerate(form.fields) if known.path == "surgeon")].value
        form.lines([capitalised(rng.choice((f"dictated by {signed}", f"electronically signed: {signed}")))])
