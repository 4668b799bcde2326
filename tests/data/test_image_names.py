"""Images of PubMedVision that share a file name, and images that a folder's table names: the right one, or none."""

import json
import zipfile
from pathlib import Path

import pytest
from test_visual import png

from medvl.data.sources.dropped import Dropped
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.visual import ImageQuestions

MISSING, SEVERAL = "its image is not there", "several images have its name"


def read(folder, name):
    """Return the bytes of the image of a record, or the reason why it is dropped."""
    turns = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A lung."}]
    record = {"id": "1", "image": [name], "conversations": turns}
    (folder / "PubMedVision_Alignment_VQA.json").write_text(json.dumps([record]))
    (item,) = PubMedVision(path=str(folder)).read()
    if isinstance(item, Dropped):
        return item.reason
    (image,) = item.images
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def pack(path, **entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, colour in entries.items():
            archive.writestr(name, png(colour))


@pytest.mark.parametrize(
    ("entries", "name", "found"),
    [
        ({"a/7.png": "red", "b/7.png": "blue"}, "b/7.png", "blue"),
        ({"a/7.png": "red", "b/7.png": "blue"}, "a/7.png", "red"),
        ({"a/7.png": "red", "b/7.png": "blue"}, "images/7.png", SEVERAL),
        ({"a/7.png": "red", "b/7.png": "blue"}, "7.png", SEVERAL),
        ({"a/7.png": "red", "b/7.png": "red"}, "7.png", "red"),
        ({"a/7.png": "red", "images/7.png": "blue"}, "images/7.png", "blue"),
        ({"a/7.png": "red", "7.png": "blue"}, "7.png", "blue"),
        ({"x/b/7.png": "red", "x/a/7.png": "blue"}, "a/7.png", "blue"),
        ({"b/7.png": "red", "a/7.png": "blue"}, "x/a/7.png", "blue"),
        ({"a/7.png": "red"}, "c/7.png", MISSING),
        ({"7.png": "red"}, "c/7.png", MISSING),
        ({"y/a/7.png": "red"}, "x/a/7.png", MISSING),
        ({"images_0/7.png": "red"}, "images/7.png", "red"),
        ({"images/7.png": "red"}, "images/7.png", "red"),
        ({"7.png": "red"}, "images/7.png", "red"),
    ],
)
def test_an_archive_gives_the_image_of_the_named_folder(tmp_path, entries, name, found):
    pack(tmp_path / "images_0.zip", **entries)
    assert read(tmp_path, name) == (found if found in (MISSING, SEVERAL) else png(found))


def test_images_of_one_name_in_two_archives(tmp_path):
    pack(tmp_path / "images_0.zip", **{"a/7.png": "red"})
    pack(tmp_path / "images_1.zip", **{"b/7.png": "blue"})
    assert [read(tmp_path, name) for name in ("b/7.png", "a/7.png", "7.png")] == [png("blue"), png("red"), SEVERAL]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("images/0.png", "red"),
        ("./images/0.png", "red"),
        ("0.png", "red"),
        ("b/0.png", "blue"),
        ("c/0.png", MISSING),
        ("c/images/0.png", MISSING),
        ("../c/0.png", MISSING),
        ("/c/0.png", MISSING),
    ],
)
def test_a_folder_gives_the_image_of_the_named_folder(tmp_path, name, found):
    for folder, colour in (("images", "red"), ("b", "blue")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(png(colour))
    assert read(tmp_path, name) == (MISSING if found == MISSING else png(found))


@pytest.mark.parametrize("form", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_the_fingerprint_of_a_metadata_file_covers_its_images(tmp_path, form):
    rows = [{"file_name": f"{at}.png", "question": "Colour?", "answer": "red"} for at in range(2)]
    if form.endswith("csv"):
        lines = [",".join(row.values()) for row in rows]
        (tmp_path / form).write_text("\n".join([",".join(rows[0]), *lines]))
    elif form.endswith("jsonl"):
        (tmp_path / form).write_text("\n".join(map(json.dumps, rows)))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / form)
    for at in range(2):
        (tmp_path / f"{at}.png").write_bytes(png("red"))
    before = ImageQuestions(path=str(tmp_path / form)).fingerprint()
    assert before == ImageQuestions(path=str(tmp_path / form)).fingerprint()
    (tmp_path / "1.png").write_bytes(png("blue") + b"more")
    assert before != ImageQuestions(path=str(tmp_path / form)).fingerprint()
