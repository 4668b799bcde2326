"""The fixed pages: the baseline's counts, every expected fact is on the page, numbers are consistent."""

import math
import re
from datetime import datetime

import pytest

from medvl.data.sources.fixed_pages import FixedPages, Pages
from medvl.documents.fixed import BENCHMARK, EVALUATION
from medvl.documents.fonts import Font
from medvl.documents.render import Render

PAGES = {document.id.removeprefix("fixed-"): document for document in FixedPages().documents()}
LETTER = {"width_pt": 612, "height_pt": 792, "dpi": 72, "font_pt": 10, "line_pt": 12, "margin_pt": 36}
COUNTS = {
    "medication-reconciliation": (20, 25),
    "icu-flowsheet": (19, 30),
    "cardiology-consultation": (28, 26),
    "lab-panel": (22, 25),
    "operative-note": (21, 19),
}
every_page = pytest.mark.parametrize("name", PAGES)


def text_of(name, font=Font.mono):
    (sheet,) = Render(fonts=[font], **LETTER).sheets(PAGES[name])
    return " ".join(sheet.text.split())


def standing(words, text, *, case=True):
    """Find words that are not adjacent to a letter, a digit or the rest of a number."""
    pattern = rf"(?<!\w)(?<!\d[.,/-]){re.escape(words)}(?!\w)(?![.,/-]\d)"
    return re.findall(pattern, text, 0 if case else re.IGNORECASE)


def facts(name):
    return {field.path: field.value for field in PAGES[name].fields}


def rows(name, path):
    """Return a page's list with one dictionary per entry."""
    found = {}
    for field in PAGES[name].fields:
        group, number, key = [*field.path.split("."), "", ""][:3]
        if group == path:
            found.setdefault(int(number), {})[key] = field.value
    assert list(found) == list(range(len(found)))
    return list(found.values())


def number(words):
    return float(re.search(r"[-+]?\d[\d,]*\.?\d*", words)[0].replace(",", ""))


def numbers(name, *paths):
    return [number(facts(name)[path]) for path in paths]


@pytest.mark.parametrize("name", COUNTS)
def test_the_seed_s_counts(name):
    assert (len(PAGES[name].terms), len(PAGES[name].values)) == COUNTS[name]


def test_ten_pages_in_two_groups():
    assert len(PAGES) == 10
    assert [f"fixed-{name}" for name in COUNTS] == [page.id for page in FixedPages(pages=Pages.evaluation).documents()]
    assert (len(BENCHMARK), len(EVALUATION)) == (5, 5)
    assert len(list(FixedPages(pages=Pages.benchmark).documents())) == 5
    assert all(10 <= len(page().terms) <= 20 and 10 <= len(page().values) <= 20 for page in BENCHMARK)


@every_page
@pytest.mark.parametrize("font", Font)
def test_one_letter_page(name, font):
    for dpi in (72, 100, 150):
        (sheet,) = Render(fonts=[font], **LETTER | {"dpi": dpi}).sheets(PAGES[name])
        page = PAGES[name]
        # A transcription keeps the page's line breaks, so none may split an expected value.
        assert [term for term in page.terms if not standing(term, sheet.text, case=False)] == []
        assert [value for value in page.values if not standing(value, sheet.text)] == []


@every_page
def test_what_is_expected_stands_on_the_page(name):
    page, text = PAGES[name], text_of(name)
    assert [term for term in page.terms if not standing(term, text, case=False)] == []
    assert [value for value in page.values if not standing(value, text)] == []
    # A transcription of another fact must not match this one.
    assert [value for value in page.values if len(standing(value, text)) > 1] == []


@every_page
def test_nothing_expected_is_part_of_another(name):
    for expected in (PAGES[name].terms, PAGES[name].values):
        lowered = [words.lower() for words in expected]
        assert all(words.strip() and words == words.strip() for words in expected)
        clashes = [(one, two) for at, one in enumerate(lowered) for two in lowered[:at] if one in two or two in one]
        assert clashes == []


@every_page
def test_facts_stand_on_the_page(name):
    page, text = PAGES[name], text_of(name)
    assert [field.path for field in page.fields if not standing(field.value, text)] == []
    paths = [field.path for field in page.fields]
    assert len(set(paths)) == len(paths) and not [p for p in paths if any(q.startswith(f"{p}.") for q in paths)]
    (sheet,) = Render(**LETTER).sheets(page)
    assert [value for value in page.values if not any(standing(value, field.value) for field in page.fields)] == []
    drawn = {index for row in sheet.rows for index, *_ in row.fields}
    assert drawn == set(range(len(page.fields)))


@every_page
def test_what_can_harm_is_critical(name):
    page = PAGES[name]
    flagged = {field.path.removesuffix("flag") for field in page.fields if field.type == "flag" and field.value == "C"}
    for field in page.fields:
        harmful = field.type in ("dose", "allergy") or field.path in {f"{path}value" for path in flagged}
        assert field.critical or not harmful, field.path
    assert any(field.critical for field in page.fields)


