"""Tables whose values stay as they are written, and whose damaged rows cost themselves."""

import json

import pytest
from test_visual import png

from medvl.data.sources.archives import json_values
from medvl.data.sources.csv_rows import columns_text, csv_rows
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.mtsamples import MTSamples, restore
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.visual import ImageQuestions

ANSWERS = ["None", "n/a", "NA", "null", "nan", "NaN", "inf", "-inf", "1.0", "007", "1e5", "TRUE", "true", "2020-01-01"]
ANSWERS += ["0", "1,5", "#N/A", "<NA>", "N/A", "NULL", "False"]
PLAIN = {"1.0": "1.0", "1e5": "1e5", "-0": "-0", "12345678901234567890.10": "12345678901234567890.10", "true": "true"}


def asked(folder):
    """Return the answers by question."""
    documents = [item for item in ImageQuestions(path=str(folder)).read() if not isinstance(item, Dropped)]
    return dict(pair for document in documents for pair in document.questions)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    return tmp_path


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "parquet", "metadata.csv", "metadata.jsonl"])
def test_answers_stay_as_they_are_written(folder, form):
    image = "file_name" if form.startswith("metadata") else "image"
    rows = [{image: "red.png", "question": f"{at}?", "answer": answer} for at, answer in enumerate(ANSWERS)]
    path = folder / (form if form.startswith("metadata") else f"train.{form}")
    if form.endswith("csv") or form == "tsv":
        mark = "\t" if form == "tsv" else ","
        lines = [mark.join(f'"{value}"' if mark in value else value for value in row.values()) for row in rows]
        path.write_text("\n".join([mark.join(rows[0]), *lines]))
    elif form == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows)))
    assert asked(folder) == {f"{at}?": answer for at, answer in enumerate(ANSWERS)}


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_numbers_and_booleans_of_json_stay_as_they_are_written(folder, form):
    rows = [f'{{"image": "red.png", "question": "{at}?", "answer": {answer}}}' for at, answer in enumerate(PLAIN)]
    rows += [f'{{"image": "red.png", "question": "none", "answer": {answer}}}' for answer in ("null", "NaN", '""')]
    (folder / f"train.{form}").write_text(f"[{','.join(rows)}]" if form == "json" else "\n".join(rows))
    assert asked(folder) == {f"{at}?": answer for at, answer in enumerate(PLAIN.values())}


def test_a_turn_that_is_a_number_is_text(folder):
    said = '[{"from": "human", "value": "How many?"}, {"from": "gpt", "value": 1.50}]'
    (folder / "own.json").write_text(f'[{{"id": 7, "image": "red.png", "conversations": {said}}}]')
    (document,) = PubMedVision(path=str(folder / "own.json")).read()
    assert document.questions == [("How many?", "1.50")]


@pytest.mark.parametrize("where", ["train/metadata.csv", "validation/metadata.csv", "test/metadata.csv"])
def test_folders_of_images_tell_the_split(folder, where):
    for split in ("train", "validation", "test"):
        (folder / split).mkdir()
        (folder / split / "page.png").write_bytes(png((len(split), 0, 0)))
        (folder / split / "metadata.csv").write_text("file_name,question,answer\npage.png,What?,None\n")
    documents = list(ImageQuestions(path=str(folder)).read())
    assert [document.split for document in documents] == ["train", "val", "test"]


def texts(path):
    items = list(MTSamples(path=str(path)).read())
    return [item.text for item in items if not isinstance(item, Dropped)], [
        (item.record, item.reason) for item in items if isinstance(item, Dropped)
    ]


EXCESS = "a malformed row: it has more values than the header"
OPEN = "a malformed row: a quote is not closed"


