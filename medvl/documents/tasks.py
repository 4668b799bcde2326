"""What can be asked about a page whose facts are known: prompts with their responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from medvl.metrics.extraction import nested
from medvl.types import Field, TaskSpec


class Task(Enum):
    """Kinds of prompt."""

    transcribe = "transcribe"  # the page as it is
    extract = "extract"  # all its facts, as text
    json = "json"  # all its facts, after a schema
    question = "question"  # one fact
    list = "list"  # the entries of one list


TRANSCRIBE = "Transcribe the text on this page."
EXTRACT = (
    "Extract all medical information from this clinical document.",
    "List every fact that this page states, with its value.",
    "What does this form record? Give each entry with its values.",
)
JSON = (
    "Return the facts of this page as JSON after this schema: {schema}",
    "Fill in this JSON from the page, and answer with the JSON only: {schema}",
)
QUESTION = ("What is the {what}?", "Give the {what}.", "According to this page, what is the {what}?")
LIST = ("List all {what} on this page, one a line.", "Which {what} does this page name? One a line.")
# Keys whose words are not what one would say.
WORDS = {
    "dob": "date of birth", "mrn": "medical record number", "hr": "heart rate", "rr": "respiratory rate",
    "bp": "blood pressure", "temp": "temperature", "spo2": "oxygen saturation", "bmi": "BMI", "icd10": "ICD-10 code",
    "map": "mean arterial pressure", "cvp": "central venous pressure", "news2": "NEWS2 score", "pain": "pain score",
    "consciousness": "level of consciousness", "ebl": "estimated blood loss", "los": "length of stay", "abg": "ABG",
    "ph": "pH", "pco2": "pCO2", "paco2": "PaCO2", "po2": "pO2", "pao2": "PaO2", "hco3": "bicarbonate", "fio2": "FiO2",
    "pf_ratio": "P/F ratio", "rr_set": "set rate", "rr_total": "total rate", "peep": "PEEP",
    "pip": "peak inspiratory pressure", "plateau": "plateau pressure", "tidal_per_kg": "tidal volume per kg",
    "gcs": "GCS", "rass": "RASS", "rass_goal": "RASS goal", "cam_icu": "CAM-ICU", "icu_day": "ICU day", "ecg": "ECG",
    "pr": "PR interval", "qrs": "QRS duration", "qt": "QT interval", "qtc": "QTc", "lvef": "ejection fraction",
    "lvidd": "LVIDd", "lvids": "LVIDs", "la": "left atrial diameter", "la_volume_index": "left atrial volume index",
    "tr_velocity": "TR velocity", "ra_pressure": "right atrial pressure", "rvsp": "RVSP", "tapse": "TAPSE",
    "e_e_prime": "E/e' ratio", "septum": "septal thickness", "gls": "global longitudinal strain", "lvedp": "LVEDP",
    "lad": "LAD", "lcx": "LCx", "rca": "RCA", "pa": "PA pressure", "pa_mean": "mean PA pressure", "ra": "RA pressure",
    "pcwp": "wedge pressure", "pvr": "PVR", "svr": "SVR", "scvo2": "ScvO2", "jvp": "JVP", "nyha": "NYHA class",
    "asa": "ASA class", "egfr": "eGFR", "hba1c": "HbA1c", "ldl": "LDL", "nt_probnp": "NT-proBNP",
    "admission_nt_probnp": "NT-proBNP at admission", "discharge_nt_probnp": "NT-proBNP at discharge",
    "apgar_1": "1-minute Apgar score", "apgar_5": "5-minute Apgar score", "spo2_scale": "SpO2 scale",
    "days_supply": "days of supply", "stay_days": "days of stay", "complaint_days": "days of complaint",
}  # fmt: skip
# How a fact is asked for, by its path without positions, or by its group: {key} stands for the words of its last key,
# {name} for the name of its list's item. Other facts are the `key of name` or the `group key`.
ASKED = {
    "patient.*": "patient's {key}", "patient.dob": "date of birth", "patient.mrn": "medical record number",
    "patient.phone": "patient's phone number", "facility.name": "name of the facility",
    "facility.phone": "facility's phone number", "provider.name": "name of the provider",
    "recipient.name": "name of the physician addressed", "recipient.specialty": "specialty addressed",
    "recipient.facility": "facility addressed", "sender.phone": "sender's phone or fax number",
    "date": "date of this document", "results_date": "date of the results", "admitted": "admission date",
    "comparison": "date of the comparison study", "exam": "examination performed", "technique": "imaging technique",
    "technique.voltage": "tube voltage", "technique.section": "section thickness", "contrast": "contrast agent given",
    "indication": "indication for the examination", "accession": "accession number", "license": "license number",
    "communication.to": "name of the clinician told of the critical result",
    "communication.time": "time at which the critical result was told", "measurements.*": "measured size of the {key}",
    "measurements.bile_duct": "diameter of the common bile duct", "findings.size": "size of {name}",
    "findings.prior_size": "previous size of {name}", "tube.carina_distance": "distance from the ETT tip to the carina",
    "airway.tube": "size and depth of the ETT", "oxygen.device": "oxygen device", "oxygen.flow": "oxygen flow",
    "vitals.*": "{key}", "body.*": "{key}", "measured.*": "{key}", "calculated.*": "{key}", "laboratory.*": "{key}",
    "hemodynamics.*": "{key}", "course.*": "{key}", "procedure.*": "{key}", "procedure.urine": "urine output",
    "procedure.name": "procedure performed", "procedure": "procedure performed", "procedure.incision": "incision time",
    "procedure.closure": "closure time", "procedure.duration": "duration of the operation",
    "procedure.surgeon": "name of the surgeon", "procedure.assistant": "name of the assistant",
    "echo.*": "{key} on echo", "ecg.*": "{key} on ECG", "cath.*": "{key} at catheterization",
    "cath.lesions.stenosis": "stenosis of the {name}", "cath.lesions.intervention": "treatment of the {name} lesion",
    "valves.*": "{key} in {name}", "valves.orifice": "regurgitant orifice area in {name}",
    "valves.volume": "regurgitant volume in {name}", "valves.area": "valve area in {name}",
    "gcs.*": "GCS {key} score", "gcs.total": "total GCS", "rass": "RASS score", "cam_icu": "CAM-ICU result",
    "pupils": "finding on the pupils", "icu_day": "day of the stay", "balance.intake": "total intake",
    "balance.output": "total output", "balance.net": "net fluid balance", "balance.urine_rate": "hourly urine output",
    "urine_rate": "hourly urine output", "intake.volume": "{name} intake", "output.volume": "{name} output",
    "results.value": "{name} result", "labs.value": "{name} result", "results.unit": "unit of the {name} result",
    "results.range": "reference range of {name}", "results.flag": "flag on the {name} result",
    "allergies.reaction": "reaction to {name}", "diagnoses.code": "ICD-10 code of {name}",
    "diagnoses.since": "year since which {name} is known", "follow_up.date": "date of the follow-up with {name}",
    "follow_up.provider": "name of the provider for the follow-up with {name}", "stay_days": "length of stay in days",
    "complaint": "chief complaint", "complaint_days": "duration of the complaint in days",
    "duration": "duration of the symptoms", "reason": "reason for the consultation",
    "request": "request to the specialist", "condition": "condition at discharge", "response": "escalation called for",
    "medications.action": "decision on {name}", "medications.reason": "reason for the decision on {name}",
    "medications.indication": "indication for {name}", "medications.days": "number of days of {name}",
    "medications.loading_days": "number of days left of the loading dose of {name}",
    "medications.quantity": "quantity of {name} to dispense", "medications.refills": "number of refills of {name}",
    "medications.days_supply": "number of days that the supply of {name} lasts", "medications.note": "note on {name}",
    "medications.form": "dosage form of {name}", "medications.instructions": "instruction for {name}",
    "plan.action": "decision on {name}", "comorbidities.detail": "detail on {name}",
    "implants.size": "size of the {name}", "vitals.oxygen": "supplemental oxygen at {name}",
    "anesthesia.type": "type of anesthesia", "anesthesia.provider": "name of the anesthesiologist",
    "ventilator.tube": "size and depth of the ETT", "smoking": "smoking history", "stapler": "size of the stapler",
    "panel": "name of the panel", "cath.dominance": "coronary dominance",
    **{f"cath.{key}": f"{WORDS.get(key, 'left main')} finding at catheterization" for key in
       ("left_main", "lad", "lcx", "rca")},
    "anesthesia.asa": "ASA class", "times.*": "{key} time", "times.duration": "duration of the operation",
    "fluids": "amount of IV fluids", "blood_products": "amount of blood products", "specimens": "specimen removed",
    "blood_loss": "estimated blood loss", "drains": "drain left in place", "complications": "complication reported",
    "nodes": "number of sentinel nodes removed", "newborn.*": "newborn's {key}", "specimen": "type of specimen",
    "findings.tumor_size": "tumor size", "inhaler": "number of actuations of the inhaler",
    **{who: f"name of the {who.replace('_', ' ')}" for who in (
        "surgeon", "assistant", "nurse", "radiologist", "attending", "prescriber", "pharmacist", "provider",
        "ordering_provider", "requesting_provider")},
}  # fmt: skip
# What the entries of a list are called together, where its key does not say it.
LISTED = {
    "vitals": "times of vital signs", "plan": "drugs in the plan", "orders": "drugs ordered",
    "labs": "laboratory tests", "results": "laboratory tests", "intake": "sources of intake",
    "output": "sources of output",
    "cath.lesions": "vessels with lesions", "valves": "findings on the valves", "history": "diagnoses in the history",
    "follow_up": "follow-up visits", "contrast": "contrast agents", "prophylaxis": "prophylactic drugs",
}  # fmt: skip


@dataclass(slots=True)
class Asked:
    """One prompt with the response expected, and the facts that the response states."""

    task: str
    prompt: str
    response: str
    fields: list[Field] = field(default_factory=list)


def ask(asking: TaskSpec, text: str, fields: Sequence[Field], key: str) -> list[Asked]:
    """Return what is asked about one page.

    Args:
        text: All that stands on the page.
        fields: Its facts, in reading order.
        key: What the choices are drawn from: the same key, the same prompts.
    """
    rng = Random(key)
    makers = {
        "transcribe": lambda: _whole(asking.prompt, text, fields),
        "extract": lambda: Asked("extract", rng.choice(EXTRACT), as_text(fields), list(fields)) if fields else None,
        "json": lambda: _as_json(fields, rng) if fields else None,
        "question": lambda: _question(fields, rng),
        "list": lambda: _list(fields, rng),
    }
    asked = {task: makers[task]() for task in rng.sample(asking.tasks, len(asking.tasks))}
    chosen = [task for task, one in asked.items() if one is not None][: asking.per_page]
    return [asked[task] for task in asking.tasks if task in chosen]  # type: ignore[misc]


def _whole(prompt: str, text: str, fields: Sequence[Field]) -> Asked:
    """Ask for all that stands on the page; where the prompt asks for its information, the facts are scored too."""
    if prompt in EXTRACT:
        return Asked("extract", prompt, text, list(fields))
    return Asked("transcribe", prompt, text)


def as_text(fields: Sequence[Field]) -> str:
    """Return facts as text: a line for each group of them, a line for each entry of a list.

    >>> as_text([Field(path="patient.name", value="Ada", type="name"), Field(path="patient.sex", value="F", type="sex"),
    ...          Field(path="drugs.0.name", value="Aspirin", type="name"),
    ...          Field(path="drugs.0.dose", value="81 mg", type="dose")])
    'Patient: name Ada; sex F\\nDrugs:\\n- Aspirin; dose 81 mg'
    """
    lines: list[str] = []
    for name, content in nested(fields).items():
        head = _words(name)
        head = head[:1].upper() + head[1:]
        if isinstance(content, list):
            lines += [f"{head}:", *(f"- {_entry(item, named=True)}" for item in content)]
        elif isinstance(content, dict):
            lines.append(f"{head}: {_entry(content)}")
        else:
            lines.append(f"{head}: {content}")
    return "\n".join(lines)


def _entry(content: Any, named: bool = False) -> str:
    """Return one group of facts on one line; the first fact of a list's entry names it and needs no label."""
    if isinstance(content, list):
        return ", ".join(_entry(item, named=True) for item in content)
    if not isinstance(content, dict):
        return str(content)
    parts = []
    for number, (key, value) in enumerate(content.items()):
        text = _entry(value) if isinstance(value, (dict, list)) else str(value)
        parts.append(text if named and number == 0 else f"{_words(key)} {text}")
    return "; ".join(parts)


