"""Laboratory panels: values that agree with each other, with the patient and with what the patient has."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from random import Random

from medvl.documents.forms.analytes import ANALYTES, Analyte
from medvl.documents.forms.chance import power
from medvl.documents.forms.patient import Patient

_BMP = "na k cl co2 agap bun cr egfr ratio glu ca"
_CBC = "wbc rbc hgb hct mcv mch mchc rdw plt mpv"
# Title of a panel, what it may also be called, the keys of its analytes, and M where it is of men only.
PANELS: tuple[tuple[str, str, str, str], ...] = (
    ("Basic Metabolic Panel", "BMP", _BMP, ""),
    ("Comprehensive Metabolic Panel", "CMP", f"{_BMP} tp alb glob agr ast alt alp tbil", ""),
    ("Complete Blood Count", "CBC", _CBC, ""),
    ("CBC with Differential", "CBC w/ diff", f"{_CBC} neut lymph mono eos baso anc alc", ""),
    ("Lipid Panel", "Lipids", "tc tg hdl ldl vldl nonhdl", ""),
    ("Thyroid Panel", "Thyroid", "tsh ft4 ft3 tpo", ""),
    ("Hepatic Function Panel", "LFTs", "tp alb glob agr ast alt alp ggt tbil dbil ibil", ""),
    ("Coagulation Studies", "Coags", "pt inr aptt fib ddimer", ""),
    ("Iron Studies", "Iron", "iron tibc tsat ferritin retic", ""),
    ("Cardiac Markers", "Cardiac", "troponin ck ckmb bnp ldh", ""),
    ("Inflammatory Markers", "Inflammation", "crp esr pct lactate", ""),
    ("Diabetes Monitoring", "Diabetes", "glu a1c eag uacr cr egfr", ""),
    ("Vitamin Levels", "Vitamins", "vb12 folate vitd", ""),
    ("Minerals", "Lytes", "mg phos ica ca", ""),
    ("Pancreatic Enzymes", "Pancreas", "lipase amylase", ""),
    ("Arterial Blood Gas", "ABG", "ph pco2 po2 hco3 lactate", ""),
    ("Endocrine Studies", "Endocrine", "pth cortisol prolactin tsh", ""),
    ("Men's Health Panel", "Men's Health", "psa testo hgb tsh", "M"),
    ("Gout and Renal", "Renal", "uric bun cr egfr ratio phos", ""),
)  # fmt: skip
# Where values lie in those who have a diagnosis or take a drug.
_INFECTION = {"wbc": (11.4, 21.0), "lymph": (5.0, 15.0), "crp": (32.0, 210.0), "pct": (0.3, 6.0)}
LEANS: dict[str, dict[str, tuple[float, float]]] = {
    "t2dm": {"glu": (108, 235), "a1c": (6.6, 9.8)}, "dpn": {"glu": (118, 250), "a1c": (7.0, 10.4)},
    "dkd": {"glu": (112, 235), "a1c": (6.7, 9.4), "egfr": (31, 58), "uacr": (45, 480)},
    "t1dm": {"glu": (92, 270), "a1c": (6.8, 9.9)},
    "dka": {"glu": (310, 560), "a1c": (9.2, 13.5), "co2": (9, 16), "agap": (20, 29), "ph": (7.08, 7.28),
    "pco2": (20, 32)},
    "hypothyroid": {"tsh": (1.1, 8.6)}, "hyperthyroid": {"tsh": (0.01, 0.32), "ft4": (1.5, 3.6), "tpo": (60, 400)},
    "ckd3": {"egfr": (46, 58)}, "ckd4": {"egfr": (16, 28), "hgb": (9.6, 11.9), "pth": (80, 260)},
    "aki": {"egfr": (13, 38)},
    "ida": {"hgb": (8.1, 11.4), "mcv": (68, 79), "ferritin": (3, 10), "iron": (12, 40), "tibc": (420, 520),
    "rdw": (15, 19)},
    "b12": {"hgb": (9.0, 11.6), "mcv": (102, 115), "vb12": (88, 190)}, "vitd": {"vitd": (8, 26)},
    "hypok": {"k": (2.7, 3.4)}, "hypona": {"na": (116, 131)}, "hld": {"ldl": (72, 188)}, "hypertg": {"tg": (210, 560)},
    "gout": {"uric": (6.4, 9.6)}, "alcohol": {"ggt": (70, 290), "ast": (48, 140), "alt": (35, 80)},
    "cirrhosis": {"alb": (2.4, 3.4), "tbil": (1.4, 4.2), "plt": (62, 142), "ast": (44, 110), "pt": (14.2, 19.0)},
    "hfref": {"bnp": (140, 900)}, "hfpef": {"bnp": (110, 600)}, "hfacute": {"bnp": (620, 2900), "na": (128, 138)},
    "nstemi": {"troponin": (140, 4200), "ck": (310, 1900), "ckmb": (8, 90)}, "cap": _INFECTION, "pyelo": _INFECTION,
    "sepsis": {**_INFECTION, "lactate": (2.2, 5.6)}, "cellulitis": _INFECTION, "diverticulitis": _INFECTION,
    "cdiff": _INFECTION,
    "pancreatitis": {"lipase": (310, 2400), "amylase": (160, 900), "wbc": (10.5, 17.0)}, "gib": {"hgb": (6.3, 9.6)},
    "hip": {"hgb": (8.8, 11.8)}, "pe": {"ddimer": (900, 5200)}, "dvt": {"ddimer": (800, 4600)}, "ra": {"crp": (4, 38)},
    "sle": {"esr": (28, 80)}, "prostate": {"psa": (0.1, 18.0)}, "copdexac": {"pco2": (44, 64), "wbc": (9, 15)},
    "Warfarin": {"pt": (24.0, 36.0)}, "Lithium carbonate": {"lithium": (0.5, 1.2)},
}  # fmt: skip
# What a calculated value is calculated from.
_PARENTS = {
    "cl": "na co2 agap", "agap": "na co2 cl", "egfr": "cr", "ratio": "bun cr", "bun": "cr", "glob": "tp alb",
    "agr": "tp alb glob", "ibil": "tbil dbil", "alt": "ast",  "rbc": "hgb mcv mchc hct", "hct": "hgb mchc",
    "mcv": "hgb mchc hct rbc",
    "mch": "hgb mcv mchc rbc",  "tc": "ldl hdl tg", "ldl": "hdl tg tc", "vldl": "tg", "nonhdl": "ldl hdl tg tc",
    "inr": "pt",
    "tsat": "iron tibc", "eag": "a1c", "esr": "crp", "hco3": "ph pco2", "neut": "lymph mono eos baso",
    "anc": "wbc neut",
    "alc": "wbc lymph anc",
}  # fmt: skip
KAPPA, ALPHA = {"F": 0.7, "M": 0.9}, {"F": -0.241, "M": -0.302}


@dataclass(frozen=True, slots=True)
class Result:
    """One measured or calculated value."""

    analyte: Analyte
    value: float | None
    """As it is written, rounded; None: it cannot be calculated."""
    sex: str

    @property
    def flag(self) -> str:
        return "" if self.value is None else self.analyte.flag(self.value, self.sex)

    @property
    def text(self) -> str:
        return "not calculated" if self.value is None else self.analyte.written(self.value)


def egfr(creatinine: float, age: int, sex: str) -> int:
    """Estimate the glomerular filtration rate in mL/min/1.73m2 from creatinine in mg/dL.

    Source: CKD-EPI 2021 without race, Inker et al., N Engl J Med 2021;385:1737, table S10.
    """
    ratio = creatinine / KAPPA[sex]
    falling = power(min(ratio, 1), ALPHA[sex]) * power(max(ratio, 1), -1.2)
    return round(142 * falling * power(0.9938, age) * (1.012 if sex == "F" else 1))


def drawn_results(
    rng: Random, keys: Iterable[str], patient: Patient, on: date, conditions: Collection[str] = ()
) -> dict[str, Result]:
    """Draw values for analytes and calculate those that follow from others, all from values as they are written.

    Args:
        conditions: Keys of diagnoses and names of drugs that move values, as `LEANS` has them.
    """
    asked = list(dict.fromkeys(keys))
    needed = list(asked)
    for key in needed:  # grows while it is read
        needed += [parent for parent in _PARENTS.get(key, "").split() if parent not in needed]
    leans: dict[str, tuple[float, float]] = {}
    for condition in sorted(conditions):
        for key, limits in LEANS.get(condition, {}).items():
            leans.setdefault(key, limits)
    values: dict[str, float | None] = {}
    for key in ANALYTES:
        if key in needed:
            analyte = ANALYTES[key]
            values[key] = (
                round(rng.uniform(*leans[key]), analyte.decimals) if key in leans else analyte.drawn(rng, patient.sex)
            )
    if "a1c" in values and "glu" in values and "dka" not in conditions:
        values["glu"] = _usual_glucose(rng, values["a1c"])
    _chemistry(rng, values, patient, on, leans)
    _blood(values)
    _others(values)
    return {key: Result(ANALYTES[key], values[key], patient.sex) for key in asked}


def _usual_glucose(rng: Random, a1c: float) -> int:
    """Draw the glucose of a morning beside a glycated hemoglobin: near the average that it stands for."""
    average = 28.7 * a1c - 46.7  # ADAG, Nathan et al., Diabetes Care 2008;31:1473
    low, high = (0.9, 1.05) if a1c < 5.0 else (0.76, 1.02) if a1c < 5.7 else (0.8, 1.25)
    return round(max(average, 78) * rng.uniform(low, high))


def _chemistry(rng: Random, values: dict, patient: Patient, on: date, leans: dict[str, tuple[float, float]]) -> None:
    if "cr" in values:
        if "egfr" in leans:  # the creatinine that gives such a rate
            target = rng.uniform(*leans["egfr"])
            factor = 142 * power(0.9938, patient.age(on)) * (1.012 if patient.sex == "F" else 1)
            values["cr"] = round(KAPPA[patient.sex] * power(factor / target, 1 / 1.2), 2)
        elif leans:  # no kidney disease among the diagnoses
            high = ANALYTES["cr"].reference(patient.sex)[1] or 1.0
            values["cr"] = min(values["cr"], round(high - 0.02, 2))
    if "bun" in values:
        values["bun"] = max(5, round(values["cr"] * rng.uniform(11, 21)))
    if "agap" in values:
        values["cl"] = values["na"] - values["co2"] - values["agap"]
        values["agap"] = values["na"] - values["cl"] - values["co2"]
    if "egfr" in values:
        values["egfr"] = egfr(values["cr"], patient.age(on), patient.sex)
    if "ratio" in values:
        values["ratio"] = round(values["bun"] / values["cr"])
    if "alt" in values and "alt" not in leans:
        values["alt"] = round(values["ast"] * rng.uniform(0.65, 1.4))
    if "glob" in values:
        values["tp"] = max(values["tp"], round(values["alb"] + 1.8, 1))
        values["glob"] = round(values["tp"] - values["alb"], 1)
    if "agr" in values:
        values["agr"] = round(values["alb"] / values["glob"], 1)
    if "ibil" in values:
        values["dbil"] = round(min(values["dbil"], 0.7 * values["tbil"]), 1)
        values["ibil"] = round(values["tbil"] - values["dbil"], 1)


def _blood(values: dict) -> None:
    if "hct" in values:
        values["hct"] = round(values["hgb"] / values["mchc"] * 100, 1)
        values["mchc"] = round(values["hgb"] / values["hct"] * 100, 1)
    if "rbc" in values:
        values["rbc"] = round(values["hct"] / values["mcv"] * 10, 2)
        values["mcv"] = round(values["hct"] / values["rbc"] * 10, 1)
    if "mch" in values:
        values["mch"] = round(values["hgb"] / values["rbc"] * 10, 1)
    if "neut" in values:
        values["neut"] = round(100 - sum(values[key] for key in ("lymph", "mono", "eos", "baso")), 1)
    if "anc" in values:
        values["anc"] = round(values["wbc"] * values["neut"] / 100, 2)
        values["alc"] = round(values["wbc"] * values["lymph"] / 100, 2)


def _others(values: dict) -> None:
    if "tc" in values:
        values["tc"] = round(values["ldl"] + values["hdl"] + values["tg"] / 5)
    if "ldl" in values:
        # Friedewald's estimate does not hold from 400 mg/dL of triglycerides on.
        known = values["tg"] < 400
        values["ldl"] = round(values["tc"] - values["hdl"] - values["tg"] / 5) if known else None
    if "vldl" in values:
        values["vldl"] = round(values["tg"] / 5) if values["tg"] < 400 else None
    if "nonhdl" in values:
        values["nonhdl"] = values["tc"] - values["hdl"]
    if "inr" in values:
        values["inr"] = round(values["pt"] / 12.2, 1)
    if "tsat" in values:
        values["tsat"] = round(values["iron"] / values["tibc"] * 100)
    if "esr" in values and values.get("crp", 0.0) > 20:
        values["esr"] = max(values["esr"], round(22 + 0.3 * min(values["crp"], 200)))
    if "eag" in values:
        values["eag"] = round(28.7 * values["a1c"] - 46.7)
    if "hco3" in values:
        # Henderson and Hasselbalch, with 0.0307 mmol/L of dissolved gas per mmHg.
        values["hco3"] = round(0.0307 * values["pco2"] * power(10, values["ph"] - 6.1), 1)
