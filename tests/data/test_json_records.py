"""Images with questions of one's own: rows, ShareGPT's conversations, OpenAI's messages; with typical faults."""

import base64
import json
from collections import Counter
from pathlib import Path

import pytest
from test_visual import png

from medvl.data.decoding import open_image
from medvl.data.export import export
from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.json_records import JsonRecords, Turns
from medvl.data.sources.notes import Notes
from medvl.data.sources.visual import ImageQuestions
from medvl.documents.render import Render
from medvl.documents.tasks import TRANSCRIBE, Task
from medvl.metrics.scoring import score

URI = "data:image/png;base64," + base64.b64encode(png("blue")).decode()


@pytest.fixture
def folder(tmp_path):
    """A data folder with four images; returns a function that writes its table and returns what is read from it."""
    (tmp_path / "images").mkdir()
    for colour in ("red", "green", "black", "white"):
        (tmp_path / "images" / f"{colour}.png").write_bytes(png(colour))

    def read(records, name="train.json", **options):
        write(tmp_path / name, records)
        return split_up(JsonRecords(path=str(tmp_path / name), **options))

    read.path = tmp_path
    return read


def write(path, records):
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        path.write_text("\n".join(map(json.dumps, records)))


def split_up(source):
    items = list(source.read())
    documents = [item for item in items if not isinstance(item, Dropped)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def said(*turns, form="messages", **more):
    """Return a record whose turns alternate between user and assistant."""
    roles, who, what = (
        (("user", "assistant"), "role", "content") if form == "messages" else (("human", "gpt"), "from", "value")
    )
    return {form: [{who: roles[at % 2], what: turn} for at, turn in enumerate(turns)], **more}


ANSWER = [{"type": "text", "text": "9.00"}]
ROWS = {
    "export": {"image_path": "images/red.png", "prompt": "Total?", "response": "9.00"},
    "vqa": {"image": "images/red.png", "question": "Total?", "answer": "9.00"},
    "alpaca": {"images": ["images/red.png"], "instruction": "<image>Total?", "input": "", "output": "9.00"},
    "file": {"file_name": "file://images/red.png", "prefix": "Total?", "suffix": "9.00"},
    "docvqa": {"image": "images/red.png", "question": "Total?", "answers": ["9.00", "9.00"]},
    "sharegpt": said("<image>Total?", "9.00", form="conversations", images=["images/red.png"]),
    "llava": said("Total?\n<image>", "9.00", form="conversations", image="images/red.png", id="7"),
    "unmarked": said("Total?", "9.00", images=["images/red.png"]),
    "trl": said([{"type": "image"}, {"type": "text", "text": "Total?"}], ANSWER, images=["images/red.png"]),
    "openai": said(
        [{"type": "text", "text": "Total?"}, {"type": "image_url", "image_url": {"url": "images/red.png"}}], ANSWER
    ),
    "responses": said(
        [{"type": "input_text", "text": "Total?"}, {"type": "input_image", "image_url": "images/red.png"}],
        [{"type": "output_text", "text": "9.00"}],
    ),
    "qwen": said([{"type": "image", "image": "images/red.png"}, {"type": "text", "text": "Total?"}], ANSWER),
    "as text": {"messages": json.dumps(said("Total?", "9.00")["messages"]), "images": "images/red.png"},
}


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("name", ["train.json", "train.jsonl", "train.parquet"])
def test_every_form_is_the_same_question(folder, form, name):
    (document,), dropped = folder([ROWS[form]], name)
    assert document.questions == [("Total?", "9.00")] and document.images == [png("red")] and not dropped
    assert (document.kind, document.layout, document.text) == ("page", "image", "")


@pytest.mark.parametrize(
    "image",
    [URI, URI.partition(",")[2], {"bytes": base64.b64encode(png("blue")).decode(), "path": None}],
    ids=["uri", "base64", "bytes"],
)
def test_an_image_in_the_text_is_read(folder, image):
    for record in (
        {"image": image, "question": "Total?", "answer": "9.00"},
        said([{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "Total?"}], "9.00"),
    ):
        (document,), dropped = folder([record])
        assert document.images == [png("blue")] and document.questions == [("Total?", "9.00")] and not dropped


def test_bytes_in_parquet_are_read(folder):
    image = {"bytes": png("blue"), "path": None}
    for record in (
        {"images": [image], "question": "Total?", "answer": "9.00"},
        said("Total?", "9.00", images=[image]),
        said([{"type": "image", "image": image, "text": None}, {"type": "text", "text": "Total?"}], [{"text": "9.00"}]),
    ):
        (document,), _ = folder([record], "train.parquet")
        assert document.images == [png("blue")] and document.questions == [("Total?", "9.00")]


DROPPED = [
    ({"image": "images/none.png"}, "the image that it names is not in the data folder"),
    ({"image": "../secret.png"}, "its image lies outside of the data folder"),
    ({"image": "file:///etc/hostname"}, "its image lies outside of the data folder"),
    ({"image": "https://example.org/a.png"}, "its image is on the network: download it and name the file"),
    ({"image": None}, "no image"),
    ({"image": []}, "no image"),
    ({"image": ["images/red.png", {}]}, "no image"),
    ({"image": URI[:60] + "!"}, "its image is no whole base64"),
    ({"image": "data:text/plain;base64,aGVsbG8="}, "its data URI is not an image"),
    ({"image": ["images/red.png"] * 65}, "more than 64 images"),
    ({"question": " "}, "no question or no answer"),
    ({"answer": None}, "no question or no answer"),
    ({"answer": []}, "no question or no answer"),
    ({"answer": {}}, "no question or no answer"),
]


@pytest.mark.parametrize(("change", "reason"), DROPPED)
def test_a_broken_row_costs_itself(folder, change, reason):
    rows = [{"image": f"images/{name}.png", "question": "Total?", "answer": "9.00"} for name in ("red", "green")]
    documents, dropped = folder([rows[0], {**rows[0], **change}, rows[1]])
    assert dropped == {reason: 1} and [document.records for document in documents] == [1, 1]


CONVERSATIONS = [
    ([], "no conversation"),
    ("[{", "no conversation"),
    (7, "no conversation"),
    ([7], "a turn that is no object"),
    ([{"role": "tool", "content": "9"}], "a turn of someone else than user, assistant and system"),
    ([{"content": "9"}], "a turn of someone else than user, assistant and system"),
    ([{"role": "user", "content": [{"type": "video"}]}], "a part of a turn that is neither text nor image"),
    ([{"role": "user", "content": [[7]]}], "a part of a turn that is neither text nor image"),
    ([{"role": "user", "content": "Total?"}], "a question without an answer"),
    ([{"role": "user", "content": "Total?"}, {"role": "assistant"}], "a question without an answer"),
    ([{"role": "assistant", "content": "9"}], "an answer without a question"),
    (
        [{"role": "user", "content": "<image><image>Total?"}, {"role": "assistant", "content": "9"}],
        "its <image> placeholders and its images differ in number",
    ),
]


@pytest.mark.parametrize(("turns", "reason"), CONVERSATIONS)
def test_a_broken_conversation_costs_itself(folder, turns, reason):
    whole = said("Total?", "9.00", images=["images/red.png"])
    documents, dropped = folder([{**whole, "messages": turns}, whole])
    assert dropped == {reason: 1} and sum(document.records for document in documents) == 1


def test_each_answered_turn_is_asked_on_its_own(folder):
    record = said("<image>Total?", "9.00", "And the date?", "2 May", "Thanks", images=["images/red.png"])
    (document,), dropped = folder([record])
    assert document.questions == [("Total?", "9.00"), ("And the date?", "2 May")] and document.records == 1
    assert dropped == {"a question without an answer": 1}
    (document,), _ = folder([record], turns=Turns.history)
    assert document.questions[1] == ("Question: Total?\nAnswer: 9.00\n\nAnd the date?", "2 May")


def test_a_later_image_is_not_shown_before_its_turn(folder):
    record = said("<image>A?", "a", "<image>And now?", "b", images=["images/red.png", "images/green.png"])
    one, two = folder([record])[0]
    assert (one.images, one.questions, one.records) == ([png("red")], [("A?", "a")], 1)
    assert (two.images, two.questions, two.records) == ([png("red"), png("green")], [("And now?", "b")], 0)
    assert set(one.groups) < set(two.groups)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("<image><image>Which is older?", "Which is older?"),
        ("<image>\n<image>\nWhich?", "Which?"),
        ("Old: <image> New: <image> Which?", "Old: (image 1) New: (image 2) Which?"),
        ("Which is older?", "Which is older?"),
    ],
)
def test_placeholders_keep_what_they_say(folder, text, question):
    (document,), _ = folder([said(text, "the first", images=["images/red.png", "images/green.png"])])
    assert document.questions == [(question, "the first")] and document.images == [png("red"), png("green")]


