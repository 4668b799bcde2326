"""The five pages that latency and memory are measured with."""

from __future__ import annotations

from medvl.documents.fixed.page import (
    MEDICATION,
    RESULT,
    Builder,
    allergies,
    blank,
    entries,
    fact,
    finished,
    labelled,
    person,
)
from medvl.documents.fixed.radiology import radiology_report
from medvl.documents.forms.form import Form, Style
from medvl.types import Document


def patient_diagnosis() -> Document:
    """Four diagnoses, six medications, six vital signs of a myocardial infarction."""
    form = blank("patient diagnosis sheet", Style.key_value, "PATIENT DIAGNOSIS RECORD")
    form.pairs([
        *person(form, "Harold T. Whitmore", "03/14/1958", "67", "M", "4471920"),
        *labelled(form, "", [
            ("Admitted", "date", "10/21/2025"), ("Attending", "attending", "Dr. Elena Vargas"),
            ("Dosing weight", "dosing_weight", "75 kg"),
        ], critical=("dosing_weight",)),
        ("Allergies", allergies(form, [("Iodinated contrast", "hives")])),
    ])  # fmt: skip
    _presentation(form)
    form.section("Laboratory")
    results = entries(form, "results", RESULT, [
        ("Troponin I, high-sensitivity", "842", "ng/L", "< 20", "C"),
        ("Creatinine", "1.8", "mg/dL", "0.7-1.3", "H"),
        ("eGFR (CKD-EPI 2021)", "41", "mL/min/1.73 m2", "> 60", "L"),
        ("Potassium", "4.6", "mmol/L", "3.5-5.1", ""),
        ("HbA1c", "7.9", "%", "4.0-5.6", "H"),
    ])  # fmt: skip
    form.table(("Test", "Result", "Unit", "Reference", "Flag"), results)
    form.section("Medications Ordered")
    keys = (*MEDICATION, "note")
    form.table(("Medication", "Dose", "Route", "Frequency", "Note"), entries(form, "medications", keys, [
        ("Aspirin", "81 mg", "PO", "daily", "after 324 mg chewed in the ED"),
        ("Heparin", "900 units/h", "IV", "continuous", "after a bolus of 4,000 units"),
        ("Metoprolol tartrate", "25 mg", "PO", "every 12 hours", ""),
        ("Lisinopril", "10 mg", "PO", "daily", ""),
        ("Metformin", "500 mg", "PO", "BID", "hold until 48 hours after contrast"),
        ("Atorvastatin", "80 mg", "PO", "nightly", ""),
    ]))  # fmt: skip
    form.section("Plan")
    form.lines([
        "Telemetry, serial troponin every 3 hours. Heparin 12 units/kg/h, aPTT in 6 hours.",
        "Coronary angiography within 24 hours, prednisone and diphenhydramine beforehand.",
        "P2Y12 inhibitor when anatomy is known.",
    ])  # fmt: skip
    return finished(
        form, "patient-diagnosis",
        terms="NSTEMI; myocardial infarction; hypertension; diabetes mellitus; chronic kidney disease; troponin; "
        "creatinine; HbA1c; aspirin; heparin; metoprolol; lisinopril; metformin; atorvastatin; coronary angiography",
        values="158/94; 102 bpm; 93%; 36.9; 7/10; 842; 1.8; 4.6; 7.9; 81 mg; 900 units/h; 4,000 units; 25 mg; 10 mg; "
        "500 mg; 80 mg",
    )  # fmt: skip


