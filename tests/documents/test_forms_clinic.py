"""Clinic forms: dates, doses, ranges and flags are consistent."""

import re
from collections import Counter
from datetime import date, datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvl.documents.forms.allergens import ALLERGENS
from medvl.documents.forms.analytes import ANALYTES
from medvl.documents.forms.clinic import CLINIC_KINDS
from medvl.documents.forms.diagnoses import DIAGNOSES, drawn_diagnoses
from medvl.documents.forms.drugs import DRUGS
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.interactions import ONLY, RIVALS, SELDOM, UNSAFE
from medvl.documents.forms.panels import LEANS, PANELS, drawn_results, egfr
from medvl.documents.forms.patient import Allergy, DateStyle, Patient, visit_date, written_date
from medvl.documents.forms.regimens import FREQUENCIES, ROUTES, dosed, drawn_regimens, forbidden, magnitude

SEEDS = st.integers(0, 10**9)
FORMATS = ("%m/%d/%Y", "%d-%b-%Y", "%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%b %d, %Y")


def written(kind, seed):
    rng = Random(seed)
    form = Form(kind=kind, rng=rng, style=rng.choice(list(Style)))
    patient = Patient.drawn(rng)
    on = visit_date(rng, patient)
    CLINIC_KINDS[kind](form, patient, on)
    return form.document(), patient, on


def facts(document):
    return {field.path: field.value for field in document.fields}


def items(document, name):
    """Return the entries of a list, in order, as dicts."""
    found = {}
    for path, value in facts(document).items():
        head, _, rest = path.partition(".")
        if head == name:
            position, _, key = rest.partition(".")
            found.setdefault(int(position), {})[key] = value
    assert sorted(found) == list(range(len(found)))
    return [found[position] for position in range(len(found))]


def day(text):
    for pattern in FORMATS:
        try:
            return datetime.strptime(text, pattern).date()
        except ValueError:
            continue
    raise AssertionError(text)


def drug_of(name):
    called = {drug: (drug.name.lower(), f"{drug.name} ({drug.brand})".lower()) for drug in DRUGS.values()}
    return next(drug for drug, names in called.items() if name.lower() in names)


def number_of_doses(text):
    return next(row[0] for row in FREQUENCIES.values() if text in row[1:])


@pytest.mark.parametrize("kind", CLINIC_KINDS)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_every_document(kind, seed):
    document, patient, on = written(kind, seed)
    again, *_ = written(kind, seed)
    assert (document.id, document.text, document.fields) == (again.id, again.text, again.fields)
    assert document.fields and document.text.count("\n") >= 3
    marked = "".join(repr(block) for block in document.blocks)
    numbers = [int(number) for number in re.findall(r"\\ue000(\d+)\\ue001", marked)]
    assert sorted(numbers) == list(range(len(document.fields)))  # each placed once
    for field in document.fields:
        assert field.value in document.text
        assert field.critical or not field.path.endswith((".dose", ".substance"))
    known = facts(document)
    if "patient.age" in known:
        assert int(known["patient.age"].split()[0]) == patient.age(on) >= 18
    if "patient.dob" in known and "patient.age" in known:
        birth, now = day(known["patient.dob"]), day(known["date"])
        assert birth == patient.birth and now == on
        assert birth.replace(year=birth.year + patient.age(on), day=min(birth.day, 28)) <= now
    names = {name: row for row in DIAGNOSES.values() for name in (row.name, row.abbreviation) if name}
    for entry in items(document, "diagnoses"):
        row = names[entry["name"]]
        assert row.suits(patient, on)
        assert entry.get("code", row.code) == row.code
    for entry in items(document, "medications"):
        if forbidden(drug_of(entry["name"]), patient):
            assert kind == "medication reconciliation" and "llerg" in entry["reason"].lower()
            assert entry["action"].lower() in ("hold", "held")