def test_a_system_turn_is_said_before_each_question(folder):
    record = said("Total?", "9.00", "Date?", "2 May", images="images/red.png")
    record["messages"].insert(0, {"role": "system", "content": "You read receipts."})
    (document,), _ = folder([record])
    assert [question for question, _ in document.questions] == [
        "You read receipts.\nTotal?",
        "You read receipts.\nDate?",
    ]


def test_rows_of_one_image_are_one_document(folder):
    row = {"image": "images/red.png", "question": "Total?", "answer": "9.00"}
    (document,), _ = folder([row, {**row, "question": "Date?", "answer": "2 May"}, row])
    assert document.questions == [("Total?", "9.00"), ("Date?", "2 May")] and document.records == 3


def test_the_text_of_a_page_is_known_from_its_transcription(folder):
    rows = [{"image": "images/red.png", "text": "Name: Ada"}, {"image": "images/green.png", "text": "Name: Bob"}]
    documents, _ = folder(rows)
    assert [(d.questions, d.text) for d in documents] == [
        ([(TRANSCRIBE, name)], name) for name in ("Name: Ada", "Name: Bob")
    ]


def test_further_answers_are_counted(folder):
    (document,), dropped = folder([{"image": "images/red.png", "question": "Total?", "answers": ["9.00", "9", "9.00"]}])
    assert document.questions == [("Total?", "9.00")] and dropped == {"a further accepted answer": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"scan": "images/red.png", "question": "a", "answer": "b"},
            r"for the image: scan, question, answer. Set data\.image=scan\.$",
        ),
        ({"id": "1", "note": "a cough", "answer": "b"}, r"no column holds images; .* set data=text data\.path="),
        ({"image": "images/red.png", "question": "a", "said": "b"}, r"for the answer: .* Set data\.answer=<one of"),
        ({"image": "images/red.png", "caption": "b"}, r"Set data\.question=<a column>, or data\.prompt=\"'Describe"),
        ({"image": "images/red.png", "label": "b"}, r"Set data\.question=<a column>, or data\.prompt="),
    ],
)
def test_an_unclear_column_is_asked_for(folder, row, message):
    with pytest.raises(ValueError, match=message):
        folder([row])


