"""The audit finds the baseline project's data faults, and none in matching data."""

from dataclasses import replace

import pytest

from medvl.data.audit import audit
from medvl.data.audit_figure import audit_figure
from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.render import Render
from medvl.evaluation.evaluation import Ablation, Objective, ablated, does_it_read
from medvl.metrics import METRICS, score


@pytest.fixture(scope="module")
def forms(encoder, cache):
    return prepare(ClinicalForms(count=120), Render(), encoder, budget=2048, cache=cache, workers=1, bar=False)


@pytest.fixture(scope="module")
def notes(encoder, cache):
    return prepare(MTSamples(limit=12), Render(), encoder, budget=2048, cache=cache, workers=1, bar=False)


def faults(train, evaluated, *, lost=0, cut=0):
    report = audit(train, evaluated, lost=lost, cut=cut, budget=2048)
    return report.verdict, report


def test_what_is_held_out_matches(forms, tmp_path):
    verdict, report = faults(forms.examples["train"], forms.examples["test"])
    assert verdict == "matched" and not report.faults and report.lines()[-1] == "verdict: matched"
    audit_figure(report, tmp_path / "audit.png")
    assert (tmp_path / "audit.png").stat().st_size > 10_000


def test_narrative_does_not_match_forms(forms, notes):
    verdict, report = faults(notes.examples["train"], forms.examples["test"])
    assert verdict == "MISMATCHED"
    named = " ".join(report.faults)
    assert "transcribed report" in named and "kinds that training lacks" in named and "layouts" in named


def test_small_letters_are_named_with_their_size(notes):
    small = [replace(example, x_height_px=1.7) for example in notes.examples["train"]]
    verdict, report = faults(small, notes.examples["test"])
    assert "UNREADABLE" in verdict and "MISMATCHED" in verdict
    assert any("median 1.7 px" in fault and "100%" in fault for fault in report.faults)


@pytest.mark.parametrize(("lost", "cut"), [(3, 0), (0, 3)])
def test_cut_and_lost_answers_are_counted(notes, lost, cut):
    verdict, report = faults(notes.examples["train"], notes.examples["test"], lost=lost, cut=cut)
    assert verdict == "TRUNCATED" and "3" in report.faults[0]


def test_evaluated_text_in_training_is_a_leak(notes):
    stolen = [replace(example, document="elsewhere") for example in notes.examples["test"]]
    verdict, report = faults([*notes.examples["train"], *stolen], notes.examples["test"])
    assert verdict == "LEAKED" and report.leaked == [notes.examples["test"][0].document]
    assert faults(notes.examples["train"], notes.examples["minitrain"])[1].leaked


def test_what_forms_have_in_common_is_no_leak(encoder, cache):
    """Over thousands of forms all boilerplate recurs, but no single other form contains most of a form's text."""
    many = prepare(ClinicalForms(count=1500), Render(), encoder, budget=2048, cache=cache, workers=2, bar=False)
    assert not faults(many.examples["train"], many.examples["test"])[1].leaked


def test_memorisation_is_asked_for_on_purpose(notes):
    mini = notes.examples["minitrain"]
    report = audit(notes.examples["train"], mini, lost=0, cut=0, budget=2048, memorised=True)
    assert not report.leaked


def test_ready_images_are_audited_too(notes):
    images = [
        replace(example, x_height_px=None, page_text="", task="vqa", kind="pathology image", layout="image")
        for example in notes.examples["train"]
    ]
    assert faults(images, images[:2])[0].startswith("LEAKED")
    assert "MISMATCHED" in faults(images, notes.examples["test"])[0]


def test_pages_are_taken_away(forms, tmp_path):
    examples = forms.examples["test"][:6] + forms.examples["test"][-6:]
    blank = ablated(examples, Ablation.blank, tmp_path)
    assert {one.images[0] for one in blank} == {str(tmp_path / "blank-336x224.png")}
    shuffled = ablated(examples, Ablation.shuffled, tmp_path)
    owners = {one.images[0]: one.document for one in examples}
    for one, other in zip(examples, shuffled, strict=True):
        assert owners[other.images[0]] != one.document and other.response == one.response
    with pytest.raises(ValueError, match=r"eval\.limit higher"):
        ablated(examples[:1], Ablation.shuffled, tmp_path)


def rows(examples, answer):
    return [
        {"id": one.id, "document": one.document, "reference": one.response, "scores": score(one, answer(one))}
        for one in examples
    ]


def test_a_score_that_survives_is_called_a_prior(forms):
    examples = forms.examples["train"]
    perfect, nothing = rows(examples, lambda one: one.response), rows(examples, lambda one: "")
    assert does_it_read(perfect, nothing, Ablation.blank, "cer").startswith("It reads")
    assert does_it_read(perfect, perfect, Ablation.blank, "cer").startswith("It does not read")
    assert "prior" not in does_it_read(perfect, nothing, Ablation.blank, "exact")
    assert "100.0 points survive" in does_it_read(perfect, perfect, Ablation.blank, "exact")
    assert "does not apply" in does_it_read(perfect, nothing, Ablation.blank, "yes_no")


def test_every_objective_is_a_measure():
    assert [objective.value for objective in Objective] == list(METRICS)
    assert all(objective.higher_is_better == METRICS[objective.value].higher_is_better for objective in Objective)
    assert Objective.combined.higher_is_better and not Objective.cer.higher_is_better
