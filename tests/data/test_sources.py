"""Options without effect are refused, and everything that affects records is in the key of their preparation."""

import re
import shutil
from importlib import resources

import pytest
from conftest import listed

from medvl.data.sources import clinical_forms, fixed_pages
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.fixed_pages import FixedPages
from medvl.data.sources.mixture import Mixture
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.source import Dropped, NearDuplicates, Overlong
from medvl.documents.tasks import Task
from medvl.types import Document


def of(*ids):
    """Return a source of documents with these ids."""
    return listed([Document(id=name, text=f"text {name}") for name in ids])


def parts():
    return {"forms": ClinicalForms(), "notes": MTSamples()}


def test_records_bound_what_is_written():
    assert len(list(ClinicalForms(records=2).read())) == 2
    assert len(list(ClinicalForms(records=2, count=1, first=7).read())) == 1
    assert len(list(FixedPages(records=3).read())) == 3


@pytest.mark.parametrize("name", ["path", "hub"])
def test_written_documents_are_not_read(tmp_path, name):
    for source in (ClinicalForms, FixedPages):
        with pytest.raises(ValueError, match=rf"got data\.{name}=.* Leave out data\.{name}, or set data="):
            source(**{name: str(tmp_path)})


@pytest.mark.parametrize(
    ("option", "mended"),
    [
        ({"overlong": Overlong.drop}, "data.parts.forms.overlong=drop or data.parts.notes.overlong=drop"),
        ({"tasks": [Task.transcribe, Task.json]}, "data.parts.forms.tasks=[transcribe,json]"),
        ({"prompt": "Read this, now: it's due."}, r'''"data.parts.forms.prompt='Read this, now: it\'s due.'"'''),
        ({"records": 5}, "data.parts.notes.records=5"),
        ({"per_page": 1}, "data.parts.notes.per_page=1"),
        ({"min_chars": 9}, "data.parts.notes.min_chars=9"),
        ({"streaming": True}, "data.parts.notes.streaming=true"),
        ({"hub": "some/set"}, "data.parts.notes.hub=some/set"),
        ({"path": "a.csv"}, "data.parts.notes.path=a.csv"),
    ],
)
def test_a_mixture_refuses_what_its_parts_decide(option, mended):
    (name,) = option
    with pytest.raises(ValueError, match=rf"data\.{name} does nothing .*{re.escape(mended)}"):
        Mixture(parts=parts(), **option)


@pytest.mark.parametrize(
    ("option", "mended"),
    [
        ({"limit": 5}, "data.limit=5"),
        ({"seed": 1}, "data.seed=1"),
        ({"near_duplicates": NearDuplicates.report}, "data.near_duplicates=report"),
    ],
)
def test_a_mixture_refuses_what_is_its_own(option, mended):
    with pytest.raises(ValueError, match=rf"data\.parts\.notes\.\w+ does nothing: .* Set {mended}\."):
        Mixture(parts={"forms": ClinicalForms(), "notes": MTSamples(**option)})
    assert Mixture(parts=parts(), **option)


def test_an_override_that_a_mixture_names_works(compose):
    overrides = ["data=forms_and_notes", "batch.tokens=8192"]
    with pytest.raises(ValueError) as refused:
        compose(*overrides, "data.prompt='Read this, now.'")
    named = re.findall(r'"(data\.parts\.[^"]*)"', str(refused.value))
    assert [part.prompt for part in compose(*overrides, *named).data.parts.values()] == ["Read this, now."] * 2
    assert len(named) == 2


def test_a_source_repeats_nothing():
    items = list(of("a", "b", "a", "a").read())
    assert [item.id for item in items if isinstance(item, Document)] == ["a", "b"]
    assert [item for item in items if isinstance(item, Dropped)] == [
        Dropped("a", "repeats an earlier record", "Listed")
    ] * 2


def test_a_mixture_repeats_nothing():
    mixture = Mixture(parts={"one": of("a", "b", "c"), "two": of("b", "d", "c", "e", "f")})
    items = list(mixture.read())
    assert sorted(item.id for item in items if isinstance(item, Document)) == ["a", "b", "c", "d", "e", "f"]
    dropped = [(item.record, item.reason, item.source) for item in items if isinstance(item, Dropped)]
    assert dropped == [(name, "repeats an earlier record", "two") for name in ("b", "c")]
    contained = Mixture(parts={"one": of("a", "b"), "two": of("b", "a")})
    assert [item.id for item in contained.read() if isinstance(item, Document)] == ["b", "a"]
    empty = Mixture(parts={"one": of("a", "b"), "two": of()})
    assert not [item for item in empty.read() if isinstance(item, Document)]


def test_the_code_of_the_forms_is_part_of_their_key(tmp_path, monkeypatch):
    before = ClinicalForms().fingerprint()
    mixed = Mixture(parts=parts()).fingerprint()
    assert ClinicalForms().fingerprint() == before
    folder = shutil.copytree(resources.files(clinical_forms.forms), tmp_path / "forms")
    monkeypatch.setattr(clinical_forms.resources, "files", lambda _: folder)
    assert ClinicalForms().fingerprint() == before  # wherever it is installed
    drugs = folder / "drugs.py"
    drugs.write_text(drugs.read_text() + "# a corrected dose\n")
    assert ClinicalForms().fingerprint() != before
    assert Mixture(parts=parts()).fingerprint() != mixed


def test_the_fixed_pages_are_part_of_their_key(monkeypatch):
    before = FixedPages().fingerprint()
    build, *others = fixed_pages.BENCHMARK

    def changed():
        document = build()
        document.values = ["another"]
        return document

    monkeypatch.setattr(fixed_pages, "BENCHMARK", (changed, *others))
    assert FixedPages().fingerprint() != before