def test_a_folder_without_a_table_names_another_reader(folder):
    for kind in (JsonRecords, Notes):
        with pytest.raises(ValueError, match=r"holds no table .*, but images or PDFs. Set data=folder data\.path="):
            list(kind(path=str(folder.path)).read())
    folder([ROWS["sharegpt"]])
    with pytest.raises(ValueError, match=r"holds conversations. Set data=json data\.path="):
        list(Notes(path=str(folder.path)).read())


def test_the_mend_works(folder):
    (document,), _ = folder(
        [{"scan": "images/red.png", "q": "a", "said": "b"}], image="scan", question="q", answer="said"
    )
    assert document.questions == [("a", "b")]
    (document,), _ = folder([{"image": "images/red.png", "caption": "b"}], prompt="Describe this image.")
    assert document.questions == [("Describe this image.", "b")] and not document.text
    with pytest.raises(ValueError, match=r"no column 'scan'; it has image, caption. Set data\.image="):
        folder([{"image": "images/red.png", "caption": "b"}], image="scan")


def test_another_reader_names_this_one(folder):
    write(folder.path / "train.json", [ROWS["sharegpt"]])
    with pytest.raises(ValueError, match=r"'conversations'.* Set data=json data\.path="):
        list(ImageQuestions(path=str(folder.path)).read())


