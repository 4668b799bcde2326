"""The radiology report of the benchmark pages."""

from __future__ import annotations

from medvl.documents.fixed.page import blank, entries, fact, finished, labelled, person
from medvl.documents.forms.form import Form, Style
from medvl.types import Document


def radiology_report() -> Document:
    """A mass of the right upper lobe, hilar lymphadenopathy, a lytic lesion of T8."""
    form = blank("radiology report", Style.free_text, "RADIOLOGY REPORT")
    who = person(form, "Dorothea M. Kessler", "08/02/1953", "72", "F", "2093518")
    study = labelled(form, "", [
        ("Accession", "accession", "CT-118846"), ("Exam date", "date", "11/04/2025"),
        ("Referring", "provider", "Dr. P. Nakamura"),
    ])  # fmt: skip
    form.lines([". ".join(f"{label}: {value}" for label, value in line) + "." for line in (who, study)])
    exam = form.field("exam", "CT chest with intravenous contrast", "text")
    form.paragraph(f"{exam}.", "EXAM:")
    form.paragraph(
        f"Hemoptysis, {fact(form, 'weight_loss', '18 lb')} weight loss, back pain. "
        f"{fact(form, 'smoking', '45 pack-years')}.",
        "CLINICAL INDICATION:",
    )
    form.paragraph("Chest radiograph of 10/19/2025.", "COMPARISON:")
    (contrast, dose), = entries(form, "contrast", ("drug", "dose"), [("iohexol 350", "80 mL")])  # fmt: skip
    form.paragraph(
        f"{fact(form, 'technique.voltage', '120 kVp')}, {fact(form, 'technique.section', '1.25 mm')} sections, "
        f"after {dose} of {contrast} at 3 mL/s. No adverse reaction.",
        "TECHNIQUE:",
    )
    _findings(form)
    form.section("IMPRESSION")
    form.lines([
        "1. Right upper lobe mass, highly suspicious for primary bronchogenic carcinoma.",
        "2. Ipsilateral hilar and mediastinal lymphadenopathy, suspicious for nodal spread.",
        "3. Lytic lesion of T8, suspicious for osseous metastasis.",
        "   If confirmed: cT2a N2b M1b, stage IVA (TNM 9th edition).",
        "4. Indeterminate left lower lobe nodule; attention on follow-up.",
    ])  # fmt: skip
    form.section("RECOMMENDATION")
    form.lines([
        "EBUS-TBNA of station 7, FDG PET/CT, MRI of the brain and of the thoracic spine.",
        "Findings discussed with Dr. Nakamura by telephone at 15:42, read back and confirmed.",
        "Signed: Dr. Ingrid Solheim, Radiology",
    ])  # fmt: skip
    return finished(
        form, "radiology-report",
        terms="RUL mass; spiculated; hilar lymphadenopathy; subcarinal; lytic lesion; T8; emphysema; pleural effusion; "
        "coronary artery calcification; hepatic cyst; bronchogenic carcinoma; metastasis; hemoptysis; iohexol; "
        "EBUS-TBNA; PET/CT",
        values="3.8 x 3.2 x 2.9 cm; 2.1 cm; 1.6 cm; 1.4 cm; 1.9 cm; 4 mm; 3.6 cm; 2.7 cm; 1.2 cm; 80 mL; 1.25 mm; "
        "18 lb; 45 pack-years; 120 kVp",
    )  # fmt: skip


def _findings(form: Form) -> None:
    found = entries(form, "findings", ("name", "location", "size"), [
        ("spiculated RUL mass", "posterior segment", "3.8 x 3.2 x 2.9 cm"),
        ("Solid nodule", "left lower lobe", "4 mm"),
        ("hilar lymphadenopathy", "station 10R", "2.1 cm"),
        ("subcarinal node", "station 7", "1.6 cm"),
        ("lower paratracheal node", "station 4R", "1.4 cm"),
        ("lytic lesion", "T8 vertebral body", "1.9 cm"),
    ])  # fmt: skip
    mass, nodule, hilum, carina, trachea, bone = found
    form.section("FINDINGS")
    for organs, lines in {
        "Lungs:": (
            f"{mass[0]}, {mass[1]}, {mass[2]}, with pleural tags.",
            f"{nodule[0]}, {nodule[1]}, {nodule[2]}. Moderate centrilobular emphysema. No consolidation.",
        ),
        "Mediastinum and hila:": (
            f"right {hilum[0]}, {hilum[1]}, {hilum[2]} in short axis.",
            f"Enlarged {carina[0]}, {carina[1]}, {carina[2]}.",
            f"Enlarged right {trachea[0]}, {trachea[1]}, {trachea[2]}.",
            "No left hilar or supraclavicular adenopathy.",
        ),
        "Pleura, heart and vessels:": (
            "trace right pleural effusion. No pericardial effusion.",
            "Moderate coronary artery calcification. No central pulmonary embolism.",
            f"Ascending aorta {fact(form, 'measured.aorta', '3.6 cm')}, "
            f"main pulmonary artery {fact(form, 'measured.pulmonary_artery', '2.7 cm')}.",
        ),
        "Upper abdomen:": (
            f"simple hepatic cyst of {fact(form, 'measured.hepatic_cyst', '1.2 cm')} in segment 6. "
            "Adrenal glands normal.",
        ),
        "Bones:": (
            f"{bone[0]}, {bone[1]}, {bone[2]}, with breach of the posterior cortex.",
            "Vertebral height is kept, no retropulsion. No other destructive lesion.",
        ),
    }.items():
        form.paragraph("\n".join(lines), organs)