def _presentation(form: Form) -> None:
    """State what brought the patient, the diagnoses and the vital signs."""
    form.section("Presentation")
    form.lines([
        "67-year-old man, 3 hours of substernal chest pressure, diaphoresis and nausea.",
        "ECG: horizontal ST depression in V4-V6, no ST elevation.",
        "Chest film without pulmonary edema.",
    ])  # fmt: skip
    form.section("Diagnoses")
    diagnoses = entries(form, "diagnoses", ("name", "icd10"), [
        ("Non-ST-elevation myocardial infarction (NSTEMI)", "I21.4"),
        ("Hypertension with chronic kidney disease", "I12.9"),
        ("Type 2 diabetes mellitus with diabetic CKD", "E11.22"),
        ("CKD stage 3b", "N18.32"),
    ])  # fmt: skip
    form.lines([f"{number}. {name} - {code}" for number, (name, code) in enumerate(diagnoses, 1)])
    form.section("Vital Signs on Arrival")
    form.pairs(labelled(form, "vitals", [
        ("BP", "bp", "158/94 mmHg"), ("HR", "hr", "102 bpm"), ("RR", "rr", "22 /min"), ("Temp", "temp", "36.9 C"),
        ("SpO2 on room air", "spo2", "93%"), ("Pain", "pain", "7/10"),
    ]))  # fmt: skip


def prescription() -> Document:
    """Five medications with doses, quantities and refills."""
    form = blank("prescription", Style.ruled_table, "PRESCRIPTION")
    form.pairs([
        *person(form, "Samuel K. Brandt", "05/30/1961", "64", "M", "7715264"),
        *labelled(form, "", [
            ("Date written", "date", "12/08/2025"), ("Clinic", "clinic", "Larkspur Family Medicine"),
            ("Prescriber", "prescriber", "Dr. Amara Nwosu"), ("License", "license", "MD-48213"),
        ]),
        ("Allergies", allergies(form, [("Sulfonamides", "hives"), ("Lisinopril", "cough")])),
        *labelled(form, "", [("Weight", "weight", "91.4 kg")]),
    ])  # fmt: skip
    form.section("Rx")
    keys = ("name", "dose", "form", "route", "frequency", "quantity", "refills")
    form.table(("Medication", "Strength", "Form", "Route", "Directions", "Qty", "Refills"), entries(
        form, "medications", keys, [
            ("Losartan", "100 mg", "tablet", "PO", "1 daily", "90", "3"),
            ("Metformin ER", "750 mg", "tablet", "PO", "2 daily with supper", "180", "1"),
            ("Rosuvastatin", "20 mg", "tablet", "PO", "1 at bedtime", "30", "11"),
            ("Pantoprazole", "40 mg", "tablet", "PO", "1 daily before breakfast", "56", "0"),
            ("Albuterol HFA", "90 mcg", "inhaler", "inhaled", "2 puffs every 4 hours as needed", "1", "2"),
        ],
    ))  # fmt: skip
    form.section("Indications")
    form.lines([
        f"Losartan: hypertension, BP today {fact(form, 'measured.bp', '134/82')}.",
        f"Metformin ER: type 2 diabetes mellitus, HbA1c {fact(form, 'measured.hba1c', '7.4%')}, "
        f"eGFR {fact(form, 'measured.egfr', '78')}.",
        f"Rosuvastatin: hyperlipidemia, LDL {fact(form, 'measured.ldl', '131 mg/dL')}.",
        "Pantoprazole: GERD, a course of 8 weeks, then stop.",
        f"Albuterol HFA: mild intermittent asthma; one inhaler of {fact(form, 'inhaler', '200 actuations')}.",
    ])  # fmt: skip
    form.section("Notes to Pharmacist")
    form.lines([
        "Generic substitution permitted. No controlled substances on this form.",
        "Replaces lisinopril, stopped today for cough. Basic metabolic panel in 2 weeks.",
        "Signed electronically at 14:20: Dr. Amara Nwosu",
    ])  # fmt: skip
    return finished(
        form, "prescription",
        terms="losartan; metformin; rosuvastatin; pantoprazole; albuterol; hypertension; type 2 diabetes mellitus; "
        "hyperlipidemia; GERD; asthma; sulfonamides; hives; lisinopril; cough",
        values="100 mg; 750 mg; 20 mg; 40 mg; 90 mcg; 180; 56; 11; 134/82; 7.4%; 131; 91.4 kg; 200 actuations; "
        "12/08/2025; 05/30/1961",
    )  # fmt: skip


