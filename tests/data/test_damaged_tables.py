"""Random and mutated files: a reader drops, or refuses with a ValueError, and never does anything else."""

import io
import json
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from test_notes import CCDA, composition
from test_pubmedvision import jpeg, record

from medvl.data.sources.archives import json_values
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.json_records import JsonRecords
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.note_files import note_files, notes_of
from medvl.data.sources.notes import Notes
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.visual import ImageQuestions
from medvl.types import Document

ROWS = [{"image": "red.jpg", "question": f"What, {at}?", "answer": 'a "b"\nc, d'} for at in range(4)]
PICTURE = [{"type": "image", "image": "red.jpg"}, {"type": "text", "text": "A?"}]
CHATS = [
    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "b"}], "images": images}
    for asked, images in (("<image>A?", ["red.jpg"]), (PICTURE, []))
]
CSV = 'image,question,answer\nred.jpg,"What, 1?","a ""b""\nc, d"\nred.jpg,Why?,None\n'
NOTES = 'sample_name,transcription\na,"SUBJECTIVE:, He is ""well"",PLAN:,Rest."\nb,"one\ntwo"\n'


def archive(method):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as file:
        file.writestr("x/pmc_1_0.jpg", jpeg("red"))
        file.writestr("x/pmc_2_0.jpg", jpeg("blue"))
    return packed.getvalue()


def pictures(folder, content):
    (folder / "images_0.zip").write_bytes(content)
    (folder / "own.json").write_text(json.dumps([record(1), record(2)]))
    return PubMedVision(path=str(folder))


def figures(folder, content):
    (folder / "images_0.zip").write_bytes(archive(zipfile.ZIP_STORED))
    (folder / "own.json").write_bytes(content)
    return PubMedVision(path=str(folder / "own.json"))


def table(name, kind=ImageQuestions):
    def source(folder, content):
        (folder / "red.jpg").write_bytes(jpeg("red"))
        (folder / name).write_bytes(content)
        return kind(path=str(folder))

    return source


def single(name, kind):
    def source(folder, content):
        (folder / name).write_bytes(content)
        return kind(path=str(folder / name))

    return source


def parquet_bytes():
    import pyarrow
    from pyarrow import parquet

    packed = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([{**row, "image": jpeg("red")} for row in ROWS]), packed)
    return packed.getvalue()


FILES = {
    "csv": (table("train.csv"), CSV.encode()),
    "utf-16": (table("train.csv"), CSV.encode("utf-16")),
    "json": (table("train.json"), json.dumps(ROWS).encode()),
    "jsonl": (table("train.jsonl"), "\n".join(map(json.dumps, ROWS)).encode()),
    "own rows": (table("train.json", JsonRecords), json.dumps(ROWS).encode()),
    "conversations": (table("train.json", JsonRecords), json.dumps(CHATS).encode()),
    "own notes": (single("rows.csv", Notes), NOTES.encode()),
    "text": (single("a.txt", Notes), b"a cough\nrest"),
    "clinical document": (single("a.xml", Notes), CCDA.encode()),
    "fhir notes": (single("a.ndjson", Notes), json.dumps(composition()).encode()),
    "metadata": (table("metadata.csv"), CSV.replace("image", "file_name").encode()),
    "notes": (single("notes.csv", MTSamples), NOTES.encode()),
    "lines": (single("notes.jsonl", MTSamples), b'{"transcription": "a"}\n{"transcription": "b", "keywords": "c"}\n'),
    "figures": (figures, json.dumps([record(1), record(2)]).encode()),
    "stored": (pictures, archive(zipfile.ZIP_STORED)),
    "deflated": (pictures, archive(zipfile.ZIP_DEFLATED)),
    "parquet": (table("train.parquet"), None),
}
ODD = [b'"', b"\0", b"\n", b"\r", b",", b"]", b"{", b"\xff\xfe", b"[" * 9]
CHANGE = st.tuples(
    st.integers(0, 2000),
    st.integers(0, 9),
    st.one_of(st.binary(max_size=6), st.sampled_from(ODD)),
)


def raw(source):
    """Return the number of records that a source holds, broken ones included."""
    if isinstance(source, ImageQuestions):
        return len(list(source._rows()))
    if isinstance(source, JsonRecords):
        return len(list(source.rows()))
    if isinstance(source, Notes):
        files, _ = note_files(Path(source.path))
        return sum(1 for _, file in files for _ in notes_of(file, "")) if files else len(list(source.rows()))
    if isinstance(source, MTSamples):
        return len(list(source._records()))
    with ExitStack() as stack:
        return sum(1 for file in source._files(stack) for _ in json_values(file))


def changed(content, changes):
    for at, length, put in changes:
        at %= len(content) + 1
        content = content[:at] + put + content[at + length :]
    return content


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_costs_records_or_is_refused(name):
    source_of, content = FILES[name]
    content = content or parquet_bytes()
    whole = None

    @seed(7)
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(CHANGE, max_size=5), st.one_of(st.none(), st.binary(max_size=60)))
    @example([], None)
    @example([], b"")
    def check(changes, instead):
        nonlocal whole
        with tempfile.TemporaryDirectory() as folder:
            source = source_of(Path(folder), changed(content, changes) if instead is None else instead)
            assert source.fingerprint() == source.fingerprint()
            try:
                items = list(source.read())
            except ValueError:
                return
            assert all(isinstance(item, Document | Dropped) for item in items)
            assert sum(item.records for item in items) == raw(source)
            if whole is None:
                whole = items
                assert whole and not any(isinstance(item, Dropped) for item in whole)

    check()
