"""The ICU flowsheet of the evaluation pages."""

from __future__ import annotations

from medvl.documents.fixed.page import allergies, blank, entries, fact, finished, labelled, person
from medvl.documents.forms.form import Form, Style
from medvl.types import Document, Heading, Pairs, Table


def icu_flowsheet() -> Document:
    """Ventilator, hemodynamics, six drips, blood gas and fluid balance of a septic shock with ARDS."""
    form = blank("ICU flowsheet", Style.two_columns, "ICU FLOWSHEET")
    form.pairs([
        *person(form, "Gerald P. Ashworth", "07/25/1963", "62", "M", "3816270"),
        *labelled(form, "", [
            ("Date", "date", "11/20/2025"), ("Shift", "shift", "08:00-20:00, ICU day 3"),
            ("Dosing weight", "dosing_weight", "82 kg"), ("Height", "height", "178 cm"),
        ], critical=("dosing_weight",)),
        ("Allergies", allergies(form, [("Vancomycin", "flushing")])),
        ("Bed", form.field("bed", "MICU-14", "id")),
    ])  # fmt: skip
    diagnoses = entries(form, "diagnoses", ("name",), [
        ("Septic shock",), ("pneumococcal pneumonia",), ("ARDS",), ("AKI",),
    ])  # fmt: skip
    form.paragraph(", ".join(name for (name,) in diagnoses), "Diagnoses:")
    form.section("Vital Signs")
    keys = ("time", "hr", "bp", "map", "cvp", "spo2", "temp")
    form.table(("Time", "HR", "BP", "MAP", "CVP", "SpO2", "Temp C"), entries(form, "vitals", keys, [
        ("08:00", "118", "92/50", "64", "9", "90%", "38.9"),
        ("12:00", "113", "98/55", "69", "11", "91%", "38.6"),
        ("16:00", "104", "104/58", "73", "12", "93%", "38.2"),
        ("20:00", "97", "111/60", "77", "12", "94%", "37.8"),
    ]))  # fmt: skip
    _organs(form)
    form.section("Continuous Infusions at 20:00")
    keys = ("drug", "rate", "concentration", "pump_rate")
    form.table(("Drip", "Rate", "Concentration", "Pump"), entries(form, "drips", keys, [
        ("Norepinephrine", "0.18 mcg/kg/min", "16 mg/250 mL", "13.8 mL/h"),
        ("Vasopressin", "0.03 units/min", "20 units/100 mL", "9.0 mL/h"),
        ("Propofol", "40 mcg/kg/min", "10 mg/mL", "19.7 mL/h"),
        ("Fentanyl", "75 mcg/h", "10 mcg/mL", "7.5 mL/h"),
        ("Cisatracurium", "2 mcg/kg/min", "2 mg/mL", "4.9 mL/h"),
        ("Insulin regular", "3.5 units/h", "1 unit/mL", "3.5 mL/h"),
    ]))  # fmt: skip
    _balance(form)
    nurse = form.field("nurse", "T. Baptiste, RN", "name")
    rass, twitches = fact(form, "rass", "-5"), fact(form, "train_of_four", "2/4")
    glucose = fact(form, "glucose", "168 mg/dL")
    form.paragraph(f"RASS {rass}, TOF {twitches}. Glucose {glucose} at 20:00. Charted by {nurse}.", "Notes:")
    return finished(
        form, "icu-flowsheet",
        terms="septic shock; pneumonia; ARDS; AKI; norepinephrine; vasopressin; propofol; fentanyl; cisatracurium; "
        "insulin; FiO2; PEEP; MAP; CVP; SVR; ScvO2; lactate; HCO3; RASS",
        values="440 mL; 0.60; 10 cmH2O; 25 cmH2O; 15 cmH2O; 10.6 L/min; 7.27; 46; 72; 20.6; -5.3; 3.4; 120; "
        "0.18 mcg/kg/min; 0.03 units/min; 40 mcg/kg/min; 75 mcg/h; 2 mcg/kg/min; 3.5 units/h; 111/60; 77; 6.5 L/min; "
        "3.2; 800; 71%; 37.8; 2,821; 645; 2,176; 385",
    )  # fmt: skip


def _organs(form: Form) -> None:
    """State the ventilator on the left, blood gas and hemodynamics on the right."""
    ventilator = labelled(form, "ventilator", [
        ("Mode", "mode", "AC/VC"), ("Tidal volume", "tidal_volume", "440 mL"),
        ("Tidal volume / PBW", "tidal_per_kg", "6.0 mL/kg"), ("RR set", "rr_set", "24 /min"),
        ("RR total", "rr_total", "24 /min"), ("FiO2", "fio2", "0.60"),
        ("PEEP", "peep", "10 cmH2O"), ("Plateau", "plateau", "25 cmH2O"),
        ("Driving pressure", "driving_pressure", "15 cmH2O"), ("Minute volume", "minute_volume", "10.6 L/min"),
        ("ETT", "tube", "8.0 at 23 cm"),
    ])  # fmt: skip
    gas = labelled(form, "abg", [
        ("pH", "ph", "7.27"), ("PaCO2", "paco2", "46 mmHg"), ("PaO2", "pao2", "72 mmHg"),
        ("HCO3", "hco3", "20.6 mmol/L"), ("Base excess", "base_excess", "-5.3 mmol/L"),
        ("P/F ratio", "pf_ratio", "120"), ("Lactate", "lactate", "3.4 mmol/L"),
    ])  # fmt: skip
    flow = labelled(form, "hemodynamics", [
        ("CO", "cardiac_output", "6.5 L/min"), ("CI", "cardiac_index", "3.2 L/min/m2"), ("SVR", "svr", "800 dyn s/cm5"),
        ("ScvO2", "scvo2", "71%"),
    ])  # fmt: skip
    form.side_by_side(
        [Heading("Ventilator at 20:00"), Pairs(ventilator)],
        [Heading("ABG at 20:00"), Pairs(gas), Heading("Hemodynamics at 20:00"), Pairs(flow)],
    )


def _balance(form: Form) -> None:
    """State what went in and came out over the shift, and the totals."""
    intake = entries(form, "intake", ("source", "volume"), [
        ("Drips", "701"), ("Lactated Ringer's", "1,200"), ("Antibiotics", "350"), ("Tube feeding", "480"),
        ("Flushes", "90"),
    ])  # fmt: skip
    output = entries(form, "output", ("source", "volume"), [
        ("Urine", "385"), ("Gastric residual", "110"), ("Stool", "150"),
    ])  # fmt: skip
    form.side_by_side(
        [Heading("Intake, 12 h"), Table(["Source", "mL"], intake)],
        [Heading("Output, 12 h"), Table(["Source", "mL"], output)],
    )
    totals = labelled(form, "balance", [
        ("Total intake", "intake", "2,821 mL"), ("Total output", "output", "645 mL"), ("Net", "net", "+2,176 mL"),
        ("Urine / weight", "urine_rate", "0.4 mL/kg/h"),
    ])  # fmt: skip
    form.pairs(totals)
