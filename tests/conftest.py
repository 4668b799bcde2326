"""Shared fixtures: the real nano architecture with random weights, offline, on the CPU; records and runs."""

import functools
import json
import lzma
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from forked import start_script

pytest_plugins = ["answering", "fake_llama", "served"]
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"  # real data next to a developer's checkout; tests that need it skip without it
SMALL = (
    "data.limit=9",
    "batch.tokens=1500",
    "eval.limit=2",
    "eval.max_new_tokens=8",
    "trainer.validation_rows=1",
    "replay.limit=2",
    "replay.max_new_tokens=8",
)
QUIET = (*SMALL, "logger=none")
LONG = (
    *QUIET,
    "trainer.max_steps=6",
    "trainer.epochs=null",
    "trainer.save_every=1",
    "lora.r=8",
    "lora.dropout=0.1",
    "hydra.run.dir=run",
)
# As in Synthea's tables.
PATIENT = {
    "id": "p1",
    "given": ["Ada"],
    "family": "Ordóñez",
    "gender": "female",
    "birthDate": "1956-08-03",
    "mrn": "e925b0f3-8006-43f6-aa31-94bd215e55e7",
}
GLUCOSE = {"loinc": "2339-0", "name": "Glucose", "value": 83.27999, "unit": "mg/dL"}

