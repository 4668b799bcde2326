"""MTSamples in its three formats, and the effect of broken files."""

import csv
import json
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvl.data.sources import mtsamples
from medvl.data.sources.mtsamples import _JOINED, MTSamples, _meaning, document_id, restore
from medvl.data.sources.source import Dropped
from medvl.model.prompt import normalized

NOTE = "SUBJECTIVE:  Pt is a 42-year-old male, on 1,200 mg daily.\n\nPLAN:\nFollow up."
JOINED = "SUBJECTIVE:,  Pt is a 42-year-old male, on 1,200 mg daily.,PLAN:,Follow up."


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def read(source):
    items = list(source.read())
    return [i for i in items if not isinstance(i, Dropped)], [i for i in items if isinstance(i, Dropped)]


def test_embedded_documents():
    documents, dropped = read(MTSamples())
    assert len(documents) == 60 and not dropped
    assert len({document.id for document in documents}) == 60
    assert all(document.terms and len(document.text) >= 600 for document in documents)


def test_restoring_the_comma_form():
    assert restore(JOINED) == "SUBJECTIVE:  Pt is a 42-year-old male, on 1,200 mg daily.\nPLAN:\nFollow up."
    assert restore('He said, "no,", I was told.,OBJECTIVE:,Vitals: BP 120/80.') == (
        'He said, "no,", I was told.\nOBJECTIVE:\nVitals: BP 120/80.'
    )


WORDS = st.lists(st.text("abcdefghij", min_size=1, max_size=8), min_size=1, max_size=12).map(" ".join)
SENTENCE = st.tuples(WORDS, st.sampled_from(["", ", then", ", 1,200 mg", " 120/80"])).map("".join).map(str.capitalize)
HEADING = st.text("ABCDEFGH", min_size=3, max_size=12).map("{}:".format)
SECTION = st.tuples(HEADING, st.booleans(), st.lists(SENTENCE.map("{}.".format), min_size=1, max_size=4))


@settings(max_examples=200, deadline=None)
@given(st.lists(SECTION, min_size=1, max_size=6))
def test_sections_come_back_from_the_comma_form(sections):
    """A heading is on the line of its text, separated by two spaces, or on the line above."""
    lines, nodes = [], []
    for heading, above, sentences in sections:
        if above:
            lines += [heading, *sentences]
            nodes += [heading, *sentences]
        else:
            lines += [f"{heading}  {sentences[0]}", *sentences[1:]]
            nodes += [heading, f"  {sentences[0]}", *sentences[1:]]
    assert restore(",".join(nodes)).split("\n") == lines


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=200))
def test_restoring_keeps_all_but_commas_and_white_space(text):
    restored = restore(text)
    assert "".join(restored.replace(",", "").split()) == "".join(text.replace(",", "").split())
    assert restored.count(",") <= text.count(",")


def test_three_forms_are_the_same_documents(tmp_path):
    import datasets

    lines = write(tmp_path / "a.jsonl", {"transcription": NOTE, "keywords": "follow up, cardiology"})
    with (tmp_path / "b.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(
            file, ["", "description", "medical_specialty", "sample_name", "transcription", "keywords"]
        )
        rows.writeheader()
        for specialty in (" Surgery", " Urology"):  # the site lists the same report under both
            rows.writerow({"": 0, "medical_specialty": specialty, "transcription": JOINED, "keywords": "follow up"})
    hub = tmp_path / "hub"
    hub.mkdir()
    datasets.Dataset.from_dict({"text": [JOINED], "label": [3]}).to_parquet(hub / "train.parquet")
    (one,), _ = read(MTSamples(path=lines))
    (two,), dropped = read(MTSamples(path=str(tmp_path / "b.csv")))
    (three,), _ = read(MTSamples(hub=str(hub)))
    assert one.id == two.id == three.id
    assert one.text == NOTE and two.text == three.text == restore(JOINED)
    assert one.terms == ["follow up", "cardiology"] and two.terms == ["follow up"]
    assert [item.reason for item in dropped] == ["repeats an earlier record"]


def test_bad_records_are_counted(tmp_path):
    path = tmp_path / "bad.jsonl"
    write(path, {"transcription": NOTE}, {"transcription": "  "}, {"sample_name": "x"}, {"transcription": None})
    path.write_text(path.read_text() + '[1]\n{"transcription": "cut of', encoding="utf-8")
    documents, dropped = read(MTSamples(path=str(path)))
    assert len(documents) == 1
    assert [item.reason for item in dropped] == ["no text"] * 3 + ["not a JSON object", "not JSON"]


def test_a_text_that_is_no_string(tmp_path):
    import datasets

    values = [{"text": NOTE}, [NOTE], 7, False, []]
    path = write(tmp_path / "odd.jsonl", *({"transcription": value} for value in values))
    documents, dropped = read(MTSamples(path=path))
    assert not documents and [item.reason for item in dropped] == ["text is not a string"] * len(values)
    datasets.Dataset.from_dict({"text": [[NOTE]]}).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "odd.jsonl").unlink()
    assert [item.reason for item in read(MTSamples(hub=str(tmp_path)))[1]] == ["text is not a string"]


