"""A run directory from a stranger: it is data, so nothing in it is imported, called or resolved."""

import json
import logging
import os
import pickle

import hydra
import pytest
import yaml
from conftest import ROOT

from medvl.record.files import warn_once
from medvl.record.saved_config import read_config
from medvl.run import composition
from medvl.run.config import resolve
from medvl.run.targets import check_targets

SECRET = "hf_0123456789"


class Payload:
    """Pickled, it creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def composed():
    """Return a function that composes overrides, unresolved."""
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield lambda *overrides: hydra.compose("run", overrides=list(overrides))


@pytest.fixture
def stranger(composed, tmp_path, monkeypatch):
    """Write a run directory that looks finished; return a function that restores it as evaluate.py and resume= do."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    run = tmp_path / "run"
    run.mkdir()

    def restore(*typed, resume=False, groups=None, **changes):
        values = plain(composition.to_dict(composed()))
        for key, value in changes.items():
            values[key] = (
                {**values[key], **value} if isinstance(values.get(key), dict) and isinstance(value, dict) else value
            )
        (run / "config.yaml").write_text(yaml.safe_dump(values))
        cfg, _ = composition.restored(run / "config.yaml", groups or {}, list(typed), resume=resume)
        return cfg

    return restore


def plain(values):
    return json.loads(json.dumps(values))


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("optimizer", {"_target_": "numpy.load", "file": "PAYLOAD", "allow_pickle": True}),
        ("optimizer", {"_target_": "torch.load", "f": "PAYLOAD", "weights_only": False}),
        ("optimizer", {"_target_": "os.mkdir", "path": "PAYLOAD"}),
        ("optimizer", {"betas": [{"_target_": "os.mkdir", "path": "PAYLOAD"}]}),
        ("optimizer", {"lr": {"_target_": "os.mkdir", "path": "PAYLOAD"}}),
        ("optimizer", {"_target_": "torch.optim.lr_scheduler.os.mkdir", "path": "PAYLOAD"}),
        ("optimizer", {"_target_": "torch.optim.Optimizer.__subclasses__"}),
        ("optimizer", {"_args_": ["PAYLOAD"]}),
        ("data", {"path": {"_target_": "os.mkdir", "path": "PAYLOAD"}}),
    ],
)
def test_no_class_that_a_run_names_is_called(stranger, tmp_path, resume, group, settings):
    bomb = tmp_path / "bomb"
    with (tmp_path / "bomb.pkl").open("wb") as file:
        pickle.dump(Payload(bomb), file)
    words = json.loads(json.dumps(settings).replace("PAYLOAD", str(tmp_path / "bomb.pkl")))
    with pytest.raises(ValueError, match=r"Set |Name another"):
        resolve(stranger(resume=resume, **{group: words})).make_optimizer()
    assert not bomb.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_runs_logger_and_hydra_settings_are_not_taken_over(stranger, tmp_path, caplog, resume):
    bomb = tmp_path / "bomb"
    logger = {"_target_": "os.mkdir", "path": str(bomb), "_partial_": False, "project": "theirs"}
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        cfg = stranger(resume=resume, logger=logger, hydra={"run": {"dir": "elsewhere"}})
    assert resolve(cfg).logger["project"] == "medvl" and "hydra" not in cfg and not bomb.exists()
    assert "not taken over from the earlier run: logger.project; type it again" in caplog.text


