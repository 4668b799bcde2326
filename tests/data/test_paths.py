"""Files that data name are read inside of the data folder only, and only if they are images of a sane size."""

import json
import os
import zipfile
from collections import Counter

import pytest
from test_visual import png

from medvl.data.sources import paths
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.paths import ImageMissing, files_inside, image_at, inside
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.visual import ImageQuestions

OUTSIDE = "its image lies outside of the data folder"


@pytest.fixture
def folder(tmp_path):
    """A data folder with one image, beside a secret one, and links and devices of all kinds."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "images" / "red.png").write_bytes(png("red"))
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.png").write_bytes(png("black"))
    (data / "link.png").symlink_to(tmp_path / "private" / "secret.png")
    (data / "linked").symlink_to(tmp_path / "private")
    (data / "good.png").symlink_to("images/red.png")
    (data / "dangling.png").symlink_to("nowhere.png")
    (data / "circle.png").symlink_to("circle.png")
    (data / "text.png").write_text("no image, but notes of a patient")
    (data / "empty.png").write_bytes(b"")
    os.mkfifo(data / "pipe.png")
    return data


def names(folder):
    """Return the names that records may hold, with the reasons for which they are dropped; None: the image is read."""
    return {
        "images/red.png": None,
        "images/../images/red.png": None,
        "good.png": None,
        str(folder / "images" / "red.png"): None,
        "../private/secret.png": OUTSIDE,
        str(folder.parent / "private" / "secret.png"): OUTSIDE,
        "link.png": OUTSIDE,
        "linked/secret.png": OUTSIDE,
        "/dev/zero": OUTSIDE,
        "/proc/self/environ": OUTSIDE,
        "pipe.png": "no image",
        "dangling.png": "no image",
        "circle.png": "no image",
        "images": "no image",
        "a\0b.png": "no image",
        "x" * 5000: "no image",
        "empty.png": "no image",
        "http://localhost/red.png": "no image",
        "file:///etc/hostname": "no image",
        "zip://red.png::images.zip": "no image",
        "text.png": "the file that it names is not an image",
    }


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_a_column_names_files_of_the_data_folder_only(folder, as_dict, alone):
    expected = names(folder)
    rows = [
        {"image": {"bytes": None, "path": name} if as_dict else name, "question": f"What is it, {at}?", "answer": "red"}
        for at, name in enumerate(expected)
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = list(ImageQuestions(path=str(folder / "train.jsonl" if alone else folder)).read())
    (document,) = (item for item in items if not isinstance(item, Dropped))
    assert document.images == [png("red")]
    assert len(document.questions) == sum(reason is None for reason in expected.values())
    dropped = Counter(item.reason for item in items if isinstance(item, Dropped))
    assert dropped == Counter(filter(None, expected.values()))


def test_a_name_without_a_data_folder_is_not_looked_up(folder, monkeypatch):
    """Data of the hub must not reach the working directory."""
    monkeypatch.chdir(folder)
    with pytest.raises(ImageMissing):
        ImageQuestions(hub="some/set")._encoded("images/red.png")


def test_an_image_is_read_up_to_a_size(tmp_path, monkeypatch):
    (tmp_path / "large.png").write_bytes(png("red") + b"0" * 500)
    monkeypatch.setattr(paths, "IMAGE_BYTES", 400)
    with pytest.raises(ImageMissing, match="too large"):
        image_at(tmp_path, "large.png")


def test_inside_resolves_links(folder):
    assert inside(folder, "good.png") == (folder / "images" / "red.png").resolve()
    assert inside(folder / "linked", "secret.png")  # the root is the user's choice
    assert inside(folder, "linked/secret.png") is inside(folder, "pipe.png") is inside(folder, "") is None


def test_folders_are_listed_without_what_leads_out(folder):
    (folder / "images" / "up").symlink_to(folder)
    (folder / "again").symlink_to("images")
    (folder / "root").symlink_to("/")
    found = {file.relative_to(folder).as_posix() for file in files_inside(folder)}
    assert found == {"images/red.png", "good.png", "text.png", "empty.png"}
    assert list(files_inside(folder / "text.png")) == [folder / "text.png"]


def question(image):
    said = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "Red."}]
    return {"id": "1", "image": image, "conversations": said}


@pytest.mark.parametrize("name", ["../private/secret.png", "link.png", "linked/secret.png", "/dev/zero", "pipe.png"])
def test_figures_outside_of_the_folder_are_not_there(folder, name):
    (folder / "PubMedVision_Alignment_VQA.json").write_text(json.dumps([question([name])]))
    (item,) = PubMedVision(path=str(folder)).read()
    assert isinstance(item, Dropped) and item.reason == "its image is not there"


def test_linked_archives_and_records_are_not_followed(folder):
    outside = folder.parent / "private"
    with zipfile.ZipFile(outside / "all.zip", "w") as archive:
        archive.writestr("blue.png", png("blue"))
    (folder / "all.zip").symlink_to(outside / "all.zip")
    file = folder / "PubMedVision_Alignment_VQA.json"
    file.write_text(json.dumps([question(["blue.png"]), question(["red.png"])]))
    items = list(PubMedVision(path=str(folder)).read())
    assert [isinstance(item, Dropped) for item in items] == [True, False]
    file.rename(outside / "records.json")
    file.symlink_to(outside / "records.json")
    with pytest.raises(ValueError, match="holds no PubMedVision"):
        list(PubMedVision(path=str(folder)).read())


def test_linked_tables_are_not_followed(folder):
    (folder.parent / "private" / "train.csv").write_text("image,question,answer\nimages/red.png,Colour?,red\n")
    (folder / "train.csv").symlink_to(folder.parent / "private" / "train.csv")
    with pytest.raises(ValueError, match=r"holds no \.csv.*Set data\.path="):
        list(ImageQuestions(path=str(folder)).read())


@pytest.mark.parametrize("name", ["notes.csv", "notes.jsonl"])
def test_a_folder_named_like_a_file_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        list(MTSamples(path=str(tmp_path / name)).read())


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
@pytest.mark.parametrize("place", ["red.png", "pages/red.png", "images/deep/red.png"])
def test_the_images_of_a_single_table_are_part_of_its_key(tmp_path, suffix, place):
    import pyarrow
    from pyarrow import parquet

    table = tmp_path / f"own.{suffix}"
    row = {"image": place, "question": "Colour?", "answer": "red"}
    if suffix == "csv":
        table.write_text("image,question,answer\n" + ",".join(row.values()) + "\n")
    elif suffix == "json":
        table.write_text(json.dumps([row]))
    else:
        parquet.write_table(pyarrow.Table.from_pylist([row]), table)
    source = ImageQuestions(path=str(table))
    keys = {source.fingerprint()}
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    for content in (png("red"), png("blue", (40, 40))):
        (tmp_path / place).write_bytes(content)
        keys.add(source.fingerprint())
    (tmp_path / "other.log").write_text("written by the run itself")
    keys.add(source.fingerprint())
    assert len(keys) == 3
    os.utime(tmp_path / place, ns=(1, 1))
    assert source.fingerprint() not in keys


def test_figures_in_any_folder_are_part_of_the_key(tmp_path):
    """Of a single JSON file, whichever of the places holds the file that a record names."""
    path = tmp_path / "own.json"
    path.write_text(json.dumps([question(["elsewhere/red.png"])]))
    (tmp_path / "elsewhere").mkdir()
    source = PubMedVision(path=str(path))
    keys = {source.fingerprint()}
    for content in (png("red"), png("blue", (40, 40))):
        (tmp_path / "elsewhere" / "red.png").write_bytes(content)
        keys.add(source.fingerprint())
    assert len(keys) == 3


def test_keys_survive_links_and_files_that_cannot_be_read(folder):
    path = folder / "train.jsonl"
    path.write_text(json.dumps({"image": "images/red.png", "question": "Colour?", "answer": "red"}))
    (folder / "closed.png").write_bytes(png("red"))
    (folder / "closed.png").chmod(0)
    (folder / "root").symlink_to("/")
    (folder / "images" / "up").symlink_to(folder)
    for source in (ImageQuestions, PubMedVision):
        for place in (folder, path):
            before = source(path=str(place)).fingerprint()
            assert source(path=str(place)).fingerprint() == before
            (folder / "images" / "red.png").write_bytes(png("red", (50, 50 + len(str(place)))))
            assert source(path=str(place)).fingerprint() != before
            (folder / "images" / "red.png").write_bytes(png("red"))


def test_a_hub_id_that_is_a_folder_has_its_files_in_the_key(tmp_path):
    (tmp_path / "train.csv").write_text("text\nshort\n")
    before = MTSamples(hub=str(tmp_path)).fingerprint()
    (tmp_path / "train.csv").write_text("text\nlonger than before\n")
    assert MTSamples(hub=str(tmp_path)).fingerprint() != before


def test_changed_tables_are_read_anew(tmp_path):
    """With the same size and time of change, as after a copy that keeps them."""
    (tmp_path / "red.png").write_bytes(png("red"))
    answers = []
    for answer in ("old", "new"):
        path = tmp_path / "train.csv"
        path.write_text(f"image,question,answer\nred.png,Colour?,{answer}\n")
        os.utime(path, ns=(10**18, 10**18))
        (document,) = ImageQuestions(path=str(tmp_path)).read()
        answers.append(document.questions[0][1])
    assert answers == ["old", "new"]


def test_a_snapshot_of_the_hubs_cache_links_to_its_own_blobs(tmp_path):
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "0123abc"
    (snapshot / "images").mkdir(parents=True)
    for repository, name in (("datasets--a--b", "red.png"), ("datasets--c--d", "secret.png")):
        blob = tmp_path / repository / "blobs" / name
        blob.parent.mkdir(parents=True)
        blob.write_bytes(png("red"))
        (snapshot / "images" / name).symlink_to(blob)
    assert image_at(snapshot, "images/red.png") == png("red")
    with pytest.raises(ImageMissing, match=OUTSIDE):
        image_at(snapshot, "images/secret.png")
    assert [path.name for path in files_inside(snapshot)] == ["red.png"]
