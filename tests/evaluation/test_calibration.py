"""Confidence: probabilities of being right, thresholds that keep what they promise, and the file that holds them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta

from medvl.evaluation import calibration
from medvl.evaluation.calibration import Calibration, error_bound, fit, measure, threshold
from medvl.evaluation.judged import Judged, KnownValue, agreement
from medvl.generation.values import SaidValue
from medvl.metrics.extraction import LISTED
from medvl.run.calibrating import calibrated, right_paths
from medvl.types import Example, Field


def drawn(documents, seed, each=12):
    """Values whose log-probability tells, too boldly, how often they are right."""
    rng = np.random.default_rng(seed)
    values = []
    for document in range(documents):
        for _ in range(each):
            sure = rng.uniform(-4, 0)
            right = rng.random() < 1 / (1 + np.exp(-(6 + 3 * sure)))
            value = SaidValue("a", "1", sure / 4, sure / 4, float(np.exp(sure / 9)), 3)
            values.append(KnownValue(value, bool(right), f"{seed}/{document}"))
    return values


def test_confidence_is_the_share_of_right_values():
    found, said = calibrated(drawn(200, 1), drawn(100, 2), "made values")
    raw, after = found.measured["raw"], found.measured["calibrated"]
    assert after["ece"] < 0.06 < raw["ece"] and after["brier"] < raw["brier"]
    assert after["auroc"] == pytest.approx(raw["auroc"], abs=0.02) and after["auroc"] > 0.75
    risks = [risk for _, risk in after["curve"]]
    assert risks[0] < 0.1 < risks[-1] == pytest.approx(after["wrong"])
    assert "fitted on 1200 values of 100 documents (made values)" in said
    assert found.thresholds["0.01"] is None or found.thresholds["0.01"]["bound"] <= 0.01
    assert 0.3 < found.thresholds["0.1"]["coverage"] < 1


def test_accepted_values_are_wrong_as_seldom_as_promised():
    """Over many sets, the share of wrong values among new accepted ones exceeds the wanted one in few of them."""
    model = fit(Judged.of(drawn(300, 0)), "made values")
    new = Judged.of(drawn(1500, 999))
    confidence, broken = model.of(new.features), 0
    for seed in range(1, 41):
        known = Judged.of(drawn(60, seed))
        chosen = threshold(model.of(known.features), known, 0.1)
        broken += chosen is not None and (~new.right[confidence >= chosen["confidence"]]).mean() > 0.1
    assert broken <= 5  # of 40, at 95 %


def test_the_bound_is_clopper_and_pearsons_unless_documents_differ():
    right = np.arange(400) % 10 != 0
    assert error_bound(right, np.arange(400)) == pytest.approx(beta.ppf(0.95, 41, 360), rel=0.01)
    alike = np.repeat(np.arange(40), 10)
    clustered = alike % 10 != 3  # all wrong values are of four documents
    assert error_bound(clustered, alike) > error_bound(right, alike) + 0.03
    assert error_bound(np.ones(400, bool), np.arange(400)) == pytest.approx(beta.ppf(0.95, 1, 400), rel=0.01)
    assert error_bound(np.ones(40, bool), np.zeros(40, int)) == 1


@pytest.mark.parametrize(("documents", "each"), [(60, 20), (3, 20), (200, 3)])
def test_more_errors_never_make_a_bound_lower(documents, each):
    names = np.repeat(np.arange(documents), each)
    bounds = []
    for wrong in range(0, documents * each // 2, max(1, documents // 10)):
        right = np.ones(documents * each, bool)
        right[np.arange(wrong) * each % len(right)] = False  # one a document, as far as they go
        bounds.append(error_bound(right, names))
        if wrong >= documents:
            break
    assert bounds == sorted(bounds) and bounds[0] > 0


def test_confidence_stays_in_the_range_that_was_seen():
    found = fit(Judged.of(drawn(60, 1)), "made values")
    value = drawn(1, 2)[0].said
    seen = [found.confidence(replace(value, mass=mass)) for mass in (1.0, 0.7, 0.3, 1e-8)]
    assert seen == sorted(seen, reverse=True) and seen[2] == pytest.approx(seen[3], abs=0.05)
    assert found.confidence(replace(value, log_probability=-1e6, least=-1e6)) < 0.2
    assert all(weight >= 0 for weight in found.weights[:3])


def read_again(values, share, seed):
    """Add transcripts that hold a right value, or not a wrong one, in a share of cases; else they tell nothing."""
    rng = np.random.default_rng(seed)
    told = [known.right if rng.random() < share else rng.random() < 0.5 for known in values]
    return [
        replace(known, transcript="Dose 1 mg" if one else "Room 174") for known, one in zip(values, told, strict=True)
    ]


def test_agreement_with_the_pages_own_transcript_is_used_where_it_tells_something():
    known, new = drawn(100, 1), drawn(100, 2)
    telling, said = calibrated(read_again(known, 0.9, 3), read_again(new, 0.9, 4), "made values")
    assert telling.transcribed and telling.weights[4] > 0 and "with the transcripts of their pages" in said
    before = telling.measured["without transcripts"]
    after = telling.measured["calibrated"]
    assert after["auroc"] > before["auroc"] + 0.02 and after["brier"] < before["brier"] / 1.5
    assert "without transcripts" in said
    value = new[0].said
    assert telling.confidence(value, "Dose 1 mg") > telling.confidence(value, "Room 174") + 0.1
    with pytest.raises(ValueError, match="needs the transcript"):
        telling.confidence(value)
    idle, said = calibrated(read_again(known, 0, 3), read_again(new, 0, 4), "made values")
    assert not idle.transcribed and "with transcripts" in idle.measured
    assert idle.confidence(value) == idle.confidence(value, "Room 174")
    assert "without transcripts" not in calibrated(known, new, "made values")[0].measured


@pytest.mark.parametrize(
    ("value", "transcript", "least", "most"),
    [
        ("500 mg", "Aspirin 0.5 g daily", 1, 1),
        ("John Smith", "Name: JOHN\n Smith", 1, 1),
        ("81", "Room 181", 0, 0.9),
        ("Miller", "Mr. Miiler, 4 May", 0.7, 0.99),
        ("Miller", "", 0, 0),
        ("Miller", "mi", 0, 0),
        ("-5", "5 mg", 0, 0.99),
    ],
)
def test_how_nearly_a_value_stands_in_a_transcript(value, transcript, least, most):
    assert least <= agreement(value, transcript) <= most


def test_measures_of_known_numbers():
    found = measure(np.array([0.9, 0.8, 0.3, 0.3]), np.array([True, False, True, False]))
    assert found["auroc"] == pytest.approx(0.625) and found["wrong"] == 0.5
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.49 + 0.09) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.8 + 0.7 + 0.3) / 4)
    assert found["bins"][:2] == [[0.9, 1], [0.8, 0]]
    assert measure(np.array([0.9]), np.array([True]))["auroc"] is None


def test_it_is_stored_with_the_run(tmp_path):
    assert Calibration.read(tmp_path) is None
    found = fit(Judged.of(drawn(20, 1)), "made values")
    found.write(tmp_path)
    again = Calibration.read(tmp_path)
    value = drawn(1, 2)[0].said
    assert again.confidence(value) == found.confidence(value) and again.fitted_on == "made values"
    assert found.confidence(replace(value, log_probability=-0.01, least=-0.01)) > found.confidence(
        replace(value, log_probability=-2, least=-2)
    )
    for damage in ("{}", '{"means": []}'):
        (tmp_path / calibration.FILE).write_text(damage)
        with pytest.raises(ValueError, match="Run medvl calibrate run="):
            Calibration.read(tmp_path)


ALL_RIGHT = [replace(known, right=True) for known in drawn(20, 1)]


@pytest.mark.parametrize("values", [drawn(5, 1), drawn(20, 1, each=1)[:10], ALL_RIGHT])
def test_too_few_values_are_refused(values):
    with pytest.raises(ValueError, match=r"too few to calibrate on .* Set data\.limit=null"):
        fit(Judged.of(values), "made values")


def test_a_value_is_right_in_its_place_only():
    paths = {"patient.name": "Ada Lee", "drugs.0.name": "Aspirin", "drugs.0.dose": "81 mg", "drugs.1.name": "Heparin"}
    fields = [Field(path=path, value=value, type="text") for path, value in paths.items()]
    page = Example(id="1", document="d", split="val", images=[], prompt="", response="{}", fields=fields)
    said = {"patient.name": "ada lee", "drugs.0.name": "Heparin", "drugs.0.dose": "81 mg", "drugs.1.name": "Aspirin"}
    said |= {"drugs.1.dose": "81mg", "sex": "F"}
    values = [SaidValue(path, value, -1, -1, 1, 1) for path, value in said.items()]
    assert right_paths(page, values) == {"patient.name", "drugs.0.name", "drugs.1.name", "drugs.1.dose"}
    assert right_paths(replace(page, fields=[]), values) == set()


def test_values_of_a_json_list_are_judged_too():
    fields = [Field(path=f"{LISTED}.{at}.name", value=name, type="name") for at, name in enumerate(("Aspirin", "Zinc"))]
    page = Example(id="1", document="d", split="val", images=[], prompt="", response="[]", fields=fields)
    values = [SaidValue(f"{at}.name", name, -1, -1, 1, 1) for at, name in enumerate(("Zinc", "Heparin"))]
    assert right_paths(page, values) == {"0.name"}


def test_a_model_that_states_nothing_is_said():
    with pytest.raises(ValueError, match="states no value on the test split"):
        calibrated(drawn(20, 1), [], "made values")
    with pytest.raises(ValueError, match="too few to calibrate on"):
        calibrated([], drawn(20, 1), "made values")