def test_splits_have_many_names_and_no_others(tmp_path):
    names = ["train", "validation", "Test", "dev", "holdout", 7, None, ["test"]]
    path = write(
        tmp_path / "a.jsonl", *({"transcription": f"{NOTE} {at}", "split": name} for at, name in enumerate(names))
    )
    documents, _ = read(MTSamples(path=path))
    assert [document.split for document in documents] == ["train", "val", "test", "val", *[None] * 4]


def test_what_ships_is_part_of_the_key(tmp_path, monkeypatch):
    before = MTSamples().fingerprint()
    path = write(tmp_path / "other.jsonl", {"transcription": NOTE})
    assert MTSamples().content() and not MTSamples(path=path).content() and not MTSamples(hub="some/set").content()
    monkeypatch.setattr(mtsamples, "EMBEDDED", tmp_path / "other.jsonl")
    assert MTSamples().fingerprint() != before


def test_malformed_rows_cost_themselves(tmp_path):
    path = tmp_path / "cut.csv"
    rows = [f'x,"{JOINED}"', 'y,"stray"quote', 'z,"PLAN:,Rest."', 'w,"SUBJECTIVE:, cut he']
    path.write_text("sample_name,transcription\n" + "\n".join(rows), encoding="utf-8")
    documents, dropped = read(MTSamples(path=str(path)))
    assert [d.text for d in documents] == [restore(JOINED), "PLAN:\nRest."]
    assert len(dropped) == 2 and all("malformed row" in item.reason for item in dropped)


def test_half_a_surrogate_pair_is_no_reason_to_fail(tmp_path):
    path = tmp_path / "odd.jsonl"
    path.write_text('{"transcription": "Temp \\ud83d 38"}\n', encoding="utf-8")
    assert read(MTSamples(path=str(path)))[0][0].text == "Temp ? 38"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("latin.jsonl", '{"transcription": "38°"}\n'.encode("cp1252"), "is not UTF-8 after line 0"),
        ("wrong.csv", b"a,b\n1,2\n", "no column 'transcription'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        list(MTSamples(path=str(path)).read())


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must be a \.jsonl or \.csv"):
        MTSamples(path=str(tmp_path / "notes.txt"))


@pytest.fixture(scope="module")
def full(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    for name in ("mtsamples_unique.jsonl", "mtsamples_kagglestyle.csv"):
        (folder / name).write_bytes(lzma.decompress(shared(f"mtsamples/{name}.xz").read_bytes()))
    return folder


def test_the_full_files_hold_the_same_documents(full):
    lines, repeated = read(MTSamples(path=str(full / "mtsamples_unique.jsonl")))
    rows, dropped = read(MTSamples(path=str(full / "mtsamples_kagglestyle.csv")))
    assert len(lines) + len(repeated) == 2377 and len(rows) + len(dropped) == 4999
    assert {document.id for document in lines} == {document.id for document in rows}
    assert len(repeated) == 1  # two ids on the site have the same text


def test_the_embedded_reports_keep_the_split_of_the_whole(full):
    from medvl.data.duplicates import clusters, near_duplicates
    from medvl.data.splits import assign

    documents, _ = read(MTSamples(path=str(full / "mtsamples_unique.jsonl")))
    pairs = list(near_duplicates(documents))
    assert len(pairs) == 5
    assign(documents, 42, clusters(documents, pairs))
    whole = {document.id: document.split for document in documents}
    assert all(whole[document.id] == document.split for document in read(MTSamples())[0])


def commas(joined, whole):
    """Yield (position, meaning) of every comma in the joined form, according to the report with its line breaks."""
    at = 0
    for place, character in enumerate(joined):
        if character.isspace():
            continue
        next_ink = at + len(whole[at:]) - len(whole[at:].lstrip())
        if character != "," or whole[next_ink : next_ink + 1] == ",":
            assert whole[next_ink] == character
            at = next_ink + 1
            meaning = ","
        else:
            meaning = "\n" if "\n" in whole[at:next_ink] else ""
        if character == ",":
            yield place, meaning


def test_the_rule_for_commas_on_the_full_file(full):
    """Checks the figure in the docstring of `restore`: every comma against the line breaks of the site's HTML."""
    truth = {d.id: d.text for d in read(MTSamples(path=str(full / "mtsamples_unique.jsonl")))[0]}
    right = total = 0
    with (full / "mtsamples_kagglestyle.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            joined = normalized(row["transcription"])
            whole = truth.pop(document_id(joined), None)  # None: a row that repeats a report
            for place, meaning in commas(joined, whole) if whole else ():
                right += (_meaning(joined, place) if _JOINED.search(joined) else ",") == meaning
                total += 1
    assert not truth and (right, total) == (98_398, 98_755)
