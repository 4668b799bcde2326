"""The kinds of documents that clinics and wards write about treatment: drugs, laboratory values, visits and stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from medvl.documents.forms.form import Form
from medvl.documents.forms.laboratory import laboratory
from medvl.documents.forms.medications import prescription, reconciliation
from medvl.documents.forms.office import diagnosis_sheet, progress_note
from medvl.documents.forms.patient import Patient
from medvl.documents.forms.stays import discharge

CLINIC_KINDS: dict[str, Callable[[Form, Patient, date], None]] = {
    "medication reconciliation": reconciliation,
    "laboratory panel": laboratory,
    "prescription": prescription,
    "discharge summary": discharge,
    "patient diagnosis sheet": diagnosis_sheet,
    "progress note": progress_note,
}
