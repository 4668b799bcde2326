"""The operative note of the evaluation pages."""

from __future__ import annotations

from medvl.documents.fixed.page import MEDICATION, allergies, blank, entries, fact, finished, labelled, person
from medvl.documents.forms.form import Form, Style
from medvl.types import Document


def operative_note() -> Document:
    """Procedure, findings, blood loss and seven postoperative orders of a hemicolectomy."""
    form = blank("operative note", Style.key_value, "OPERATIVE NOTE")
    form.pairs([
        *person(form, "Thomas E. Lindqvist", "06/16/1967", "58", "M", "2748159"),
        *labelled(form, "", [("Date", "date", "12/02/2025")]),
        *labelled(form, "procedure", [
            ("Surgeon", "surgeon", "Dr. M. Adeyemi"),
            ("Assistant", "assistant", "Dr. C. Rousseau"),
            ("Preoperative diagnosis", "preoperative_diagnosis", "Adenocarcinoma of the ascending colon, cT3 N0 M0"),
            ("Postoperative diagnosis", "postoperative_diagnosis", "Same"),
            ("Procedure", "name", "Laparoscopic right hemicolectomy, ileocolic anastomosis"),
            ("Anesthesia", "anesthesia", "General endotracheal, ASA class III, Dr. S. Ito"),
            ("Incision", "incision", "10:12"), ("Closure", "closure", "12:37"), ("Duration", "duration", "145 min"),
            ("EBL", "ebl", "75 mL"), ("Crystalloid", "crystalloid", "1,800 mL"), ("Urine output", "urine", "310 mL"),
        ], critical=("ebl",)),
        ("Allergies", allergies(form, [("Ketorolac", "bronchospasm")])),
    ])  # fmt: skip
    form.section("Antibiotic Prophylaxis")
    form.lines([" ".join(row) for row in entries(form, "prophylaxis", ("name", "dose", "route", "time"), [
        ("Cefazolin", "2 g", "IV", "09:44"), ("Metronidazole", "500 mg", "IV", "09:46"),
    ])])  # fmt: skip
    _operation(form)
    form.section("Postoperative Orders")
    keys = (*MEDICATION, "note")
    form.table(("Medication", "Dose", "Route", "Frequency", "Note"), entries(form, "medications", keys, [
        ("Acetaminophen", "1,000 mg", "IV", "every 6 hours", ""),
        ("Gabapentin", "300 mg", "PO", "every 8 hours", ""),
        ("Hydromorphone", "0.2 mg", "IV", "every 3 hours as needed", "severe pain"),
        ("Ondansetron", "4 mg", "IV", "every 6 hours as needed", "nausea"),
        ("Enoxaparin", "40 mg", "SC", "daily", "from the first postoperative morning"),
        ("Famotidine", "20 mg", "IV", "every 12 hours", ""),
        ("Alvimopan", "12 mg", "PO", "BID", "first dose given before surgery"),
    ]))  # fmt: skip
    form.lines([
        "Clear liquids tonight; ambulate today; Foley out on postoperative day 1. No NSAIDs.",
        "Dictated by Dr. M. Adeyemi, 12/02/2025 13:05",
    ])  # fmt: skip
    return finished(
        form, "operative-note",
        terms="adenocarcinoma; right hemicolectomy; pneumoperitoneum; ileocolic pedicle; anastomosis; EBL; "
        "endotracheal; ASA class III; cefazolin; metronidazole; indocyanine green; Veress; duodenum; ureter; "
        "acetaminophen; gabapentin; hydromorphone; ondansetron; enoxaparin; famotidine; alvimopan",
        values="75 mL; 1,800 mL; 310 mL; 4.2 cm; 9 cm; 24 cm; 15 mmHg; 60 mm; 145 min; 2 g; 500 mg; 7.5 mg; 1,000 mg; "
        "300 mg; 0.2 mg; 4 mg; 40 mg; 20 mg; 12 mg",
    )  # fmt: skip


def _operation(form: Form) -> None:
    """Tell what was found and done."""
    form.section("Findings")
    form.lines([
        f"Mobile tumor of {fact(form, 'findings.tumor_size', '4.2 cm')} in the mid ascending colon.",
        "No peritoneal implants, no ascites, liver smooth. Right ureter and duodenum preserved.",
        f"Specimen: right colon {fact(form, 'specimen.length', '24 cm')}, "
        f"distal margin {fact(form, 'specimen.distal_margin', '9 cm')}.",
    ])  # fmt: skip
    form.section("Procedure in Detail")
    green = fact(form, "indocyanine_green.dose", "7.5 mg", critical=True)
    form.lines([
        f"Veress needle at Palmer's point, pneumoperitoneum at {fact(form, 'pneumoperitoneum', '15 mmHg')}.",
        "One 12 mm and three 5 mm ports.",
        "Medial to lateral dissection with complete mesocolic excision.",
        "The ileocolic pedicle was divided at its origin between clips. Hepatic flexure taken down.",
        f"Side-to-side anastomosis with a {fact(form, 'stapler', '60 mm')} linear stapler through a "
        f"{fact(form, 'extraction_incision', '6 cm')} umbilical incision.",
        f"Perfusion confirmed with indocyanine green {green} IV. Hemostasis secured.",
        "Fascia closed with 0 polydioxanone. Counts correct twice. No drain. No complications.",
        "Extubated and taken to recovery in stable condition with a Foley catheter.",
    ])  # fmt: skip
