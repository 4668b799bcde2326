"""Who takes which drug, how much and how often, and how a clinician writes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from medvl.documents.forms.diagnoses import Diagnosis
from medvl.documents.forms.drugs import DRUGS, Drug
from medvl.documents.forms.interactions import ONLY, RIVALS, SELDOM, UNSAFE
from medvl.documents.forms.patient import Patient


class Hand(Enum):
    """How one document writes routes and frequencies."""

    upper = 0
    lower = 1
    words = 2
    hours = 3

    @classmethod
    def drawn(cls, rng: Random) -> Hand:
        return rng.choices(list(cls), weights=[5, 3, 3, 2])[0]


# Doses a day, then the words of each hand.
FREQUENCIES: dict[str, tuple[float, str, str, str, str]] = {
    "daily": (1, "daily", "daily", "once daily", "q24h"),
    "qam": (1, "QAM", "qam", "every morning", "qAM"),
    "qhs": (1, "QHS", "qhs", "at bedtime", "qHS"),
    "bid": (2, "BID", "bid", "twice daily", "q12h"),
    "tid": (3, "TID", "tid", "three times daily", "q8h"),
    "qid": (4, "QID", "qid", "four times daily", "q6h"),
    "tidac": (3, "TID AC", "tid ac", "three times daily before meals", "TID before meals"),
    "q8h": (3, "Q8H", "q8h", "every 8 hours", "q8h"),
    "weekly": (1 / 7, "weekly", "weekly", "once weekly", "once weekly"),
    "dailyp": (1, "daily PRN", "daily prn", "once daily as needed", "q24h PRN"),
    "bidp": (2, "BID PRN", "bid prn", "twice daily as needed", "q12h PRN"),
    "tidp": (3, "TID PRN", "tid prn", "three times daily as needed", "q8h PRN"),
    "qidp": (4, "QID PRN", "qid prn", "four times daily as needed", "q6h PRN"),
    "qhsp": (1, "QHS PRN", "qhs prn", "at bedtime as needed", "qHS PRN"),
    "q8hp": (3, "Q8H PRN", "q8h prn", "every 8 hours as needed", "q8h PRN"),
    "q6hp": (4, "Q6H PRN", "q6h prn", "every 6 hours as needed", "q6h PRN"),
    "q4hp": (6, "Q4H PRN", "q4h prn", "every 4 hours as needed", "q4h PRN"),
    "q5minp": (3, "Q5MIN PRN x3", "q5min prn x3", "every 5 minutes as needed, max 3", "q5min PRN x3"),
}  # fmt: skip
ROUTES: dict[str, tuple[str, str, str, str]] = {
    "po": ("PO", "po", "by mouth", "PO"), "sl": ("SL", "sl", "under the tongue", "SL"),
    "sc": ("SUBQ", "subq", "subcutaneously", "SC"), "inh": ("INH", "inh", "inhaled", "INH"),
    "nasal": ("NASAL", "nasal", "each nostril", "nasal"), "top": ("TOP", "top", "topically", "TOP"),
    "td": ("TD", "td", "to skin", "TD"), "ou": ("both eyes", "both eyes", "in both eyes", "both eyes"),
}  # fmt: skip


_COUNTED = ("puff", "spray", "drop", "application")
# What anticoagulants for a fresh clot begin with: amount, frequency and days, after their labels.
_LOADING = {"Apixaban": ("10", "bid", 7), "Rivaroxaban": ("15", "bid", 21)}
_CLOTS = ("pe", "dvt")


@dataclass(frozen=True, slots=True)
class Regimen:
    """One drug as one patient takes it."""

    drug: Drug
    amount: str
    """Of one dose, in the drug's unit."""
    frequency: str
    """Key of `FREQUENCIES`."""
    indication: Diagnosis | None = None
    days: int = 0
    """How many days of a loading dose are left; 0: this is no loading dose."""
    then: Regimen | None = None
    """What follows a loading dose."""

    @property
    def dose(self) -> str:
        counted = self.amount != "1" and self.drug.unit in _COUNTED
        return f"{self.amount} {self.drug.unit}{'s' * counted}"

    @property
    def doses_a_day(self) -> float:
        return FREQUENCIES[self.frequency][0]

    def written(self, hand: Hand) -> tuple[str, str]:
        """Return the words for the route and for the frequency."""
        return ROUTES[self.drug.route][hand.value], FREQUENCIES[self.frequency][1 + hand.value]