@pytest.mark.parametrize(
    "text", ["${oc.env:HF_TOKEN}", "${seed}", "${price}", r"\${seed}", "${oc.env:HOME", "${a:${b}}"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_runs_interpolations_are_text(stranger, text, resume):
    cfg = stranger(resume=resume, data={"prompt": text}, eval={"limit": 3})
    assert resolve(cfg).data.prompt == text
    recorded = composition.to_yaml(cfg)
    assert SECRET not in recorded and yaml.safe_load(recorded)["data"]["prompt"] == text


def test_a_prompt_with_a_dollar_sign_survives_being_recorded_and_resumed(composed, tmp_path):
    cfg = composed(r"data.prompt='It costs \${price}'")
    (tmp_path / "config.yaml").write_text(composition.to_yaml(cfg))
    for _ in range(2):
        cfg, _ = composition.restored(tmp_path / "config.yaml", {}, [], resume=True)
        assert resolve(cfg).data.prompt == "It costs ${price}"
        (tmp_path / "config.yaml").write_text(composition.to_yaml(cfg))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.mkdir [bomb]",
        "a: !!python/name:os.system ''",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "[" * 5000 + "]" * 5000,
        "a: " + "{b: " * 60 + "1" + "}" * 60,
        "a: [1, 2",
        "\tseed: 1",
        "seed: \x00",
        "- seed",
        "seed",
        "",
        "1: 2",
        "seed: 42 # " + "x" * 2**20,
    ],
)
def test_a_file_that_is_no_composition_is_refused_before_it_is_built(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml .*Name another run directory"):
        read_config(tmp_path / "config.yaml")
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    "groups",
    [
        {"data": "../../etc/passwd"},
        {"logger": "nothing"},
        {"hydra": "default"},
        {"model": ["nano"]},
        {"model": {}},
        {"precision": "nf4 hydra.run.dir=x"},
    ],
)
def test_a_runs_groups_are_options_that_are_here(composed, groups):
    with pytest.raises(ValueError, match="which is not here"):
        composition.recorded_groups({"choices": {"groups": groups}})


@pytest.mark.parametrize("environment", [None, [], {"choices": []}, {"choices": {"groups": "nano"}}, {"choices": None}])
def test_a_record_without_groups_has_none(composed, environment):
    assert composition.recorded_groups(environment) == {}


@pytest.mark.parametrize(
    "change", [{"model": 3}, {"trainer": [1]}, {"seed": {"a": 1}}, {"surprise": 1}, {"audit": "loud"}]
)
def test_a_composition_of_other_types_is_refused(stranger, change):
    with pytest.raises(ValueError):
        resolve(stranger(**change))


def test_every_committed_option_names_allowed_classes_only(composed):
    for words in ([], ["optimizer=adamw_8bit"], ["logger=mlflow"], ["logger=tensorboard"], ["logger=none"]):
        check_targets(composition.to_dict(composed(*words)))


@pytest.mark.parametrize(
    ("recorded", "typed", "kept"),
    [
        ({"epochs": 1.5, "max_steps": None}, "trainer.max_steps=200", (None, 200)),
        ({"epochs": None, "max_steps": 8}, "trainer.epochs=3", (3.0, None)),
        ({"epochs": 2.0, "max_steps": 8}, "trainer.keep=1", (2.0, 8)),
    ],
)
def test_a_resumed_run_gets_the_length_that_is_typed(stranger, recorded, typed, kept):
    trainer = resolve(stranger(typed, resume=True, trainer=recorded)).trainer
    assert (trainer.epochs, trainer.max_steps) == kept


def test_an_earlier_run_does_not_decide_what_and_where_this_call_writes(stranger, tmp_path, monkeypatch):
    own = tmp_path / "cache"
    own.mkdir()
    once = {"export": str(tmp_path / "x"), "ablation": ["blank"], "artefact": "merged", "report": True, "force": True}
    config = resolve(stranger(cache=str(own), **once))
    assert (config.cache, config.export, config.ablation, config.report) == (str(own), None, [], False)
    assert config.artefact.name == "adapter" and not config.force
    default = resolve(stranger(cache=str(tmp_path / "nowhere"))).cache
    assert default != str(tmp_path / "nowhere")
    monkeypatch.setattr(composition.os, "getuid", lambda: os.stat(own).st_uid + 1)
    assert resolve(stranger(cache=str(own))).cache == default


@pytest.mark.parametrize("device", ["pipe", "/dev/zero"])
def test_a_device_in_place_of_a_composition_is_not_read(tmp_path, device):
    path = tmp_path / "config.yaml"
    if device == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(device)
    with pytest.raises(ValueError, match="no regular file"):
        read_config(path)
