"""The cardiology consultation: history, ECG, echo, catheterization, biomarkers, and a plan with doses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import sqrt

from medvl.documents.forms import orders
from medvl.documents.forms.charting import Habits, article, grid, halves, physician, some, stepped, whole
from medvl.documents.forms.form import Form
from medvl.documents.forms.heart import DRUGS, PROBLEMS, STENTS, VESSELS, Problem
from medvl.documents.forms.patient import Patient, allergies, header
from medvl.documents.forms.pen import letterhead

TITLES = ("Cardiology Consultation", "Cardiology Consult Note", "Inpatient Cardiology Consult", "Cardiology Consult",
          "Consultation: Cardiology", "Heart & Vascular Consultation")  # fmt: skip
_HISTORY = ("HTN", "HLD", "T2DM", "CKD 3a", "COPD", "OSA", "CAD", "prior CVA", "PAD", "former smoker", "hypothyroidism",
            "obesity", "GERD", "gout", "breast cancer s/p XRT", "prior PCI")  # fmt: skip


@dataclass(kw_only=True, slots=True)
class _Consult:
    form: Form
    patient: Patient
    problem: Problem
    habits: Habits
    brief: bool
    dx: str

    def field(self, path: str, value: str, *, critical: bool = False) -> str:
        return self.form.field(path, value, "value", critical=critical)

    def history(self, on: date) -> None:
        form, rng, problem = self.form, self.form.rng, self.problem
        reason = form.field("reason", rng.choice(problem.reasons), "text")
        form.paragraph(f"{reason}.", rng.choice(("Reason for consult:", "Reason:", "Consult for:", "CC:")))
        if self.brief and rng.random() < 0.6:
            return
        known = [item for item in _HISTORY if self.patient.sex == "F" or "breast" not in item]
        if "ibuprofen" in problem.drugs:  # no kidneys or coronaries that it would harm
            known = ["HLD", "OSA", "hypothyroidism", "obesity", "GERD", "seasonal allergies", "anxiety", "SLE"]
        past = [
            form.field(f"history.{number}", item, "diagnosis") for number, item in enumerate(some(rng, known, 1, 4))
        ]  # fmt: skip
        who, age = {"M": "man", "F": "woman"}[self.patient.sex], self.patient.age(on)
        story = rng.choice(problem.stories).replace("{days}", str(rng.randint(2, 9)))
        words = rng.choice((
            f"{age} y/o {who} with {', '.join(past)} presenting with {story}.",
            f"Patient is {article(age)} {age}-year-old {who}. PMH: {', '.join(past)}. Presents with {story}.",
        ))  # fmt: skip
        form.paragraph(words, "HPI:")

    def ecg(self) -> None:
        form, rng, problem = self.form, self.form.rng, self.problem
        rhythm = rng.choice(problem.rhythms)
        low, high = problem.hr
        if "tachycardia" in rhythm:
            low, high = max(low, 101), max(high, 108)
        elif "controlled" in rhythm or rhythm.startswith(("Normal sinus", "Sinus rhythm")):
            high = min(high, 99)
        rate = whole(rng, low, high)
        wide = "BBB" in rhythm
        target = whole(rng, 452, 498) if wide else whole(rng, 398, 478)
        qt = round(target * sqrt(60 / rate))
        qtc = round(qt / sqrt(60 / rate))  # Bazett, from the numbers on the page
        pairs = [("Rate", self.field("ecg.rate", f"{rate}{rng.choice(('', ' bpm', '/min'))}")),
                 ("Rhythm", form.field("ecg.rhythm", rhythm, "text"))]  # fmt: skip
        if not rhythm.startswith(("AF", "Atrial", "2:1")):
            slow = "first degree" in rhythm
            pairs.append(("PR", self.field("ecg.pr", f"{whole(rng, 212, 288) if slow else whole(rng, 132, 198)} ms")))
        pairs.append(("QRS", self.field("ecg.qrs", f"{whole(rng, 124, 168) if wide else whole(rng, 78, 112)} ms")))
        if rng.random() < 0.85:
            pairs.append(("QT", self.field("ecg.qt", f"{qt} ms")))
            pairs.append(("QTc", self.field("ecg.qtc", f"{qtc} ms", critical=qtc >= 500)))
        if rng.random() < 0.4 or self.brief:
            form.paragraph(", ".join(f"{label} {value}" for label, value in pairs) + ".", "ECG:")
        else:
            form.section(self.habits.head(rng.choice(("ECG", "EKG", "12-lead ECG"))))
            form.pairs(pairs)

    def echo(self) -> None:
        form, rng, problem = self.form, self.form.rng, self.problem
        ef = whole(rng, *problem.ef)
        ef_word = rng.choice((f"{ef}%", f"{ef}%", f"{5 * (ef // 5)}-{5 * (ef // 5) + 5}%"))
        atrial = rng.choice((3, 5, 10, 15)) if problem.rvsp[1] < 50 else rng.choice((8, 10, 15))
        jet = round(sqrt((whole(rng, *problem.rvsp) - atrial) / 4), 1)
        rvsp = round(4 * jet * jet) + atrial  # simplified Bernoulli, from the velocity as it is written
        items = [
            ("LVIDd", "echo.lvidd", f"{whole(rng, *problem.lvidd_mm) / 10:.1f} cm"),
            (rng.choice(("LA", "LA diameter")), "echo.la", f"{whole(rng, 34, 54) / 10:.1f} cm"),
            ("TR Vmax", "echo.tr_velocity", f"{jet:.1f} m/s"), ("RAP", "echo.ra_pressure", f"{atrial} mmHg"),
            ("RVSP", "echo.rvsp", f"{rvsp} mmHg"), ("TAPSE", "echo.tapse", f"{whole(rng, 13, 24) / 10:.1f} cm"),
            ("E/e'", "echo.e_e_prime", f"{whole(rng, 7, 22)}"),
            ("IVSd", "echo.septum", f"{whole(rng, 8, 15) / 10:.1f} cm"),
        ]  # fmt: skip
        kept = some(rng, items, 2, 4 if self.brief else 8)
        pairs = [("LVEF", self.field("echo.lvef", ef_word, critical=ef <= 20))]
        pairs += [(label, self.field(path, value)) for label, path, value in kept]
        form.section(self.habits.head(rng.choice(("Echo", "TTE", "Echocardiogram", "Transthoracic echo"))))
        if rng.random() < 0.3:
            form.paragraph(", ".join(f"{label} {value}" for label, value in pairs) + ".")
        else:
            form.pairs(pairs)
        self.valves()

    def valves(self) -> None:
        form, rng, problem = self.form, self.form.rng, self.problem
        rows: list[list[str]] = []
        if problem.valve == "AS":
            velocity = whole(rng, 31, 52) / 10
            peak = round(4 * velocity * velocity)
            mean = round(0.61 * peak)
            severity = "severe" if mean >= 40 else "moderate" if mean >= 20 else "mild"
            area = {"severe": (55, 98), "moderate": (102, 148), "mild": (155, 190)}[severity]
            rows.append([
                form.field("valves.0.finding", f"{severity} AS", "finding", critical=severity == "severe"),
                "Vmax " + self.field("valves.0.velocity", f"{velocity:.1f} m/s"),
                "peak " + self.field("valves.0.peak_gradient", f"{peak} mmHg"),
                "mean " + self.field("valves.0.mean_gradient", f"{mean} mmHg"),
                "AVA " + self.field("valves.0.area", f"{whole(rng, *area) / 100:.2f} cm2"),
            ])  # fmt: skip
        elif problem.valve == "MR":
            grade = rng.choice(("moderate-severe", "severe"))
            area_cm2 = whole(rng, 30, 39) / 100 if "-" in grade else whole(rng, 40, 62) / 100
            volume = whole(rng, 60, 88) if grade == "severe" else whole(rng, 45, 59)
            rows.append([
                form.field("valves.0.finding", f"{grade} MR", "finding"),
                "EROA " + self.field("valves.0.orifice", f"{area_cm2:.2f} cm2"),
                "RVol " + self.field("valves.0.volume", f"{volume} mL"),
            ])  # fmt: skip
        elif problem.valve == "TR":
            rows.append([form.field("valves.0.finding", f"{rng.choice(('moderate', 'severe'))} TR", "finding")])
        elif rng.random() < 0.5:
            found = rng.choice(("trace MR", "mild MR", "mild TR", "mild AI", "no significant valve disease"))
            rows.append([form.field("valves.0.finding", found, "finding")])
        for row in rows:
            form.lines([f"Valves: {', '.join(row)}."])

    def cath(self) -> None:
        form, rng, problem = self.form, self.form.rng, self.problem
        form.section(self.habits.head(rng.choice(("Cath", "Coronary angiography", "LHC", "Cardiac cath"))))
        territory = "LAD" if "Anterior" in self.dx else "RCA" if "Inferior" in self.dx else ""
        culprit = rng.choice([vessel for vessel in VESSELS if territory in vessel]) if problem.stent else ""
        vessels = [vessel for vessel in VESSELS if vessel == culprit or rng.random() < 0.25] or [rng.choice(VESSELS)]
        rows = []
        for number, vessel in enumerate(vessels):
            stenosis, done = 5 * rng.randint(4, 13), rng.choice(("", "medical therapy"))
            if vessel == culprit:
                stenosis, done = 100 if territory else 5 * rng.randint(15, 19), f"DES {rng.choice(STENTS)} mm"
            path = f"cath.lesions.{number}"
            rows.append([
                form.field(f"{path}.vessel", vessel, "text"),
                self.field(f"{path}.stenosis", f"{stenosis}%", critical=stenosis >= 90),
                form.field(f"{path}.intervention", done, "text") if done else "",
            ])  # fmt: skip
        grid(form, ["Vessel", "Stenosis", "Tx"], rows)
        if rng.random() < 0.5:
            pressure = f"{whole(rng, 18, 32) if problem.ef[0] < 40 else whole(rng, 8, 18)} mmHg"
            form.lines([f"LVEDP {self.field('cath.lvedp', pressure)}, {rng.choice(('R radial', 'R femoral'))} access"])

    def labs(self) -> None:
        form, rng, problem = self.form, self.form.rng, self.problem
        troponin = whole(rng, *problem.troponin)
        potassium = stepped(rng, 3.3, 5.0, 0.1)
        items = [
            ("hs-TnT", f"{self.habits.amount(troponin)} ng/L", troponin > 100),
            ("NT-proBNP", f"{self.habits.amount(whole(rng, *problem.bnp))} pg/mL", False),
            ("K", f"{potassium:.1f} mmol/L", False),
            (rng.choice(("Cr", "Creatinine")), f"{whole(rng, 65, 195) / 100:.2f} mg/dL", False),
            ("Hgb", f"{whole(rng, 92, 156) / 10:.1f} g/dL", False), ("LDL", f"{whole(rng, 48, 176)} mg/dL", False),
            ("Mg", f"{whole(rng, 15, 24) / 10:.1f} mg/dL", False), ("HbA1c", f"{whole(rng, 52, 98) / 10:.1f}%", False),
        ]  # fmt: skip
        kept = items[:2] + some(rng, items[2:], 0, 2 if self.brief else 6)
        rows = [
            [form.field(f"labs.{number}.test", test, "name"),
             self.field(f"labs.{number}.value", value, critical=critical)]
            for number, (test, value, critical) in enumerate(kept)
        ]  # fmt: skip
        if rng.random() < 0.5:
            form.paragraph(", ".join(f"{test} {value}" for test, value in rows) + ".", rng.choice(("Labs:", "LABS:")))
        else:
            form.section(self.habits.head(rng.choice(("Biomarkers", "Labs", "Laboratory"))))
            form.table(["Test", "Result"], rows)

    def plan(self, *, stented: bool) -> None:
        """State what is thought and done.

        Args:
            stented: Whether the page tells of a catheterization that placed a stent.
        """
        form, rng, problem = self.form, self.form.rng, self.problem
        form.section(self.habits.head(rng.choice(("Assessment / plan", "Impression and plan", "A/P", "Plan"))))
        form.lines(
            [f"{rng.choice(('Impression', 'Dx', 'Assessment'))}: {form.field('diagnosis', self.dx, 'diagnosis')}"]
        )
        drugs = [key for key in problem.drugs if not (stented and key == "heparin")]  # it ends with the intervention
        fit = orders.suited(rng, (DRUGS[key] for key in drugs), self.patient)
        main = 2 if problem.stent else 1  # a stent needs both of its antiplatelets
        chosen = fit[:main] + some(rng, fit[main:], 0 if self.brief else 1, 2 if self.brief else 5)
        if chosen:
            actions = rng.choice((("start", "continue", "increase"), ("Start", "Cont", "Increase"), ()))
            rows = [orders.words(form, f"plan.{number}", order, actions) for number, order in enumerate(chosen)]
            orders.state(form, rows, last="Action" if actions else "")
        if not self.brief or rng.random() < 0.4:
            dual = any(order.drug == "aspirin" for order in chosen)
            advice = [text for text in problem.advice if dual or "DAPT" not in text]
            advice = [text for text in advice if not (stented and "LHC" in text)]
            form.lines([f"{text}." for text in some(rng, advice, 1, 3)])


def cardiology_consultation(form: Form, patient: Patient, on: date) -> None:
    """Write the consultation of one cardiac problem that the patient's age allows."""
    rng = form.rng
    age = patient.age(on)
    problem = rng.choice([row for row in PROBLEMS if row.ages[0] <= age <= row.ages[1]] or [PROBLEMS[8]])
    brief = rng.random() < 0.35
    consult = _Consult(form=form, patient=patient, problem=problem, habits=Habits.drawn(rng), brief=brief,
                       dx=rng.choice(problem.diagnoses))  # fmt: skip
    letterhead(form, TITLES, hospital=True, chance=0.4)
    header(form, patient, on, brief=brief, day_labels=("Consult Date", "Date", "Date of Consult", "DOS"))
    pairs = []
    if rng.random() < 0.6:
        pairs.append((rng.choice(("Requesting", "Requested by", "Referring MD")),
                      form.field("requesting_provider", physician(rng), "name")))  # fmt: skip
    if rng.random() < 0.6:
        pairs.append(("Allergies", allergies(form, patient, reactions=not brief)))
    if pairs:
        form.pairs(pairs)
    consult.history(on)
    studies = [consult.labs, consult.echo, consult.ecg] + [consult.cath] * (rng.random() < problem.cath)
    studies = some(rng, studies, 1, 2) if brief else studies
    rng.shuffle(studies)
    stented = problem.stent and consult.cath in studies
    if consult.ecg in studies and consult.echo in studies and rng.random() < 0.5:
        studies = [write for write in studies if write not in (consult.ecg, consult.echo)]
        studies.insert(0, lambda: halves(form, consult.ecg, consult.echo))
    for write in studies:
        write()
    consult.plan(stented=stented)
    if rng.random() < 0.5:
        form.lines([f"{rng.choice(('Consultant', 'Signed', 'Cardiologist'))}: "
                    f"{form.field('provider.name', physician(rng), 'name')}"])  # fmt: skip