@pytest.mark.parametrize(
    ("rows", "kept", "lost"),
    [
        (['a,"one', "b,two", "c,three"], ["two", "three"], [("line 2", OPEN)]),
        (["a,one", 'b,"two', "c,three", 'd,"four'], ["one", "three"], [("line 3", OPEN), ("line 5", OPEN)]),
        (['a,"one"', 'b,"two', "and more of it", 'c,"three"'], ["one", "three"], 1),
        (['a,"one\nline"', 'b,"x\ny",z', "c,three"], ["one\nline", "three"], [("lines 4 to 5", EXCESS)]),
        (['a,"one', "b,two", 'c,", three"', "d,four"], ["two", ", three", "four"], [("line 2", OPEN)]),
        (['a,"1\n2\n3"', 'b,"open', 'c,"one\ntwo"', "d,four"], ["1\n2\n3", "one\ntwo", "four"], 1),
        (['a,"one', 'b,"two","more"', 'c,"three"'], ["three"], [("line 2", OPEN), ("line 3", EXCESS)]),
        (['a,"a ""quoted"" word"', "b,one, two", "c,"], ['a "quoted" word'], 2),
        (["a,nu\0ll", "b,two"], ["two"], [("line 2", "a malformed row: it has null bytes")]),
    ],
)
def test_an_open_quote_costs_its_own_row(tmp_path, rows, kept, lost):
    path = tmp_path / "notes.csv"
    path.write_text("\n".join(["sample_name,transcription", *rows]))
    found, dropped = texts(path)
    assert found == kept
    assert (len(dropped) if isinstance(lost, int) else dropped) == lost


def test_rows_that_a_quote_swallowed_are_found_again(tmp_path):
    """A quote that is opened in one row and closed in another makes one well-formed row of all between them."""
    path = tmp_path / "notes.csv"
    rows = [f"{at},n{at},note {at}" for at in range(9)]
    rows[2], rows[7] = '2,n2,"note 2', '7,n7,note 7"'
    path.write_text("\n".join(["id,sample_name,transcription", *rows]))
    found, dropped = texts(path)
    assert found == [f"note {at}" for at in (0, 1, 3, 4, 5, 6)] + ['note 7"', "note 8"]
    assert dropped == [("line 4", OPEN)]


def test_many_lines_in_one_value_are_an_open_quote(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("\n".join(["sample_name,transcription", 'a,"open', *["b,note"] * 20_000, 'c,"last"']))
    rows = list(csv_rows(path))
    assert len(rows) == 20_002 and [row.record for row in rows if isinstance(row, Dropped)] == ["line 2"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_usual_delimiters_and_encodings(tmp_path, delimiter, encoding, end):
    path = tmp_path / "notes.csv"
    lines = [
        ("sample_name", "keywords", "transcription"),
        ("a", "x", '"Temp 38°, wet;\t| cough."'),
        ("b", "", "Größe 1 m"),
    ]
    path.write_bytes("".join(delimiter.join(line) + end for line in lines).encode(encoding))
    assert texts(path) == (["Temp 38°, wet;\t| cough.", "Größe 1 m"], [])


@pytest.mark.parametrize("text", ["a\tb", "Smith, John"])
def test_other_encodings_are_refused(tmp_path, text):
    path = tmp_path / "notes.csv"
    for encoding, said in (("cp1252", "is not UTF-8 .* iconv"), ("utf-16-le", "every other byte is null")):
        path.write_bytes(f"sample_name,transcription\n{text},38° warm\n".encode(encoding))
        with pytest.raises(ValueError, match=said) as refused:
            list(MTSamples(path=str(path)).read())
        assert text not in str(refused.value)


def test_a_column_that_is_there_twice_is_refused_if_it_is_read(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("note,note,transcription\na,b,c\n")
    assert texts(path) == (["c"], [])
    path.write_text("transcription,note,transcription\na,b,c\n")
    with pytest.raises(ValueError, match="the same name over columns 1 and 3") as refused:
        texts(path)
    assert "transcription" not in str(refused.value)


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_an_error_shows_no_record_as_columns(folder, suffix):
    secret = ["Ada Lovelace", "1815-12-10", "pneumonia"]
    path = folder / f"train.{suffix}"
    rows = [dict.fromkeys(secret, "x")]
    path.write_text(json.dumps(rows) if suffix == "json" else "\n".join([",".join(secret)] * 2))
    readers = [ImageQuestions(path=str(folder)), *([MTSamples(path=str(path))] if suffix == "csv" else [])]
    for reader in readers:
        with pytest.raises(ValueError, match="it has 3 columns with other names, or no header") as refused:
            list(reader.read())
        assert not any(word in str(refused.value) for word in secret)


def test_a_json_record_may_lack_what_others_have(folder):
    rows = [{"image": "red.png"}, {"question": "a"}, {"image": "red.png", "question": "Colour?", "answer": "red"}]
    (folder / "train.json").write_text(json.dumps(rows))
    assert asked(folder) == {"Colour?": "red"}
    (folder / "train.json").write_text(json.dumps(rows[:2] * 200))
    with pytest.raises(ValueError, match="no column 'answer'; it has image, question"):
        asked(folder)


def test_csv_and_json_of_the_hub_are_read_alike(folder):
    from medvl.data.sources import hub_rows

    (folder / "train.csv").write_text("question,answer\n007,None\n1.0,2020-01-01\n")
    rows = list(hub_rows.rows(str(folder), ("answer",), streaming=False))
    assert [(row["question"], row["answer"]) for row in rows] == [("007", "None"), ("1.0", "2020-01-01")]
    assert {row["_split"] for row in rows} == {"train"}


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["image_path", "prompt", "response"], "image_path, prompt, response"),
        (["", "description", "sample_name"], "description, sample_name"),
        (["Smith", "pneumonia", "yes"], "3 columns with other names, or no header"),
        (["page 1", "yes"], "2 columns with other names, or no header"),
    ],
)
def test_columns_in_words(names, shown):
    assert columns_text(names) == shown


