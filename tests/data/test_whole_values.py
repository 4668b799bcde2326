"""Values that a fault of the file or its types could change: they stay as they are written, or are counted as lost."""

import datetime
import decimal
import gzip
import json
import zlib

import pyarrow
import pytest
from pyarrow import parquet
from test_visual import png

from medvl.data.sources.clinical_values import result
from medvl.data.sources.csv_rows import csv_rows
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.entries import entries
from medvl.data.sources.visual import ImageQuestions

OPEN = "a malformed row: a quote is not closed"
CUT = "the compressed file is cut off or damaged there"
BESIDE = "a file beside the tables is not read"
RESOURCES = [{"resourceType": "Patient", "id": "1"}, {"resourceType": "Patient", "id": "2"}]


def split(found):
    """Return the values of the rows, and the lost ones."""
    lost = [(row.record, row.reason) for row in found if isinstance(row, Dropped)]
    return [list(row.values()) for row in found if isinstance(row, dict)], lost


@pytest.mark.parametrize("swallowed", [1, 2, 3])
@pytest.mark.parametrize("image", ["images/{}.png", "page {}", "{}"])
def test_few_swallowed_rows_are_found_again(tmp_path, swallowed, image):
    path = tmp_path / "own.csv"
    rows = [[image.format(at), f"Q{'abcde'[at]}?", f"a{at}"] for at in range(5)]
    lines = [",".join(row) for row in rows]
    lines[0] = f'{image.format(0)},Qa?,"open'
    lines[swallowed] += '"'
    path.write_text("\n".join(["image,question,answer", *lines, ""]))
    kept, lost = split(list(csv_rows(path)))
    rows[swallowed][2] += '"'
    assert kept == rows[1:]
    assert lost == [("line 2", OPEN)]


@pytest.mark.parametrize("answer", ["open\nAspirin, 81 mg, daily", "two\nlines", "a, b, c\nd, e, f"])
def test_a_short_list_in_a_value_stays_whole(tmp_path, answer):
    path = tmp_path / "own.csv"
    path.write_text(f'image,question,answer\nimages/0.png,Q0?,"{answer}"\nimages/1.png,Q1?,b\n')
    assert split(list(csv_rows(path))) == ([["images/0.png", "Q0?", answer], ["images/1.png", "Q1?", "b"]], [])


def cut_short(text):
    """Return a gzip stream of some bytes that lacks its end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("end", [b"images/1.png,Q1?,12", b"images/1.png,Q1?,\xc3", b'images/1.png,Q1?,"12"', b""])
def test_the_value_at_which_a_compressed_table_is_cut_is_lost(tmp_path, end):
    path = tmp_path / "own.csv.gz"
    path.write_bytes(cut_short(b"image,question,answer\nimages/0.png,Q0?,a\n" + end))
    assert split(list(csv_rows(path))) == ([["images/0.png", "Q0?", "a"]], [("after line 2", CUT)])


def test_the_last_line_of_a_whole_compressed_table_needs_no_end(tmp_path):
    path = tmp_path / "own.csv.gz"
    path.write_bytes(gzip.compress(b"image,question,answer\nimages/0.png,Q0?,a"))
    assert split(list(csv_rows(path))) == ([["images/0.png", "Q0?", "a"]], [])


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-7, "0.0000001"), (-2.5e-8, "-0.000000025"), (1.2e-5, "0.00001"), (0.00012, "0.0001"), (0.0, "0.00")],
)
def test_a_trace_is_not_written_as_zero(value, text):
    assert result(value, None, "mg") == text


@pytest.mark.parametrize("pack", ["gz", "xz", "bz2"])
@pytest.mark.parametrize("form", ["ndjson", "jsonl", "json"])
@pytest.mark.parametrize("beside", [True, False])
def test_compressed_files_of_a_folder_are_read(tmp_path, pack, form, beside):
    module = __import__({"gz": "gzip", "xz": "lzma", "bz2": "bz2"}[pack])
    text = json.dumps(RESOURCES, indent=1) if form == "json" else "\n".join(map(json.dumps, RESOURCES))
    path = tmp_path / f"a.{form}.{pack}"
    path.write_bytes(module.compress(text.encode()))
    if beside:
        (tmp_path / "b.json").write_text(json.dumps({"resourceType": "Patient", "id": "3"}))
    found = ["1", "2", *(["3"] if beside else [])]
    assert [entry.id for entry in entries(tmp_path)] == found
    assert [entry.id for entry in entries(path)] == ["1", "2"]


@pytest.mark.parametrize("table", ["lab_reports.jsonl", "lab_reports.jsonl.gz"])
def test_files_beside_the_tables_are_counted(tmp_path, table):
    row = json.dumps({"patient_id": "a"}).encode()
    (tmp_path / table).write_bytes(gzip.compress(row) if table.endswith("gz") else row)
    (tmp_path / "b.json").write_text(json.dumps(RESOURCES[0]))
    (tmp_path / "notes.txt").write_text("no data")
    found = [(entry.name, entry.content, entry.reason) for entry in entries(tmp_path)]
    assert found == [(f"{table}, line 1", {"patient_id": "a"}, ""), ("b.json", {}, BESIDE)]


MOMENT = datetime.datetime(2018, 1, 2, 3, 4, 5)
OTHER = "a question or an answer that is no text or number"


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([decimal.Decimal("1.50")], pyarrow.decimal128(5, 2), ["1.50"]),
        ([MOMENT.date()], pyarrow.date32(), ["2018-01-02"]),
        ([MOMENT], pyarrow.timestamp("us"), ["2018-01-02 03:04:05"]),
        ([MOMENT.replace(microsecond=500000)], pyarrow.timestamp("ms"), ["2018-01-02 03:04:05.500"]),
        ([MOMENT], pyarrow.timestamp("ns", "UTC"), ["2018-01-02 03:04:05Z"]),
        ([MOMENT.time()], pyarrow.time32("s"), ["03:04:05"]),
        ([1.1, 2.0, 1e-7], pyarrow.float32(), ["1.1", "2.0", "1e-07"]),
        ([1.1, 2.0], pyarrow.float64(), ["1.1", "2.0"]),
        ([float("nan"), None], pyarrow.float32(), ["no question or no answer"] * 2),
        ([b"abc", b""], pyarrow.binary(), [OTHER, "no question or no answer"]),
        ([["a", "b"], None], pyarrow.list_(pyarrow.string()), [OTHER, "no question or no answer"]),
    ],
)
def test_typed_answers_of_a_parquet_file(tmp_path, values, kind, expected):
    names = [f"{at}.png" for at in range(len(values))]
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(png((at, 0, 0)))
    columns = {"image": names, "question": ["Q?"] * len(values), "answer": pyarrow.array(values, type=kind)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    found = ImageQuestions(path=str(tmp_path)).read()
    assert [item.reason if isinstance(item, Dropped) else item.questions[0][1] for item in found] == expected
