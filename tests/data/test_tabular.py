"""Splits by columns: what shares a group is in one split, given splits are kept."""

import json
from collections import Counter

import pytest
from test_visual import png

from medvl.data.duplicates import clusters
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.json_records import JsonRecords
from medvl.data.sources.notes import Notes
from medvl.data.sources.visual import ImageQuestions
from medvl.data.splits import assign

KINDS = {"json": JsonRecords, "columns": ImageQuestions, "notes": Notes}


def read(kind, folder, rows, **options):
    """Return the documents of rows and the reasons for drops; every row has its own image and note."""
    for row in rows:
        (folder / row["image"]).write_bytes(png((row["number"], 0, 0)))
    (folder / "rows.json").write_text(json.dumps(rows))
    items = list(KINDS[kind](path=str(folder / "rows.json"), **options).read())
    documents = [item for item in items if not isinstance(item, Dropped)]
    assert sum(item.records for item in items) == len(rows)
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def rows(count, **columns):
    return [
        {"image": f"{at}.png", "question": "What?", "answer": f"it is {at}", "note": f"note number {at}", "number": at}
        | {name: values[at % len(values)] for name, values in columns.items()}
        for at in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_patient_is_in_one_split(tmp_path, kind):
    patients = [f"p{at}" for at in range(20)]
    documents, dropped = read(kind, tmp_path, rows(100, patient=patients), group="patient")
    assign(documents, 42, clusters(documents, ()))
    splits = {}
    for document in documents:
        (key,) = [key for key in document.groups if key.startswith("patient: ")]
        splits.setdefault(key, set()).add(document.split)
    assert len(splits) == 20 and all(len(found) == 1 for found in splits.values()) and not dropped
    assert set.union(*splits.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_split_of_a_column_is_kept(tmp_path, kind):
    given = ["train", "validation", "TEST", "fold 3"]
    documents, dropped = read(kind, tmp_path, rows(40, part=given), split_column="part")
    assert Counter(document.split for document in documents) == {"train": 10, "val": 10, "test": 10}
    assert dropped == {"its split is none of train, val and test": 10}


@pytest.mark.parametrize("kind", KINDS)
def test_a_patient_in_two_given_splits_belongs_to_the_stricter(tmp_path, kind):
    parts, patients = ["train", "val", "test", "train"], ["a", "b", "a", "c"]
    documents, dropped = read(
        kind, tmp_path, rows(4, part=parts, patient=patients), split_column="part", group="patient"
    )
    assert sorted(document.split for document in documents) == ["test", "train", "val"]
    assert dropped == {"its patient is in the test split": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_split_is_drawn_by_patient(tmp_path, kind):
    patients = [f"p{at}" for at in range(12)]
    mine = rows(120, patient=patients, part=["train"])
    own = {"part": "test", "patient": "t"}
    mine += [
        {**row, **own, "image": f"t{row['image']}", "number": 200 + at, "note": f"test {at}"}
        for at, row in enumerate(rows(3))
    ]
    documents, _ = read(kind, tmp_path, mine, split_column="part", group="patient")
    splits = {}
    for document in documents:
        splits.setdefault(document.groups[-1], set()).add(document.split)
    assert all(len(found) == 1 for found in splits.values()) and splits["patient: t"] == {"test"}
    assert {"train", "val"} < set.union(*splits.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["group", "split_column"])
def test_a_column_that_is_not_there_is_named(tmp_path, kind, option):
    with pytest.raises(ValueError, match=rf"no column 'patient'; it has .*Set data\.{option}=<one of them>"):
        read(kind, tmp_path, rows(3), **{option: "patient"})


@pytest.mark.parametrize("kind", KINDS)
def test_records_without_a_patient_are_alone(tmp_path, kind):
    documents, _ = read(kind, tmp_path, rows(4, patient=["", None, " ", "7"]), group="patient")
    assert sum("patient: 7" in document.groups for document in documents) == 1
    assert len(set(clusters(documents, ()))) == 4
