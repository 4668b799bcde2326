"""The cardiology consultation of the evaluation pages."""

from __future__ import annotations

from medvl.documents.fixed.page import MEDICATION, allergies, blank, entries, fact, finished, labelled, person
from medvl.documents.forms.form import Form, Style
from medvl.types import Document, Heading, Pairs


def cardiology_consultation() -> Document:
    """Echocardiogram, catheterization, ECG and drug plan of a new cardiomyopathy."""
    form = blank("cardiology consultation", Style.two_columns, "CARDIOLOGY CONSULTATION")
    form.pairs([
        *person(form, "Leonard S. Abernathy", "04/03/1959", "66", "M", "9260381"),
        *labelled(form, "", [("Date", "date", "10/29/2025"), ("Requested by", "provider", "Dr. J. Lindgren")]),
        *labelled(form, "vitals", [
            ("BP", "bp", "128/76 mmHg"), ("HR", "hr", "84 bpm"), ("Weight", "weight", "92.3 kg"),
            ("Height", "height", "176 cm"),
        ]),
        ("Allergies", allergies(form, [("Clarithromycin", "rash")])),
    ])  # fmt: skip
    form.paragraph(
        f"New cardiomyopathy; 8 weeks of dyspnea, orthopnea and edema, NYHA class {fact(form, 'nyha', 'III')}.\n"
        "History: hypertension, type 2 diabetes mellitus, hyperlipidemia.\n"
        f"Examination: JVP {fact(form, 'jvp', '16 cm')}, S3, bibasilar crackles. Last lisinopril 10/27/2025.\n"
        f"Laboratory: NT-proBNP {fact(form, 'laboratory.nt_probnp', '4,280 pg/mL')}, "
        f"potassium {fact(form, 'laboratory.potassium', '4.4 mmol/L')}, "
        f"creatinine {fact(form, 'laboratory.creatinine', '1.1 mg/dL')}.",
        "REASON:",
    )
    _studies(form)
    form.section("Assessment")
    diagnoses = entries(form, "diagnoses", ("name",), [
        ("HFrEF, stage C, nonischemic cardiomyopathy, decompensated",),
        ("LBBB with QRS above 150 ms",),
        ("Moderate functional mitral regurgitation",),
        ("Pulmonary hypertension, group 2",),
        ("Nonobstructive CAD",),
    ])  # fmt: skip
    form.lines([f"{number}. {name}" for number, (name,) in enumerate(diagnoses, 1)])
    form.section("GDMT Plan")
    keys = (*MEDICATION, "note")
    form.table(("Medication", "Dose", "Route", "Frequency", "Note"), entries(form, "medications", keys, [
        ("Furosemide", "80 mg", "IV", "BID", "until euvolemic"),
        ("Sacubitril-valsartan", "24/26 mg", "PO", "BID", "36 hours after lisinopril"),
        ("Carvedilol", "3.125 mg", "PO", "BID", "start when euvolemic"),
        ("Spironolactone", "12.5 mg", "PO", "daily", "potassium in 3 days"),
        ("Dapagliflozin", "10 mg", "PO", "daily", "start today"),
        ("Atorvastatin", "40 mg", "PO", "nightly", "continue"),
    ]))  # fmt: skip
    form.paragraph(
        "Double doses every 2 weeks as tolerated. Cardiac MRI before discharge.\n"
        "Echocardiogram after 3 months of GDMT; CRT-D if LVEF stays at 35% or below.\n"
        "Signed: Dr. Priya Raman, Cardiology",
        "FOLLOW-UP:",
    )
    return finished(
        form, "cardiology-consultation",
        terms="HFrEF; nonischemic cardiomyopathy; NYHA; LBBB; mitral regurgitation; pulmonary hypertension; "
        "nonobstructive CAD; hyperlipidemia; diabetes mellitus; orthopnea; NT-proBNP; QTc; LVEF; LVIDd; TAPSE; RVSP; "
        "PCWP; PVR; LVEDP; LAD; LCx; RCA; sacubitril-valsartan; carvedilol; spironolactone; dapagliflozin; furosemide; "
        "CRT-D",
        values="128/76; 4,280; 178 ms; 152 ms; 478 ms; 28%; 6.4 cm; 5.5 cm; 44 mL/m2; -9.2%; 1.6 cm; 2.8 m/s; "
        "46 mmHg; 48/26; 25 mmHg; 27 mmHg; 4.1 L/min; 2.0 WU; 40%; 30%; 20%; 80 mg; 24/26 mg; 3.125 mg; 12.5 mg; 10 mg",
    )  # fmt: skip


def _studies(form: Form) -> None:
    """State ECG and echocardiogram on the left, the catheterization on the right."""
    ecg = [
        ("Throttle", form.field("ecg.rhythm", "sinus, LBBB", "text")),
        *labelled(form, "ecg", [
            ("Rate", "ventricular_rate", "84 /min"), ("PR", "pr", "178 ms"), ("QRS", "qrs", "152 ms"),
            ("QT", "qt", "404 ms"), ("QTc (Bazett)", "qtc", "478 ms"),
        ]),
    ]  # fmt: skip
    echo = labelled(form, "echo", [
        ("LVEF", "lvef", "28%"), ("GLS", "gls", "-9.2%"), ("LVIDd", "lvidd", "6.4 cm"), ("LVIDs", "lvids", "5.5 cm"),
        ("LA volume index", "la_volume_index", "44 mL/m2"), ("TAPSE", "tapse", "1.6 cm"),
        ("TR velocity", "tr_velocity", "2.8 m/s"), ("RVSP with RAP 15", "rvsp", "46 mmHg"),
    ])  # fmt: skip
    cath = labelled(form, "cath", [
        ("RA mean", "ra", "12 mmHg"), ("PA", "pa", "48/26 mmHg"), ("PA mean", "pa_mean", "33 mmHg"),
        ("PCWP", "pcwp", "25 mmHg"), ("LVEDP", "lvedp", "27 mmHg"),
        ("CO", "cardiac_output", "4.1 L/min"), ("CI", "cardiac_index", "1.9 L/min/m2"),
        ("PVR", "pvr", "2.0 WU"), ("Access", "access", "radial artery, brachial vein"),
        ("Dominance", "dominance", "right"), ("Left main", "left_main", "no stenosis"),
        ("Mid LAD", "lad", "40% stenosis"), ("Proximal LCx", "lcx", "30% stenosis"), ("Mid RCA", "rca", "20% stenosis"),
        ("BeforeAfter", "contrast", "55 mL"), ("Complications", "complications", "none"),
    ])  # fmt: skip
    form.side_by_side(
        [Heading("ECG"), Pairs(ecg), Heading("Echocardiogram"), Pairs(echo)],
        [Heading("Right and Left Heart Catheterization"), Pairs(cath)],
    )
