"""PubMedVision from small folders and archives in the hub's layout, with typical faults in records."""

import io
import json
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from medvl.data.sources import archives
from medvl.data.sources.archives import json_values
from medvl.data.sources.pubmedvision import PubMedVision, Subset
from medvl.data.sources.source import Dropped


def jpeg(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, format="JPEG")
    return buffer.getvalue()


def turns(*said):
    return [{"from": speaker, "value": text} for speaker, text in zip(("human", "gpt") * 9, said, strict=False)]


def record(number, *said, images=None, modality="Computed Tomography"):
    return {
        "id": f"Alignment_VQA_{number}",
        "image": images or [f"images/pmc_{number}_0.jpg"],
        "body_part": "Chest",
        "modality": modality,
        "conversations": turns(*(said or (f"<image>\nWhat is figure {number}?", "A lung."))),
    }


RECORDS = [
    record(0, "<image>\n<image>\nWhat do both show?", "A mass.", images=["images/pmc_0_0.jpg", "images/pmc_0_1.jpg"]),
    record(1, "What is shown?", "A lung.", "And below it?", "The liver.", "Is it large?", "No.", modality=None),
    record(2, modality=" "),
    record(3, "What is shown?", ""),
    {**record(4), "conversations": "What is shown?"},
    {**record(5), "conversations": turns("What is shown?")},
    {**record(6), "image": []},
    {**record(7), "image": [None]},
    record(8, images=["images/pmc_9_9.jpg"]),
    record(8, images=["../../pmc_9_9.jpg"]),
    "a string",
    {"id": "Alignment_VQA_9", "answer": "the field that this set does not have"},
]
DROPPED = {
    "a later turn": 2,
    "no question or no answer": 4,
    "no image": 2,
    "its image is not there": 2,
    "not a JSON object": 1,
}
IMAGES = {
    "pmc_0_0.jpg": jpeg("red"),
    "pmc_0_1.jpg": jpeg("blue"),
    "pmc_1_0.jpg": jpeg("green"),
    "pmc_2_0.jpg": jpeg("black"),
}


def write(folder, records, name=Subset.alignment.value):
    (folder / f"{name}.json").write_text(json.dumps(records))
    return str(folder)


def pack(path, images, inside="share/nested"):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in images.items():
            archive.writestr(f"{inside}/{name}", content)


def unpack(folder, images):
    folder.mkdir(exist_ok=True)
    for name, content in images.items():
        (folder / name).write_bytes(content)


