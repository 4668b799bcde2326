"""Folders whose tokenizer, image settings, chat template or JSON files are missing, malformed or another model's."""

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest

from medvl.model.loading import Model

NANO = Path(str(resources.files("medvl.shapes"))) / "nano"
DEEP = "[" * 100_000


@pytest.fixture
def folder(tmp_path):
    """nano without its weights, which a processor does not need."""
    shutil.copytree(NANO, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    return tmp_path / "base"


def change(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_the_processor_that_ships_passes(folder):
    assert Model(path=str(folder)).processor().chat_template


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do_resize", False),
        ("do_rescale", False),
        ("do_normalize", False),
        ("do_convert_rgb", False),
        ("rescale_factor", 1.0),
        ("resample", 0),
        ("image_mean", [0.5, 0.5, 0.5]),
        ("image_std", [0.5, 0.5, 0.5]),
        ("image_mean", [0.48145466]),
        ("patch_size", 16),
        ("merge_size", 1),
        ("temporal_patch_size", 1),
    ],
)
def test_image_settings_other_than_the_models_are_refused(folder, name, value):
    change(folder / "preprocessor_config.json", **{name: value})
    with pytest.raises(ValueError, match=rf"{name}=.*Mend its preprocessor_config\.json, or set model\.path="):
        Model(path=str(folder)).processor()


def test_the_compositions_pixel_budget_wins(folder):
    change(folder / "preprocessor_config.json", max_pixels=3136, size={"shortest_edge": 28, "longest_edge": 3136})
    images = Model(path=str(folder), max_pixels=50176).processor().image_processor
    assert images.size["longest_edge"] == 50176


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{% for message in messages %}{{ message.content }}{% endfor %}",
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
        "<|image_pad|>{{ messages[0].role }}",
        "{{ raise_exception('no images') }}",
        "{% for",
        "{{ messages[0].content[1].text }}{{ messages[0].content[1].text }}<|image_pad|>",
        "{{ messages[0].content[1].text | trim | upper }}<|image_pad|>",
    ],
)
def test_a_chat_template_that_loses_the_image_or_the_text_is_refused(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match=r"chat template.*Add chat_template\.jinja"):
        Model(path=str(folder)).processor()


@pytest.mark.parametrize("file", ["chat_template.jinja", "preprocessor_config.json", "vocab.json", "config.json"])
def test_a_file_that_is_absent_ends_in_a_sentence(folder, file):
    (folder / file).unlink()
    with pytest.raises(ValueError, match=r"[Ss]et model\.path="):
        Model(path=str(folder)).processor()


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer_config.json", "vocab.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '"x"', DEEP, '{"a": ' + DEEP], ids=range(8))
def test_malformed_files_end_in_a_sentence(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=r"[Ss]et model\.path=|[Ss]et model=nano"):
        Model(path=str(folder)).processor()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}', DEEP], ids=range(5))
def test_a_malformed_tokenizer_json_ends_in_a_sentence(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"[Ss]et model\.path="):
        Model(path=str(folder)).processor()


@pytest.mark.parametrize(
    "changes",
    [
        {"text_config": []},
        {"text_config": {"hidden_size": "large"}},
        {"text_config": {"num_hidden_layers": None}},
        {"vision_config": 3},
        {"vision_config": {"depth": [1]}},
        {"image_token_id": "pad"},
        {"model_type": 3},
        {"model_type": None},
        {"quantization_config": "nf4"},
        {"quantization_config": {}},
    ],
)
def test_a_configuration_of_wrong_types_ends_in_a_sentence(folder, changes):
    from medvl.model.precision import Compute, Precision, Storage

    change(folder / "config.json", **changes)
    shutil.copy(NANO / "model.safetensors", folder)
    with pytest.raises(ValueError, match=r"[Ss]et model\.path=|[Ss]et model=nano"):
        Model(path=str(folder)).check(Precision(storage=Storage.nf4, compute=Compute.fp32))


def test_a_tokenizer_without_the_models_tokens_is_refused(folder):
    tokens = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    tokens["258"]["content"] = "<|end|>"
    others = {"eos_token": "<|end|>", "additional_special_tokens": []}
    change(folder / "tokenizer_config.json", added_tokens_decoder=tokens, **others)
    with pytest.raises(ValueError, match=r"does not know <\|im_end\|>\. Set model\.path="):
        Model(path=str(folder)).processor()


def test_a_tokenizer_of_another_model_is_refused(folder):
    change(folder / "config.json", image_token_id=269)
    with pytest.raises(ValueError, match=r"writes <\|image_pad\|> as 268, its config\.json as 269"):
        Model(path=str(folder)).processor()


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    change(folder / "config.json", text_config={**text, "vocab_size": 200})
    with pytest.raises(ValueError, match=r"has tokens up to \d+, its model only 200"):
        Model(path=str(folder)).processor()
