"""The kinds of form that hospitals and specialists write, by the name that `Document.kind` gives them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from medvl.documents.forms.cardiology import cardiology_consultation
from medvl.documents.forms.form import Form
from medvl.documents.forms.icu import icu_flowsheet
from medvl.documents.forms.patient import Patient
from medvl.documents.forms.radiology import radiology_report
from medvl.documents.forms.referral import referral_letter
from medvl.documents.forms.surgery import operative_note
from medvl.documents.forms.vitals import vital_sign_chart

HOSPITAL_KINDS: dict[str, Callable[[Form, Patient, date], None]] = {
    "ICU flowsheet": icu_flowsheet,
    "cardiology consultation": cardiology_consultation,
    "operative note": operative_note,
    "radiology report": radiology_report,
    "vital-sign chart": vital_sign_chart,
    "referral letter": referral_letter,
}
