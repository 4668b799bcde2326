"""Small files that unpack to much: they cost their record or are refused, and memory stays bounded."""

import bz2
import contextlib
import gzip
import json
import lzma
import struct
import tracemalloc
import zipfile
from collections import Counter

import pytest
from conftest import read_forms
from test_pubmedvision import jpeg, pack, read, record, write

from medvl.data.sources import archives, pubmedvision
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.visual import ImageQuestions

MIB = 2**20


@contextlib.contextmanager
def bounded():
    """Check that Python holds no more than 160 MiB at once: an image twice."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 160 * MIB
    finally:
        tracemalloc.stop()


def zeros(path, *names, head=b"", size=150 * MIB):
    """Write an archive of entries that are all zeros after their head."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(head)
                for _ in range(size // MIB):
                    entry.write(bytes(MIB))


@pytest.mark.parametrize(
    ("head", "size", "reason"),
    [
        (b"", 50 * MIB, "the file that it names is not an image"),
        (b"", 150 * MIB, "its image is too large"),
        (jpeg("red"), 50 * MIB, "its image unpacks to more than 100 times its size"),
    ],
)
def test_an_archive_of_zeros_costs_its_records(tmp_path, head, size, reason):
    zeros(tmp_path / "images_0.zip", "a.jpg", "b.jpg", head=head, size=size)
    with zipfile.ZipFile(tmp_path / "images_0.zip", "a") as archive:
        archive.writestr("c.jpg", jpeg("blue"))
    records = [record(0, images=["a.jpg"] * 9), record(1, images=["b.jpg"]), record(2, images=["c.jpg"])]
    with bounded():
        documents, dropped = read(PubMedVision(path=write(tmp_path, records)))
    assert len(documents) == 1 and dropped == {reason: 2}


@pytest.mark.parametrize("stated", [1000, 60 * MIB])
def test_the_stated_size_of_an_entry_is_not_trusted(tmp_path, stated):
    """Its data are 150 MiB; the archive says that they are 1,000 bytes, or more than there are packed."""
    path = tmp_path / "images_0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.jpg", jpeg("red") + bytes(150 * MIB))
    content = path.read_bytes()
    size = struct.pack("<I", len(jpeg("red")) + 150 * MIB)
    assert content.count(size) == 2  # in the entry and in the list of entries
    path.write_bytes(content.replace(size, struct.pack("<I", stated)))
    del content
    with bounded():
        documents, dropped = read(PubMedVision(path=write(tmp_path, [record(0, images=["a.jpg"])])))
    assert not documents and dropped == {"its image cannot be read from the archive": 1}


def test_the_images_of_a_record_are_bounded_together(tmp_path, monkeypatch):
    pack(tmp_path / "images_0.zip", {f"{at}.jpg": jpeg((at, 0, 0)) for at in range(4)})
    monkeypatch.setattr(pubmedvision, "RECORD_BYTES", 3 * len(jpeg("red")) + 99)
    records = [
        record(0, images=[f"{at}.jpg" for at in range(4)]),
        record(1, images=["0.jpg", "1.jpg"]),
        record(2, images=["0.jpg"] * 65),
    ]
    documents, dropped = read(PubMedVision(path=write(tmp_path, records)))
    assert len(documents) == 1 and dropped == {"its images are too large": 1, "more than 64 images": 1}


def test_entries_that_overlap_are_refused(tmp_path):
    """Many entries of the list share one packed image."""
    path = tmp_path / "images_0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", jpeg("red"))
        archive.writestr("b.jpg", jpeg("red"))
        first, second = archive.infolist()
        second.header_offset = first.header_offset
    with pytest.raises(ValueError, match=r"images_0\.zip is no zip archive: its entries overlap\. Delete it"):
        list(PubMedVision(path=write(tmp_path, [record(0, images=["a.jpg"])])).read())


@pytest.mark.parametrize("wide", [False, True])
def test_a_list_of_entries_without_end_is_refused(tmp_path, monkeypatch, wide):
    path = tmp_path / "images_0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for at in range(65_600 if wide else 100):  # from 65,536 entries on the archive states sizes in 64 bits
            archive.writestr(f"{at}.jpg", b"")
    monkeypatch.setattr(archives, "_DIRECTORY_BYTES", 3_000_000 if wide else 3000)
    with pytest.raises(ValueError, match=r"its list of entries has [\d,]+ bytes"):
        list(PubMedVision(path=write(tmp_path, [record(0, images=["a.jpg"])])).read())


def test_encrypted_and_strangely_packed_entries_cost_their_records(tmp_path):
    path = tmp_path / "images_0.zip"
    pack(path, {"a.jpg": jpeg("red")})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.jpg", jpeg("red"), zipfile.ZIP_LZMA)
        archive.writestr("c.jpg", b"PK\3\4 an archive within")
        archive.writestr("d.jpg", jpeg("blue"))
    records = [record(at, images=[f"{name}.jpg"]) for at, name in enumerate("abcd")]
    documents, dropped = read(PubMedVision(path=write(tmp_path, records)))
    assert len(documents) == 1
    assert dropped == {"its image cannot be read from the archive": 2, "the file that it names is not an image": 1}


PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_packed_tables_of_zeros_are_refused(tmp_path, suffix, form):
    begin = b'text\n"' if form == "csv" else b'{"text": "'
    (tmp_path / f"train.{form}.{suffix}").write_bytes(PACKERS[suffix](begin + b"0" * (40 * MIB)))
    with bounded(), pytest.raises(ValueError, match=r"unpacks to more than 100 times its size\. Unpack it yourself"):
        list(MTSamples(hub=str(tmp_path)).read())


@pytest.mark.parametrize("suffix", ["gz", "xz"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_cut_packed_table_keeps_what_it_has_and_says_so(tmp_path, suffix, form):
    import random

    letters = random.Random(1)
    notes = ["".join(letters.choices("abcdefgh ", k=400)) for _ in range(500)]
    lines = [f'"{note}"' if form == "csv" else json.dumps({"text": note}) for note in notes]
    whole = "\n".join(["text"] * (form == "csv") + lines) + "\n"
    packed = PACKERS[suffix](whole.encode())
    (tmp_path / f"train.{form}.{suffix}").write_bytes(packed)
    assert len(list(MTSamples(hub=str(tmp_path)).read())) == 500
    (tmp_path / f"train.{form}.{suffix}").write_bytes(packed[: len(packed) // 2])
    items = list(MTSamples(hub=str(tmp_path)).read())
    dropped = [item.reason for item in items if isinstance(item, Dropped)]
    assert "the compressed file is cut off or damaged there" in dropped
    kept = [item.text for item in items if not isinstance(item, Dropped)]
    assert kept == [note.strip() for note in notes[: len(kept)]] and len(items) < 400
    assert len(kept) > 100


def test_a_packed_table_of_which_nothing_can_be_read(tmp_path):
    (tmp_path / "train.csv.bz2").write_bytes(bz2.compress(b"text\na note\n")[:20])
    with pytest.raises(ValueError, match="is cut off or damaged"):
        list(MTSamples(hub=str(tmp_path)).read())


def test_a_parquet_file_of_zeros_is_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    zeros = pyarrow.array([b"\xff\xd8\xff" + bytes(20 * MIB)])
    table = pyarrow.table({"image": zeros, "question": ["What?"], "answer": ["yes"]})
    parquet.write_table(table, tmp_path / "train.parquet", compression="zstd")
    with pytest.raises(ValueError, match="unpacks to far more than its size"):
        list(ImageQuestions(path=str(tmp_path)).read())


def test_an_embedded_image_is_bounded(tmp_path, monkeypatch):
    import os

    import pyarrow
    from pyarrow import parquet

    from medvl.data.sources import asked

    monkeypatch.setattr(asked, "IMAGE_BYTES", 5000)
    table = pyarrow.table({"image": [os.urandom(6000), jpeg("red")], "question": ["a", "b"], "answer": ["c", "d"]})
    parquet.write_table(table, tmp_path / "train.parquet")
    for streaming in (False, True):
        items = list(ImageQuestions(path=str(tmp_path), streaming=streaming).read())
        assert Counter(item.reason for item in items if isinstance(item, Dropped)) == {"its image is too large": 1}
        assert len(items) == 2


def test_a_line_without_end_is_refused(tmp_path):
    with (tmp_path / "notes.jsonl").open("wb") as file:
        file.write(b"x" * 99)
        file.truncate(200 * MIB)
    with bounded(), pytest.raises(ValueError, match="a line of more than"):
        list(MTSamples(path=str(tmp_path / "notes.jsonl")).read())


@pytest.mark.parametrize("name", ["lab_reports.jsonl.xz", "medication_requests.jsonl.xz"])
@pytest.mark.parametrize("begin", [b"", b'{"patient_id": "p1"}\n', b'{"patient_id": "'])
def test_packed_forms_of_zeros_are_refused(tmp_path, name, begin):
    with lzma.open(tmp_path / name, "wb", preset=0) as file:
        file.write(begin)
        for _ in range(200):
            file.write(bytes(MIB))
    with bounded(), pytest.raises(ValueError, match=r"unpacks to more than 100 times its size\. Unpack it yourself"):
        read_forms(str(tmp_path))


def test_a_line_of_forms_without_end_is_refused(tmp_path):
    with (tmp_path / "bulk.ndjson").open("wb") as file:
        file.write(b'{"resourceType": "Claim"}\n')
        file.truncate(200 * MIB)
    with bounded(), pytest.raises(ValueError, match=r"a line of more than .* after line 1: .* Set data\.path="):
        read_forms(str(tmp_path))


def test_a_broken_bundle_in_one_long_line_costs_itself(tmp_path):
    (tmp_path / "b.json").write_bytes(b'{"resourceType": "Bundle", "text": "' + b"x" * (17 * MIB))
    assert read_forms(str(tmp_path)) == ([], {"not JSON": 1})