CUT = "the file ends before its array does"


@pytest.mark.parametrize(
    ("text", "whole", "reasons"),
    [
        ('[{"a": 1}, {"a": 2}', 2, [CUT]),
        ('[{"a": 1}, {"a": 2},', 2, [CUT]),
        ('[{"a": 1}, {"a": 2},\n ', 2, [CUT]),
        ("[", 0, [CUT]),
        ('[{"a": 1}, {"a": 2', 1, ["not JSON, and what follows it"]),
        ('[{"a": 1}, {"a": 2}]', 2, []),
        ('[{"a": 1}, {"a" 2}, {"a": 3}', 2, ["not JSON", CUT]),
        ('{"a": 1}\n{"a": 2', 1, ["not JSON"]),
        ('{"a": 1}\n{"a": 2}', 2, []),
    ],
)
def test_an_array_that_does_not_end_is_counted(tmp_path, text, whole, reasons):
    path = tmp_path / "own.json"
    path.write_text(text)
    with path.open() as file:
        values = list(json_values(file))
    assert [value.reason for value in values if isinstance(value, Dropped)] == reasons
    assert len(values) == whole + len(reasons)
    (tmp_path / "own.json").write_text(text.replace('{"a": ', '{"image": "", "conversations": []} , {"a": ', 1))
    found = [item.reason for item in PubMedVision(path=str(path)).read()]
    assert [reason for reason in found if reason in (CUT, *reasons)] == reasons
    assert not list(PubMedVision(path=str(path), records=1).read())[1:]  # what is not read is not judged


@pytest.mark.parametrize(
    "text",
    [
        "He avoids “heavy foods,” but ate fried chicken.\n\nPlan: rest.",
        "He avoids “heavy foods,” but ate fried chicken.",
        "Allergies:, none\nPlan:,rest",
        "See the list (above,below) and [a,b].",
        "Cough,fever,and rash for 1,200 days,he said.",
        "  kept as it is,  ",
    ],
)
def test_text_that_is_not_joined_by_commas_keeps_them(tmp_path, text):
    assert restore(text) == text
    path = tmp_path / "notes.csv"
    path.write_text(f'sample_name,transcription\na,"{text}"\n')
    assert texts(path) == ([text.strip()], [])


@pytest.mark.parametrize("mark", [*"\u201d\u2019\u00bb)]}\"'\u201c\u2018"])
def test_a_comma_before_a_quote_or_a_bracket_is_real(mark):
    assert restore(f"PLAN:,He likes foods,{mark} but rests.,Done.") == f"PLAN:\nHe likes foods,{mark} but rests.\nDone."