def lab_results() -> Document:
    """Ten laboratory values with units, reference ranges and flags."""
    form = blank("laboratory panel", Style.table, "LABORATORY RESULTS")
    form.pairs([
        *person(form, "Imani R. Castellanos", "06/23/1970", "55", "F", "6630487"),
        *labelled(form, "", [
            ("Collected", "date", "11/12/2025"), ("Time", "time", "07:35"),
            ("Specimen", "specimen", "serum / EDTA whole blood"), ("Ordered by", "provider", "Dr. Felix Aurand"),
        ]),
    ])  # fmt: skip
    form.section("Chemistry and Hematology")
    form.table(("Test", "Result", "Unit", "Reference Range", "Flag"), entries(form, "results", RESULT, [
        ("Sodium", "134", "mmol/L", "136-145", "L"),
        ("Potassium", "6.3", "mmol/L", "3.5-5.1", "C"),
        ("Chloride", "101", "mmol/L", "98-107", ""),
        ("Bicarbonate", "18", "mmol/L", "22-29", "L"),
        ("BUN", "46", "mg/dL", "7-20", "H"),
        ("Creatinine", "2.41", "mg/dL", "0.50-1.10", "H"),
        ("Glucose", "238", "mg/dL", "70-99", "H"),
        ("Calcium", "8.9", "mg/dL", "8.6-10.2", ""),
        ("Hemoglobin", "9.7", "g/dL", "12.0-15.5", "L"),
        ("HbA1c", "9.2", "%", "4.0-5.6", "H"),
    ]))  # fmt: skip
    form.section("Calculated")
    form.pairs(labelled(form, "calculated", [
        ("Anion gap", "anion_gap", "15 mmol/L"), ("eGFR (CKD-EPI 2021)", "egfr", "23 mL/min/1.73 m2"),
    ]))  # fmt: skip
    form.section("Comments")
    form.lines([
        "Flags: H above range, L below range, C critical. Specimen not hemolyzed.",
        "Critical hyperkalemia called to Dr. Aurand at 08:10, read back. Repeat potassium and ECG advised.",
        "Compatible with chronic kidney disease stage 4 with metabolic acidosis and anemia.",
    ])  # fmt: skip
    return finished(
        form, "lab-results",
        terms="sodium; potassium; chloride; bicarbonate; BUN; creatinine; glucose; calcium; hemoglobin; HbA1c; "
        "anion gap; eGFR; hyperkalemia; chronic kidney disease; metabolic acidosis; anemia",
        values="134; 6.3; 101; 18; 46; 2.41; 238; 8.9; 9.7; 9.2; 136-145; 0.50-1.10; 12.0-15.5; 15 mmol/L; "
        "23 mL/min/1.73 m2",
    )  # fmt: skip


