"""What intensive care knows: the conditions treated, the drips that run, and how they are mixed."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Why a patient is in intensive care, and what that does to the body."""

    names: tuple[str, ...]
    hr: Range
    sbp: Range
    temp_c: Range
    acid_base: str
    pf: Range
    """PaO2 / FiO2 in mmHg."""
    ventilated: float
    """Share of patients on a ventilator."""
    drips: tuple[str, ...]
    """The first is the mainstay and always runs."""
    coma: bool = False
    """Whether consciousness is impaired without sedation."""


@dataclass(frozen=True, slots=True)
class Drip:
    """A continuous infusion: its unit of rate, the usual rates, and its mixture."""

    unit: str
    low: float
    high: float
    step: float
    mixtures: tuple[tuple[str, float], ...]
    """As the bag is labelled, and the amount per mL in the mass unit of the rate."""

    def pump_ml_h(self, rate: float, weight_kg: float, per_ml: float) -> float:
        """Return what the pump runs at with a mixture that holds so much per mL."""
        per_hour = rate * (weight_kg if "/kg/" in self.unit else 1) * (60 if self.unit.endswith("/min") else 1)
        return per_hour / per_ml


ACID_BASE: dict[str, tuple[Range, Range]] = {  # pH and pCO2 in mmHg; bicarbonate follows from them
    "normal": ((7.36, 7.44), (36, 44)),
    "metabolic acidosis": ((7.12, 7.32), (24, 35)),
    "mild metabolic acidosis": ((7.26, 7.36), (30, 37)),
    "respiratory acidosis": ((7.19, 7.34), (50, 82)),
    "permissive hypercapnia": ((7.24, 7.35), (46, 60)),
    "respiratory alkalosis": ((7.45, 7.53), (26, 33)),
    "metabolic alkalosis": ((7.46, 7.53), (43, 50)),
}