def test_lists_are_as_long_as_the_seed_says():
    lengths = {
        ("patient-diagnosis", "diagnoses"): 4,
        ("patient-diagnosis", "medications"): 6,
        ("prescription", "medications"): 5,
        ("lab-results", "results"): 10,
        ("discharge-summary", "diagnoses"): 4,
        ("discharge-summary", "medications"): 8,
        ("discharge-summary", "follow_up"): 4,
        ("medication-reconciliation", "medications"): 11,
        ("medication-reconciliation", "comorbidities"): 8,
        ("medication-reconciliation", "results"): 6,
        ("icu-flowsheet", "drips"): 6,
        ("lab-panel", "results"): 25,
        ("operative-note", "medications"): 7,
    }
    assert {key: len(rows(*key)) for key in lengths} == lengths
    assert sum(path.startswith("vitals.") for path in facts("patient-diagnosis")) == 6
    assert rows("medication-reconciliation", "allergies")


@every_page
def test_ages(name):
    page = facts(name)
    born, seen = (datetime.strptime(page[path], "%m/%d/%Y") for path in ("patient.dob", "date"))
    assert int(page["patient.age"]) == seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))


@every_page
def test_flags_follow_ranges(name):
    for row in rows(name, "results"):
        value = number(row["value"])
        low, high = row["range"].split("-") if "-" in row["range"] else (None, None)
        if row["range"].startswith("<"):
            high = row["range"][1:]
        elif row["range"].startswith(">"):
            low = row["range"][1:]
        flag = "L" if low and value < float(low) else "H" if high and value > float(high) else ""
        assert row.get("flag", "") in ({flag, "C"} if flag else {""}), row


def test_kidney_function():
    """CKD-EPI 2021 (doi:10.1056/NEJMoa2102953)."""

    def egfr(creatinine, name):
        female = facts(name)["patient.sex"] == "F"
        ratio, alpha = creatinine / (0.7 if female else 0.9), -0.241 if female else -0.302
        age = int(facts(name)["patient.age"])
        filtered = 142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938**age
        return round(filtered * (1.012 if female else 1))

    stated = {row["test"]: number(row["value"]) for row in rows("patient-diagnosis", "results")}
    assert egfr(stated["Creatinine"], "patient-diagnosis") == stated["eGFR (CKD-EPI 2021)"]
    for name, path in (("lab-results", "calculated.egfr"), ("medication-reconciliation", "comorbidities.4.detail")):
        creatinine = next(number(row["value"]) for row in rows(name, "results") if row["test"] == "Creatinine")
        assert egfr(creatinine, name) == number(facts(name)[path])


def test_benchmark_sums():
    lab = {row["test"]: number(row["value"]) for row in rows("lab-results", "results")}
    assert lab["Sodium"] - lab["Chloride"] - lab["Bicarbonate"] == number(facts("lab-results")["calculated.anion_gap"])
    stay = facts("discharge-summary")
    admitted, left = (datetime.strptime(stay[path], "%m/%d/%Y") for path in ("admitted", "date"))
    assert (left - admitted).days == number(stay["los"])
    before_kg, lost_kg, after_kg = numbers(
        "discharge-summary", "course.admission_weight", "course.weight_loss", "vitals.weight"
    )
    assert round(before_kg - lost_kg, 1) == after_kg
    assert 12 * number(facts("patient-diagnosis")["dosing_weight"]) == 900  # units of heparin per hour
    per_day = {"Losartan": (1, 90), "Metformin ER": (2, 90), "Rosuvastatin": (1, 30), "Pantoprazole": (1, 8 * 7)}
    ordered = {row["name"]: int(row["quantity"]) for row in rows("prescription", "medications")}
    assert all(ordered[drug] == daily * days for drug, (daily, days) in per_day.items())


