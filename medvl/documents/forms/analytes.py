"""What a laboratory measures: units, reference and critical limits of adults, and how values fall."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from medvl.documents.forms.chance import bell, tail


@dataclass(frozen=True, slots=True)
class Analyte:
    """One row of the table below. Limits are written `low-high`; either side may be missing."""

    key: str
    name: str
    abbreviation: str
    unit: str
    limits: str
    """Reference limits, of men where `limits_f` is set."""
    limits_f: str
    critical: str
    """Values at these limits or beyond are called to the ward."""
    decimals: int
    tail: float
    """Mean distance of an abnormal value from the range, as a part of the range's width."""

    def reference(self, sex: str) -> tuple[float | None, float | None]:
        """Return the limits of the normal range."""
        return _limits(self.limits_f if sex == "F" and self.limits_f else self.limits)

    def flag(self, value: float, sex: str) -> str:
        """Judge a value as it is written: `H`, `L`, `HH` and `LL` for critical ones, empty for normal ones.

        A range without a lower limit is written `<high`, so its limit itself is high.
        """
        low, high = self.reference(sex)
        panic_low, panic_high = _limits(self.critical)
        if panic_low is not None and value <= panic_low:
            return "LL"
        if panic_high is not None and value >= panic_high:
            return "HH"
        if low is not None and value < low:
            return "L"
        if high is not None and (value > high or (low is None and value == high)):
            return "H"
        return ""

    def written(self, value: float) -> str:
        return f"{value:.{self.decimals}f}"

    def written_range(self, sex: str) -> str:
        """Write the reference range: `135-145`, `<200` or `>=40`."""
        low, high = self.reference(sex)
        if low is None:
            return f"<{self.written(high or 0.0)}"
        return f">={self.written(low)}" if high is None else f"{self.written(low)}-{self.written(high)}"

    def drawn(self, rng: Random, sex: str) -> float:
        """Draw a value, rounded as it is written: mostly normal, at times abnormal, seldom critical."""
        low, high = self.reference(sex)
        panic_low, panic_high = _limits(self.critical)
        fate = rng.random()
        if fate < 0.01 and (panic_low is not None or panic_high is not None):
            panics = [(panic_low, rng.uniform(0.88, 1.0)), (panic_high, rng.uniform(1.0, 1.12))]
            if self.key == "ph":
                panics = [(panic_low, rng.uniform(0.985, 1.0)), (panic_high, rng.uniform(1.0, 1.01))]
            limit, factor = rng.choice([panic for panic in panics if panic[0] is not None])
            return round((limit or 0.0) * factor, self.decimals)
        if low is None:
            assert high is not None
            least = 0.4 if self.key in ("ldl", "tg") else 0.08  # nobody is without fat in the blood
            value = rng.triangular(least * high, 0.95 * high, max(least, 0.45) * high)
            if fate > 0.8:
                value = high * (1 + tail(rng, self.tail))
        elif high is None:
            value = low * (1 + abs(bell(rng, 0, 0.3)) if fate < 0.8 else rng.uniform(0.65, 0.99))
        else:
            width = high - low
            value = min(max(bell(rng, (low + high) / 2, width / 5), low), high)
            # What spreads far upwards, enzymes and the like, means little when it is low.
            if fate > (0.9 if self.tail < 0.5 else 0.82):
                value = high + width * tail(rng, self.tail)
            elif fate > 0.8:
                value = max(low - width * tail(rng, min(self.tail, 0.3)), 0.55 * low)
        # What is critical was drawn above.
        step = (1, 0.1, 0.01)[self.decimals]
        if panic_high is not None:
            value = min(value, panic_high - step)
        if panic_low is not None:
            value = max(value, panic_low + step)
        return round(min(value, 69.0) if self.unit == "%" else value, self.decimals)


def _limits(text: str) -> tuple[float | None, float | None]:
    low, _, high = text.partition("-")
    return float(low) if low else None, float(high) if high else None