os.environ |= {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores, so threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# The slowest files run first, so that short tests at the end keep all processes busy.
LONGEST = (
    "test_sweeps",
    "test_scripts",
    "test_run",
    "test_tracking",
    "test_search",
    "test_artefact",
    "test_gate",
    "test_kill",
    "test_launchers",
    "test_resume",
    "test_learner",
    "test_report_page",
    "test_kernels",
    "test_privacy",
    "test_reading",
    "test_train_bench",
    "test_audit",
    "test_tuning",
    "test_nano",
)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
    import torch

    from medvl.hardware.ranks import quiet_imports, quiet_libraries

    quiet_imports()
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
    """Return a function that returns the path of a real data file, or skips the test."""

    def path(name):
        if not (SHARED / name).exists():
            pytest.skip(f"{name} is not here")
        return SHARED / name

    return path


@pytest.fixture(scope="session")
def load_nano():
    """Return a function that loads nano in a precision, with weights so large that every path affects the output."""
    import torch

    from medvl.hardware.plan import Device, Hardware
    from medvl.model import attention
    from medvl.model.loading import Model, WeightInit
    from medvl.model.precision import Compute, Precision, Storage

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

    def load(storage="fp32", std=0.15, **options):
        class Spread(Model):
            def config(self):
                config = super().config()
                config.text_config.initializer_range = std
                return config

        hardware = Hardware(device=Device.cpu)
        precision = Precision(storage=Storage[storage], compute=Compute.fp32, **options)
        plan = hardware.plan(compute="auto", storage=storage, attention=attention.choose)
        loaded = Spread(init=WeightInit.random).load(precision, hardware, plan)
        return loaded.model, loaded.processor, precision

    return load


@pytest.fixture(scope="session")
def nano(load_nano):
    """The fp32 nano; tests must not change it."""
    return load_nano()[0].requires_grad_(False)


@pytest.fixture(scope="session")
def processor():
    from medvl.model.loading import Model, WeightInit

    return Model(init=WeightInit.random).processor()


@pytest.fixture(scope="session")
def encoder(processor):
    from medvl.data.encoding import Encoder

    return Encoder(processor)


@pytest.fixture(scope="session")
def prepared(encoder, cache):
    """The pages of eight embedded documents."""
    from medvl.data.prepare import prepare
    from medvl.data.sources.mtsamples import MTSamples
    from medvl.documents.render import Render

    return prepare(MTSamples(limit=8), Render(), encoder, budget=2048, cache=cache, workers=1, bar=False)


@pytest.fixture(scope="session")
def examples(prepared):
    return prepared.examples["train"]


@pytest.fixture(scope="session")
def script(cache):
    """Return a function that runs train.py, evaluate.py or benchmark.py as a user does.

    With wait=False it returns the process, to be killed or watched.
    """

    import torch

    def start(name, *overrides, cwd, wait=True, **options):
        environment = {**os.environ, "MEDVL_CACHE": str(cache), "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
        command = [sys.executable, str(ROOT / name), *overrides]
        printed = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        if not wait:
            return subprocess.Popen(command, cwd=cwd, env=environment, **printed, **options)
        if not torch.cuda.is_available():
            return start_script(ROOT / name, overrides, cwd, environment, **options)
        # With a GPU, a process with imported CUDA libraries must not be forked.
        done = subprocess.run(
            command, cwd=cwd, env=environment, check=False, timeout=options.pop("seconds", 500), **printed
        )
        return done.returncode, done.stdout

    return start


@pytest.fixture(scope="session")
def trained(script, tmp_path_factory):
    """A complete run, with W&B offline; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    overrides = [word for word in LONG if word != "logger=none"]
    code, output = script("train.py", *overrides, cwd=folder)
    assert code == 0, output
    return folder / "run", output


@pytest.fixture(scope="session")
def sweep(trained, tmp_path_factory):
    """A sweep to report on, with six runs, a failed job and a missing one; tests must not change it."""
    from reports import make_sweep

    return make_sweep(trained[0], tmp_path_factory.mktemp("sweeps") / "lora_rank-3f2a9c")


@pytest.fixture(scope="session")
def scored(trained, tmp_path_factory):
    """A run scored on several documents; tests must not change it."""
    from reports import on_many_documents

    return on_many_documents(trained[0], tmp_path_factory.mktemp("scored") / "run")


def scores(run):
    return json.loads((run / "metrics.json").read_text())["scores"]["test"]


@pytest.fixture
def fit(load_nano, prepared, encoder, tmp_path):
    """Return a function that trains nano for a few steps and returns learner and record."""
    from fitting import train

    return functools.partial(train, load_nano, prepared, encoder, tmp_path)


@pytest.fixture
def compose():
    """Return a function that composes and resolves overrides in this process."""
    import hydra

    from medvl.run.config import resolve

    def composed(*overrides):
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return resolve(hydra.compose("run", overrides=list(overrides)))

    return composed


def listed(items, **options):
    """Return a function that makes a source of given documents and drops."""
    from medvl.data.sources.source import Source

    class Listed(Source):
        def documents(self):
            yield from items

        def fingerprint(self):
            return super().fingerprint() + str(items)

    return Listed(**options)


def report(number, *observations, **changes):
    return {
        "patient": PATIENT,
        "report_id": f"r{number}",
        "loinc": "51990-0",
        "report": "Basic Metabolic Panel",
        "effective": "2012-10-19T23:37:54+00:00",
        "status": "final",
        "observations": list(observations or [GLUCOSE]),
        **changes,
    }


def request(medication, **changes):
    return {
        "patient_id": "p1",
        "patient": "Ada Ordóñez",
        "medication": medication,
        "status": "stopped",
        "authoredOn": "2017-03-21T23:37:54+00:00",
        "dosage": {},
        **changes,
    }


def write_tables(folder, reports=(), requests=(), pack=False):
    for name, records in (("lab_reports.jsonl", reports), ("medication_requests.jsonl", requests)):
        text = "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
        if pack:
            (folder / f"{name}.xz").write_bytes(lzma.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def read_forms(path=None, **options):
    """Return the documents of Synthea's records, and the counts of drop reasons."""
    from medvl.data.sources.source import Dropped
    from medvl.data.sources.synthea import Synthea

    items = list(Synthea(path=path, **options).read())
    documents = [item for item in items if not isinstance(item, Dropped)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def facts(document):
    return {field.path: field.value for field in document.fields}