def discharge_summary() -> Document:
    """Four diagnoses, eight medications, four follow-up instructions."""
    form = blank("discharge summary", Style.table, "DISCHARGE SUMMARY")
    form.pairs([
        *person(form, "Winston A. Pereira", "09/09/1949", "76", "M", "1582736"),
        *labelled(form, "", [
            ("Admitted", "admitted", "10/02/2025"), ("Discharged", "date", "10/07/2025"),
            ("Length of stay", "los", "5 days"), ("Attending", "attending", "Dr. Ruth Halvorsen"),
        ]),
        ("Allergies", allergies(form, [("Cephalexin", "rash")])),
        *labelled(form, "", [("Disposition", "disposition", "home with family")]),
    ])  # fmt: skip
    form.section("Diagnoses")
    diagnoses = entries(form, "diagnoses", ("name",), [
        ("Acute on chronic heart failure, HFrEF",), ("Persistent atrial fibrillation",), ("COPD",),
        ("Type 2 diabetes mellitus",),
    ])  # fmt: skip
    form.lines([f"{number}. {name}" for number, (name,) in enumerate(diagnoses, 1)])
    _hospital_course(form)
    form.section("Condition at Discharge")
    form.pairs(labelled(form, "vitals", [
        ("BP", "bp", "112/68 mmHg"), ("HR", "hr", "74 bpm"), ("SpO2 on room air", "spo2", "95%"),
        ("Weight", "weight", "81.2 kg"), ("Potassium", "potassium", "4.3 mmol/L"), ("Sodium", "sodium", "137 mmol/L"),
    ]))  # fmt: skip
    form.section("Discharge Medications")
    keys = (*MEDICATION, "status")
    form.table(("Medication", "Dose", "Route", "Frequency", "Status"), entries(form, "medications", keys, [
        ("Furosemide", "40 mg", "PO", "BID", "CHANGED"),
        ("Sacubitril-valsartan", "24/26 mg", "PO", "BID", "NEW"),
        ("Metoprolol succinate", "100 mg", "PO", "daily", "CHANGED"),
        ("Spironolactone", "25 mg", "PO", "daily", "NEW"),
        ("Empagliflozin", "10 mg", "PO", "daily", "NEW"),
        ("Rivaroxaban", "20 mg", "PO", "daily with supper", "CONTINUE"),
        ("Tiotropium", "18 mcg", "inhaled", "daily", "CONTINUE"),
        ("Metformin", "1,000 mg", "PO", "BID", "CONTINUE"),
    ]))  # fmt: skip
    form.section("Follow-up Instructions")
    follow_up = entries(form, "follow_up", ("instruction",), [
        ("Cardiology clinic, Dr. Simon Reyes, 10/14/2025 at 10:30.",),
        ("Basic metabolic panel on 10/10/2025 for potassium and creatinine.",),
        ("Weigh every morning; call for a gain of 3 lb in a day or 5 lb in a week.",),
        ("Sodium below 2,000 mg and fluids below 1.5 L a day.",),
    ])  # fmt: skip
    form.lines([f"{number}. {instruction}" for number, (instruction,) in enumerate(follow_up, 1)])
    return finished(
        form, "discharge-summary",
        terms="HFrEF; heart failure; atrial fibrillation; COPD; type 2 diabetes mellitus; LVEF; NT-proBNP; furosemide; "
        "sacubitril-valsartan; metoprolol; spironolactone; empagliflozin; rivaroxaban; tiotropium; metformin",
        values="40 mg; 24/26 mg; 100 mg; 25 mg; 10 mg; 20 mg; 18 mcg; 1,000 mg; 30%; 6.4 L; 88.6 kg; 81.2 kg; 8,420; "
        "2,310; 112/68; 142 bpm; 10/14/2025; 1.5 L",
    )  # fmt: skip


def _hospital_course(form: Form) -> None:
    """Tell what happened from admission to discharge."""
    form.section("Hospital Course")
    form.lines([
        f"Admitted with dyspnea, edema and rapid ventricular response at {fact(form, 'course.heart_rate', '142 bpm')}.",
        f"Echocardiogram: LVEF {fact(form, 'course.lvef', '30%')}. Rate controlled with metoprolol.",
        f"Diuresed {fact(form, 'course.net_diuresis', '6.4 L')} net with intravenous furosemide; "
        f"weight fell by {fact(form, 'course.weight_loss', '7.4 kg')} "
        f"from {fact(form, 'course.admission_weight', '88.6 kg')}.",
        f"NT-proBNP fell from {fact(form, 'course.admission_nt_probnp', '8,420')} "
        f"to {fact(form, 'course.discharge_nt_probnp', '2,310 pg/mL')}. "
        f"Creatinine stable at {fact(form, 'course.creatinine', '1.1 mg/dL')}.",
    ])  # fmt: skip


BENCHMARK: tuple[Builder, ...] = (patient_diagnosis, radiology_report, prescription, lab_results, discharge_summary)