ANALYTES: dict[str, Analyte] = {row[0]: Analyte(*row) for row in (
    ("na", "Sodium", "Na", "mmol/L", "135-145", "", "120-160", 0, 0.3),
    ("k", "Potassium", "K", "mmol/L", "3.5-5.1", "", "2.8-6.2", 1, 0.25),
    ("cl", "Chloride", "Cl", "mmol/L", "98-107", "", "80-120", 0, 0.3),
    ("co2", "Carbon dioxide", "CO2", "mmol/L", "22-29", "", "12-40", 0, 0.3),
    ("agap", "Anion gap", "AGap", "mmol/L", "8-16", "", "", 0, 0.3),
    ("bun", "Urea nitrogen", "BUN", "mg/dL", "7-20", "", "-100", 0, 0.8),
    ("cr", "Creatinine", "Cr", "mg/dL", "0.74-1.35", "0.59-1.04", "-5.00", 2, 0.7),
    ("egfr", "eGFR", "eGFR", "mL/min/1.73m2", "60-", "", "", 0, 0.3),
    ("ratio", "BUN/Creatinine ratio", "BUN/Cr", "ratio", "6-25", "", "", 0, 0.3),
    ("glu", "Glucose", "Glu", "mg/dL", "70-99", "", "45-450", 0, 1.6),
    ("ca", "Calcium", "Ca", "mg/dL", "8.6-10.2", "", "6.5-13.0", 1, 0.3),
    ("tp", "Total protein", "TP", "g/dL", "6.4-8.3", "", "", 1, 0.2),
    ("alb", "Albumin", "Alb", "g/dL", "3.5-5.0", "", "", 1, 0.2),
    ("glob", "Globulin", "Glob", "g/dL", "2.0-3.9", "", "", 1, 0.2),
    ("agr", "A/G ratio", "A/G", "ratio", "1.0-2.5", "", "", 1, 0.2),
    ("ast", "AST", "SGOT", "U/L", "10-40", "9-32", "-1000", 0, 1.5),
    ("alt", "ALT", "SGPT", "U/L", "10-50", "7-35", "-1000", 0, 1.5),
    ("alp", "Alkaline phosphatase", "ALP", "U/L", "40-129", "35-104", "", 0, 0.6),
    ("tbil", "Bilirubin, total", "T bili", "mg/dL", "0.2-1.2", "", "-15.0", 1, 0.9),
    ("dbil", "Bilirubin, direct", "D bili", "mg/dL", "-0.3", "", "", 1, 1.0),
    ("ibil", "Bilirubin, indirect", "I bili", "mg/dL", "0.1-1.0", "", "", 1, 0.5),
    ("ggt", "GGT", "GGTP", "U/L", "8-61", "5-36", "", 0, 1.2),
    ("wbc", "White blood cells", "WBC", "10^3/uL", "4.0-11.0", "", "1.5-30.0", 1, 0.5),
    ("rbc", "Red blood cells", "RBC", "10^6/uL", "4.40-5.90", "3.80-5.20", "", 2, 0.3),
    ("hgb", "Hemoglobin", "Hgb", "g/dL", "13.5-17.5", "12.0-15.5", "7.0-20.0", 1, 0.4),
    ("hct", "Hematocrit", "Hct", "%", "40.0-52.0", "36.0-46.0", "21.0-60.0", 1, 0.4),
    ("mcv", "MCV", "MCV", "fL", "80.0-100.0", "", "", 1, 0.3),
    ("mch", "MCH", "MCH", "pg", "27.0-33.0", "", "", 1, 0.3),
    ("mchc", "MCHC", "MCHC", "g/dL", "32.0-36.0", "", "", 1, 0.2),
    ("rdw", "RDW", "RDW-CV", "%", "11.5-14.5", "", "", 1, 0.5),
    ("plt", "Platelets", "PLT", "10^3/uL", "150-400", "", "30-1000", 0, 0.3),
    ("mpv", "Mean platelet volume", "MPV", "fL", "7.5-11.5", "", "", 1, 0.2),
    ("neut", "Neutrophils", "Neut%", "%", "40.0-75.0", "", "", 1, 0.3),
    ("lymph", "Lymphocytes", "Lymph%", "%", "18.0-45.0", "", "", 1, 0.2),
    ("mono", "Monocytes", "Mono%", "%", "2.0-10.0", "", "", 1, 0.2),
    ("eos", "Eosinophils", "Eos%", "%", "0.5-6.0", "", "", 1, 0.4),
    ("baso", "Basophils", "Baso%", "%", "0.1-1.5", "", "", 1, 0.2),
    ("anc", "Neutrophils, absolute", "ANC", "10^3/uL", "1.80-7.70", "", "0.50-", 2, 0.5),
    ("alc", "Lymphocytes, absolute", "ALC", "10^3/uL", "1.00-4.00", "", "", 2, 0.5),
    ("retic", "Reticulocytes", "Retic", "%", "0.5-2.5", "", "", 1, 0.5),
    ("tc", "Cholesterol, total", "TC", "mg/dL", "-200", "", "", 0, 0.2),
    ("tg", "Triglycerides", "TG", "mg/dL", "-150", "", "-1000", 0, 0.6),
    ("hdl", "HDL cholesterol", "HDL-C", "mg/dL", "40-", "50-", "", 0, 0.2),
    ("ldl", "LDL cholesterol, calculated", "LDL-C", "mg/dL", "-100", "", "", 0, 0.3),
    ("vldl", "VLDL cholesterol", "VLDL-C", "mg/dL", "5-40", "", "", 0, 0.3),
    ("nonhdl", "Non-HDL cholesterol", "Non-HDL", "mg/dL", "-130", "", "", 0, 0.3),
    ("tsh", "TSH", "TSH", "uIU/mL", "0.40-4.50", "", "", 2, 0.8),
    ("ft4", "Free T4", "FT4", "ng/dL", "0.80-1.80", "", "", 2, 0.3),
    ("ft3", "Free T3", "FT3", "pg/mL", "2.3-4.2", "", "", 1, 0.3),
    ("tpo", "Thyroid peroxidase antibody", "TPO Ab", "IU/mL", "-35", "", "", 0, 4.0),
    ("pt", "Prothrombin time", "PT", "sec", "11.0-13.5", "", "-50.0", 1, 0.8),
    ("inr", "INR", "INR", "ratio", "0.9-1.1", "", "-5.0", 1, 1.0),
    ("aptt", "aPTT", "PTT", "sec", "25.0-35.0", "", "-100.0", 1, 0.8),
    ("fib", "Fibrinogen", "Fib", "mg/dL", "200-400", "", "100-", 0, 0.3),
    ("ddimer", "D-dimer", "D-dimer", "ng/mL FEU", "-500", "", "", 0, 1.2),
    ("iron", "Iron", "Fe", "ug/dL", "65-175", "50-170", "", 0, 0.2),
    ("tibc", "Iron binding capacity", "TIBC", "ug/dL", "250-450", "", "", 0, 0.2),
    ("tsat", "Transferrin saturation", "TSAT", "%", "20-50", "", "", 0, 0.2),
    ("ferritin", "Ferritin", "Ferritin", "ng/mL", "24-336", "11-307", "", 0, 0.4),
    ("troponin", "Troponin I, high sensitivity", "hs-TnI", "ng/L", "-20", "-12", "-100", 0, 1.5),
    ("ck", "Creatine kinase", "CK", "U/L", "39-308", "26-192", "-5000", 0, 1.5),
    ("ckmb", "CK-MB", "CK-MB", "ng/mL", "-5.0", "", "", 1, 1.0),
    ("bnp", "B-type natriuretic peptide", "BNP", "pg/mL", "-100", "", "", 0, 3.0),
    ("ldh", "Lactate dehydrogenase", "LDH", "U/L", "140-280", "", "", 0, 0.6),
    ("crp", "C-reactive protein", "CRP", "mg/L", "-5.0", "", "", 1, 4.0),
    ("esr", "Sedimentation rate", "ESR", "mm/h", "-15", "-20", "", 0, 1.2),
    ("pct", "Procalcitonin", "PCT", "ng/mL", "-0.10", "", "-10.00", 2, 6.0),
    ("lactate", "Lactate", "Lactate", "mmol/L", "0.5-2.0", "", "-4.0", 1, 0.6),
    ("a1c", "Hemoglobin A1c", "HbA1c", "%", "4.0-5.6", "", "", 1, 1.0),
    ("eag", "Est. average glucose", "eAG", "mg/dL", "68-114", "", "", 0, 1.0),
    ("uacr", "Albumin/creatinine ratio, urine", "UACR", "mg/g", "-30", "", "", 0, 3.0),
    ("vb12", "Vitamin B12", "B12", "pg/mL", "200-900", "", "", 0, 0.2),
    ("folate", "Folate", "Folate", "ng/mL", "4.0-20.0", "", "", 1, 0.2),
    ("vitd", "Vitamin D, 25-OH", "25-OH D", "ng/mL", "30-100", "", "", 0, 0.3),
    ("mg", "Magnesium", "Mg", "mg/dL", "1.7-2.4", "", "1.0-4.7", 1, 0.4),
    ("phos", "Phosphorus", "Phos", "mg/dL", "2.5-4.5", "", "1.0-9.0", 1, 0.4),
    ("ica", "Calcium, ionized", "iCa", "mmol/L", "1.12-1.32", "", "0.80-1.60", 2, 0.3),
    ("uric", "Uric acid", "Urate", "mg/dL", "3.5-7.2", "2.6-6.0", "", 1, 0.4),
    ("lipase", "Lipase", "Lipase", "U/L", "13-60", "", "", 0, 2.0),
    ("amylase", "Amylase", "Amylase", "U/L", "30-110", "", "", 0, 0.8),
    ("ammonia", "Ammonia", "NH3", "umol/L", "16-53", "", "-200", 0, 0.6),
    ("ph", "pH, arterial", "pH", "units", "7.35-7.45", "", "7.20-7.60", 2, 0.5),
    ("pco2", "pCO2, arterial", "pCO2", "mmHg", "35-45", "", "20-70", 0, 0.6),
    ("po2", "pO2, arterial", "pO2", "mmHg", "80-100", "", "40-", 0, 0.6),
    ("hco3", "Bicarbonate, calculated", "HCO3", "mmol/L", "22.0-26.0", "", "10.0-40.0", 1, 0.4),
    ("psa", "Prostate specific antigen", "PSA", "ng/mL", "-4.00", "", "", 2, 0.8),
    ("testo", "Testosterone, total", "Testo", "ng/dL", "264-916", "15-70", "", 0, 0.2),
    ("pth", "Parathyroid hormone", "PTH", "pg/mL", "15-65", "", "", 0, 0.7),
    ("cortisol", "Cortisol, AM", "Cortisol", "ug/dL", "6.2-19.4", "", "", 1, 0.3),
    ("prolactin", "Prolactin", "PRL", "ng/mL", "4.0-15.2", "4.8-23.3", "", 1, 0.6),
    ("digoxin", "Digoxin level", "Dig", "ng/mL", "0.5-0.9", "", "-2.0", 1, 0.7),
    ("lithium", "Lithium level", "Li", "mmol/L", "0.6-1.2", "", "-1.5", 1, 0.2),
    ("phenytoin", "Phenytoin level", "PHT", "ug/mL", "10.0-20.0", "", "-30.0", 1, 0.4),
)}  # fmt: skip
