"""The same data under a relative path, and in the hub's cache, where a snapshot is links to blobs."""

import json
from pathlib import Path

import pytest
from conftest import read_forms
from fhir_resources import JANE, amount, bundle, diagnosis, observation
from test_pubmedvision import jpeg, pack, record
from test_visual import png

from medvl.data.sources.dropped import Dropped
from medvl.data.sources.paths import files_inside, inside, stamps
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.visual import ImageQuestions

ROW = {"image": "red.png", "question": "Colour?", "answer": "red"}
FORMS = bundle(JANE, observation("o1", **amount(6.8)), diagnosis("d1", "o1"))


def answers(source):
    items = list(source.read())
    assert not any(isinstance(item, Dropped) for item in items)
    return [question for item in items for question in item.questions]


@pytest.fixture
def snapshot(tmp_path):
    """A folder of links to blobs; fill it with `put`."""
    folder = tmp_path / "hub" / "datasets--a--b" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    return folder


def put(snapshot, name, content, repository="datasets--a--b"):
    blobs = snapshot.parents[2] / repository / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob = blobs / f"{len(list(blobs.iterdir())):040x}"
    blob.write_bytes(content)
    (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
    (snapshot / name).symlink_to(blob)
    return blob


@pytest.mark.parametrize("root", ["data", "./data", ".", "up/../data"])
def test_files_and_links_of_a_relative_folder_are_found(tmp_path, monkeypatch, root):
    (tmp_path / "data" / "data").mkdir(parents=True)
    (tmp_path / "up").mkdir()
    for name in ("one.csv", "data/two.csv"):
        (tmp_path / "data" / name).write_text("text\na\n")
    (tmp_path / "secret.csv").write_text("text\na\n")
    (tmp_path / "data" / "link.csv").symlink_to("one.csv")
    (tmp_path / "data" / "out.csv").symlink_to("../secret.csv")
    monkeypatch.chdir(tmp_path / "data" if root == "." else tmp_path)
    folder = Path(root)
    names = ["data/two.csv", "link.csv", "one.csv"]
    assert sorted(file.relative_to(folder).as_posix() for file in files_inside(folder)) == names
    assert [name for name, _, _ in stamps(folder, files_inside(folder))] == names
    one = (tmp_path / "data" / "one.csv").resolve()
    for name in ("link.csv", folder / "link.csv", (folder / "link.csv").absolute(), Path("link.csv")):
        assert inside(folder, name) == one
    assert inside(folder, "data/two.csv") == one.parent / "data" / "two.csv"
    assert inside(folder, "out.csv") is inside(folder, folder / "out.csv") is inside(folder, "../secret.csv") is None


def test_linked_tables_of_a_relative_folder_are_read(tmp_path, monkeypatch):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "red.png").write_bytes(png("red"))
    (tmp_path / "data" / "raw" / "own").write_text(json.dumps(ROW))
    (tmp_path / "data" / "train.jsonl").symlink_to("raw/own")
    monkeypatch.chdir(tmp_path)
    relative, absolute = ImageQuestions(path="data"), ImageQuestions(path=str(tmp_path / "data"))
    assert answers(relative) == answers(absolute) == [("Colour?", "red")]
    assert relative.fingerprint() == absolute.fingerprint()


@pytest.mark.parametrize("place", ["data/pmv", "data/pmv/my.json"])
@pytest.mark.parametrize("packed", [False, True])
def test_own_figures_of_a_relative_folder_are_read(tmp_path, monkeypatch, place, packed):
    folder = tmp_path / "data" / "pmv"
    folder.mkdir(parents=True)
    (folder / "my.json").write_text(json.dumps([record(1)]))
    if packed:
        pack(folder / "images_0.zip", {"pmc_1_0.jpg": jpeg("red")})
    else:
        (folder / "pmc_1_0.jpg").write_bytes(jpeg("red"))
    monkeypatch.chdir(tmp_path)
    relative, absolute = PubMedVision(path=place), PubMedVision(path=str(tmp_path / place))
    assert answers(relative) == answers(absolute) == [("What is figure 1?", "A lung.")]
    assert relative.fingerprint() == absolute.fingerprint()


def test_a_folder_of_a_snapshot_is_read(snapshot):
    import io

    import pyarrow
    from pyarrow import parquet

    table = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([{**ROW, "image": png("red")}]), table)
    put(snapshot, "data/train-00000-of-00001.parquet", table.getvalue())
    put(snapshot, "data/train-secret.parquet", table.getvalue(), "datasets--c--d")
    source = ImageQuestions(path=str(snapshot / "data"))
    assert answers(source) == [("Colour?", "red")]
    assert "train-00000" in source.fingerprint() and "secret" not in source.fingerprint()


def test_a_table_of_a_snapshot_names_images(snapshot):
    put(snapshot, "metadata.csv", b"file_name,question,answer\nimages/red.png,Colour?,red\n")
    blob = put(snapshot, "images/red.png", png("red"))
    table = put(snapshot, "own.csv", b"image,question,answer\nimages/red.png,Colour?,red\n")
    for name in ("metadata.csv", "own.csv"):
        source = ImageQuestions(path=str(snapshot / name))
        assert answers(source) == [("Colour?", "red")] and source.fingerprint() == source.fingerprint()
    before = source.fingerprint()
    blob.write_bytes(png("blue", (40, 40)))
    assert source.fingerprint() != before and table.exists()


def test_a_file_of_figures_of_a_snapshot_is_read(snapshot):
    put(snapshot, "my.json", json.dumps([record(1), record(2)]).encode())
    blob = put(snapshot, "images/pmc_1_0.jpg", jpeg("red"))
    put(snapshot, "pmc_2_0.jpg", jpeg("blue"))
    source = PubMedVision(path=str(snapshot / "my.json"))
    assert answers(source) == [(f"What is figure {number}?", "A lung.") for number in (1, 2)]
    assert answers(PubMedVision(path=str(snapshot))) == answers(source)
    before = source.fingerprint()
    blob.write_bytes(jpeg("green") + b"0")
    assert source.fingerprint() != before


@pytest.mark.parametrize("place", [".", "fhir", "fhir/b.json"])
def test_forms_of_a_snapshot_are_read(snapshot, place):
    put(snapshot, "fhir/b.json", json.dumps(FORMS).encode())
    (document,), dropped = read_forms(str(snapshot / place))
    assert "6.8" in document.text and not dropped
    put(snapshot, "fhir/c.json", json.dumps(FORMS).encode(), "datasets--c--d")
    if place != "fhir/b.json":
        assert read_forms(str(snapshot / place))[1] == {"a link that leaves the data folder": 1}