def test_icu_pressures_and_gas():
    icu = "icu-flowsheet"
    for row in rows(icu, "vitals"):
        systolic, diastolic = map(int, row["bp"].split("/"))
        assert int(row["map"]) == round((systolic + 2 * diastolic) / 3)
    plateau, peep, driving = (f"ventilator.{key}" for key in ("plateau", "peep", "driving_pressure"))
    assert numbers(icu, plateau)[0] - numbers(icu, peep)[0] == numbers(icu, driving)[0]
    tidal_ml, rate, minute_l = numbers(
        icu, *(f"ventilator.{key}" for key in ("tidal_volume", "rr_total", "minute_volume"))
    )
    assert round(tidal_ml * rate / 1000, 1) == minute_l
    height_cm, per_kg = numbers(icu, "height", "ventilator.tidal_per_kg")
    assert round(tidal_ml / (50 + 0.91 * (height_cm - 152.4)), 1) == per_kg
    ph, pco2, hco3, excess, po2, ratio = numbers(
        icu, *(f"abg.{key}" for key in ("ph", "paco2", "hco3", "base_excess", "pao2", "pf_ratio"))
    )
    assert abs(0.0307 * pco2 * 10 ** (ph - 6.1) - hco3) < 0.5
    assert abs(0.93 * (hco3 - 24.4 + 14.8 * (ph - 7.4)) - excess) < 0.2
    assert po2 / number(facts(icu)["ventilator.fio2"]) == pytest.approx(ratio)
    output_l, index, svr, weight_kg = numbers(
        icu, "hemodynamics.cardiac_output", "hemodynamics.cardiac_index", "hemodynamics.svr", "dosing_weight"
    )
    last = rows(icu, "vitals")[-1]
    assert round(80 * (int(last["map"]) - int(last["cvp"])) / output_l) == svr
    assert round(output_l / math.sqrt(height_cm * weight_kg / 3600), 1) == index


def test_icu_pumps_and_balance():
    icu = "icu-flowsheet"
    (weight_kg,) = numbers(icu, "dosing_weight")
    poured = 0.0
    for row in rows(icu, "drips"):
        amount = number(row["rate"]) * (weight_kg if "/kg/" in row["rate"] else 1)
        amount *= 60 if row["rate"].endswith("/min") else 1
        mass, volume = row["concentration"].split("/")
        per_ml = number(mass) / (number(volume) if re.search(r"\d", volume) else 1)
        per_ml *= 1000 if "mg" in mass and "mcg" in row["rate"] else 1
        assert round(amount / per_ml, 1) == number(row["pump_rate"]), row
        poured += number(row["pump_rate"])
    intake, output = (sum(number(row["volume"]) for row in rows(icu, side)) for side in ("intake", "output"))
    assert rows(icu, "intake")[0] == {"source": "Drips", "volume": f"{round(12 * poured)}"}
    assert [intake, output, intake - output] == numbers(icu, "balance.intake", "balance.output", "balance.net")
    urine_ml = number(rows(icu, "output")[0]["volume"])
    assert round(urine_ml / weight_kg / 12, 1) == numbers(icu, "balance.urine_rate")[0]


def test_cardiology_sums():
    heart = "cardiology-consultation"
    systolic, diastolic = map(int, facts(heart)["cath.pa"].removesuffix(" mmHg").split("/"))
    mean, wedge, output_l, index, pvr, height_cm, weight_kg = numbers(
        heart,
        "cath.pa_mean",
        "cath.pcwp",
        "cath.cardiac_output",
        "cath.cardiac_index",
        "cath.pvr",
        "vitals.height",
        "vitals.weight",
    )
    assert round((systolic + 2 * diastolic) / 3) == mean
    assert round((mean - wedge) / output_l, 1) == pvr
    assert round(output_l / math.sqrt(height_cm * weight_kg / 3600), 1) == index
    qt_ms, rate, qtc_ms = numbers(heart, "ecg.qt", "ecg.ventricular_rate", "ecg.qtc")
    assert round(qt_ms / math.sqrt(60 / rate)) == qtc_ms
    jet_m_s, rvsp = numbers(heart, "echo.tr_velocity", "echo.rvsp")
    assert round(4 * jet_m_s**2 + 15) == rvsp


def test_other_sums():
    lab = {row["test"]: number(row["value"]) for row in rows("lab-panel", "results")}
    assert round(10 * lab["Hematocrit"] / lab["RBC"], 1) == lab["MCV"]
    assert round(10 * lab["Hemoglobin"] / lab["RBC"], 1) == lab["MCH"]
    assert round(100 * lab["Hemoglobin"] / lab["Hematocrit"], 1) == lab["MCHC"]
    assert round(lab["Total bilirubin"] - lab["Direct bilirubin"], 1) == lab["Indirect bilirubin"]
    weight_kg, height_cm, bmi = numbers(
        "medication-reconciliation", *(f"vitals.{k}" for k in ("weight", "height", "bmi"))
    )
    assert round(weight_kg / (height_cm / 100) ** 2, 1) == bmi
    note = facts("operative-note")
    start, end = (datetime.strptime(note[f"procedure.{key}"], "%H:%M") for key in ("incision", "closure"))
    assert (end - start).seconds / 60 == number(note["procedure.duration"])


def test_the_source():
    pages = list(FixedPages(pages=Pages.evaluation).read())
    assert {(page.source, page.split) for page in pages} == {("FixedPages", "test")}
    prints = {FixedPages(pages=choice).fingerprint() for choice in Pages}
    assert len(prints) == 3 and FixedPages().fingerprint() in prints
    with pytest.raises(ValueError, match=r"data\.hub"):
        FixedPages(hub="somebody/something")
