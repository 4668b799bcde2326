"""Splits: near-duplicates, documents that must stay together, and the shares of a mixture."""

from dataclasses import replace

import pytest
from conftest import listed
from hypothesis import given, settings
from hypothesis import strategies as st

from medvl.data.duplicates import clusters, near_duplicates
from medvl.data.sources.mixture import Mixture
from medvl.data.sources.source import Dropped
from medvl.data.splits import assign
from medvl.types import Document


def document(name, text, **facts):
    return Document(id=name, text=text, **facts)


def test_near_duplicates_are_found_and_kept_together():
    words = [f"word{n}" for n in range(200)]
    one, other, third = " ".join(words), " ".join([*words[:198], "x", "y"]), " ".join(words[::-1])
    documents = [
        document("a", one),
        document("b", third),
        document("c", other),
        *(document(f"d{n}", f"text {n} " * 30) for n in range(30)),
    ]
    assert list(near_duplicates(documents)) == [(0, 2)]
    names = clusters(documents, [(0, 2)])
    assert names[0] == names[2] == "a" and len(set(names)) == 32
    for seed in range(20):
        for one_document in documents:
            one_document.split = None
        assign(documents, seed, names)
        assert documents[0].split == documents[2].split


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh") | st.none(), min_size=3, max_size=60), st.integers(0, 99), st.randoms())
def test_a_patient_lies_in_one_split(patients, seed, random):
    documents = [
        document(f"id{n}", f"text {n}", groups=[patient] if patient else []) for n, patient in enumerate(patients)
    ]
    assign(documents, seed, clusters(documents, []))
    where = {}
    for one in documents:
        assert one.split in ("train", "val", "test")
        assert where.setdefault(one.groups[0] if one.groups else one.id, one.split) == one.split
    shuffled = [replace(one, split=None) for one in documents]
    random.shuffle(shuffled)
    assign(shuffled, seed, clusters(shuffled, []))
    assert {one.id: one.split for one in shuffled} == {one.id: one.split for one in documents}


def test_a_document_is_tied_by_everything_it_shares():
    documents = [
        document("a", "", groups=["x", "y"]),
        document("b", "", groups=["y"]),
        document("c", "", groups=["x"]),
        document("d", "", groups=["z"]),
    ]
    assert clusters(documents, []) == ["a", "a", "a", "d"]


def test_mixtures_keep_their_weights():
    parts = {
        "many": listed([document(f"m{n}", f"m {n}") for n in range(100)]),
        "few": listed([document(f"f{n}", f"f {n}") for n in range(9)] + [Dropped("x", "broken")]),
    }
    items = list(Mixture(parts=parts, weights={"many": 0.75, "few": 0.25}).read())
    kept = [item.source for item in items if isinstance(item, Document)]
    assert (kept.count("many"), kept.count("few")) == (27, 9)
    reasons = [(item.source, item.reason) for item in items if isinstance(item, Dropped)]
    assert reasons.count(("many", "beyond its share of the mixture")) == 73 and ("few", "broken") in reasons
    alone = list(Mixture(parts=parts, weights={"many": 0}).read())
    assert {item.source for item in alone} == {"few"}


@pytest.mark.parametrize(
    ("weights", "said"), [({"gone": 1}, "names \\['gone'\\]"), ({"a": -1}, "negative"), ({"a": 0, "b": 0}, "all zero")]
)
def test_mixtures_that_cannot_be_are_refused(weights, said):
    with pytest.raises(ValueError, match=said):
        Mixture(parts={"a": listed([]), "b": listed([])}, weights=weights)