@pytest.mark.parametrize("kind", ["laboratory panel", "progress note", "discharge summary"])
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_flags_follow_from_values(kind, seed):
    document, *_ = written(kind, seed)
    critical = {field.path for field in document.fields if field.critical}
    for position, entry in enumerate(items(document, "results")):
        flag = entry.get("flag", "")
        high = bool(re.search("h", flag, re.I))
        low = flag[:1] in ("L", "l") or flag in ("CL", "Critical Low", "PANIC LOW")
        if "range" in entry:
            value, limits = float(entry["value"]), entry["range"]
            if limits.startswith("<"):
                expected = (value >= float(limits[1:]), False)
            elif limits.startswith(">="):
                expected = (False, value < float(limits[2:]))
            else:
                bottom, top = map(float, limits.split("-"))
                expected = (value > top, value < bottom)
            if flag in ("CL", "CH"):
                high, low = flag == "CH", flag == "CL"
            elif low and "igh" not in flag:
                high = False
            assert (high, low) == expected, entry
        severe = flag in ("HH", "LL", "H*", "L*", "CH", "CL") or flag.startswith(("Critical", "PANIC"))
        assert severe == (f"results.{position}.value" in critical)


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS,
    keys=st.lists(st.sampled_from(list(ANALYTES)), min_size=1),
    more=st.sampled_from(PANELS),
    conditions=st.lists(st.sampled_from(list(LEANS)), max_size=3),
)
def test_derived_values(seed, keys, more, conditions):
    rng = Random(seed)
    patient = Patient.drawn(rng)
    on = visit_date(rng, patient)
    found = drawn_results(rng, [*keys, *more[2].split()], patient, on, conditions)
    value = {key: result.value for key, result in found.items()}
    assert all(result.value is None or result.value >= 0 for result in found.values())
    assert all(result.value is None or float(result.text) == result.value for result in found.values())

    def agrees(needed, compute, tolerance):
        *parents, child = needed.split()
        if all(value.get(key) is not None for key in [*parents, child]):
            assert compute(*(value[key] for key in parents)) == pytest.approx(value[child], abs=tolerance), needed

    agrees("na cl co2 agap", lambda na, cl, co2: na - cl - co2, 0)
    agrees("cr egfr", lambda cr: egfr(cr, patient.age(on), patient.sex), 0)
    agrees("bun cr ratio", lambda bun, cr: bun / cr, 0.51)
    agrees("tp alb glob", lambda tp, alb: tp - alb, 0.001)
    agrees("alb glob agr", lambda alb, glob: alb / glob, 0.051)
    agrees("tbil dbil ibil", lambda total, direct: total - direct, 0.001)
    agrees("hct rbc mcv", lambda hct, rbc: hct / rbc * 10, 0.051)
    agrees("hgb rbc mch", lambda hgb, rbc: hgb / rbc * 10, 0.051)
    agrees("hgb hct mchc", lambda hgb, hct: hgb / hct * 100, 0.051)
    agrees("lymph mono eos baso neut", lambda *parts: 100 - sum(parts), 0.001)
    agrees("tc hdl tg ldl", lambda tc, hdl, tg: tc - hdl - tg / 5, 0.51)
    agrees("pt inr", lambda pt: pt / 12.2, 0.051)
    agrees("a1c eag", lambda a1c: 28.7 * a1c - 46.7, 0.51)
    agrees("ph pco2 hco3", lambda ph, pco2: 0.0307 * pco2 * 10 ** (ph - 6.1), 0.051)
    if "ldl" in value and "tg" in value:
        assert (value["ldl"] is None) == (value["tg"] >= 400)


@pytest.mark.parametrize(
    "creatinine, age, sex, rate", [(1.0, 50, "M", 92), (1.0, 50, "F", 69), (0.6, 30, "F", 124), (2.0, 70, "M", 35)]
)
def test_egfr(creatinine, age, sex, rate):
    assert egfr(creatinine, age, sex) == rate


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS)
def test_prescribed_quantity(seed):
    for entry in items(written("prescription", seed)[0], "medications"):
        units = int(entry["dose"].split()[0])
        amount = units * number_of_doses(entry["frequency"]) * int(entry["days_supply"])
        assert int(entry["quantity"]) == pytest.approx(amount)
        drug = drug_of(entry["name"])
        strength, unit = entry["strength"].split()
        per_day = 1 if "weekly" in entry["frequency"] else number_of_doses(entry["frequency"])
        assert unit == drug.unit and units * magnitude(strength) * per_day <= drug.most + 1e-6


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS)
def test_length_of_stay(seed):
    document, _, on = written("discharge summary", seed)
    known = facts(document)
    admitted, left = day(known["admission.date"]), day(known["discharge.date"])
    assert left == on and (left - admitted).days == int(known["stay_days"]) > 0
    assert all(day(entry["date"]) > left and day(entry["date"]).weekday() < 5 for entry in items(document, "follow_up"))


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, allergen=st.sampled_from(ALLERGENS))
def test_drugs_are_safe_together(seed, allergen):
    rng = Random(seed)
    patient = Patient.drawn(rng)
    patient.allergies = [Allergy(allergen[0], "rash", allergen[1])]
    on = visit_date(rng, patient)
    diagnoses = drawn_diagnoses(rng, patient, on, 6)
    assert all(row.sex in ("", patient.sex) for row in diagnoses) and len(set(diagnoses)) == len(diagnoses)
    families = [row.family for row in diagnoses if row.family]
    assert len(set(families)) == len(families)
    drugs = [regimen.drug for regimen in drawn_regimens(rng, patient, diagnoses, 10)]
    classes = [RIVALS.get(drug.group, drug.group) for drug in drugs]
    assert len(set(classes)) == len(classes)
    assert not any(allergen[1] in drug.allergies for drug in drugs)
    ruled_out = set().union(*(UNSAFE.get(row.key, set()) for row in diagnoses))
    assert not ruled_out & {drug.group for drug in drugs}


