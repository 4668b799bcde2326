"""Values of the model and lora groups that cannot work, refused while the run is composed."""

import pytest

from medvl.model.loading import Model, WeightInit
from medvl.model.lora import Lora, LoraInit


@pytest.mark.parametrize(
    "path", ["/nowhere/qwen", "./nowhere", "../nowhere", "~/nowhere", "a/b/c", "", " ", "C:\\x", "a\0b"]
)
def test_a_path_that_is_no_folder_and_no_hub_id_is_refused(path):
    with pytest.raises(ValueError, match=r"there is no folder .*Set model\.path="):
        Model(path=path)


def test_a_path_too_long_for_any_folder_is_refused():
    with pytest.raises(ValueError, match=r"there is no folder"):
        Model(path="/x" * 5000)


def test_a_path_to_a_file_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ValueError, match=r"is not a folder\. Set model\.path="):
        Model(path=str(file))


@pytest.mark.parametrize("answers", [True, False])
def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, answers):
    import huggingface_hub

    from medvl.model import folder

    class Session:
        def head(self, url, timeout):
            asked.append(timeout)
            if not answers:
                raise OSError("no route")

    asked, options = [], []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    folder._hub_answers.cache_clear()
    for _ in range(2):
        folder.reach(lambda name, **words: options.append(words), "Qwen/none", revision=None)
    folder._hub_answers.cache_clear()
    assert asked == [3.0] and options == [{} if answers else {"local_files_only": True}] * 2


def test_hub_ids_and_folders_compose(tmp_path, monkeypatch):
    assert Model(path="Qwen/Qwen2.5-VL-7B-Instruct").path == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert Model(path="Qwen2.5-VL_7B").path == "Qwen2.5-VL_7B"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base").mkdir()
    assert Model(path="~/base").path == str(tmp_path / "base")


def test_a_version_of_a_local_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Set model\.revision=null"):
        Model(path=str(tmp_path), revision="main")


def test_weights_that_do_not_ship_are_refused():
    with pytest.raises(ValueError, match=r"ships no weights of qwen2_5_vl_7b\. Set model\.path="):
        Model(shape="qwen2_5_vl_7b")
    with pytest.raises(ValueError, match=r"ships no shape 'qwen9'"):
        Model(shape="qwen9")
    with pytest.raises(ValueError, match=r"ships no shape"):
        Model(shape="../shapes/nano", init=WeightInit.random)


def test_a_budget_below_one_token_is_refused():
    with pytest.raises(ValueError, match=r"less than one token of an image\. Set model\.max_pixels="):
        Model(min_pixels=100, max_pixels=500)


def test_a_rank_above_every_layer_is_refused(compose):
    with pytest.raises(ValueError, match=r"lora\.r=1000000000 is above .*Set lora\.r=64"):
        Lora(r=10**9)
    with pytest.raises(ValueError, match=r"lora\.r=1000000000 is above"):
        compose("lora.r=1000000000")
    with pytest.raises(ValueError, match=r"lora\.r=257 is above 256.*Set lora\.r=64"):
        compose("lora.r=257")
    assert compose("lora.r=256").lora.r == 256


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"language": ["k_proj", "v_proj"]}, 128),
        ({"language": ["k_proj", "down_proj"]}, 256),
        ({"language": ["q_proj", "k_proj"], "init": LoraInit.pissa}, 128),
        ({"language": [], "vision": ["qkv", "down_proj"]}, 192),
        ({"language": [], "merger": True}, 768),
    ],
)
def test_the_limit_of_the_rank_is_that_of_the_adapted_layers(options, limit):
    shape = Model().architecture()
    Lora(r=limit, **options).check_shape(shape)
    with pytest.raises(ValueError, match=rf"lora\.r={limit + 1} is above {limit}, .*Set lora\.r={min(64, limit)}"):
        Lora(r=limit + 1, **options).check_shape(shape)


@pytest.mark.parametrize("option", ["qwen2_5_vl_3b", "qwen2_5_vl_72b"])
def test_the_limit_of_the_rank_is_known_before_a_download(compose, option):
    limit = {"qwen2_5_vl_3b": 2048, "qwen2_5_vl_72b": 8192}[option]
    large = ("render=letter", "batch.tokens=8192", f"model={option}")
    assert compose(*large, f"lora.r={limit}").lora.r == limit
    with pytest.raises(ValueError, match=rf"lora\.r={limit + 1} is above"):
        compose(*large, f"lora.r={limit + 1}")


def test_an_unreadable_shape_limits_no_rank():
    for shape in ({}, {"text_config": 3}, {"hidden_size": "x"}, {"vision_config": None}):
        Lora(r=64, vision=["qkv"], merger=True).check_shape(shape)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_is_no_positive_number_is_refused(alpha):
    with pytest.raises(ValueError, match=r"lora\.alpha must be above 0 and finite.*Set lora\.alpha=16"):
        Lora(r=8, alpha=alpha)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan"), float("inf")])
def test_a_dropout_that_is_no_share_is_refused(dropout):
    with pytest.raises(ValueError, match=r"Set lora\.dropout=0\.05"):
        Lora(dropout=dropout)


@pytest.mark.parametrize("name", ["q_proj|.*", "(", "lm_head", ""])
def test_targets_that_are_no_projections_are_refused(name):
    with pytest.raises(ValueError, match=r"lora\.language knows q_proj"):
        Lora(language=[name])
