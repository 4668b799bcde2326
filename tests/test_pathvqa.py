"""PathVQA from a folder in the hub's format, with the faults that such folders have."""

import io

import datasets
import pytest
from PIL import Image

from medvl.data.pathvqa import PathVQA
from medvl.data.prepare import prepare
from medvl.data.source import Dropped
from medvl.documents.render import Render


def png(colour, size=(300, 200)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two training images with three questions, one validation, one test image; and four broken rows."""
    red, blue = png("red"), png("blue")
    rows = {
        "train": [
            (red, "Is it red?", "yes"), (red, "What colour?", "red"), (blue, "What colour?", "blue"),
            (b"", "Empty?", "yes"), (red[:40], "Truncated?", "yes"), (b"not an image", "Text?", "no"),
            (blue, "", "no"), (png("white", (2000, 4)), "Too long?", "yes"),
        ],
        "validation": [(png("green"), "What colour?", "green")],
        "test": [(png("black"), "What colour?", "black")],
    }  # fmt: skip
    for split, triples in rows.items():
        columns = {"image": [{"bytes": image, "path": None} for image, _, _ in triples],
                   "question": [q for _, q, _ in triples], "answer": [a for _, _, a in triples]}  # fmt: skip
        features = datasets.Features(
            image=datasets.Image(), question=datasets.Value("string"), answer=datasets.Value("string")
        )
        data = datasets.Dataset.from_dict(columns, features=features)
        (tmp_path / "data").mkdir(exist_ok=True)
        data.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    return str(tmp_path)


def test_examples_and_account(folder, encoder, tmp_path):
    prepared = prepare(PathVQA(path=folder), Render(), encoder, budget=1024, cache=tmp_path, workers=1, bar=False)
    train = [(e.prompt, e.response) for e in prepared.examples["train"]]
    assert train == [("Is it red?", "yes"), ("What colour?", "red"), ("What colour?", "blue")]
    assert [len(prepared.examples[name]) for name in ("train", "val", "test")] == [3, 1, 1]
    assert prepared.examples["train"][0].images == prepared.examples["train"][1].images
    reasons = prepared.account["dropped"]
    assert reasons["no image"] == 1 and reasons["no question or no answer"] == 1
    assert sum(reasons.values()) == 5 and any("not an image" in reason for reason in reasons)
    encoded = encoder.encode(prepared.examples["train"][0])
    assert encoded["image_grid_thw"].tolist() == [[1, 14, 22]]


def test_images_stay_on_one_side(folder):
    documents = [d for d in PathVQA(path=folder).documents() if not isinstance(d, Dropped)]
    assert len({d.id for d in documents}) == len(documents)
    assert {d.split for d in documents} == {"train", "val", "test"}


def test_a_folder_that_is_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        list(PathVQA(path=str(tmp_path / "empty")).documents())


def test_the_hub_out_of_reach():
    with pytest.raises(ValueError, match="data set flaviagiammarino/path-vqa cannot be read"):
        list(PathVQA().documents())
