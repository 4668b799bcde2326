"""Breathing in intensive care: ventilator settings, oxygen and the arterial blood gas, consistent with each other."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from medvl.documents.forms.chance import log10, power
from medvl.documents.forms.charting import Habits, clamped, some, stepped, tabular, whole
from medvl.documents.forms.critical_care import ACID_BASE, CONDITIONS, Condition
from medvl.documents.forms.form import Form
from medvl.documents.forms.patient import Patient

_VOLUME_MODES = ("AC/VC", "AC/VC", "PRVC", "SIMV/VC", "CMV", "VC+")


@dataclass(kw_only=True, slots=True)
class Stay:
    """What is true of the patient while the sheet is written."""

    condition: Condition
    ventilated: bool
    sedated: bool
    fio2: int
    """Percent."""
    po2: int
    spo2: int
    rate: int
    """Breaths per minute: the ventilator's where there is one, which the patient's never fall below."""

    @property
    def paralysed(self) -> bool:
        """Whether a blocker of muscles always runs: no breath then but the ventilator's."""
        return self.sedated and self.condition.drips[0] == "cisatracurium"

    @classmethod
    def drawn(cls, rng: Random) -> Stay:
        condition = rng.choice(CONDITIONS)
        ventilated = rng.random() < condition.ventilated
        ratio = stepped(rng, *condition.pf)
        # Oxygen is turned up until the blood is saturated, and down when it is.
        wanted = rng.randint(66, 108)
        fio2 = clamped(5 * round(100 * wanted / ratio / 5), 30 if ventilated else 21, 100)
        if not ventilated and 21 < fio2 <= 45:
            fio2 = clamped(4 * round((fio2 - 21) / 4), 4, 24) + 21  # a litre by nasal cannula adds 4 %
        po2 = clamped(round(ratio * fio2 / 100), 52, 260)
        # Severinghaus 1979, J Appl Physiol 46:599: the dissociation curve.
        spo2 = clamped(round(100 / (23400 / (po2 * po2 * po2 + 150 * po2) + 1)), 84, 100)
        return cls(
            condition=condition, ventilated=ventilated, sedated=ventilated and rng.random() < 0.85,
            fio2=fio2, po2=po2, spo2=spo2, rate=rng.randint(14, 28 if ventilated else 26),
        )  # fmt: skip


