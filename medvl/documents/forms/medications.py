"""Forms about drugs: the reconciliation of what is taken, and the prescription."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from random import Random

from medvl.documents.forms.diagnoses import drawn_diagnoses
from medvl.documents.forms.drugs import DRUGS
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.patient import Patient, allergies, header, provider
from medvl.documents.forms.pen import Pen, letterhead, medication, signature
from medvl.documents.forms.regimens import Regimen, dosed, drawn_regimens, forbidden, magnitude

_RECONCILIATION = (
    "Medication Reconciliation", "Medication Reconciliation Form", "Med Rec - Admission", "Med Rec",
    "Home Medication List", "Med Rec - Discharge", "Medication Review",
)  # fmt: skip
_RUNNING = (Style.key_value, Style.free_text)  # rows become lines there
_STOPPED = ("no longer needed", "side effects", "patient not taking", "cost")
_DUPLICATE = "duplicate therapy"
_WORDS = {
    "continue": ("Continue", "CONTINUE", "Cont"), "stop": ("Stop", "STOP", "D/C"), "hold": ("Hold", "HOLD", "Held"),
    "change": ("Change", "CHANGE", "Adjust"), "new": ("New", "NEW", "Start"),
}  # fmt: skip


def other_strength(rng: Random, regimen: Regimen, direction: int = 0) -> Regimen | None:
    """Return the regimen at another usual dose, or None where there is no other that is safe.

    Args:
        direction: 1: a larger one; -1: a smaller one; 0: either.
    """
    strengths = regimen.drug.strengths.split()
    at = strengths.index(regimen.amount)
    fitting = [
        amount
        for amount in strengths[max(at - (direction < 1), 0) : at + (direction > -1) + 1]  # one step
        if amount != regimen.amount and magnitude(amount) * max(regimen.doses_a_day, 1) < regimen.drug.most + 1e-6
    ]
    return replace(regimen, amount=rng.choice(fitting)) if fitting else None


def reconciliation(form: Form, patient: Patient, on: date) -> None:
    """List what a patient takes with the decision on each: continue, stop, change or hold.

    A drug that the patient is allergic to is listed in no other way than as held.
    """
    rng, pen = form.rng, Pen.drawn(form.rng)
    brief = rng.random() < 0.35
    diagnoses = drawn_diagnoses(rng, patient, on, rng.randint(1, 2) if brief else rng.randint(3, 6))
    regimens = drawn_regimens(rng, patient, diagnoses, 3 if brief else rng.randint(4, 10), courses=False)
    doubled = _double(rng, patient, regimens)
    held = [drug for drug in DRUGS.values() if forbidden(drug, patient)]
    if held and rng.random() < 0.5:
        regimens.insert(rng.randint(0, len(regimens)), dosed(rng, rng.choice(held)))
    letterhead(form, _RECONCILIATION, hospital=True, chance=0.2 if brief else 0.6)
    header(form, patient, on, dates=pen.dates, brief=brief)
    _state_allergies(form, patient)
    if not regimens:
        form.lines(["No home medications reported."])
    else:
        words = {decision: rng.choice(choices) for decision, choices in _WORDS.items()}
        _decisions(form, patient, pen, regimens, words, doubled)
    if not brief or rng.random() < 0.3:
        signature(form, ("Reconciled by", "Reviewed by", "Completed by", "Verified by"))


def _state_allergies(form: Form, patient: Patient) -> None:
    label = form.rng.choice(("Allergies", "ALLERGIES", "Allergy", "Drug Allergies"))
    if form.style is Style.free_text or form.rng.random() < 0.4:
        form.paragraph(allergies(form, patient), f"{label}:")
    else:
        form.pairs([(label, allergies(form, patient))])


def _double(rng: Random, patient: Patient, regimens: list[Regimen]) -> tuple[Regimen, Regimen] | None:
    """At times add a second drug of a class that is taken; return which goes on, and which stops for it."""
    pairs = [
        (known, drug) for known in regimens for drug in DRUGS.values()
        if drug.group == known.drug.group and drug != known.drug and not forbidden(drug, patient)
    ]  # fmt: skip
    if not pairs or rng.random() > 0.2:
        return None
    kept, drug = rng.choice(pairs)
    treats = kept.indication if kept.indication and kept.indication.key in drug.indications.split() else None
    second = dosed(rng, drug, treats)
    regimens.insert(rng.randint(0, len(regimens)), second)
    return kept, second


def _decisions(
    form: Form, patient: Patient, pen: Pen, regimens: list[Regimen], words: dict[str, str],
    doubled: tuple[Regimen, Regimen] | None,
) -> None:  # fmt: skip
    rng = form.rng
    indications, narrative = rng.random() < 0.7, form.style is Style.free_text and rng.random() < 0.5
    rows = []
    for position, regimen in enumerate(regimens):
        cells = medication(form, pen, position, regimen)
        path = f"medications.{position}"
        reason = ""
        if indications and regimen.indication:
            reason = form.field(f"{path}.indication", pen.diagnosis(regimen.indication), "diagnosis")
            reason = f"for {reason}" if narrative or form.style in _RUNNING else reason
        if doubled and regimen in doubled:
            kept = regimen is doubled[0]
            action = form.field(f"{path}.action", words["continue" if kept else "stop"], "action")
            if not kept:
                action += f" - {form.field(f'{path}.reason', _DUPLICATE, 'text')}"
        else:
            action = _action(form, path, regimen, words, allergic=forbidden(regimen.drug, patient))
        if narrative:
            rows.append([" ".join(cells) + (f" {reason}" if reason else "") + f": {action}."])
        else:
            rows.append([*cells, *([reason] if indications else []), action])
    head = ["Medication", "Dose", "Route", "Frequency", *(["Indication"] if indications else []), "Action"]
    if narrative:
        form.lines([row[0] for row in rows])
    elif form.style in _RUNNING:
        # A decision stands out at the end of the line.
        form.table(head, [[*row[:-1], f"-> {row[-1]}"] for row in rows])
    else:
        head[-1] = rng.choice(("Action", "Decision", "Plan", "Continue/Stop"))
        form.table(head, rows)


def _action(form: Form, path: str, regimen: Regimen, words: dict[str, str], *, allergic: bool) -> str:
    rng = form.rng
    decision = "hold" if allergic else rng.choices(("continue", "stop", "change", "hold"), weights=(66, 12, 15, 7))[0]
    changed = other_strength(rng, regimen) if decision == "change" else None
    if decision == "change" and changed is None:
        decision = "continue"
    word = form.field(f"{path}.action", words[decision], "action", critical=allergic)
    if allergic:
        why = form.field(f"{path}.reason", rng.choice(("ALLERGY", "allergy", "pt allergic")), "text", critical=True)
        return f"{word} - {why}"
    if changed is not None:
        return f"{word} to {form.field(f'{path}.new_dose', changed.dose, 'dose', critical=True)}"
    if decision == "stop" and rng.random() < 0.6:
        return f"{word} - {form.field(f'{path}.reason', rng.choice(_STOPPED), 'text')}"
    return word


_PRESCRIPTION = ("Prescription", "Rx", "Prescription Order", "Outpatient Prescription", "e-Prescription")
_SOLID = {"tab": ("tablet", "tab"), "cap": ("capsule", "cap")}
# Their larger dose is two of the smaller tablets.
_DOUBLED = {"Mesalamine", "Acetaminophen", "Prednisone", "Senna"}
_CONTROLLED = {"opioid", "benzodiazepine", "gabapentinoid"}


def prescription(form: Form, patient: Patient, on: date) -> None:
    """Order tablets or capsules; the quantity is units a dose x doses a day x days."""
    rng, pen = form.rng, Pen.drawn(form.rng)
    count = rng.choices((1, 2, 3), weights=(6, 3, 2))[0]
    diagnoses = drawn_diagnoses(rng, patient, on, 6) + drawn_diagnoses(rng, patient, on, 1, course="acute")
    rng.shuffle(diagnoses)
    regimens = [row for row in drawn_regimens(rng, patient, diagnoses, 12) if row.drug.form in _SOLID][:count]
    if not regimens:  # every drug was an inhaler, an insulin or the like
        regimens = [dosed(rng, DRUGS["Cetirizine"])]
    letterhead(form, _PRESCRIPTION, hospital=False, chance=0.5)
    header(form, patient, on, dates=pen.dates, brief=rng.random() < 0.6,
           day_labels=("Date", "Date Written", "Issued", "Rx Date"))  # fmt: skip
    if rng.random() < 0.6:
        _state_allergies(form, patient)
    short = rng.random() < 0.5
    for position, regimen in enumerate(regimens):
        _order(form, pen, position, regimen, short=short)
    if rng.random() < 0.4:
        form.lines([rng.choice(("Generic substitution permitted.", "Dispense as written.", "May substitute."))])
    name = form.field("provider.name", provider(rng), "name")
    form.lines([f"{rng.choice(('Prescriber', 'Prescribed by', 'Signed', 'Provider'))}: {name}"])


def _order(form: Form, pen: Pen, position: int, regimen: Regimen, *, short: bool) -> None:
    rng, drug, path = form.rng, regimen.drug, f"medications.{position}"
    strength, count = regimen.amount, 1
    half = [amount for amount in drug.strengths.split() if magnitude(amount) * 2 == magnitude(strength)]
    double = drug.name in _DOUBLED or (drug.group != "anticoagulant" and rng.random() < 0.2)
    if half and "/" not in strength and double:
        strength, count = half[0], 2
    unit = _SOLID[drug.form][short]
    days = int(rng.choice(drug.days.split())) if drug.days else rng.choice((30, 30, 60, 90))
    if regimen.frequency == "weekly":
        days = rng.choice((28, 84))
    quantity = round(count * regimen.doses_a_day * days)
    refills = rng.choice((0, 1, 2, 3, 5, 11) if days == 30 else (0, 1, 3))
    if drug.days or drug.group in _CONTROLLED:
        refills = 0
    route, frequency = regimen.written(pen.hand)
    name = form.field(f"{path}.name", pen.drug(regimen), "name")
    dose = form.field(f"{path}.strength", f"{strength} {drug.unit}", "dose", critical=True)
    plural = "s" if count > 1 and not short else ""
    taken = form.field(f"{path}.dose", f"{count} {unit}{plural}", "dose", critical=True)
    sig = f"{form.field(f'{path}.route', route, 'route')} {form.field(f'{path}.frequency', frequency, 'frequency')}"
    sig = f"{'' if short else 'Take '}{taken} {sig}"
    if regimen.indication is not None and rng.random() < 0.4:
        sig += f" for {form.field(f'{path}.indication', pen.diagnosis(regimen.indication), 'diagnosis')}"
    amount = f"#{form.field(f'{path}.quantity', str(quantity), 'value')}"
    again = form.field(f"{path}.refills", str(refills), "value")
    supply = f"{form.field(f'{path}.days_supply', str(days), 'value')} days"
    if short:
        form.lines([f"{name} {dose} {unit}", f"Sig: {sig}", f"Disp: {amount}, Refills: {again}, Supply: {supply}"])
        return
    form.pairs([
        (rng.choice(("Rx", "Medication", "Drug")), f"{name} {dose}"), (rng.choice(("Sig", "Directions")), sig),
        (rng.choice(("Disp", "Quantity", "Dispense")), amount), (rng.choice(("Refills", "Refill")), again),
        (rng.choice(("Days Supply", "Supply")), supply),
    ])  # fmt: skip