DRIPS: dict[str, tuple[Drip, ...]] = {
    "norepinephrine": (
        Drip("mcg/kg/min", 0.02, 0.5, 0.01, (("8 mg/250 mL", 32), ("4 mg/250 mL", 16), ("16 mg/250 mL", 64))),
        Drip("mcg/min", 2, 30, 1, (("4 mg/250 mL", 16), ("8 mg/250 mL", 32))),
    ),
    "epinephrine": (
        Drip("mcg/kg/min", 0.02, 0.3, 0.01, (("4 mg/250 mL", 16), ("8 mg/250 mL", 32))),
        Drip("mcg/min", 1, 15, 1, (("4 mg/250 mL", 16),)),
    ),
    "vasopressin": (Drip("units/min", 0.02, 0.04, 0.01, (("20 units/100 mL", 0.2), ("40 units/100 mL", 0.4))),),
    "phenylephrine": (Drip("mcg/min", 20, 200, 10, (("40 mg/250 mL", 160), ("20 mg/250 mL", 80))),),
    "dobutamine": (Drip("mcg/kg/min", 2.5, 12.5, 0.5, (("500 mg/250 mL", 2000), ("250 mg/250 mL", 1000))),),
    "dopamine": (Drip("mcg/kg/min", 3, 15, 1, (("400 mg/250 mL", 1600),)),),
    "milrinone": (Drip("mcg/kg/min", 0.125, 0.5, 0.125, (("20 mg/100 mL", 200), ("40 mg/200 mL", 200))),),
    "propofol": (Drip("mcg/kg/min", 5, 50, 5, (("10 mg/mL", 10000), ("1,000 mg/100 mL", 10000))),),
    "fentanyl": (
        Drip("mcg/h", 25, 200, 12.5, (("2,500 mcg/250 mL", 10), ("1,000 mcg/100 mL", 10))),
        Drip("mcg/kg/h", 0.5, 3, 0.25, (("2,500 mcg/250 mL", 10),)),
    ),
    "midazolam": (Drip("mg/h", 1, 8, 0.5, (("100 mg/100 mL", 1), ("50 mg/100 mL", 0.5))),),
    "dexmedetomidine": (Drip("mcg/kg/h", 0.2, 1.4, 0.1, (("400 mcg/100 mL", 4), ("200 mcg/50 mL", 4))),),
    "ketamine": (Drip("mg/kg/h", 0.1, 0.5, 0.05, (("500 mg/250 mL", 2),)),),
    "cisatracurium": (Drip("mcg/kg/min", 1, 4, 0.5, (("200 mg/200 mL", 1000),)),),
    "insulin regular": (Drip("units/h", 1, 14, 0.5, (("100 units/100 mL", 1),)),),
    "heparin": (Drip("units/kg/h", 8, 22, 1, (("25,000 units/250 mL", 100), ("25,000 units/500 mL", 50))),),
    "amiodarone": (Drip("mg/min", 0.5, 1, 0.5, (("450 mg/250 mL", 1.8), ("900 mg/500 mL", 1.8))),),
    "diltiazem": (Drip("mg/h", 5, 15, 2.5, (("125 mg/125 mL", 1),)),),
    "nicardipine": (Drip("mg/h", 2.5, 15, 2.5, (("25 mg/250 mL", 0.1), ("40 mg/200 mL", 0.2))),),
    "clevidipine": (Drip("mg/h", 1, 16, 1, (("50 mg/100 mL", 0.5),)),),
    "esmolol": (Drip("mcg/kg/min", 50, 200, 25, (("2,500 mg/250 mL", 10000),)),),
    "labetalol": (Drip("mg/min", 0.5, 4, 0.5, (("200 mg/200 mL", 1),)),),
    "nitroglycerin": (Drip("mcg/min", 10, 200, 10, (("50 mg/250 mL", 200), ("100 mg/250 mL", 400))),),
    "furosemide": (Drip("mg/h", 5, 20, 2.5, (("100 mg/100 mL", 1), ("250 mg/250 mL", 1))),),
    "pantoprazole": (Drip("mg/h", 8, 8, 1, (("80 mg/100 mL", 0.8), ("80 mg/80 mL", 1))),),
    "octreotide": (Drip("mcg/h", 25, 50, 25, (("500 mcg/250 mL", 2), ("1,250 mcg/250 mL", 5))),),
    "bivalirudin": (Drip("mg/kg/h", 0.05, 0.25, 0.05, (("250 mg/50 mL", 5),)),),
    "naloxone": (Drip("mg/h", 0.2, 0.8, 0.1, (("4 mg/250 mL", 0.016), ("2 mg/500 mL", 0.004))),),
    "3% saline": (Drip("mL/h", 20, 60, 5, (("513 mEq/L", 1),)),),
}

SEDATIVES = ("propofol", "fentanyl", "midazolam", "dexmedetomidine", "ketamine", "cisatracurium")

