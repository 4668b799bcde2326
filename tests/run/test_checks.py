"""What only the machine and the named files tell is checked before anything is written."""

import pytest
import torch

from medvl.hardware.plan import Hardware
from medvl.run.checks import check
from medvl.run.targets import check_options, optimizer_of, tracker_of


@pytest.mark.parametrize("overrides", [[], ["optimizer=adamw_8bit"], ["lora=none", "precision=fp32"], ["hardware=cpu"]])
@pytest.mark.parametrize("script", ["train", "evaluate", "benchmark", "prepare"])
def test_what_runs_here_passes(compose, overrides, script):
    check(compose(*overrides, "logger=none"), script)


def test_what_a_script_does_not_use_is_not_checked(compose, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = compose("hardware=h200", "bench=pages")
    check(config, "prepare")
    check(config, "benchmark")  # drawing pages needs no GPU
    with pytest.raises(ValueError, match="Set hardware=cpu"):
        check(config, "evaluate")
    check(compose("trainer.devices=4097"), "evaluate")


def test_more_devices_than_there_are(compose, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Hardware().count_devices() == (1, "GPU(s)")
    with pytest.raises(ValueError, match=r"this machine has 1 GPU\(s\)\. Set trainer\.devices=1\."):
        check(compose("trainer.devices=7", "precision=bf16"), "train")


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": -1},
        {"lr": "fast"},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"lr": None},
        {"lr": True},
        {"lr": [1e-4]},
        {"eps": -1e-6},
        {"eps": 0},
        {"weight_decay": "none"},
        {"betas": 0.9},
        {"betas": [0.9, 1.0]},
        {"betas": [-0.1, 0.9]},
        {"betas": ["a", 0.9]},
    ],
)
def test_values_that_no_optimizer_takes(settings):
    with pytest.raises(ValueError, match=rf"Set optimizer\.{next(iter(settings))}="):
        check_options({"_target_": "torch.optim.AdamW", "lr": 1e-4, **settings})


def test_two_eps_are_values_of_adafactor():
    settings = {"_target_": "torch.optim.Adafactor", "lr": 1e-3, "eps": [None, 1e-3]}
    check_options(settings)
    optimizer_of(settings)([torch.nn.Parameter(torch.zeros(1))])


def test_a_logger_without_a_required_option():
    with pytest.raises(ValueError, match=r"logger\.tracking_uri is missing"):
        tracker_of({"_target_": "medvl.tracking.MLflow", "project": "medvl"})


@pytest.mark.parametrize(
    "overrides",
    [
        ["logger=mlflow", "logger.tracking_uri=foo://bar"],
        ["logger.project=a/b"],
        ["logger.project=null"],
        ["logger.project=" + "a" * 129],
        ["logger.tags=foo"],
        ["logger.tags=[2026]"],
        ["logger.tags=[" + "a" * 65 + "]"],
        ["logger.mode=null"],
    ],
)
def test_what_no_tracker_takes(compose, overrides):
    with pytest.raises(ValueError, match=rf"Set {overrides[-1].partition('=')[0]}=".replace(".", r"\.")):
        compose(*overrides).check_tracker()


@pytest.mark.parametrize("uri", ["sqlite:///a.db", "mysql+pymysql://a/b", "https://a"])
def test_trackers_that_there_are(compose, uri):
    compose("logger=mlflow", f"logger.tracking_uri={uri}").check_tracker()
    compose("logger.project=a_b", "logger.entity=team", "logger.tags=[a,b]").check_tracker()


def test_too_few_documents_for_the_splits(compose):
    few = ["data=clinical_forms", "data.count=9", "data.records=2", "logger=none"]
    for script in ("train", "evaluate", "benchmark"):
        with pytest.raises(ValueError, match=r"Set data\.count="):
            check(compose(*few), script)
    check(compose(*few, "eval=evaluation_pages"), "train")
    check(compose(*few), "prepare")


def test_a_cache_that_is_no_folder(compose, tmp_path):
    (tmp_path / "file").touch()
    for script in ("train", "prepare", "audit"):
        with pytest.raises(ValueError, match=r"Set cache="):
            check(compose(f"cache={tmp_path}/file/below", "logger=none"), script)
    check(compose(f"cache={tmp_path}/new/below", "logger=none"), "prepare")
    assert not (tmp_path / "new").exists()


def test_a_resumed_run_is_not_told_to_change_its_devices(compose, monkeypatch, tmp_path):
    config = compose("trainer.devices=4097", f"resume={tmp_path}")
    with pytest.raises(ValueError, match="Resume the run where it was trained"):
        check(config, "train")
    check(compose("trainer.devices=4097"), "benchmark")  # which trains on one


@pytest.mark.parametrize(
    "target", ["torch.optim.Adamw", "torch.optim.Tensor", "torch.optim.lr_scheduler", "torch.load"]
)
def test_what_is_no_optimizer_is_not_called(target):
    with pytest.raises(ValueError, match="Set optimizer=adamw"):
        optimizer_of({"_target_": target, "lr": 1e-4})


def test_other_optimizers_of_torch_are_made_with_their_options():
    made = optimizer_of({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5, "momentum": 0.9})
    group = made([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.5, 0.9)