def read(source):
    items = list(source.read())
    documents = [item for item in items if not isinstance(item, Dropped)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def contents(document):
    return [image if isinstance(image, bytes) else Path(image).read_bytes() for image in document.images]


@pytest.fixture(params=["folder", "flat", "archives", "both"])
def folder(request, tmp_path):
    first, second = dict(list(IMAGES.items())[:2]), dict(list(IMAGES.items())[2:])
    if request.param == "folder":
        unpack(tmp_path / "images", IMAGES)
    elif request.param == "flat":
        unpack(tmp_path, IMAGES)
    else:
        pack(tmp_path / "images_0.zip", first)
        if request.param == "archives":
            pack(tmp_path / "images_1.zip", second)
        else:
            unpack(tmp_path / "images", second)
    return write(tmp_path, RECORDS)


def test_documents_and_drops(folder):
    documents, dropped = read(PubMedVision(path=folder))
    assert [document.questions for document in documents] == [
        [("What do both show?", "A mass.")],
        [("What is shown?", "A lung.")],
        [("What is figure 2?", "A lung.")],
    ]
    assert [document.kind for document in documents] == ["computed tomography", *["biomedical figure"] * 2]
    assert contents(documents[0]) == [IMAGES["pmc_0_0.jpg"], IMAGES["pmc_0_1.jpg"]]
    assert {(document.layout, document.split) for document in documents} == {("image", None)}
    assert dropped == DROPPED


def test_records_stop_the_reading(folder):
    documents, dropped = read(PubMedVision(path=folder, records=1))
    assert len(documents) == 1 and not dropped


def test_questions_on_one_figure_stay_together(tmp_path):
    unpack(tmp_path / "images", IMAGES)
    both = [
        record(2, "Which organ?", "The lung."),
        record(2, "Which plane?", "Axial."),
        record(2, "Which plane?", "Axial."),
    ]
    documents, dropped = read(PubMedVision(path=write(tmp_path, both)))
    assert len({document.id for document in documents}) == 2 and documents[0].groups == documents[1].groups
    assert dropped == {"repeats an earlier record": 1}


def test_a_document_is_tied_to_all_its_figures(tmp_path):
    from medvl.data.duplicates import clusters

    unpack(tmp_path / "images", IMAGES)
    figures = [
        [f"images/{name}" for name in names]
        for names in (("pmc_0_0.jpg", "pmc_0_1.jpg"), ("pmc_0_1.jpg",), ("pmc_1_0.jpg",))
    ]
    records = [record(number, images=images) for number, images in enumerate(figures)]
    documents, _ = read(PubMedVision(path=write(tmp_path, records)))
    assert [len(document.groups) for document in documents] == [2, 1, 1]
    both, one, other = clusters(documents, [])
    assert both == one != other


@pytest.mark.parametrize("beside", ["images_0.zip", "pmc_1_0.jpg", "images/pmc_1_0.jpg", "images/more/pmc_1_0.jpg"])
def test_what_lies_beside_a_file_is_part_of_its_key(tmp_path, beside):
    path = f"{write(tmp_path, [record(1)])}/{Subset.alignment.value}.json"
    (tmp_path / "images" / "more").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    keys = {PubMedVision(path=path).fingerprint()}
    (tmp_path / "elsewhere" / "page.png").write_bytes(b"not read")
    keys.add(PubMedVision(path=path).fingerprint())
    assert len(keys) == 1
    for content in (b"short", b"longer"):
        (tmp_path / beside).write_bytes(content)
        keys.add(PubMedVision(path=path).fingerprint())
    assert len(keys) == 3 and PubMedVision(path=str(tmp_path)).content() == PubMedVision().content() == ""


def test_the_subset_names_the_file(tmp_path):
    unpack(tmp_path / "images", IMAGES)
    write(tmp_path, [record(1)])
    folder = write(tmp_path, [record(2)], Subset.instruction.value)
    documents, _ = read(PubMedVision(path=folder, subset=Subset.instruction))
    assert documents[0].questions == [("What is figure 2?", "A lung.")]
    assert len(read(PubMedVision(path=f"{folder}/{Subset.alignment.value}.json"))[0]) == 1


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder in place of the hub; yields the names of downloaded or opened files."""
    import huggingface_hub

    write(tmp_path, [record(0), record(1), record(2), record(3)])
    names = list(IMAGES)
    pack(tmp_path / "images_0.zip", {name: IMAGES[name] for name in names[:2]})
    pack(tmp_path / "images_1.zip", {name: IMAGES[name] for name in names[2:3]})
    pack(tmp_path / "images_2.zip", {name: IMAGES[name] for name in names[3:]})
    fetched = []

    def download(repository, name, *, repo_type):
        assert (repository, repo_type) == ("FreedomIntelligence/PubMedVision", "dataset")
        fetched.append(name)
        return str(tmp_path / name)

    class FileSystem:
        def open(self, path, mode):
            fetched.append(path)
            return open(tmp_path / path.rpartition("/")[2], mode)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "HfFileSystem", FileSystem)
    return fetched


@pytest.mark.parametrize("streaming", [True, False])
def test_archives_are_fetched_up_to_the_limit(hub, streaming):
    documents, dropped = read(PubMedVision(archives=2, streaming=streaming))
    assert len(documents) == 2
    assert dropped == {"its image is not in the first 2 archives; set data.archives": 2}
    file = "PubMedVision_Alignment_VQA.json"
    streamed = f"datasets/FreedomIntelligence/PubMedVision/{file}"
    assert hub == [streamed if streaming else file, "images_0.zip", "images_1.zip"]


def test_an_archive_that_is_not_needed_is_not_fetched(hub):
    assert len(read(PubMedVision(archives=3, streaming=True, records=1))[0]) == 1
    assert hub[1:] == ["images_0.zip"]


def test_the_hub_out_of_reach():
    with pytest.raises(ValueError, match=r"FreedomIntelligence/PubMedVision cannot be read: .* Set data\.path="):
        list(PubMedVision().read())


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"data\.archives must be from 1 to 20, got 0"):
        PubMedVision(archives=0)
    with pytest.raises(ValueError, match=r"holds no PubMedVision_Alignment_VQA\.json\. Set data\.path="):
        list(PubMedVision(path=str(tmp_path)).read())
    write(tmp_path, [record(1)])
    (tmp_path / "images_0.zip").write_bytes(b"half a download")
    with pytest.raises(ValueError, match=r"images_0\.zip is no zip archive: .* set data\.path="):
        list(PubMedVision(path=str(tmp_path)).read())
    (tmp_path / "PubMedVision_Alignment_VQA.json").write_bytes(b'[{"id": "\xff"}]')
    with pytest.raises(ValueError, match="not UTF-8"):
        list(PubMedVision(path=str(tmp_path)).read())


def test_a_damaged_entry_costs_its_own_record(tmp_path):
    pack(tmp_path / "images_0.zip", {"pmc_1_0.jpg": jpeg("red") + b"first", "pmc_2_0.jpg": jpeg("blue")})
    packed = (tmp_path / "images_0.zip").read_bytes()
    (tmp_path / "images_0.zip").write_bytes(packed.replace(b"first", b"wrong"))
    documents, dropped = read(PubMedVision(path=write(tmp_path, [record(1), record(2)])))
    assert len(documents) == 1 and dropped == {"its image cannot be read from the archive": 1}


def test_json_comes_one_value_at_a_time(tmp_path):
    values = [{"id": number, "text": "[{,}]" * 200} for number in range(9000)]
    array, lines = tmp_path / "array.json", tmp_path / "lines.jsonl"
    array.write_text(json.dumps(values, indent=1))
    lines.write_text("\n".join(map(json.dumps, values)))
    for path in (array, lines):
        tracemalloc.start()
        with path.open() as file:
            assert all(read == wrote for read, wrote in zip(json_values(file), values, strict=True))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < path.stat().st_size / 1.5  # 9 MB of text


@pytest.mark.parametrize(
    ("text", "whole", "broken"),
    [
        ("", 0, 0),
        ("[]", 0, 0),
        ("[\n]\n", 0, 0),
        ('[{"a": 1}]', 1, 0),
        ('{"a": 1}\n\n{"a": 2}\n', 2, 0),
        ('[{"a": 1}, {"a": 2', 1, 1),
        ('[{"a": 1}, {"a" 2}, {"a": 3}]', 2, 1),
        ("<html>", 0, 1),
        ('[{"a": 1 2}, {"a": 3}, {"a" 4}]', 1, 2),
        ('[{"a": "x"y"}, {"a": [{"b": 1}, {"b" 2}]}, {"a": 3}]', 1, 2),
        ('[{"a": 1, "b": [{"c": 2}}, {"a": 3}]', 1, 1),
        ('[{"a" 1}, {"b" 2}, {"b": 3}]', 0, 1),
        ("[1, x, 3]", 0, 1),
        ('{"a": 1}\n{"a" 2}\n{"a": 3}\n', 2, 1),
        ('{"a": "cut\n{"a": 2}\n{"a": \n{"a": 4}\n', 2, 2),
        ('{"a": [\n{"a": 2}', 1, 1),
        ('{"a": 1} rest\n{"a": 2}\n\x00\n{"a": 3}', 3, 2),
        (f'{{"a": {"1" * 5000}}}\n{{"a": 2}}', 1, 1),
        (f'{{"a": {"[" * 99_999}\n{{"a": 2}}', 1, 1),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_a_broken_value_costs_itself(monkeypatch, text, whole, broken, chunk):
    monkeypatch.setattr(archives, "_CHUNK", chunk if len(text) < 1000 else 2**20)
    values = list(json_values(io.StringIO(text)))
    assert sum(isinstance(value, dict) for value in values) == whole
    assert sum(isinstance(value, Dropped) for value in values) == broken


@pytest.mark.parametrize("end", [None, 1, 400, 4000])
def test_many_broken_records(monkeypatch, end):
    """Every seventh record has one quote too many, for any chunk boundaries."""
    monkeypatch.setattr(archives, "_CHUNK", end or 2**20)
    texts = [json.dumps(record(number), indent=1) for number in range(61)]
    broken = [text.replace("A lung", 'A "lung') if number % 7 == 3 else text for number, text in enumerate(texts)]
    lines = [text.replace("\n", "") for text in broken]
    for whole in ("[\n" + ",\n".join(broken) + "\n]", f"[{', '.join(lines)}]", "\n".join(lines)):
        values = list(json_values(io.StringIO(whole)))
        assert len(values) == 61
        for number, value in enumerate(values):
            assert value == (Dropped(f"record {number + 1}", "not JSON") if number % 7 == 3 else record(number))


def test_a_broken_record_costs_itself(tmp_path):
    unpack(tmp_path / "images", IMAGES)
    lines = [json.dumps(record(1)), '{"id": "Alignment_VQA_9", "image": [', json.dumps(record(2))]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    documents, dropped = read(PubMedVision(path=str(tmp_path / "some.jsonl")))
    assert len(documents) == 2 and dropped == {"not JSON": 1}
