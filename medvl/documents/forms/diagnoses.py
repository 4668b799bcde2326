"""Diagnoses of adults with ICD-10-CM codes (2025 edition), and how they come together in one patient."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from random import Random

from medvl.documents.forms.patient import Patient


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One row of the table below."""

    key: str
    name: str
    abbreviation: str
    """As clinicians shorten it; empty: they do not."""
    code: str
    course: str
    """chronic, acute (seen in the office) or admitted (brings a patient to the ward)."""
    weight: int
    """How often it comes up beside the others of its course."""
    family: str = ""
    """One patient has at most one diagnosis of a family."""
    sex: str = ""
    """M or F; empty: both."""
    ages: tuple[int, int] = (18, 97)

    def suits(self, patient: Patient, on: date) -> bool:
        return self.sex in ("", patient.sex) and self.ages[0] <= patient.age(on) <= self.ages[1]


DIAGNOSES: dict[str, Diagnosis] = {row[0]: Diagnosis(*row) for row in (
    ("htn", "Essential hypertension", "HTN", "I10", "chronic", 30),
    ("hld", "Hyperlipidemia", "HLD", "E78.5", "chronic", 22, "lipid"),
    ("hypertg", "Hypertriglyceridemia", "HTG", "E78.1", "chronic", 3, "lipid"),
    ("t2dm", "Type 2 diabetes mellitus", "T2DM", "E11.9", "chronic", 20, "dm"),
    ("dkd", "Type 2 diabetes with diabetic chronic kidney disease", "DKD", "E11.22", "chronic", 3, "dm", "", (40, 97)),
    ("dpn", "Type 2 diabetes with diabetic polyneuropathy", "DPN", "E11.42", "chronic", 4, "dm", "", (40, 97)),
    ("t1dm", "Type 1 diabetes mellitus", "T1DM", "E10.9", "chronic", 2, "dm"),
    ("cad", "Coronary artery disease", "CAD", "I25.10", "chronic", 10, "coronary", "", (45, 97)),
    ("hfref", "Chronic systolic heart failure", "HFrEF", "I50.22", "chronic", 5, "hf", "", (45, 97)),
    ("hfpef", "Chronic diastolic heart failure", "HFpEF", "I50.32", "chronic", 5, "hf", "", (55, 97)),
    ("afib", "Atrial fibrillation", "AFib", "I48.91", "chronic", 8, "", "", (50, 97)),
    ("pad", "Peripheral vascular disease", "PVD", "I73.9", "chronic", 3, "", "", (50, 97)),
    ("cva", "History of stroke without residual deficits", "h/o CVA", "Z86.73", "chronic", 4, "stroke", "", (50, 97)),
    ("ckd3", "Chronic kidney disease, stage 3a", "CKD 3a", "N18.31", "chronic", 5, "kidney", "", (45, 97)),
    ("ckd4", "Chronic kidney disease, stage 4", "CKD 4", "N18.4", "chronic", 2, "kidney", "", (45, 97)),
    ("copd", "Chronic obstructive pulmonary disease", "COPD", "J44.9", "chronic", 8, "lung", "", (45, 97)),
    ("asthma", "Asthma, uncomplicated", "", "J45.909", "chronic", 7, "lung"),
    ("osa", "Obstructive sleep apnea", "OSA", "G47.33", "chronic", 6),
    ("rhinitis", "Allergic rhinitis", "AR", "J30.9", "chronic", 6),
    ("gerd", "Gastroesophageal reflux disease", "GERD", "K21.9", "chronic", 14, "ulcer"),
    ("pud", "Peptic ulcer disease", "PUD", "K27.9", "chronic", 2, "ulcer"),
    ("ibs", "Irritable bowel syndrome", "IBS", "K58.9", "chronic", 4, "bowel", "", (18, 70)),
    ("uc", "Ulcerative colitis", "UC", "K51.90", "chronic", 2, "bowel"),
    ("constipation", "Constipation", "", "K59.00", "chronic", 5, "bowel"),
    ("gastroparesis", "Gastroparesis", "", "K31.84", "chronic", 1),
    ("cirrhosis", "Cirrhosis of liver", "", "K74.60", "chronic", 2, "", "", (35, 90)),
    ("hypothyroid", "Hypothyroidism", "", "E03.9", "chronic", 9, "thyroid"),
    ("hyperthyroid", "Graves disease", "", "E05.00", "chronic", 2, "thyroid", "", (18, 75)),
    ("osteoporosis", "Age-related osteoporosis", "", "M81.0", "chronic", 5, "", "", (60, 97)),
    ("vitd", "Vitamin D deficiency", "", "E55.9", "chronic", 6),
    ("gout", "Gout", "", "M10.9", "chronic", 4, "", "", (30, 97)),
    ("oa", "Primary osteoarthritis of right knee", "OA R knee", "M17.11", "chronic", 9, "", "", (45, 97)),
    ("ra", "Rheumatoid arthritis", "RA", "M06.9", "chronic", 3, "rheumatic"),
    ("sle", "Systemic lupus erythematosus", "SLE", "M32.9", "chronic", 1, "rheumatic", "", (18, 75)),
    ("fibromyalgia", "Fibromyalgia", "", "M79.7", "chronic", 3),
    ("radiculopathy", "Lumbar radiculopathy", "", "M54.16", "chronic", 6),
    ("migraine", "Migraine", "", "G43.909", "chronic", 5, "", "", (18, 65)),
    ("epilepsy", "Epilepsy", "", "G40.909", "chronic", 2),
    ("parkinson", "Parkinson disease", "PD", "G20.A1", "chronic", 2, "", "", (55, 97)),
    ("alzheimer", "Alzheimer disease", "AD", "G30.9", "chronic", 3, "", "", (65, 97)),
    ("rls", "Restless legs syndrome", "RLS", "G25.81", "chronic", 2),
    ("mdd", "Major depressive disorder, recurrent, moderate", "MDD", "F33.1", "chronic", 9, "mood"),
    ("bipolar", "Bipolar disorder", "BPD I", "F31.9", "chronic", 2, "mood", "", (18, 75)),
    ("schizophrenia", "Schizophrenia", "", "F20.9", "chronic", 1, "mood", "", (20, 75)),
    ("gad", "Generalized anxiety disorder", "GAD", "F41.1", "chronic", 7, "anxiety"),
    ("panic", "Panic disorder", "", "F41.0", "chronic", 2, "anxiety", "", (18, 65)),
    ("ptsd", "Post-traumatic stress disorder", "PTSD", "F43.10", "chronic", 2, "anxiety"),
    ("insomnia", "Insomnia", "", "G47.00", "chronic", 6),
    ("tobacco", "Nicotine dependence, cigarettes", "", "F17.210", "chronic", 5, "", "", (18, 80)),
    ("alcohol", "Alcohol dependence", "AUD", "F10.20", "chronic", 2, "", "", (21, 80)),
    ("ida", "Iron deficiency anemia", "IDA", "D50.9", "chronic", 5, "anemia"),
    ("b12", "Vitamin B12 deficiency anemia", "", "D51.9", "chronic", 2, "anemia"),
    ("bph", "Benign prostatic hyperplasia with LUTS", "BPH", "N40.1", "chronic", 12, "", "M", (50, 97)),
    ("ed", "Erectile dysfunction", "ED", "N52.9", "chronic", 4, "", "M", (35, 80)),
    ("prostate", "Prostate cancer", "PCa", "C61", "chronic", 3, "", "M", (55, 97)),
    ("pcos", "Polycystic ovarian syndrome", "PCOS", "E28.2", "chronic", 4, "", "F", (18, 45)),
    ("endometriosis", "Endometriosis", "", "N80.9", "chronic", 3, "", "F", (18, 48)),
    ("menopause", "Menopausal syndrome", "", "N95.1", "chronic", 5, "", "F", (46, 60)),
    ("breast", "Breast cancer, left", "", "C50.912", "chronic", 3, "", "F", (52, 90)),
    ("oab", "Overactive bladder", "OAB", "N32.81", "chronic", 3, "", "", (40, 97)),
    ("glaucoma", "Glaucoma", "", "H40.9", "chronic", 4, "", "", (50, 97)),
    ("psoriasis", "Plaque psoriasis", "", "L40.0", "chronic", 2),
    ("eczema", "Atopic dermatitis", "", "L20.9", "chronic", 2),
    ("uti", "Urinary tract infection", "UTI", "N39.0", "acute", 8, "urine"),
    ("cellulitis", "Cellulitis of right lower limb", "", "L03.115", "acute", 6),
    ("sinusitis", "Acute sinusitis", "", "J01.90", "acute", 6, "airway"),
    ("bronchitis", "Acute bronchitis", "", "J20.9", "acute", 6, "airway"),
    ("strep", "Streptococcal pharyngitis", "strep throat", "J02.0", "acute", 4, "airway", "", (18, 50)),
    ("influenza", "Influenza", "flu", "J11.1", "acute", 4, "airway"),
    ("zoster", "Herpes zoster", "shingles", "B02.9", "acute", 4, "", "", (40, 97)),
    ("bppv", "Benign paroxysmal vertigo", "BPPV", "H81.10", "acute", 4),
    ("nausea", "Nausea", "", "R11.0", "acute", 3),
    ("acne", "Acne vulgaris", "", "L70.0", "acute", 2, "", "", (18, 35)),
    ("stone", "Calculus of kidney", "", "N20.0", "acute", 4),
    ("hypok", "Hypokalemia", "", "E87.6", "acute", 3),
    ("cap", "Pneumonia", "CAP", "J18.9", "admitted", 10),
    ("copdexac", "COPD with acute exacerbation", "AECOPD", "J44.1", "admitted", 7, "lung", "", (45, 97)),
    ("hfacute", "Acute on chronic systolic heart failure", "ADHF", "I50.23", "admitted", 9, "hf", "", (45, 97)),
    ("nstemi", "Non-ST elevation myocardial infarction", "NSTEMI", "I21.4", "admitted", 6, "coronary", "", (40, 97)),
    ("stroke", "Cerebral infarction", "CVA", "I63.9", "admitted", 5, "stroke", "", (45, 97)),
    ("pe", "Pulmonary embolism", "PE", "I26.99", "admitted", 5),
    ("dvt", "Deep vein thrombosis, left leg", "DVT", "I82.402", "admitted", 3),
    ("pyelo", "Acute pyelonephritis", "", "N10", "admitted", 5, "urine"),
    ("sepsis", "Sepsis", "", "A41.9", "admitted", 5),
    ("cdiff", "C. difficile enterocolitis", "C. diff", "A04.72", "admitted", 3, "bowel"),
    ("diverticulitis", "Diverticulitis of large intestine", "", "K57.32", "admitted", 5, "bowel", "", (40, 97)),
    ("pancreatitis", "Acute pancreatitis", "", "K85.90", "admitted", 4, "", "", (25, 90)),
    ("gib", "Gastrointestinal hemorrhage", "GI bleed", "K92.2", "admitted", 5, "ulcer", "", (40, 97)),
    ("dka", "Type 2 diabetes with ketoacidosis", "DKA", "E11.10", "admitted", 3, "dm"),
    ("aki", "Acute kidney failure", "AKI", "N17.9", "admitted", 5, "kidney"),
    ("hypona", "Hyponatremia", "", "E87.1", "admitted", 3),
    ("hip", "Fracture of neck of right femur", "R hip fx", "S72.001A", "admitted", 4, "", "", (65, 97)),
    ("covid", "COVID-19", "", "U07.1", "admitted", 4, "airway"),
)}  # fmt: skip
_FIRST_COVID = date(2020, 3, 1)


def drawn_diagnoses(
    rng: Random, patient: Patient, on: date, count: int, *, course: str = "chronic", beside: Collection[Diagnosis] = ()
) -> list[Diagnosis]:
    """Draw up to `count` diagnoses that fit the patient's sex, age and each other, the commoner ones more often.

    Args:
        beside: What the patient has already; neither repeated nor contradicted.
    """
    found: list[Diagnosis] = []
    for _ in range(count):
        families = {known.family for known in (*beside, *found) if known.family}
        open_to = [
            row
            for row in DIAGNOSES.values()
            if row.course == course and row.suits(patient, on) and row.family not in families
            and row not in found and row not in beside and (row.key != "covid" or on >= _FIRST_COVID)
        ]  # fmt: skip
        found += rng.choices(open_to, weights=[row.weight for row in open_to])
    return found
