"""Who a form is about, who wrote it and when: what every kind of form begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from random import Random

from medvl.documents.forms.allergens import ALLERGENS
from medvl.documents.forms.chance import bell
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.names import (
    CLINICS,
    FAMILY,
    GIVEN_F,
    GIVEN_M,
    HOSPITALS,
    PLACES,
    STREET_KINDS,
    STREETS,
    TOWNS,
)

# strftime would follow the machine's locale.
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
FIRST_VISIT, LAST_VISIT = date(2019, 1, 1), date(2025, 12, 31)
# Whoever was born in these years is 18 to 97 years old at every visit.
_BORN = (date(1928, 1, 1), date(2000, 12, 31))


class DateStyle(Enum):
    """How a clinician writes dates; one document keeps to one."""

    us = "03/14/2024"
    us_bare = "3/14/2024"
    day_month = "14-Mar-2024"
    day_month_spaced = "14 Mar 2024"
    iso = "2024-03-14"
    long = "March 14, 2024"
    month_day = "Mar 14, 2024"

    @classmethod
    def drawn(cls, rng: Random) -> DateStyle:
        """Draw a style; American numerals come up most often, as they do on paper."""
        return rng.choices(list(cls), weights=[6, 3, 3, 1, 3, 1, 2])[0]


def written_date(style: DateStyle, day: date) -> str:
    """Write a date.

    >>> written_date(DateStyle.day_month, date(2024, 3, 4))
    '04-Mar-2024'
    """
    month = MONTHS[day.month - 1]
    match style:
        case DateStyle.us:
            return f"{day.month:02}/{day.day:02}/{day.year}"
        case DateStyle.us_bare:
            return f"{day.month}/{day.day}/{day.year}"
        case DateStyle.day_month:
            return f"{day.day:02}-{month[:3]}-{day.year}"
        case DateStyle.day_month_spaced:
            return f"{day.day} {month[:3]} {day.year}"
        case DateStyle.iso:
            return day.isoformat()
        case DateStyle.long:
            return f"{month} {day.day}, {day.year}"
        case DateStyle.month_day:
            return f"{month[:3]} {day.day}, {day.year}"


@dataclass(frozen=True, slots=True)
class Allergy:
    """What a patient must not get, and what happened."""

    substance: str
    reaction: str
    group: str = ""
    """The cross-allergy group that `Drug.groups` of medvl.documents.forms.drugs names; empty: no drug is concerned."""


@dataclass(kw_only=True, slots=True)
class Patient:
    """An invented adult."""

    given: str
    family: str
    sex: str
    """M or F."""
    birth: date
    mrn: str
    phone: str
    address: str
    weight_kg: float
    height_cm: float
    allergies: list[Allergy] = field(default_factory=list)
    """Empty: no known drug allergies."""

    @classmethod
    def drawn(cls, rng: Random) -> Patient:
        """Draw a patient who is 18 to 97 years old from 2019 to 2025, mostly past fifty as clinics see them."""
        sex = rng.choice("MF")
        # The triangle's peak is in 1955.
        first, last = (day.toordinal() for day in _BORN)
        birth = date.fromordinal(round(rng.triangular(first, last, date(1955, 1, 1).toordinal())))
        shrunk_cm = max(0, 1975 - birth.year) * 0.06
        height_cm = min(max(bell(rng, 176.5 if sex == "M" else 163.0, 6.5), 145.0), 202.0) - shrunk_cm
        bmi = min(max(bell(rng, 27.8, 5.2), 17.5), 48.0)
        town, state, zip3 = rng.choice(TOWNS)
        return cls(
            given=rng.choice(GIVEN_M if sex == "M" else GIVEN_F), family=rng.choice(FAMILY), sex=sex, birth=birth,
            mrn=_mrn(rng), phone=phone(rng),
            address=(
                f"{rng.randint(2, 9899)} {rng.choice(STREETS)} {rng.choice(STREET_KINDS)}, "
                f"{town}, {state} {zip3:03}{rng.randint(1, 99):02}"
            ),
            weight_kg=round(bmi * height_cm * height_cm / 10_000, 1), height_cm=round(height_cm, 1),
            allergies=_allergies(rng),
        )  # fmt: skip

    @property
    def name(self) -> str:
        return f"{self.given} {self.family}"

    def age(self, on: date) -> int:
        """Return the age in full years on a day."""
        return on.year - self.birth.year - ((on.month, on.day) < (self.birth.month, self.birth.day))


def _mrn(rng: Random) -> str:
    number = rng.randint(1_000_000, 99_999_999)
    return rng.choice((f"{number}", f"{number:08}", f"M-{number}", f"{rng.choice('ABEHKM')}{number:08}",
                       f"{number // 1000:05}-{number % 1000:03}"))  # fmt: skip


def phone(rng: Random) -> str:
    """Draw a telephone number from the exchange that belongs to nobody."""
    area, line = rng.randint(201, 989), rng.randint(100, 199)
    return rng.choice((f"({area}) 555-0{line}", f"{area}-555-0{line}", f"{area}.555.0{line}"))


def _allergies(rng: Random) -> list[Allergy]:
    found: list[Allergy] = []
    for _ in range(rng.choices((0, 1, 2, 3), weights=(45, 32, 16, 7))[0]):
        substance, group, _, reactions = rng.choices(ALLERGENS, weights=[row[2] for row in ALLERGENS])[0]
        if all(substance != known.substance and (not group or group != known.group) for known in found):
            found.append(Allergy(substance, rng.choice(reactions.split("|")), group))
    return found


def visit_date(rng: Random, patient: Patient) -> date:
    """Draw a day from 2019 to 2025, on which the patient is of age."""
    first = max(FIRST_VISIT, patient.birth + timedelta(days=18 * 366))
    return date.fromordinal(rng.randint(first.toordinal(), LAST_VISIT.toordinal()))


def body_mass_index(weight_kg: float, height_cm: float) -> str:
    """Write the body mass index in kg/m2 that follows from weight and height as they are written."""
    height_m = height_cm / 100
    return f"{weight_kg / (height_m * height_m):.1f}"


def provider(rng: Random) -> str:
    """Draw the name of who treats or signs, as it is written: `Dr. M. Okafor, MD`."""
    given = rng.choice(GIVEN_F + GIVEN_M)
    family, degree = rng.choice(FAMILY), rng.choice(("MD", "MD", "MD", "DO", "NP", "PA-C", "MD, PhD", "MBBS"))
    if degree in ("NP", "PA-C"):
        return rng.choice((f"{given} {family}, {degree}", f"{given[0]}. {family}, {degree}"))
    return rng.choice((
        f"Dr. {given[0]}. {family}", f"Dr. {given} {family}", f"{given} {family}, {degree}",
        f"{given[0]}. {family}, {degree}", f"{given} {rng.choice('ABCDEFGHJKLMPRSTW')}. {family}, {degree}",
    ))  # fmt: skip


def facility(rng: Random, *, hospital: bool | None = None) -> str:
    """Draw the name of a clinic or a hospital; None: either."""
    if hospital is None:
        hospital = rng.random() < 0.4
    return f"{rng.choice(PLACES)} {rng.choice(HOSPITALS if hospital else CLINICS)}"


NAMES = ("Patient", "Patient Name", "Pt", "Pt Name", "Name")
BIRTHS = ("DOB", "DOB", "Date of Birth", "D.O.B.", "Birth Date")
SEXES = ("Sex", "Sex", "Gender", "Birth Sex")
RECORDS = ("MRN", "MRN", "MRN #", "Med Rec #", "Chart #", "Medical Record No")
VISITS = ("Date", "Date of Service", "DOS", "Visit Date", "Encounter Date")


def header(
    form: Form,
    patient: Patient,
    on: date,
    *,
    dates: DateStyle | None = None,
    brief: bool = False,
    day_labels: Sequence[str] = VISITS,
) -> DateStyle:
    """State who the document is about and its day.

    The fields are `patient.name`, `patient.mrn` and `date`, with `patient.dob`, `patient.age`, `patient.sex`;
    at times also `patient.phone` and `patient.address`.

    Args:
        dates: How dates are written; None: drawn here.
        brief: Leave out the telephone number and the address, and either the age and sex or the date of birth.
        day_labels: What the day may be called, `("Collected", "Date Drawn")` say.

    Returns:
        How dates are written, for the rest of the document.
    """
    rng = form.rng
    dates = dates or DateStyle.drawn(rng)
    written = rng.choices((patient.name, f"{patient.family}, {patient.given}"), weights=(3, 1))[0]
    name = form.field("patient.name", written, "name")
    kept = rng.choice(("birth", "age")) if brief else "both"
    age = sex = birth = ""
    if kept != "birth":
        age = form.field("patient.age", f"{patient.age(on)}{rng.choice(('', '', ' y/o', ' yrs'))}", "age")
        sexes = {"M": ("M", "Male"), "F": ("F", "Female")}
        sex = form.field("patient.sex", rng.choice(sexes[patient.sex]), "sex")
    if kept != "age":
        birth = form.field("patient.dob", written_date(dates, patient.birth), "date")
    mrn = form.field("patient.mrn", patient.mrn, "id")
    day = form.field("date", written_date(dates, on), "date")
    words = {"name": name, "mrn": mrn, "day": day, "birth": birth, "age": age, "sex": sex}
    _arrange(form, patient, words, rng.choice(day_labels), brief=brief)
    return dates


def _arrange(form: Form, patient: Patient, words: dict[str, str], day_label: str, *, brief: bool) -> None:
    """Lay the header's facts out; age and sex, or the date of birth, may be empty."""
    rng = form.rng
    name, age, sex, birth, mrn = (words[key] for key in ("name", "age", "sex", "birth", "mrn"))
    day = f"{day_label}: {words['day']}"
    if form.style is Style.free_text and rng.random() < 0.5:
        born = f", {rng.choice(BIRTHS[:3])} {birth}" if birth else ""
        who = f", {age} {sex}" if age else ""
        lead = rng.choice(("Re:", "Patient:", "RE:"))
        form.paragraph(f"{name}{who}{born}, {rng.choice(RECORDS[:4])} {mrn}. {day}.", lead)
        return
    if brief and rng.random() < 0.6:  # slips have no room for a line a fact
        who = f"{age} {sex}" if age else f"{rng.choice(BIRTHS[:2])} {birth}"
        record = f"{rng.choice(RECORDS[:3])}: {mrn}, {day}"
        form.lines([f"{rng.choice(NAMES)}: {name}, {who}", record])
        return
    rest = [(rng.choice(RECORDS), mrn), (day_label, words["day"])]
    if birth:
        rest.append((rng.choice(BIRTHS), birth))
    if age and (brief or rng.random() < 0.35):
        rest.append((f"Age/{rng.choice(SEXES[:3])}", f"{age} / {sex}"))
    elif age:
        rest += [("Age", age), (rng.choice(SEXES), sex)]
    if not brief and rng.random() < 0.3:
        rest.append((rng.choice(("Phone", "Tel", "Home Phone")), form.field("patient.phone", patient.phone, "phone")))
    if not brief and rng.random() < 0.2:
        rest.append(("Address", form.field("patient.address", patient.address, "address")))
    rng.shuffle(rest)
    form.pairs([(rng.choice(NAMES), name), *rest])


def allergies(form: Form, patient: Patient, *, reactions: bool = True) -> str:
    """Register `allergies.N.substance` and `.reaction` and return them in one line; NKDA stands as a substance."""
    if not patient.allergies:
        none = form.rng.choice(("NKDA", "NKDA", "No known drug allergies", "None known"))
        return form.field("allergies.0.substance", none, "allergy", critical=True)
    words = []
    for position, allergy in enumerate(patient.allergies):
        path = f"allergies.{position}"
        substance = form.field(f"{path}.substance", allergy.substance, "allergy", critical=True)
        if reactions:
            substance += f" ({form.field(f'{path}.reaction', allergy.reaction, 'text', critical=True)})"
        words.append(substance)
    return form.rng.choice((", ", "; ")).join(words)
