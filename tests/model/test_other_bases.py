"""Bases of the same architecture with habits of their own: small folders of the same form, with random weights."""

import doctest
import json
from dataclasses import replace

import pytest
from asking import about
from PIL import Image

from medvl.data.prepare import _key
from medvl.documents.tasks import QUESTION, TRANSCRIBE
from medvl.export.lineage import licence_of
from medvl.generation.answer import Answer
from medvl.generation.endpoint import Endpoint, Served
from medvl.generation.engine import Engine
from medvl.generation.remote import RemoteEngine
from medvl.hardware.plan import Device, Hardware
from medvl.model import answer_form
from medvl.model.answer_form import AnswerForm
from medvl.model.attention import choose
from medvl.model.loading import Model
from medvl.model.precision import Compute, Precision, Storage
from medvl.run.loading import encoder_of

ASKED = {
    "olmocr_2_7b": "Attached is one page of a document",
    "infinity_parser_7b": "Please transform the document's contents into Markdown format.",
    "nanonets_ocr2_3b": "Extract the text from the above document",
    "lingshu_7b": TRANSCRIBE,
}
FP32 = Precision(storage=Storage.fp32, compute=Compute.fp32)
HEAD = "---\nprimary_language: en\nis_rotation_valid: true\n---\n"


@pytest.fixture(scope="module")
def folder(load_nano, tmp_path_factory):
    model, processor, _ = load_nano()
    place = tmp_path_factory.mktemp("base")
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


@pytest.mark.parametrize("name", ASKED)
def test_a_base_is_asked_in_its_own_words_about_the_text_of_a_page_alone(name, folder, compose, tmp_path):
    config = compose(f"model={name}", f"model.path={folder}", "precision=fp32")
    model = config.model
    model.check(FP32)
    hardware = Hardware(device=Device.cpu)
    loaded = model.load(FP32, hardware, hardware.plan(compute="fp32", storage="fp32", attention=choose))
    encoder = encoder_of(model, loaded.processor)
    assert (encoder.min_pixels, encoder.max_pixels) == (model.min_pixels, model.max_pixels)
    page = Image.new("RGB", (112, 56), "white")
    examples = [about([page], encoder, tmp_path, text) for text in (TRANSCRIBE, QUESTION[0])]
    texts = [loaded.processor.tokenizer.decode(encoder.encode(one)["input_ids"].flatten()) for one in examples]
    assert ASKED[name] in texts[0] and (name == "lingshu_7b" or TRANSCRIBE not in texts[0])
    assert QUESTION[0] in texts[1] and (name == "lingshu_7b" or ASKED[name] not in texts[1])
    counted = examples[0].tokens - examples[0].answer_tokens
    assert counted == encoder.encode(examples[0], answer=False)["input_ids"].numel()
    engine = Engine(model=loaded.model, encoder=encoder, precision=FP32)
    assert len(engine.answers(examples, max_new_tokens=2)) == 2


def test_olmocr_is_asked_line_by_line_as_its_toolkit_asks(compose):
    lines = compose("model=olmocr_2_7b").model.ask.split("\n")
    assert [line.split()[0] for line in lines] == ["Attached", "If", "Return"] and lines[2].endswith("parameters.")


def test_what_stands_before_the_text_is_no_part_of_an_answer(nano, processor):
    encoder = encoder_of(Model(answers=AnswerForm.front_matter), processor)
    ids = [*processor.tokenizer(f"{HEAD}\nAspirin 81 mg").input_ids, *encoder.ends[:1]]
    said = Engine(model=nano, encoder=encoder, precision=FP32)._said(ids, "stop")
    assert said.text == "Aspirin 81 mg" and said.ids == ids
    plain = Engine(model=nano, encoder=encoder_of(Model(), processor), precision=FP32)
    assert plain._said(ids, "stop").text.startswith(HEAD)


def test_where_a_head_ends():
    outcome = doctest.testmod(answer_form)
    assert outcome.attempted and not outcome.failed
    form = AnswerForm.front_matter
    assert form.text(HEAD.rstrip("\n")) == "" and form.text("---\ncut") == "---\ncut"
    assert form.text(f"{HEAD}Dose\n---\nnext") == "Dose\n---\nnext"


def test_an_answer_has_room_for_its_head(compose, processor, tmp_path):
    """The limit follows the longest reference, which has no head."""
    encoder, limits = encoder_of(Model(), processor), []
    example = replace(about([Image.new("RGB", (56, 56))], encoder, tmp_path), response="Aspirin", answer_tokens=8)

    class Asked:
        def answers(self, examples, *, max_new_tokens, **_):
            limits.append(max_new_tokens)
            return [Answer(text="Aspirin", ids=[1], finish_reason="stop", log_probabilities=[])]

    for form in AnswerForm:
        compose().eval.run(Asked(), [example], head_tokens=form.head_tokens, bar=False)
    assert limits[1] - limits[0] == AnswerForm.front_matter.head_tokens > len(HEAD)


def test_a_server_is_asked_and_read_alike(processor, tmp_path):
    encoder = encoder_of(Model(ask="Read it.", answers=AnswerForm.front_matter), processor)
    served = Served(model="x", by="", place="", others="")
    remote = RemoteEngine(endpoint=Endpoint(url="http://127.0.0.1:9/v1"), served=served, encoder=encoder)
    asked = json.loads(remote.request(about([Image.new("RGB", (56, 56))], encoder, tmp_path), 9))
    assert asked["messages"][0]["content"][-1]["text"] == "Read it."
    told = {"choices": [{"message": {"content": f"{HEAD}Aspirin"}, "finish_reason": "stop"}]}
    assert remote._read(told).text == "Aspirin"


def test_prepared_data_know_what_was_asked(compose, processor):
    config = compose()
    keys = [
        _key(config.data, config.render, encoder_of(model, processor), 4096)
        for model in (Model(), Model(ask="Read it."), Model(ask="Read all."))
    ]
    assert len(set(keys)) == 3


def test_licences_that_no_card_names_are_unknown(compose):
    told = {name: licence_of(compose(f"model={name}").model) for name in ASKED}
    assert told == {
        "olmocr_2_7b": "apache-2.0",
        "infinity_parser_7b": "unknown",
        "nanonets_ocr2_3b": "unknown",
        "lingshu_7b": "mit",
    }
