"""FHIR bundles with arbitrary elements replaced: nothing is fatal, and every resource is kept or dropped."""

import copy
import json
import tempfile
from pathlib import Path

from fhir_resources import JANE, amount, attached, bundle, concept, counted, diagnosis, observation, resources_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BUNDLE = bundle(
    JANE,
    observation("o1", category=[concept(code="laboratory")], referenceRange=[{"low": {"value": 3.5}}], **amount(6.8)),
    observation("o2", valueRatio={"numerator": {"value": 1}, "denominator": {"value": 8, "unit": "x"}}),
    observation("o3", valueRange={"low": {"value": 1}}, hasMember=[{"reference": "Observation/o2"}]),
    observation("o4", component=[{"code": concept("Systolic"), **amount(120)}], meta={"versionId": "1"}),
    observation(
        "o4", category=[concept(code="vital-signs")], meta={"lastUpdated": "2020-01-01T00:00:00Z"}, **amount(1)
    ),
    diagnosis(
        "d1", "o1", "o3", "gone", category=[concept(code="RAD")], conclusion="Clear.", presentedForm=[attached("x")]
    ),
    {
        "resourceType": "MedicationRequest",
        "status": "active",
        "authoredOn": "2020-01-02",
        "subject": {"reference": "#p", "display": "Joan"},
        "contained": [{"resourceType": "Patient", "id": "p", "name": [{"text": "Joan"}]}],
        "medicationReference": {"reference": "Medication/m1"},
        "dosageInstruction": [{"doseAndRate": [{"doseQuantity": {"value": 1}}], "timing": {"repeat": {"period": 1}}}],
    },
    {"resourceType": "Medication", "id": "m1", "code": concept("Aspirin 81 MG Oral Tablet")},
    {"resourceType": "Claim"},
    bundle(observation("o5", valueBoolean=True), type="history"),
    type="history",
)


def places(value, at=()):
    """Yield the path of every element."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(value[key], (*at, key))


PLACES = list(places(BUNDLE))
WORDS = ["", "x", "p1", "Patient/p1", "Observation/o3", "#p", "#", "Bundle", "Patient", "final", "\ud800", "2020-13-99"]
scalars = st.sampled_from([*WORDS, None, True, -1, 0.5, float("nan"), 10**30, 1e308])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["reference", "value", "x"]), inner),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(PLACES), values | st.sampled_from(PLACES)), min_size=1, max_size=6))
def test_arbitrary_changes_are_counted_and_never_fatal(changes):
    changed = copy.deepcopy(BUNDLE)
    for (*path, last), value in changes:
        place = changed
        try:
            for key in path:
                place = place[key]
            place[last] = value
        except (LookupError, TypeError):  # an earlier change removed the place
            continue
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "b.json").write_text(json.dumps(changed))
        kept, dropped = counted(folder)
    assert kept + dropped == resources_in(json.loads(json.dumps(changed)))