def _as_json(fields: Sequence[Field], rng: Random) -> Asked:
    content = nested(fields)
    schema = json.dumps(_schema(content), ensure_ascii=False)
    response = json.dumps(content, ensure_ascii=False)
    return Asked("json", rng.choice(JSON).format(schema=schema), response, list(fields))


def _schema(content: Any) -> Any:
    """Return the shape of a structure: its keys with empty values, a list by one entry with all keys of its entries."""
    if isinstance(content, dict):
        return {key: _schema(value) for key, value in content.items()}
    if isinstance(content, list):
        if all(isinstance(item, dict) for item in content):
            return [_schema({key: value for item in content for key, value in item.items()})]
        return [""]
    return ""


def _question(fields: Sequence[Field], rng: Random) -> Asked | None:
    """Ask for one fact whose name is the only one of its kind on the page."""
    asked = questions(fields)
    counts = Counter(what.lower() for what, _ in asked)
    asked = [(what, entry) for what, entry in asked if counts[what.lower()] == 1]
    if not asked:
        return None
    what, entry = rng.choice(asked)
    return Asked("question", rng.choice(QUESTION).format(what=what), entry.value, [entry])


def questions(fields: Sequence[Field]) -> list[tuple[str, Field]]:
    """Return what each fact is asked for by; the names of a list's items are not asked for.

    >>> paths = {"abg.pf_ratio": "290", "vitals.0.time": "14:00", "vitals.0.hr": "98"}
    >>> [what for what, _ in questions([Field(path=path, value=value, type="time") for path, value in paths.items()])]
    ['ABG P/F ratio', 'heart rate at 14:00']
    """
    named, asked = _entry_names(fields), []
    for entry in fields:
        group, _, key = entry.path.rpartition(".")
        name = named.get(group)
        if key.isdigit() or name is entry:
            continue
        usual = "{group} {key}" if name is None else "{key} at {name}" if name.type == "time" else "{key} of {name}"
        path = ".".join(part for part in entry.path.split(".") if not part.isdigit())
        wording = ASKED.get(path) or ASKED.get(f"{path.rpartition('.')[0]}.*") or usual
        if ("{name}" in wording) != (name is not None):  # a group and a list share the path
            wording = usual
        words = {"group": _words(group), "key": _words(key), "name": name.value if name else ""}
        asked.append((wording.format_map(words).strip(), entry))
    return asked


def _list(fields: Sequence[Field], rng: Random) -> Asked | None:
    """Ask for the entries of one list, by their names."""
    lists: dict[str, list[Field]] = {}
    for group, name in _entry_names(fields).items():
        lists.setdefault(group.rpartition(".")[0], []).append(name)
    long = {owner: names for owner, names in lists.items() if len(names) > 1}
    if not long:
        return None
    owner = rng.choice(list(long))
    response = "\n".join(name.value for name in long[owner])
    what = LISTED.get(".".join(key for key in owner.split(".") if not key.isdigit())) or _words(owner)
    return Asked("list", rng.choice(LIST).format(what=what), response, long[owner])


def _entry_names(fields: Sequence[Field]) -> dict[str, Field]:
    """Return for every entry of a list (`drugs.0`) the fact that names it: its first; a plain fact names itself."""
    named: dict[str, Field] = {}
    for fact in fields:
        if fact.entry:
            named.setdefault(fact.entry, fact)
    return named


def _words(path: str) -> str:
    """Return a key, or the keys of a path but for positions, as words."""
    keys = [key for key in path.split(".") if key and not key.isdigit()]
    return " ".join(WORDS.get(key, key.replace("_", " ")) for key in keys)