CONDITIONS = (
    Condition(
        names=("Septic shock, pneumonia", "Septic shock due to urosepsis", "Sepsis, intra-abdominal source",
               "Septic shock, Gram-negative bacteremia"),
        hr=(96, 134), sbp=(82, 112), temp_c=(38.2, 39.6), acid_base="metabolic acidosis", pf=(130, 260),
        ventilated=0.7, drips=("norepinephrine", "vasopressin", "epinephrine", "phenylephrine", "insulin regular"),
    ),
    Condition(
        names=("ARDS, viral pneumonia", "ARDS, aspiration pneumonia", "Acute hypoxemic respiratory failure"),
        hr=(84, 118), sbp=(96, 132), temp_c=(37.4, 39.1), acid_base="permissive hypercapnia", pf=(78, 200),
        ventilated=1, drips=("cisatracurium", "norepinephrine", "furosemide", "insulin regular"),
    ),
    Condition(
        names=("Cardiogenic shock, anterior STEMI", "Cardiogenic shock, decompensated HFrEF",
               "Cardiogenic shock, NICM"),
        hr=(92, 126), sbp=(80, 106), temp_c=(36.1, 37.2), acid_base="mild metabolic acidosis", pf=(160, 300),
        ventilated=0.5, drips=("norepinephrine", "dobutamine", "milrinone", "furosemide", "heparin"),
    ),
    Condition(
        names=("Diabetic ketoacidosis", "DKA, severe", "DKA secondary to UTI"),
        hr=(98, 128), sbp=(98, 130), temp_c=(36.2, 37.9), acid_base="metabolic acidosis", pf=(360, 460),
        ventilated=0.05, drips=("insulin regular",),
    ),
    Condition(
        names=("CABG x3, POD 0", "AVR + CABG x2, POD 1", "Mitral valve replacement, POD 0"),
        hr=(76, 108), sbp=(92, 128), temp_c=(35.8, 37.4), acid_base="mild metabolic acidosis", pf=(200, 340),
        ventilated=0.7,
        drips=("epinephrine", "norepinephrine", "milrinone", "insulin regular", "dopamine", "amiodarone"),
    ),
    Condition(
        names=("Intracerebral hemorrhage, L basal ganglia", "Aneurysmal SAH, Hunt-Hess 3",
               "Large R MCA stroke s/p thrombectomy"),
        hr=(62, 96), sbp=(128, 158), temp_c=(36.6, 38.2), acid_base="normal", pf=(280, 420), ventilated=0.6,
        drips=("nicardipine", "clevidipine", "3% saline", "labetalol"), coma=True,
    ),
    Condition(
        names=("Upper GI bleed, varices", "UGIB, duodenal ulcer", "Hemorrhagic shock, GI bleed"),
        hr=(98, 132), sbp=(84, 114), temp_c=(35.9, 37.3), acid_base="mild metabolic acidosis", pf=(280, 420),
        ventilated=0.4, drips=("pantoprazole", "octreotide", "norepinephrine"),
    ),
    Condition(
        names=("COPD exacerbation, hypercapnic failure", "Status asthmaticus", "Acute hypercapnic respiratory failure"),
        hr=(92, 124), sbp=(108, 146), temp_c=(36.5, 38.1), acid_base="respiratory acidosis", pf=(170, 290),
        ventilated=0.6, drips=("ketamine", "diltiazem", "insulin regular"),
    ),
    Condition(
        names=("Cardiac arrest (VF), ROSC", "PEA arrest, s/p ROSC", "Post-arrest, TTM 36 C"),
        hr=(58, 98), sbp=(92, 124), temp_c=(35.8, 36.4), acid_base="metabolic acidosis", pf=(150, 300), ventilated=1,
        drips=("norepinephrine", "amiodarone", "epinephrine", "heparin", "vasopressin"), coma=True,
    ),
    Condition(
        names=("Submassive PE", "Massive PE s/p catheter lysis", "Saddle pulmonary embolism"),
        hr=(100, 130), sbp=(88, 118), temp_c=(36.4, 37.8), acid_base="respiratory alkalosis", pf=(140, 270),
        ventilated=0.25, drips=("heparin", "norepinephrine", "dobutamine"),
    ),
    Condition(
        names=("Acute aortic dissection, type B", "Hypertensive emergency", "Type A dissection, pre-op"),
        hr=(60, 84), sbp=(106, 148), temp_c=(36.3, 37.3), acid_base="normal", pf=(320, 440), ventilated=0.1,
        drips=("esmolol", "nicardipine", "clevidipine", "labetalol", "nitroglycerin"),
    ),
    Condition(
        names=("Opioid overdose", "Polysubstance overdose", "Status epilepticus"),
        hr=(68, 108), sbp=(98, 134), temp_c=(36.0, 37.6), acid_base="respiratory acidosis", pf=(240, 400),
        ventilated=0.6, drips=("norepinephrine", "phenylephrine"), coma=True,
    ),
    Condition(
        names=("Acute pancreatitis, severe", "Polytrauma, MVC", "Burns, 35% TBSA", "Acute liver failure"),
        hr=(96, 130), sbp=(94, 126), temp_c=(37.2, 38.9), acid_base="mild metabolic acidosis", pf=(180, 320),
        ventilated=0.6, drips=("norepinephrine", "vasopressin", "insulin regular", "pantoprazole", "ketamine"),
    ),
    Condition(
        names=("AF with RVR", "Thyroid storm, AF with RVR", "Refractory VT storm"),
        hr=(112, 152), sbp=(104, 130), temp_c=(36.4, 38.4), acid_base="normal", pf=(300, 430), ventilated=0.15,
        drips=("amiodarone", "diltiazem", "esmolol", "heparin"),
    ),
)  # fmt: skip