def magnitude(amount: str) -> float:
    """Return a dose as a number; the parts of a combination such as 875/125 are added.

    >>> magnitude("875/125")
    1000.0
    """
    return sum(float(part) for part in amount.split("/"))


def dosed(rng: Random, drug: Drug, indication: Diagnosis | None = None) -> Regimen:
    """Draw a strength and a frequency that together stay within the daily maximum."""
    strengths = ONLY.get((drug.name, indication.key if indication else ""), drug.strengths)
    pairs = [
        (amount, frequency)
        for amount in strengths.split()
        for frequency in drug.frequencies.split()
        if magnitude(amount) * max(FREQUENCIES[frequency][0], 1) < drug.most + 1e-6
    ]
    amount, frequency = rng.choice(pairs)
    return Regimen(drug, amount, frequency, indication)


def after_days(regimen: Regimen, days: int) -> Regimen:
    """Return a regimen as it is that many days after its first dose: the loading dose while that lasts."""
    amount, frequency, lasts = _LOADING.get(regimen.drug.name, ("", "", 0))
    if regimen.indication is None or regimen.indication.key not in _CLOTS or days >= lasts:
        return regimen
    return replace(regimen, amount=amount, frequency=frequency, days=lasts - days, then=regimen)


def forbidden(drug: Drug, patient: Patient) -> bool:
    """Whether an allergy of the patient speaks against a drug."""
    return any(allergy.group in drug.allergies or allergy.substance == drug.name for allergy in patient.allergies)


def compatible(drug: Drug, taken: Sequence[Drug], diagnoses: Sequence[Diagnosis]) -> bool:
    """Whether a drug goes with what is taken and with all that the patient has."""
    groups = {RIVALS.get(known.group, known.group) for known in taken}
    causes = [diagnosis.key for diagnosis in diagnoses]
    causes += [word for known in taken for word in (known.group, known.name)]
    unsafe: set[str] = set().union(*(UNSAFE.get(cause, set()) for cause in causes))
    against = UNSAFE.get(drug.group, set()) | UNSAFE.get(drug.name, set())
    return (
        RIVALS.get(drug.group, drug.group) not in groups
        and not unsafe & {drug.group, drug.name}
        and not any(against & {known.group, known.name} for known in taken)
    )


def treating(diagnosis: Diagnosis) -> list[Drug]:
    """Return the drugs that are usual for a diagnosis."""
    return [drug for drug in DRUGS.values() if diagnosis.key in drug.indications.split()]


_INSULIN = ("t1dm", "dka")


def drawn_regimens(
    rng: Random, patient: Patient, diagnoses: Sequence[Diagnosis], most: int, *, courses: bool = True
) -> list[Regimen]:
    """Draw what a patient takes for the diagnoses: safe together, one drug a class, none that an allergy forbids.

    Args:
        most: Regimens at most; fewer where the diagnoses give no more.
        courses: Whether drugs that are taken for some days only are among them.
    """
    found: list[Regimen] = []
    for _ in range(2):  # every diagnosis is treated before one gets a second drug
        for diagnosis in diagnoses:
            if any(regimen.drug.days and regimen.indication is diagnosis for regimen in found):
                continue  # one course of one antibiotic
            taken = [regimen.drug for regimen in found]
            options = [
                drug
                for drug in treating(diagnosis)
                if not forbidden(drug, patient) and compatible(drug, taken, diagnoses) and (courses or not drug.days)
            ]
            if diagnosis.key in _INSULIN:
                options = options[:1]  # the basal one comes first
            if options and len(found) < most:
                weights = [1 if drug.group in SELDOM else 6 for drug in options]
                found.append(dosed(rng, rng.choices(options, weights=weights)[0], diagnosis))
    return found