def test_tables_agree():
    assert len(DRUGS) >= 90 and len(ANALYTES) >= 70 and len(DIAGNOSES) >= 60
    groups = {drug.group for drug in DRUGS.values()}
    for drug in DRUGS.values():
        assert set(drug.indications.split()) <= set(DIAGNOSES), drug
        assert set(drug.frequencies.split()) <= set(FREQUENCIES) and drug.route in ROUTES
        assert drug.allergies <= {row[1] for row in ALLERGENS}
        for indication in (None, *(DIAGNOSES[key] for key in drug.indications.split())):
            regimen = dosed(Random(0), drug, indication)
            assert magnitude(regimen.amount) * max(regimen.doses_a_day, 1) <= drug.most + 1e-6
    assert set(UNSAFE) <= groups | set(DIAGNOSES) | set(DRUGS)
    assert set().union(*UNSAFE.values()) <= groups | set(DRUGS) and groups >= SELDOM
    assert all(
        strengths.split()
        and set(strengths.split()) <= set(DRUGS[name].strengths.split())
        and key in DRUGS[name].indications.split()
        for (name, key), strengths in ONLY.items()
    )
    assert {key for row in PANELS for key in row[2].split()} <= set(ANALYTES)
    assert all(set(lean) <= set(ANALYTES) for lean in LEANS.values()) and set(LEANS) <= set(DIAGNOSES) | set(DRUGS)
    assert len({row.code for row in DIAGNOSES.values()}) == len(DIAGNOSES)
    assert all(re.fullmatch(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?", row.code) for row in DIAGNOSES.values())


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, condition=st.sampled_from(sorted(set(LEANS) - {"dka"})))
def test_glucose_suits_glycated_hemoglobin(seed, condition):
    rng = Random(seed)
    patient = Patient.drawn(rng)
    found = drawn_results(rng, ["a1c", "glu"], patient, visit_date(rng, patient), [condition])
    assert 0.74 <= found["glu"].value / max(28.7 * found["a1c"].value - 46.7, 78) <= 1.26


@pytest.mark.parametrize("kind", ["patient diagnosis sheet", "progress note"])
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_vitals_and_changes_of_doses_follow_from_what_is_written(kind, seed):
    document, *_ = written(kind, seed)
    known = facts(document)
    if {"vitals.weight", "vitals.height", "vitals.bmi"} <= set(known):
        kg = float(known["vitals.weight"]) / (2.20462 if f"{known['vitals.weight']} lb" in document.text else 1)
        assert float(known["vitals.bmi"]) == float(f"{kg / (int(known['vitals.height']) / 100) ** 2:.1f}")
    ldl = [row["value"] for row in items(document, "results") if row["test"].startswith("LDL")]
    for row in items(document, "medications"):
        assert not re.match(r"1 (puffs|sprays|drops)|2 (puff|spray)$", row["dose"])
        if "new_dose" in row and drug_of(row["name"]).group == "statin" and ldl and ldl[0].isdigit():
            more = float(row["new_dose"].split()[0]) > float(row["dose"].split()[0])
            assert more or int(ldl[0]) <= 100


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_what_is_duplicate_stands_beside_what_goes_on(seed):
    rows = items(written("medication reconciliation", seed)[0], "medications")
    for row in rows:
        if row.get("reason") == "duplicate therapy":
            kept = [drug_of(other["name"]).group for other in rows if other["action"].lower().startswith("cont")]
            assert drug_of(row["name"]).group in kept


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_a_fresh_clot_gets_its_loading_dose(seed):
    document, *_ = written("discharge summary", seed)
    lasts = {"Apixaban": (7, "10 mg", "5 mg"), "Rivaroxaban": (21, "15 mg", "20 mg")}
    clot = items(document, "diagnoses")[0]["name"].startswith(("Pulm", "PE", "Deep", "DVT"))
    for row in items(document, "medications") if clot else []:
        days, first, then = lasts.get(drug_of(row["name"]).name, (0, "", ""))
        left = days - int(facts(document)["stay_days"])
        assert (int(row["loading_days"]) == left) if left > 0 else "loading_days" not in row
        if days:
            assert (row["dose"], row.get("maintenance_dose")) == ((first, then) if left > 0 else (then, None))


@pytest.mark.parametrize("style", DateStyle)
def test_dates_are_written_as_their_style_shows(style):
    assert written_date(style, date(2024, 3, 14)) == style.value


def test_age_in_full_years():
    patient = Patient.drawn(Random(0))
    patient.birth = date(1960, 2, 29)
    days = (date(2023, 2, 28), date(2023, 3, 1), date(2024, 2, 29))
    assert [patient.age(day) for day in days] == [62, 63, 64]


def test_documents_are_distinct():
    documents = [written(kind, seed)[0] for kind in CLINIC_KINDS for seed in range(50)]
    assert len({document.id for document in documents}) == 300
    layouts = Counter(document.layout for document in documents)
    assert set(layouts) == {style.value for style in Style}
