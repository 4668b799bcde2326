"""The radiology report: what was imaged, what was seen and how large, and an impression that says the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from medvl.documents.forms.charting import Habits, capitalised, physician, some, whole
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.imaging import EXAMS, MIDDLE_AGE, Exam, Lesion
from medvl.documents.forms.patient import DateStyle, Patient, header, written_date
from medvl.documents.forms.pen import letterhead
from medvl.documents.forms.sonography import MORE_EXAMS

TITLES = ("RADIOLOGY REPORT", "Diagnostic Imaging Report", "Imaging Report", "Radiology Report", "IMAGING RESULT",
          "Department of Radiology")  # fmt: skip
_CONTRAST = ("Omnipaque 350", "Isovue 370", "Visipaque 320", "Omnipaque 300")
# Categories of reports that call for a biopsy.
_WORRYING = ("4B", "4C", "5", "TR5")
_CHOICE = re.compile(r"\{([^}]*\d[^}]*)\}")
_ALL = (*EXAMS, *MORE_EXAMS)


@dataclass(slots=True)
class _Found:
    """A lesion as this report states it: marked words for the findings, plain ones for the impression."""

    sentence: str
    summary: str
    advice: str
    category: str


@dataclass(kw_only=True, slots=True)
class _Report:
    form: Form
    exam: Exam
    habits: Habits
    side: str
    centimeters: bool
    compared: int
    """Days since the examination that is at hand to compare with; 0: there is none."""

    def written(self, text: str) -> str:
        """Fill in the side, and draw where a text leaves a choice."""
        sided = text.replace("{side}", self.side)
        return _CHOICE.sub(lambda match: self.form.rng.choice(match[1].split("|")), sided)

    def options(self, text: str) -> str:
        """Draw one of the parts that bars divide outside braces."""
        parts = re.split(r"\|(?![^{]*\})", text)
        return self.written(self.form.rng.choice(parts))

    def size(self, lengths_mm: list[int]) -> str:
        if self.centimeters and max(lengths_mm) >= 10:
            return " x ".join(f"{length / 10:.1f}" for length in lengths_mm) + " cm"
        return " x ".join(f"{length}" for length in lengths_mm) + " mm"

    def found(self, number: int, lesion: Lesion, site: str) -> _Found:
        form, rng = self.form, self.form.rng
        path = f"findings.{number}"
        name = self.written(rng.choice(lesion.names.split("|")))
        pattern = rng.randint(0, 3) if lesion.size_mm[1] and not name.endswith(" to") else 0
        # As the page has it: with a capital where it begins the sentence.
        leading = name if pattern == 3 else capitalised(name)
        told = form.field(f"{path}.finding", leading, "finding", critical=lesion.critical)
        place = form.field(f"{path}.site", site, "text")
        where = f"{lesion.where} "
        if not lesion.size_mm[1]:
            return self._found(f"{told} {where}{place}", f"{name} {where}{site}", lesion, path, 0)
        lengths = [whole(rng, *lesion.size_mm)]
        while len(lengths) < lesion.dimensions:
            lengths.append(max(2, round(lengths[-1] * whole(rng, 62, 96) / 100)))
        size = self.size(lengths)
        measured = form.field(f"{path}.size", size, "value", critical=lesion.critical)
        if name.endswith(" to"):
            sentence = f"{told} {measured} {where}{place}"
            return self._found(sentence, f"{name} {size} {where}{site}", lesion, path, lengths[0])
        if lesion.organ == "bones":
            article = "There is an " if name[0] in "aeiou" else "There is a "
            sentence = f"{article * (pattern == 3)}{told} {where}{place} with {measured} displacement"
            return self._found(sentence, f"{name} {where}{site}", lesion, path, lengths[0])
        sentence = (
            f"{told} {where}{place}, {measured}", f"{told} {where}{place} measuring {measured}",
            f"{told} {where}{place} measures {measured}", f"{measured} {told} {where}{place}",
        )[pattern]  # fmt: skip
        if lesion.volume and len(lengths) == 3 and rng.random() < 0.7:
            a, b, c = lengths
            volume = f"{a * b * c * lesion.volume / 100_000:.1f} mL"
            sentence += f", volume {form.field(f'{path}.volume', volume, 'value')}"
        fresh = lesion.critical or "acute" in name or "infarct" in name
        if self.compared and not fresh and rng.random() < 0.75:
            sentence += self._change(path, lengths)
        return self._found(sentence, rng.choice((f"{size} {name} {where}{site}", f"{name} {where}{site}, {size}")),
                           lesion, path, lengths[0])  # fmt: skip

    def _change(self, path: str, lengths: list[int]) -> str:
        rng = self.form.rng
        factor = rng.choice((100, 100, whole(rng, 62, 88), whole(rng, 112, 140)))
        before = lengths if factor == 100 else [max(2, round(length * factor / 100)) for length in lengths]
        if before == lengths or self.compared < 60:  # little grows in less than two months
            return ", " + rng.choice(("unchanged", "stable", "stable from prior"))
        words = ("previously", "was") if before[0] < lengths[0] else ("decreased from", "previously")
        return f" ({rng.choice(words)} {self.form.field(f'{path}.prior_size', self.size(before), 'value')})"

    def _found(self, sentence: str, summary: str, lesion: Lesion, path: str, size_mm: int) -> _Found:
        category = ""
        if lesion.category:
            label, values = lesion.category.split(":")
            value = self.form.rng.choice(values.split("|"))
            category = f"{label} {self.form.field(f'{path}.category', value, 'score', critical=value in _WORRYING)}"
        advice = self.options(lesion.advice) if lesion.advice and self.form.rng.random() < 0.8 else ""
        if lesion.by_size:
            advice = self.written(next(text for least_mm, text in lesion.by_size if size_mm >= least_mm))
        return _Found(sentence, capitalised(summary), advice, category)

    def findings(self, brief: bool) -> list[_Found]:
        """State lesions and what is normal; return the lesions for the impression."""
        form, rng, exam = self.form, self.form.rng, self.exam
        count = rng.choices((0, 1, 2, 3), weights=(1, 5, 4, 0 if brief else 3))[0]
        # Each place holds one lesion, so that no two sentences speak of the same thing.
        places: dict[str, Lesion] = {}
        chosen = [rng.choice(exam.lesions) for _ in range(count)]
        for lesion in chosen:
            places.setdefault(self.options(lesion.sites), lesion)
        found = [self.found(number, lesion, site) for number, (site, lesion) in enumerate(places.items())]
        ill = {lesion.organ for lesion in places.values()}
        normal = [sentence for organ, sentence in exam.normal.items() if organ not in ill]
        low = 1 if found else 3  # a normal report says what was looked at
        normal = some(rng, normal, low, max(low, 2) if brief else len(normal))
        sentences = [f"{part.sentence}." for part in found]
        form.section(self.habits.head("Findings"))
        if form.style in (Style.key_value, Style.table) or rng.random() < 0.3:
            form.lines([*sentences, *(f"{sentence}." for sentence in normal)])
        else:
            form.paragraph(" ".join([*sentences, *(f"{sentence}." for sentence in normal)]))
        portable = any(field.path == "exam" and "Portable" in field.value for field in form.fields)
        measures = some(rng, exam.measures, 0, len(exam.measures))
        taken = [(label, form.field(path, self.size([whole(rng, low, high)]), "value"))
                 for path, label, low, high in measures if path != "tube.carina_distance" or portable]  # fmt: skip
        if taken:
            form.pairs(taken)
        return found

    def impression(self, found: list[_Found]) -> None:
        form, rng = self.form, self.form.rng
        told = []
        for part in found:
            scored = f", {part.category}" if part.category else ""
            told.append(f"{part.summary}{scored}." + (f" {part.advice}." if part.advice else ""))
        told = told or [f"{self.exam.conclusion}."]
        head = rng.choice(("Impression", "Impression", "Conclusion", "IMP"))
        if len(told) > 1 or rng.random() < 0.4:
            form.section(self.habits.head(head))
            form.lines([f"{number}. {text}" for number, text in enumerate(told, 1)])
        else:
            form.paragraph(told[0], f"{self.habits.head(head)}:")


def _request(report: _Report, on: date, age: int, dates: DateStyle, contrast: bool) -> None:
    """State what was done and why."""
    form, rng, exam, habits = report.form, report.form.rng, report.exam, report.habits
    indications = "|".join(filter(None, (exam.indications, exam.younger if age < MIDDLE_AGE else exam.older)))
    pairs = [(rng.choice(("Exam", "Examination", "Study", "Procedure")),
              form.field("exam", capitalised(report.options(exam.names)), "procedure")),
             (rng.choice(("Indication", "Clinical history", "Reason")),
              form.field("indication", report.options(indications), "text"))]  # fmt: skip
    if rng.random() < 0.7:
        pairs.append(("Technique", form.field("technique", report.options(exam.technique), "text")))
    if contrast:
        dose = f"{5 * rng.randint(13, 25)} mL {rng.choice(_CONTRAST)} IV"
        if exam.names.startswith("MRI"):
            dose = f"{whole(rng, 14, 24) / 2:g} mL {rng.choice(('Gadavist', 'gadobutrol'))} IV"
        pairs.append(("Contrast", form.field("contrast", dose, "dose", critical=True)))
    if report.compared:
        before = on - timedelta(days=report.compared)
        pairs.append(("Comparison", form.field("comparison", written_date(dates, before), "date")))
    elif rng.random() < 0.6:
        pairs.append(("Comparison", rng.choice(("None", "None available"))))
    if rng.random() < 0.4:
        pairs.append((rng.choice(("Ordering provider", "Referring MD", "Ordered by")),
                      form.field("ordering_provider", physician(rng), "name")))  # fmt: skip
    if rng.random() < 0.4:
        pairs.append(
            ("Accession", form.field("accession", f"{rng.choice('ARX')}{rng.randint(1_000_000, 9_999_999)}", "id"))
        )
    if form.style is Style.free_text or rng.random() < 0.35:
        for label, value in pairs:
            form.paragraph(value, f"{habits.head(label)}:")
    else:
        form.pairs(pairs)


def radiology_report(form: Form, patient: Patient, on: date) -> None:
    """Write the report of one examination, with up to three findings."""
    rng = form.rng
    allergic = any("contrast" in allergy.substance.lower() for allergy in patient.allergies)
    possible = [
        exam for exam in _ALL
        if exam.sex in ("", patient.sex) and exam.youngest <= patient.age(on) and not (exam.contrast and allergic)
    ]  # fmt: skip
    exam = rng.choice(possible)
    near, far = rng.randint(1, 30), rng.randint(60, 420)
    ago = rng.choice((0, 0, 0, near, far, 2 * far, 3 * far))
    report = _Report(
        form=form, exam=exam, habits=Habits.drawn(rng), side=rng.choice(("right", "left")) if exam.sided else "",
        centimeters=rng.random() < 0.5, compared=ago,
    )  # fmt: skip
    letterhead(form, TITLES, chance=0.5)
    brief = rng.random() < 0.35
    dates = header(form, patient, on, brief=brief, day_labels=("Exam Date", "Date of Exam", "Study Date", "Date"))
    _request(report, on, patient.age(on), dates, exam.contrast and rng.random() < 0.8)
    found = report.findings(brief)
    report.impression(found)
    if any(field.critical and field.path.endswith(".finding") for field in form.fields) and rng.random() < 0.6:
        to, at = form.field("communication.to", physician(rng), "name"), report.habits.time(rng.randint(0, 1439))
        form.paragraph(f"discussed with {to} at {form.field('communication.time', at, 'time')}.", "Critical result:")
    if rng.random() < 0.7:
        reader = form.field("radiologist", physician(rng), "name")
        form.lines(
            [f"{rng.choice(('Radiologist', 'Read by', 'Electronically signed by', 'Interpreted by'))}: {reader}"]
        )
