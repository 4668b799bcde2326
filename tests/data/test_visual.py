"""Image data sets from folders in the hub's format, with typical faults."""

import io
import os
import tracemalloc
from collections import Counter

import datasets
import pytest
from PIL import Image

from medvl.data.sources.source import Dropped
from medvl.data.sources.visual import ImageQuestions, split_named


def png(colour, size=(30, 20)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def save(folder, split, images, **texts):
    """Write one split as the hub stores it."""
    encoded = [None if image is None else {"bytes": image, "path": None} for image in images]
    columns = {"image": encoded, **texts}
    features = datasets.Features({name: datasets.Value("string") for name in texts} | {"image": datasets.Image()})
    (folder / "data").mkdir(exist_ok=True)
    data = datasets.Dataset.from_dict(columns, features=features)
    data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def questions(folder, **splits):
    for split, triples in splits.items():
        images, asked, answers = zip(*triples, strict=True)
        save(folder, split, images, question=asked, answer=answers)
    return str(folder)


def read(source):
    items = list(source.read())
    assert all(item.source == source.name for item in items)
    documents = [item for item in items if not isinstance(item, Dropped)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


@pytest.fixture
def folder(tmp_path):
    """Two training images with three questions, one validation, one test image; and four broken rows."""
    red, blue = png("red"), png("blue")
    return questions(
        tmp_path,
        train=[
            (red, "Is it red?", "yes"),
            (red, "What colour?", "red"),
            (blue, "What colour?", "blue"),
            (red, "Is it red?", "yes"),
            (b"", "Empty?", "yes"),
            (None, "None?", "yes"),
            (blue, "", "no"),
            (blue, "Blank?", "  "),
        ],
        validation=[(png("green"), "What colour?", "green")],
        test=[(png("black"), "What colour?", "black")],
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_documents_and_drops(folder, streaming):
    documents, dropped = read(ImageQuestions(path=folder, kind="pathology image", streaming=streaming))
    assert [document.questions for document in documents] == [
        [("Is it red?", "yes"), ("What colour?", "red")],  # a repeated row is used once
        [("What colour?", "blue")],
        [("What colour?", "green")],
        [("What colour?", "black")],
    ]
    assert [document.split for document in documents] == ["train", "train", "val", "test"]
    assert {(document.kind, document.layout) for document in documents} == {("pathology image", "image")}
    assert [document.images for document in documents] == [
        [png(colour)] for colour in ("red", "blue", "green", "black")
    ]
    assert [document.groups for document in documents] == [[document.id] for document in documents]
    assert dropped == {"no image": 2, "no question or no answer": 2}


def test_one_image_at_a_time_is_in_memory(tmp_path):
    images = [os.urandom(100_000) for _ in range(200)]
    path = questions(
        tmp_path, train=[(image, f"What is it, {turn}?", "noise") for turn in range(2) for image in images]
    )
    source = ImageQuestions(path=path)
    assert next(iter(source.documents())).images == images[:1]  # also loads the libraries
    tracemalloc.start()
    asked = [(document.id, len(document.questions)) for document in source.documents()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(asked)) == 200 and {count for _, count in asked} == {2}
    assert peak < 5_000_000  # 20 MB of images


def test_broken_images_cost_their_own_row(tmp_path):
    """Invalid image bytes are only found when the image is opened; reading the rows must not fail."""
    red = png("red")
    path = questions(tmp_path, train=[(red[:40], "Truncated?", "yes"), (b"not an image", "Text?", "no")])
    assert len(read(ImageQuestions(path=path))[0]) == 2


def test_an_image_is_on_one_side(tmp_path):
    """Split by question, as VQA-RAD is: test keeps all its questions, training loses those on test images."""
    red, blue, green = png("red"), png("blue"), png("green")
    path = questions(
        tmp_path,
        train=[(red, "Is it red?", "yes"), (blue, "Is it blue?", "yes"), (green, "Is it green?", "yes")],
        test=[(red, "What colour?", "red")],
    )
    documents, dropped = read(ImageQuestions(path=path))
    assert len({document.id for document in documents}) == len(documents) == 3
    assert [document.questions for document in documents if document.split == "test"] == [[("What colour?", "red")]]
    assert dropped == {"its image is in the test split": 1}


def test_a_missing_validation_split_is_drawn_from_train(tmp_path):
    rows = [(png((number, 0, 0)), "How red?", str(number)) for number in range(200)]
    path = questions(tmp_path, train=rows[:180], test=rows[180:])
    documents, _ = read(ImageQuestions(path=path))
    drawn = {document.id for document in documents if document.split == "val"}
    assert 8 <= len(drawn) <= 30  # 18 on average
    assert sum(document.split == "test" for document in documents) == 20
    (tmp_path / "half").mkdir()
    half, _ = read(ImageQuestions(path=questions(tmp_path / "half", train=rows[90:180], test=rows[180:])))
    assert {document.id for document in half if document.split == "val"} <= drawn  # the split depends only on the image


def test_a_few_training_images_leave_one_for_validation(tmp_path):
    rows = [(png((number, 0, 0)), "How red?", str(number)) for number in range(3)]
    documents, _ = read(ImageQuestions(path=questions(tmp_path, train=rows[:2], test=rows[2:])))
    assert sorted(document.split for document in documents) == ["test", "train", "val"]


def test_the_first_records_of_train_are_ours_to_split(folder):
    documents, _ = read(ImageQuestions(path=folder, records=3, streaming=True))
    assert [document.split for document in documents] == [None, None]


def test_captions(tmp_path):
    save(tmp_path, "train", [png("red"), png("blue")], image_id=["1", "2"], caption=["Red.", None])
    source = ImageQuestions(
        path=str(tmp_path), question=None, answer="caption", prompt="Describe this radiology image.", kind="x-ray"
    )
    documents, dropped = read(source)
    assert [document.questions for document in documents] == [[("Describe this radiology image.", "Red.")]]
    assert dropped == {"no caption": 1}


def test_a_folder_of_image_files(tmp_path):
    """The hub's image-folder format: files next to a metadata.jsonl."""
    (tmp_path / "red.png").write_bytes(png("red"))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "red.png", "question": "What colour?", "answer": "red"}\n')
    documents, _ = read(ImageQuestions(path=str(tmp_path)))
    assert [(document.images, document.questions) for document in documents] == [
        ([png("red")], [("What colour?", "red")])
    ]


def test_a_column_that_is_not_there(folder):
    with pytest.raises(ValueError, match=r"no column 'caption'; it has .*answer.* Set data.answer="):
        list(ImageQuestions(path=folder, question=None, answer="caption").read())


def test_a_folder_that_is_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        list(ImageQuestions(path=str(tmp_path / "empty")).read())


def test_the_hub_out_of_reach():
    source = ImageQuestions(hub="flaviagiammarino/path-vqa")
    assert source.name == "path-vqa"
    with pytest.raises(ValueError, match="data set flaviagiammarino/path-vqa cannot be read"):
        list(source.read())


@pytest.mark.parametrize(
    ("name", "split"),
    [("Train", "train"), (" validation ", "val"), ("dev", "val"), ("TEST", "test"), ("rest", None), (7, None)],
)
def test_names_of_splits(name, split):
    assert split_named(name) == split


def test_no_data_set_is_named():
    with pytest.raises(ValueError, match=r"Set data\.path="):
        ImageQuestions()
