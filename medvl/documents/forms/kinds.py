"""The kinds of clinical forms that can be written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from medvl.documents.forms.clinic import CLINIC_KINDS
from medvl.documents.forms.form import Form
from medvl.documents.forms.hospital import HOSPITAL_KINDS
from medvl.documents.forms.patient import Patient

KINDS: dict[str, Callable[[Form, Patient, date], None]] = {**CLINIC_KINDS, **HOSPITAL_KINDS}
