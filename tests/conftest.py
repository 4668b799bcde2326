"""Fixtures of the whole suite: the real nano architecture with random weights, offline, on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"  # real data beside a developer's checkout; tests that want it skip without

os.environ |= {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def pytest_collection_modifyitems(items):
    import torch

    from medvl.job import quiet_libraries

    quiet_libraries()

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def shared():
    """Return a function that gives the path of a real data file, or skips the test."""

    def path(name):
        if not (SHARED / name).exists():
            pytest.skip(f"{name} is not here")
        return SHARED / name

    return path


@pytest.fixture(scope="session")
def load_nano():
    """Return a function that loads nano in a precision; weights large enough that every path matters."""
    import torch

    from medvl import attention
    from medvl.hardware import Device, Hardware
    from medvl.model import Init, Model, _check_placement
    from medvl.precision import Compute, Precision, Storage
    from medvl.random_init import adopt_tokens

    torch.set_num_threads(2)

    def load(storage="fp32", std=0.15, **options):
        model, hardware = Model(init=Init.random), Hardware(device=Device.cpu)
        precision = Precision(storage=Storage[storage], compute=Compute.fp32, **options)
        plan = hardware.plan(compute="auto", storage=storage, attention=attention.choose)
        config, processor = model.config(), model.processor()
        config.text_config.initializer_range = std
        adopt_tokens(config, processor)
        loaded = model._from_pretrained(config, precision, plan)
        loaded = loaded.float() if precision.widened else loaded
        _check_placement(loaded, precision)
        attention.use(loaded, plan.attention.value)
        return loaded.eval(), processor, precision

    return load


@pytest.fixture(scope="session")
def nano(load_nano):
    """The fp32 nano; tests must not change it."""
    return load_nano()[0].requires_grad_(False)


@pytest.fixture(scope="session")
def processor():
    from medvl.model import Init, Model

    return Model(init=Init.random).processor()


@pytest.fixture(scope="session")
def encoder(processor):
    from medvl.data.encoding import Encoder

    return Encoder(processor)


@pytest.fixture(scope="session")
def prepared(encoder, cache):
    """Pages of eight embedded documents."""
    from medvl.data.mtsamples import MTSamples
    from medvl.data.prepare import prepare
    from medvl.documents.render import Render

    return prepare(MTSamples(limit=8), Render(), encoder, budget=2048, cache=cache, workers=1, bar=False)


@pytest.fixture(scope="session")
def examples(prepared):
    return prepared.examples["train"]


@pytest.fixture(scope="session")
def script(cache):
    """Return a function that runs train.py, evaluate.py or benchmark.py as a user does."""

    def start(name, *overrides, cwd, wait=True, **options):
        environment = {**os.environ, "MEDVL_CACHE": str(cache), "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / name), *overrides], cwd=cwd, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip
        if not wait:
            return process
        output = process.communicate(timeout=500)[0]
        return process.returncode, output

    return start


@pytest.fixture
def compose():
    """Return a function that composes and resolves overrides in this process."""
    import hydra

    from medvl.config import resolve

    def composed(*overrides):
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return resolve(hydra.compose("run", overrides=list(overrides)))

    return composed
