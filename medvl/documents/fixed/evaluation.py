"""The five pages that readings are scored on, with as many terms and values as the baseline project's."""

from __future__ import annotations

from medvl.documents.fixed.cardiology import cardiology_consultation
from medvl.documents.fixed.icu import icu_flowsheet
from medvl.documents.fixed.page import (
    MEDICATION,
    RESULT,
    Builder,
    allergies,
    blank,
    entries,
    finished,
    labelled,
    person,
)
from medvl.documents.fixed.surgery import operative_note
from medvl.documents.forms.form import Form, Style
from medvl.types import Document


def medication_reconciliation() -> Document:
    """Eleven medications, eight comorbidities, six laboratory values, allergies."""
    form = blank("medication reconciliation", Style.ruled_table, "MEDICATION RECONCILIATION")
    form.pairs([
        *person(form, "Evelyn J. Thornquist", "02/11/1951", "74", "F", "8304915"),
        *labelled(form, "", [("Admitted", "date", "09/18/2025"), ("Pharmacist", "pharmacist", "L. Okonkwo, PharmD")]),
        ("Allergies", allergies(form, [("Penicillin", "anaphylaxis"), ("Lisinopril", "angioedema")])),
        *labelled(form, "vitals", [
            ("BP", "bp", "138/72 mmHg"), ("HR", "hr", "58 bpm"), ("Weight", "weight", "68.5 kg"),
            ("Height", "height", "163 cm"), ("BMI", "bmi", "25.8 kg/m2"),
        ]),
    ])  # fmt: skip
    form.section("Comorbidities")
    conditions = entries(form, "comorbidities", ("name", "detail"), [
        ("HFrEF", "LVEF 35%"), ("Atrial fibrillation", ""), ("Type 2 diabetes mellitus", ""), ("Hypertension", ""),
        ("Chronic kidney disease stage 3b", "eGFR 33"), ("Hypothyroidism", ""), ("GERD", ""), ("Gout", ""),
    ])  # fmt: skip
    form.lines([f"{name}, {detail}" if detail else name for name, detail in conditions], bullet="- ")
    form.section("Active Medications")
    keys = (*MEDICATION, "indication", "action")
    medications = entries(form, "medications", keys, [
        ("Warfarin", "3 mg", "PO", "nightly", "Atrial fibrillation", "HOLD"),
        ("Metoprolol succinate", "50 mg", "PO", "daily", "HFrEF", "CONTINUE"),
        ("Furosemide", "40 mg", "PO", "BID", "HFrEF", "CONTINUE"),
        ("Losartan", "25 mg", "PO", "daily", "Hypertension", "HOLD"),
        ("Spironolactone", "12.5 mg", "PO", "daily", "HFrEF", "HOLD"),
        ("Digoxin", "125 mcg", "PO", "daily", "Atrial fibrillation", "HOLD"),
        ("Insulin glargine", "18 units", "SC", "nightly", "Diabetes", "CONTINUE"),
        ("Levothyroxine", "88 mcg", "PO", "daily", "Hypothyroidism", "CONTINUE"),
        ("Omeprazole", "20 mg", "PO", "daily", "GERD", "CONTINUE"),
        ("Allopurinol", "100 mg", "PO", "daily", "Gout", "CONTINUE"),
        ("Atorvastatin", "10 mg", "PO", "nightly", "Prevention", "CONTINUE"),
    ])  # fmt: skip
    form.table(("Medication", "Dose", "Route", "Frequency", "Indication", "Action"), medications)
    form.section("Laboratory on Admission")
    form.table(("Test", "Result", "Unit", "Target or Range", "Flag"), entries(form, "results", RESULT, [
        ("INR", "3.6", "", "2.0-3.0", "H"),
        ("Potassium", "5.7", "mmol/L", "3.5-5.1", "H"),
        ("Creatinine", "1.62", "mg/dL", "0.50-1.10", "H"),
        ("Digoxin level", "1.4", "ng/mL", "0.5-0.9", "H"),
        ("TSH", "2.85", "mIU/L", "0.40-4.50", ""),
        ("HbA1c", "7.1", "%", "< 8.0", ""),
    ]))  # fmt: skip
    form.section("Pharmacist Notes")
    form.lines([
        "Warfarin: above target, no bleeding; repeat INR daily. Digoxin: trough above target, bradycardia.",
        "Spironolactone and losartan: hyperkalemia. No ACE inhibitor or sacubitril, see allergies.",
        "Sources: patient, pharmacy refill record, clinic list of 08/27/2025. Reconciled on admission at 16:45.",
    ])  # fmt: skip
    return finished(
        form, "medication-reconciliation",
        terms="warfarin; metoprolol; furosemide; losartan; spironolactone; digoxin; insulin glargine; levothyroxine; "
        "omeprazole; allopurinol; atorvastatin; HFrEF; atrial fibrillation; diabetes mellitus; hypertension; "
        "chronic kidney disease; hypothyroidism; GERD; gout; penicillin",
        values="3 mg; 50 mg; 40 mg; 25 mg; 12.5 mg; 125 mcg; 18 units; 88 mcg; 20 mg; 100 mg; 10 mg; 3.6; 5.7; 1.62; "
        "1.4; 2.85; 7.1; 35%; eGFR 33; 138/72; 58 bpm; 68.5 kg; 163 cm; 25.8; 09/18/2025",
    )  # fmt: skip


