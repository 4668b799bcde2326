"""The ICU flowsheet: ventilator, hemodynamics, drips, blood gas, neurology and fluid balance, all adding up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from medvl.documents.forms.charting import Habits, clamped, halves, series, some, stepped, tabular, whole
from medvl.documents.forms.critical_care import DRIPS, SEDATIVES
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.patient import Patient, allergies, header, provider
from medvl.documents.forms.pen import letterhead
from medvl.documents.forms.respiratory import Stay, blood_gas, ventilator

TITLES = ("ICU FLOWSHEET", "ICU Flowsheet", "Critical Care Flowsheet", "MICU Flow Sheet", "Intensive Care Flowsheet",
          "ICU 24-Hour Flowsheet", "Critical Care Nursing Flowsheet")  # fmt: skip
_GOALS = ("0 to -1", "-1 to -2", "-2")
_Way = tuple[tuple[str, ...], int, int, int]
# Rows of what goes in or comes out: names, and low, high, step in mL over twelve hours.
_INTAKE: tuple[_Way, ...] = (
    (("IVF (LR)", "Maintenance IV", "NS maintenance", "Crystalloid"), 300, 1500, 25),
    (("IVPB", "Antibiotics IVPB", "IV meds"), 50, 400, 50),
    (("Tube feeds", "Enteral", "NG feeds"), 120, 720, 10),
    (("PRBC", "Blood products", "FFP"), 250, 900, 10),
    (("PO", "Oral"), 60, 600, 20),
    (("Flushes", "Free water"), 60, 300, 30),
    (("Albumin 5%", "Bolus LR"), 250, 1000, 250),
)
_OUTPUT: tuple[_Way, ...] = (
    (("OG tube", "OG", "Gastric"), 30, 450, 5),
    (("NG", "NG tube"), 30, 450, 5),
    (("Chest tube", "CT output", "Mediastinal CT"), 30, 420, 5),
    (("Stool", "Rectal tube"), 50, 500, 25),
    (("JP drain", "Drains"), 15, 240, 5),
    (("CRRT net", "UF removed"), 200, 1400, 10),
    (("EVD", "CSF drain"), 40, 220, 4),
)


@dataclass(kw_only=True, slots=True)
class _Sheet:
    form: Form
    patient: Patient
    stay: Stay
    habits: Habits
    running_ml_h: float = 0
    """Of all drips together, once they are written."""

    def hemodynamics(self) -> None:
        form, rng, stay, condition = self.form, self.form.rng, self.stay, self.stay.condition
        form.section(self.habits.head(rng.choice(("Hemodynamics", "Vitals", "Vital signs", "Hemodynamic monitoring"))))
        step = rng.choice((60, 60, 120, 240))
        start = 60 * rng.randint(0, 23)
        times = [start + step * number for number in range(rng.choice((2, 3, 3, 4, 4, 5, 6)))]
        hr, sbp = whole(rng, *condition.hr), whole(rng, *condition.sbp)
        temp, cvp = stepped(rng, *condition.temp_c, 0.1), rng.randint(5, 16)
        rows: list[dict[str, str]] = []
        for _ in times:
            dbp = round(sbp * stepped(rng, 0.54, 0.66, 0.01))
            rows.append({
                "hr": f"{hr}", "bp": f"{sbp}/{dbp}", "map": f"{round((sbp + 2 * dbp) / 3)}", "cvp": f"{cvp}",
                "spo2": f"{clamped(stay.spo2 + rng.randint(-1, 1), 84, 100)}", "temp": f"{temp:.1f}",
                "rr": f"{self._breaths()}",
            })  # fmt: skip
            hr, sbp = hr + rng.randint(-7, 6), clamped(sbp + rng.randint(-8, 9), round(condition.sbp[0]) - 2, 176)
            temp, cvp = round(temp + rng.randint(-2, 2) / 10, 1), clamped(cvp + rng.randint(-1, 1), 2, 20)
        optional = some(rng, ("cvp", "spo2", "temp", "rr"), 1, 4)
        labels = {"hr": "HR", "bp": rng.choice(("BP", "ABP", "NIBP", "Art BP")), "map": "MAP", "cvp": "CVP",
                  "spo2": "SpO2", "temp": rng.choice(("T °C", "Temp °C", "T(C)")), "rr": "RR"}  # fmt: skip
        kept = ["hr", "bp", "map", *optional]
        marked = [form.field(f"vitals.{number}.time", self.habits.time(at), "time") for number, at in enumerate(times)]
        columns = [
            (labels[key], [form.field(f"vitals.{number}.{key}", row[key], "value") for number, row in enumerate(rows)])
            for key in kept
        ]
        series(form, marked, columns)

    def _breaths(self) -> int:
        """Draw a charted rate; a patient on a ventilator breathes at its rate or above."""
        rng, stay = self.form.rng, self.stay
        if not stay.ventilated:
            return clamped(stay.rate + rng.randint(-3, 3), 10, 34)
        return stay.rate + (0 if stay.paralysed else rng.choice((0, 0, 0, 1, 2, 3, 4)))

    def drips(self) -> None:
        form, rng, stay = self.form, self.form.rng, self.stay
        known = {allergy.group for allergy in self.patient.allergies}
        names = [drug for drug in stay.condition.drips if not (drug == "heparin" and "heparin" in known)]
        chosen = names[:1] + some(rng, names[1:], 0, 2)
        if stay.sedated:
            calming = [drug for drug in SEDATIVES[:4] if not (drug == "fentanyl" and "opioid" in known)]
            chosen += [drug for drug in some(rng, calming, 1, 2) if drug not in chosen]
        chosen = [drug for drug in chosen if drug != "cisatracurium" or stay.sedated]
        if not chosen:
            return
        form.section(self.habits.head(rng.choice(("Drips", "Infusions", "Continuous infusions", "Gtts", "IV drips"))))
        pumped, capital = rng.random() < 0.5, rng.random() < 0.5
        rows = [self._drip(number, drug, capital, pumped) for number, drug in enumerate(chosen)]
        weighed = rng.random() < 0.5
        if weighed:
            kg = form.field("dosing_weight", f"{self.patient.weight_kg:.1f} kg", "value", critical=True)
            form.paragraph(kg, "Dosing weight:")
        columns = ["Drip", rng.choice(("Rate", "Dose")), rng.choice(("Conc", "Mixture"))] + ["Pump"] * pumped
        if tabular(form):
            form.table(columns, rows)
            return
        for number, row in enumerate(rows):
            mixed = f" ({row[2]})" if row[2] else ""
            rows[number] = [f"{row[0]} {row[1]}{mixed}" + (f", pump {row[3]}" if pumped else "")]
        if form.style is Style.free_text and rng.random() < 0.5:
            form.paragraph("; ".join(row[0] for row in rows) + ".", "Running:")
        else:
            form.lines([row[0] for row in rows])

    def _drip(self, number: int, drug: str, capital: bool, pumped: bool) -> list[str]:
        form, rng = self.form, self.form.rng
        drip = rng.choice(DRIPS[drug])
        path = f"drips.{number}"
        name = form.field(f"{path}.drug", drug.capitalize() if capital else drug, "name")
        rate = stepped(rng, drip.low, drip.high, drip.step)
        unit = drip.unit.replace("/h", f"/{self.habits.hour}")
        unit = unit.replace("units", "unit") if rate == 1 else unit
        cells = [name, form.field(f"{path}.rate", f"{rate:g} {unit}", "dose", critical=True)]
        label, per_ml = rng.choice(drip.mixtures)
        cells.append(form.field(f"{path}.concentration", label, "text") if pumped or rng.random() < 0.7 else "")
        pump = drip.pump_ml_h(rate, self.patient.weight_kg, per_ml)
        self.running_ml_h += pump
        if pumped:
            value = f"{pump:.1f} mL/{self.habits.hour}"
            cells.append(form.field(f"{path}.pump_rate", value, "dose", critical=True))
        return cells

    def neurology(self) -> None:
        form, rng, stay = self.form, self.form.rng, self.stay
        form.section(self.habits.head(rng.choice(("Neuro", "Neurologic", "Neuro / sedation"))))
        rass = -rng.randint(1, 5) if stay.sedated else -rng.randint(2, 4) if stay.condition.coma else rng.randint(-1, 1)
        rass = -5 if stay.paralysed else rass
        eye = {5: 1, 4: rng.randint(1, 2), 3: 2, 2: 3, 1: 3}.get(-rass, 4)
        motor = {1: rng.randint(3, 5), 2: rng.randint(4, 5), 3: rng.randint(5, 6)}.get(eye, 6)
        motor = 1 if stay.paralysed else rng.randint(1, 4) if rass == -5 else motor
        verbal = {1: 1, 2: 2, 3: rng.randint(3, 4)}.get(eye, rng.randint(4, 5))
        tube = "T" if stay.ventilated else ""
        verbal = 1 if tube else verbal
        eye_word = form.field("gcs.eye", f"E{eye}", "value")
        verbal_word = form.field("gcs.verbal", f"V{verbal}{tube}", "value")
        motor_word = form.field("gcs.motor", f"M{motor}", "value")
        total = form.field("gcs.total", f"{eye + verbal + motor}{tube}", "value")
        parts = rng.choice(("", " ")).join((eye_word, verbal_word, motor_word))
        size = rng.randint(2, 5)
        pairs = [
            ("GCS", rng.choice((f"{parts} = {total}", f"{total} ({parts})"))),
            ("RASS", form.field("rass", f"{rass:+d}" if rass else "0", "value")),
        ]
        if stay.sedated and rng.random() < 0.6:
            pairs.append(
                ("RASS goal", form.field("rass_goal", "-5" if stay.paralysed else rng.choice(_GOALS), "value"))
            )
        if rng.random() < 0.5:
            alert = "negative" if verbal == 5 else rng.choice(("negative", "positive"))
            assessed = "unable to assess" if rass <= -4 else alert
            pairs.append(("CAM-ICU", form.field("cam_icu", assessed, "text")))
        if rng.random() < 0.6:
            pairs.append(("Pupils", form.field("pupils", f"{size} mm {rng.choice(('brisk', 'reactive', 'sluggish'))}",
                                               "text")))  # fmt: skip
        form.pairs(pairs)

    def _ways(self) -> tuple[list[_Way], list[_Way]]:
        """Return what may go into and come out of this patient."""
        stay, name = self.stay, self.stay.condition.names[0]
        apt = {
            "PO": not stay.ventilated and not stay.condition.coma, "Tube feeds": stay.ventilated,
            "Flushes": stay.ventilated, "OG tube": stay.ventilated, "NG": not stay.ventilated,
            "Chest tube": "CABG" in name,
            "JP drain": "pancreatitis" in name or "abdominal" in name, "CRRT net": "Septic" in name,
            "EVD": "hemorrhage" in name, "PRBC": any(word in name for word in ("bleed", "CABG", "pancreatitis")),
        }  # fmt: skip
        sources, sinks = ([way for way in ways if apt.get(way[0][0], True)] for ways in (_INTAKE, _OUTPUT))
        return sources, sinks

    def balance(self) -> None:
        form, rng = self.form, self.form.rng
        hours = rng.choice((8, 12, 12, 24))
        span = f"{hours} {self.habits.hour}"
        form.section(self.habits.head(rng.choice((f"I&O ({span})", f"Intake / output, last {span}", f"I/O x {span}"))))
        urine_ml = 5 * round(hours * self.patient.weight_kg * stepped(rng, 0.2, 1.6, 0.05) / 5)
        gone: list[tuple[str, int]] = [(rng.choice(("Urine", "UOP", "Foley")), urine_ml)]
        sources, sinks = self._ways()
        taken = [
            (rng.choice(names), step * round(whole(rng, low, high, step) * hours / 12 / step) or step)
            for names, low, high, step in some(rng, sources, 1, 4)
        ]
        if self.running_ml_h:  # what the pumps gave, not another number
            infused_ml = 5 * max(1, round(self.running_ml_h * hours / 5))
            taken.insert(0, (rng.choice(("Drips", "Continuous infusions", "Infusions")), infused_ml))
        gone += [
            (rng.choice(names), step * round(whole(rng, low, high, step) * hours / 12 / step) or step)
            for names, low, high, step in some(rng, sinks, 0, 3)
        ]
        intake, output = (sum(ml for _, ml in part) for part in (taken, gone))
        rows = [
            (form.field(f"{key}.{number}.source", name, "text"),
             form.field(f"{key}.{number}.volume", self.habits.volume(ml), "value"))
            for key, part in (("intake", taken), ("output", gone)) for number, (name, ml) in enumerate(part)
        ]  # fmt: skip
        net = intake - output
        signed = f"{'-' if net < 0 else '+'}{self.habits.volume(abs(net))}"
        total_in = form.field("balance.intake", self.habits.volume(intake), "value")
        total_out = form.field("balance.output", self.habits.volume(output), "value")
        net_word = form.field("balance.net", signed, "value")
        if tabular(form):
            ins, outs = rows[: len(taken)], rows[len(taken) :]
            ins, outs = [*ins, ("TOTAL IN", total_in)], [*outs, ("TOTAL OUT", total_out)]
            blank = ("", "")
            depth = max(len(ins), len(outs))
            ins, outs = (part[:-1] + [blank] * (depth - len(part)) + part[-1:] for part in (ins, outs))
            form.table(
                ["Intake", "Volume", "Output", "Volume"],
                [[*left, *right] for left, right in zip(ins, outs, strict=True)],
            )
        else:
            told = [f"{name} {value}" for name, value in rows]
            form.lines([
                f"In: {', '.join(told[: len(taken)])}. Total {total_in}.",
                f"Out: {', '.join(told[len(taken) :])}. Total {total_out}.",
            ])  # fmt: skip
        pairs = [(rng.choice(("Net", "Net balance", "Balance")), net_word)]
        if rng.random() < 0.5:
            value = f"{urine_ml / self.patient.weight_kg / hours:.1f} mL/kg/{self.habits.hour}"
            pairs.append(("UOP", form.field("urine_rate", value, "value")))
        form.pairs(pairs)


def icu_flowsheet(form: Form, patient: Patient, on: date) -> None:
    """Write one shift of a flowsheet: two to six of its sections, in the order of the house."""
    rng = form.rng
    habits, stay = Habits.drawn(rng), Stay.drawn(rng)
    sheet = _Sheet(form=form, patient=patient, stay=stay, habits=habits)
    letterhead(form, TITLES, hospital=True, chance=0.4)
    brief = rng.random() < 0.35
    header(form, patient, on, brief=brief)
    name = rng.choice(stay.condition.names)
    pairs = [("Dx", form.field("diagnosis", name, "diagnosis"))]
    if "POD" not in name and "pre-op" not in name and rng.random() < 0.5:
        pairs.append((rng.choice(("ICU day", "Hospital day")), form.field("icu_day", f"{rng.randint(1, 14)}", "value")))
    if rng.random() < 0.4:
        bed = f"{rng.choice(('MICU', 'SICU', 'CVICU', 'ICU', 'NSICU'))}-{rng.randint(1, 32)}"
        pairs.append(("Bed", form.field("bed", bed, "id")))
    if rng.random() < 0.5:
        pairs.append((rng.choice(("Allergies", "ALL", "Allergy")), allergies(form, patient, reactions=not brief)))
    form.pairs(pairs)
    sections = [
        lambda: ventilator(form, patient, stay, habits), sheet.hemodynamics, sheet.drips,
        lambda: blood_gas(form, stay, habits), sheet.neurology, sheet.balance,
    ]  # fmt: skip
    chosen = some(rng, sections, *((2, 3) if brief else (4, 6)))
    if rng.random() < 0.3:
        rng.shuffle(chosen)
    if sections[0] in chosen and sheet.neurology in chosen:
        chosen.remove(sections[0])
        chosen.remove(sheet.neurology)
        chosen.insert(rng.randint(0, len(chosen)), lambda: halves(form, sections[0], sheet.neurology))
    for write in chosen:
        write()
    if rng.random() < 0.5:
        signed = form.field("nurse", f"{provider(rng).split(',')[0].removeprefix('Dr. ')}, RN", "name")
        form.lines([f"{rng.choice(('RN', 'Charted by', 'Signed'))}: {signed}"])