def ventilator(form: Form, patient: Patient, stay: Stay, habits: Habits) -> None:
    """State the ventilator's settings and what it measures, or how else oxygen is given."""
    rng = form.rng
    form.section(habits.head(rng.choice(("Ventilator", "Vent settings", "Respiratory"))))
    if not stay.ventilated:
        _oxygen(form, stay)
        return
    base = 50.0 if patient.sex == "M" else 45.5
    predicted_kg = base + 0.91 * (patient.height_cm - 152.4)  # ARDSNet's predicted body weight
    per_kg = stepped(rng, 6, 6.6, 0.1) if "ARDS" in stay.condition.names[0] else stepped(rng, 6, 8, 0.1)
    tidal_ml, rate = 10 * round(predicted_kg * per_kg / 10), stay.rate
    peep = clamped(5 + (stay.fio2 - 30) // 8 + rng.randint(-1, 2), 5, 16)
    plateau = peep + rng.randint(9, 15)
    support = not stay.sedated or (rng.random() < 0.1 and not stay.paralysed)
    mode = rng.choice(("PSV", "CPAP/PS")) if support else rng.choice(_VOLUME_MODES)
    fio2 = rng.choice((f"{stay.fio2}%", f"{stay.fio2}%", f"{stay.fio2 / 100:.2f}"))
    pairs = [
        ("Mode", form.field("ventilator.mode", mode, "text")),
        ("FiO2", form.field("ventilator.fio2", fio2, "value")),
        ("PEEP", form.field("ventilator.peep", f"{peep} cmH2O", "value")),
        ("VTe" if support else rng.choice(("TV", "Vt", "Tidal Volume")),
         form.field("ventilator.tidal_volume", f"{tidal_ml} mL", "value")),
        ("RR (spont)" if support else rng.choice(("RR set", "Rate", "f")),
         form.field("ventilator.rate", rng.choice((f"{rate}", f"{rate} /min", f"{rate} bpm")), "value")),
    ]  # fmt: skip
    if support:
        pairs.append(("PS", form.field("ventilator.pressure_support", f"{rng.randint(5, 14)} cmH2O", "value")))
    else:
        extras = [
            ("PIP", "ventilator.pip", f"{plateau + rng.randint(3, 9)} cmH2O"),
            ("Pplat", "ventilator.plateau", f"{plateau} cmH2O"),
            ("Driving pressure", "ventilator.driving_pressure", f"{plateau - peep} cmH2O"),
            ("MV", "ventilator.minute_volume", f"{tidal_ml * rate / 1000:.1f} L/min"),
            ("VT/PBW", "ventilator.tidal_per_kg", f"{tidal_ml / predicted_kg:.1f} mL/kg"),
        ]
        pairs += [(label, form.field(path, value, "value")) for label, path, value in some(rng, extras, 0, 4)]
    if rng.random() < 0.5:
        size = rng.choice(("7.5", "8.0") if patient.sex == "M" else ("7.0", "7.5"))
        depth = rng.randint(22, 24) if patient.sex == "M" else rng.randint(20, 22)
        pairs.append(("ETT", form.field("airway.tube", f"{size} @ {depth} cm", "text")))
    form.pairs(pairs)


def _oxygen(form: Form, stay: Stay) -> None:
    rng = form.rng
    if stay.fio2 == 21:
        device, flow = rng.choice(("Room air", "RA")), ""
    elif stay.fio2 <= 45:
        device, flow = rng.choice(("Nasal cannula", "NC")), f"{(stay.fio2 - 21) // 4} L/min"
    else:
        device, flow = rng.choice(("HFNC", "High-flow nasal cannula")), f"{5 * rng.randint(6, 12)} L/min"
    pairs = [(rng.choice(("O2 device", "Device", "Oxygen")), form.field("oxygen.device", device, "text"))]
    if flow:
        pairs.append(("Flow", form.field("oxygen.flow", flow, "value")))
        pairs.append(("FiO2", form.field("oxygen.fio2", f"{stay.fio2}%", "value")))
    form.pairs([*pairs, ("Airway", "native, protecting")])


def blood_gas(form: Form, stay: Stay, habits: Habits) -> None:
    """State an arterial blood gas that obeys Henderson and Hasselbalch."""
    rng = form.rng
    form.section(habits.head(rng.choice(("ABG", "Arterial blood gas", "Blood gas"))))
    pattern = stay.condition.acid_base
    if pattern == "permissive hypercapnia" and not stay.ventilated:
        pattern = "normal"
    (low, high), carbon = ACID_BASE[pattern]
    pco2 = whole(rng, *carbon)
    ph = stepped(rng, low, high, 0.01)
    bicarbonate = round(0.0307 * pco2 * power(10, ph - 6.1), 1)
    ph = round(6.1 + log10(bicarbonate / (0.0307 * pco2)), 2)  # Henderson-Hasselbalch from what is written
    excess = round(0.93 * (bicarbonate - 24.4 + 14.8 * (ph - 7.4)), 1)
    cells = [
        ("pH", "abg.ph", f"{ph:.2f}", ph < 7.2 or ph > 7.55),
        (rng.choice(("pCO2", "PaCO2")), "abg.pco2", f"{pco2}", pco2 > 70),
        (rng.choice(("pO2", "PaO2")), "abg.po2", f"{stay.po2}", stay.po2 < 55),
        ("HCO3", "abg.hco3", f"{bicarbonate:.1f}", bicarbonate < 10),
    ]
    if rng.random() < 0.4:
        cells.append(("BE", "abg.base_excess", f"{excess:+.1f}", False))
    if rng.random() < 0.8:
        # The ratio is told with the oxygen it was taken on, so that it can be checked.
        cells.append(("FiO2", "abg.fio2", rng.choice((f"{stay.fio2}%", f"{stay.fio2 / 100:.2f}")), False))
        cells.append((rng.choice(("P/F", "P/F ratio")), "abg.pf_ratio", f"{round(100 * stay.po2 / stay.fio2)}", False))
    if rng.random() < 0.6:
        sour = "metabolic acidosis" in pattern
        lactate = stepped(rng, 2.2, 9.8, 0.1) if sour else stepped(rng, 0.7, 2.4, 0.1)
        cells.append((rng.choice(("Lactate", "Lac")), "abg.lactate", f"{lactate:.1f}", lactate > 4))
    words = [(label, form.field(path, value, "value", critical=bad)) for label, path, value, bad in cells]
    if rng.random() < 0.4 and tabular(form):
        form.table([label for label, _ in words], [[value for _, value in words]])
    elif rng.random() < 0.4:
        form.paragraph(" / ".join(f"{label} {value}" for label, value in words))
    else:
        form.pairs(words)