def test_the_key_covers_the_images_that_a_file_names(folder):
    def key():
        return JsonRecords(path=str(folder.path / "train.json")).fingerprint()

    folder([ROWS["sharegpt"]])
    before = key()
    assert before == key()
    (folder.path / "images" / "red.png").write_bytes(png("blue"))
    assert key() != before


def test_an_export_is_read_again(tmp_path, encoder):
    """Prompts, responses, splits and pages of a drawn data set come back."""
    options = {"budget": 4096, "workers": 1, "bar": False, "cache": tmp_path / "cache"}
    drawn = prepare(
        ClinicalForms(count=8, tasks=[Task.transcribe, Task.json, Task.question]), Render(), encoder, **options
    )
    export(drawn, tmp_path / "out")
    again = prepare(JsonRecords(path=str(tmp_path / "out")), Render(), encoder, **options)
    for split in ("train", "val", "test"):
        assert sorted(map(content, again.examples[split])) == sorted(map(content, drawn.examples[split]))
    answers = {example.response: example for split in again.examples.values() for example in split}
    for example in (example for split in drawn.examples.values() for example in split if example.task != "question"):
        found = answers[example.response]
        assert found.task == example.task and bool(found.fields) == (example.task == "json")


def test_a_json_answer_is_compared_by_field(folder, encoder):
    total, swapped = {"total": "9.00", "date": "2 May 2024"}, {"total": "2 May 2024", "date": "9.00"}
    write(folder.path / "train.json", [{"image": "images/red.png", "question": "As JSON?", "answer": total}])
    options = {"budget": 4096, "workers": 1, "bar": False, "cache": folder.path / "cache"}
    prepared = prepare(JsonRecords(path=str(folder.path)), Render(), encoder, **options)
    (example,) = (example for split in ("train", "val", "test") for example in prepared.examples[split])
    assert example.task == "json" and [fact.path for fact in example.fields] == ["total", "date"]
    right = score(example, json.dumps(dict(reversed(total.items())), indent=4))
    wrong = score(example, json.dumps(swapped))
    assert right["field_f1"][0] == right["field_f1"][1] and wrong["field_f1"][0] == 0 and "exact" not in right


DRUGS = [{"name": "Aspirin", "dose": "81 mg"}, {"name": "Metformin", "dose": "500 mg"}]


@pytest.mark.parametrize(
    ("answer", "right", "swapped"),
    [
        (DRUGS, DRUGS[::-1], [{"name": "Aspirin", "dose": "500 mg"}, {"name": "Metformin", "dose": "81 mg"}]),
        (["Aspirin", "Metformin"], ["Metformin", "Aspirin"], ["Heparin", "Insulin"]),
    ],
)
def test_a_json_list_is_compared_item_by_item(folder, encoder, answer, right, swapped):
    written = json.dumps(answer) if isinstance(answer[0], str) else answer  # a list of texts: answers to choose from
    write(folder.path / "train.json", [{"image": "images/red.png", "question": "Drugs?", "answer": written}])
    options = {"budget": 4096, "workers": 1, "bar": False, "cache": folder.path / "cache"}
    prepared = prepare(JsonRecords(path=str(folder.path)), Render(), encoder, **options)
    (example,) = (example for split in ("train", "val", "test") for example in prepared.examples[split])
    assert example.task == "json"
    good, bad = (score(example, f"Here:\n{json.dumps(said, indent=1)}") for said in (right, swapped))
    assert good["field_f1"][0] == good["field_f1"][1] and good["anls_star"] == (1, 1) and good["invalid_json"][0] == 0
    assert bad["field_f1"][0] < bad["field_f1"][1] and bad["invalid_json"][0] == 0
    assert score(example, json.dumps(right)[:-1])["invalid_json"] == (1, 1)


def content(example):
    pages = [(image.size, image.tobytes()) for image in map(open_image, map(Path, example.images))]
    return example.prompt, example.response, example.tokens, pages