def lab_panel() -> Document:
    """Blood count, coagulation and hepatic function of a failing liver: twenty-five tests with flags."""
    form = blank("laboratory panel", Style.table, "COMPREHENSIVE LABORATORY REPORT")
    form.pairs([
        *person(form, "Nadia V. Kowalczyk", "12/19/1976", "48", "F", "5947023"),
        *labelled(form, "", [("Collected", "date", "11/25/2025"), ("Ordered by", "provider", "Dr. H. Castellan")]),
    ])  # fmt: skip
    _panel(form, "Complete Blood Count", [
        ("WBC", "14.9", "x10^3/uL", "4.0-11.0", "H"),
        ("RBC", "2.24", "x10^6/uL", "3.80-5.10", "L"),
        ("Hemoglobin", "6.8", "g/dL", "12.0-15.5", "C"),
        ("Hematocrit", "20.7", "%", "36.0-46.0", "L"),
        ("MCV", "92.4", "fL", "80.0-100.0", ""),
        ("MCH", "30.4", "pg", "27.0-33.0", ""),
        ("MCHC", "32.9", "g/dL", "32.0-36.0", ""),
        ("RDW", "18.3", "%", "11.5-14.5", "H"),
        ("Platelets", "17", "x10^3/uL", "150-400", "C"),
    ])  # fmt: skip
    _panel(form, "Coagulation", [
        ("PT", "29.1", "s", "11.0-13.5", "H"),
        ("INR", "2.6", "", "0.9-1.1", "H"),
        ("aPTT", "58.2", "s", "25.0-35.0", "H"),
        ("Fibrinogen", "86", "mg/dL", "200-400", "C"),
        ("D-dimer", "6.72", "mcg/mL FEU", "< 0.50", "H"),
    ])  # fmt: skip
    _panel(form, "Hepatic Function", [
        ("Total protein", "5.7", "g/dL", "6.0-8.3", "L"),
        ("Albumin", "2.3", "g/dL", "3.5-5.0", "L"),
        ("Total bilirubin", "9.4", "mg/dL", "0.2-1.2", "H"),
        ("Direct bilirubin", "6.1", "mg/dL", "0.0-0.3", "H"),
        ("Indirect bilirubin", "3.3", "mg/dL", "0.2-0.9", "H"),
        ("ALP", "246", "U/L", "40-129", "H"),
        ("AST", "1,184", "U/L", "10-40", "H"),
        ("ALT", "967", "U/L", "7-56", "H"),
        ("GGT", "212", "U/L", "9-48", "H"),
        ("LDH", "894", "U/L", "140-280", "H"),
        ("Ammonia", "137", "umol/L", "11-35", "C"),
    ])  # fmt: skip
    form.section("Interpretation")
    form.lines([
        "Flags: H above range, L below range, C critical. Platelet count confirmed on smear.",
        "Critical values called to Dr. Castellan at 06:52, read back.",
        "Hepatocellular injury with coagulopathy, thrombocytopenia and low fibrinogen; consider DIC.",
    ])  # fmt: skip
    return finished(
        form, "lab-panel",
        terms="WBC; RBC; hemoglobin; hematocrit; MCV; MCHC; RDW; platelets; INR; aPTT; fibrinogen; D-dimer; albumin; "
        "bilirubin; ALP; AST; ALT; GGT; LDH; ammonia; coagulopathy; thrombocytopenia",
        values="14.9; 2.24; 6.8; 20.7; 92.4; 30.4; 32.9; 18.3; 17; 29.1; 2.6; 58.2; 86; 6.72; 5.7; 2.3; 9.4; 6.1; 3.3; "
        "246; 1,184; 967; 212; 894; 137",
    )  # fmt: skip


def _panel(form: Form, name: str, rows: list[tuple[str, ...]]) -> None:
    form.section(name)
    form.table(("Test", "Result", "Unit", "Reference", "Flag"), entries(form, "results", RESULT, rows))


EVALUATION: tuple[Builder, ...] = (
    medication_reconciliation, icu_flowsheet, cardiology_consultation, lab_panel, operative_note,
)  # fmt: skip
