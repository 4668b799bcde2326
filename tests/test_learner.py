"""Training in this process: normalisation, checkpoints, faults."""

import functools
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel

from medvl.attention import choose
from medvl.data.datamodule import DocumentData
from medvl.data.reading_pages import ReadingPages
from medvl.documents.reading import Stage
from medvl.hardware import Device, Hardware
from medvl.learner.adapters import attach, check
from medvl.learner.checkpoint import FolderCheckpoints, SaveError, latest
from medvl.learner.module import Diverged, Learner
from medvl.learner.tracking import Mirror
from medvl.learner.trainer import Trainer
from medvl.lora import FullFineTuning, Init, Lora
from medvl.model import Model
from medvl.precision import Compute, Precision, Storage
from medvl.record import Record, read_jsonl

PASSPORT = {"base": "nano (random weights)", "base_hash": "abc"}
PLAN = Hardware(device=Device.cpu).plan(compute="fp32", storage="fp32", attention=choose)


@pytest.fixture
def fit(load_nano, prepared, encoder, tmp_path):
    """Return a function that trains nano for a few steps and gives learner and record."""

    def train(
        folder="run", storage="nf4", lora=None, budget=1500, lr=2e-3, resume=None, workers=0, only=None, reading=None,
        learning=None, **settings,
    ):  # fmt: skip
        optimizer, seed = settings.pop("optimizer", torch.optim.AdamW), settings.pop("seed", 1)
        torch.manual_seed(seed)
        base, _, precision = load_nano(storage)
        model = (lora or Lora(r=8, dropout=0.1)).apply(base)
        make = functools.partial(optimizer, lr=lr)
        trainer = Trainer(**{"max_steps": 4, "epochs": None, "bar": False, "validation_rows": 1, **settings})
        chosen = replace(prepared, examples={**prepared.examples, "train": prepared.examples["train"][:only]})
        data = DocumentData(
            chosen, encoder, budget=budget, seed=3, accumulate=trainer.accumulate, steps=trainer.max_steps,
            epochs=trainer.epochs, workers=workers, pin=False, val_rows=trainer.validation_rows, reading=reading,
        )  # fmt: skip
        learner = Learner(model, make, warmup=0.1, clip=1.0, passport=PASSPORT, curriculum=data.curriculum,
                          **(learning or {}))  # fmt: skip
        record = Record(tmp_path / folder)
        trainer.fit(learner, data, precision=precision, plan=PLAN, record=record, mirror=Mirror(), resume=resume)
        return learner, record

    return train


def losses(record):
    rows = read_jsonl(record.path / "metrics.jsonl")
    return {row["step"]: row["train/nats_per_token"] for row in rows if "train/nats_per_token" in row}


def adapter(learner):
    return {name: p.detach().clone() for name, p in learner.named_parameters() if p.requires_grad}


def test_a_row_can_be_learnt(fit):
    _, record = fit(max_steps=30, lr=1e-2, budget=900, lora=Lora(r=32))
    curve = list(losses(record).values())
    assert len(curve) == 30 and sum(curve[-3:]) / 3 < 0.75 * curve[0]


def test_rows_of_a_window_weigh_by_their_tokens(fit, prepared):
    """Two accumulated rows of unequal length step as the one row that holds both would."""
    sgd = {"optimizer": torch.optim.SGD, "lr": 1.0, "max_steps": 1, "lora": Lora(r=8), "clip": 1e9}
    # SGD: its step shows the scale of the gradient. Four pages: in one row, or in two that hold three and one.
    lengths = [example.tokens for example in prepared.examples["train"][:4]]
    together, _ = fit("one", budget=sum(lengths), only=4, **sgd)
    split, _ = fit("two", budget=sum(lengths) - 1, accumulate=2, only=4, **sgd)
    sampler = functools.partial(DocumentData.sampler, ranks=1, rank=0)
    one, two = ([row["indices"] for row in sampler(learner.trainer.datamodule)] for learner in (together, split))
    assert [len(row) for row in one] == [4] and sorted(len(row) for row in two) == [1, 3]
    for name, parameter in adapter(together).items():
        torch.testing.assert_close(parameter, adapter(split)[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("kill", [1, 2, 3])
def test_resuming_at_any_step_gives_the_same_curve(fit, kill, tmp_path):
    """Dropout, shuffling, schedule and optimizer go on as if nothing had happened; rows were being prefetched."""
    settings = {"max_steps": 5, "accumulate": 2, "budget": 900, "workers": 1, "save_every": 1, "keep": 9,
                "validate_every": 2}  # fmt: skip
    whole, record = fit("whole", **settings)
    shutil.copytree(record.path, tmp_path / "killed")
    killed = Record(tmp_path / "killed")
    for later in range(kill + 1, 6):
        shutil.rmtree(killed.checkpoints / f"step-{later:06d}")
    resumed, again = fit("killed", resume=latest(killed.checkpoints), seed=99, **settings)
    assert losses(again) == losses(record)
    for name, parameter in adapter(whole).items():
        assert torch.equal(parameter, adapter(resumed)[name]), name


@pytest.mark.parametrize("rhythm", [{"save_every": 3}, {"save_every": 2}, {"save_every": 2, "validate_every": 2}])
def test_a_finished_run_can_be_given_more_steps(fit, rhythm, tmp_path):
    """It goes on as if it had been that long from the start, but for its schedule: here a plateau."""
    settings = {"accumulate": 2, "budget": 900, "learning": {"cooldown": 0.01}, **rhythm}
    whole, record = fit("whole", max_steps=4, **settings)
    _, short = fit("short", max_steps=2, **settings)
    longer, _ = fit("short", max_steps=4, resume=latest(short.checkpoints), seed=99, **settings)
    assert list(losses(record)) == [1, 2, 3, 4] and losses(short) == losses(record)
    for name, parameter in adapter(whole).items():
        assert torch.equal(parameter, adapter(longer)[name]), name
    assert [row["step"] for row in read_jsonl(short.path / "metrics.jsonl") if "val/nats_per_token" in row][-1] == 4


def test_a_finished_run_says_that_no_step_is_left(fit, caplog):
    _, record = fit(max_steps=2)
    _, record = fit(max_steps=2, resume=latest(record.checkpoints))
    assert "this run has made 2 steps; 2 were asked for" in caplog.text and list(losses(record)) == [1, 2]


ADAPTERS = {
    "plain": Lora(r=4),
    "dora": Lora(r=4, dora=True),
    "pissa": Lora(r=4, init=Init.pissa),
    "vision": Lora(r=4, vision=["qkv"], merger=True),
}


@pytest.mark.parametrize("lora", ADAPTERS.values(), ids=ADAPTERS)
def test_a_checkpoint_is_an_adapter_that_peft_loads_alone(fit, load_nano, encoder, examples, lora):
    from medvl.data.packing import pack
    from medvl.loss import answer_nats

    learner, record = fit(storage="fp32", lora=lora, max_steps=2)
    folder = latest(record.checkpoints)
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "trainer.pt", "medvl.json"} <= names
    batch = pack([encoder.encode(examples[0])])
    with torch.no_grad():
        trained = float(answer_nats(learner.model.eval(), batch))
        bare = float(answer_nats(load_nano()[0], batch))
        by_peft = float(answer_nats(PeftModel.from_pretrained(load_nano()[0], str(folder)).eval(), batch))
        by_us = float(answer_nats(attach(load_nano()[0], folder), batch))
    assert by_peft == pytest.approx(trained, rel=1e-4) and by_us == pytest.approx(trained, rel=1e-4)
    assert bare != pytest.approx(trained, rel=1e-4)


def test_a_checkpoint_holds_what_was_trained_and_no_base(fit):
    learner, record = fit(max_steps=1)
    size = sum(file.stat().st_size for file in latest(record.checkpoints).iterdir())
    trained = sum(4 * parameter.numel() for parameter in adapter(learner).values())
    assert size < 3.2 * trained + 100_000  # the adapter and AdamW's two moments


def test_full_fine_tuning_saves_a_model_that_loads(fit, load_nano, processor):
    learner, record = fit(storage="fp32", lora=FullFineTuning(), max_steps=1)
    folder = latest(record.checkpoints)
    loaded = attach(load_nano()[0], folder)
    assert all(torch.equal(a, b) for a, b in zip(learner.model.parameters(), loaded.parameters(), strict=True))
    # Through from_pretrained too, where old names of tensors are turned into new ones and remembered.
    processor.save_pretrained(str(folder))
    precision = Precision(storage=Storage.fp32, compute=Compute.fp32)
    again = Model(path=str(folder)).load(precision, Hardware(device=Device.cpu), PLAN).model
    assert all(torch.equal(a, b) for a, b in zip(learner.model.parameters(), again.parameters(), strict=True))
    (folder / "old").mkdir()
    again.save_pretrained(str(folder / "old"))
    processor.save_pretrained(str(folder / "old"))
    old = Model(path=str(folder / "old")).load(precision, Hardware(device=Device.cpu), PLAN).model
    saver = Learner(FullFineTuning().apply(old), torch.optim.AdamW, warmup=0, clip=1, passport=PASSPORT)
    (folder / "new").mkdir()
    saver.save_weights(folder / "new", dict(saver.named_parameters()))
    assert set(saver.read_weights(folder / "new")) == set(dict(saver.named_parameters()))
    assert attach(old, folder / "new") is old


def test_only_the_newest_checkpoints_stay(fit):
    _, record = fit(max_steps=5, save_every=1, keep=2)
    assert sorted(path.name for path in record.checkpoints.iterdir()) == ["step-000004", "step-000005"]


def test_a_full_disk_loses_nothing(fit, monkeypatch):
    """The save of step 3 meets ENOSPC; step 2 stays whole and the run says so."""
    written = torch.save

    def save(value, path):
        if "step-000003" in str(path):
            raise OSError(28, "No space left on device")
        written(value, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(SaveError, match=r"cannot save step-000003: .*No space left.*MiB free"):
        fit(max_steps=5, save_every=1)
    monkeypatch.setattr(torch, "save", written)
    folder = Record(fit.__closure__[-1].cell_contents / "run").checkpoints
    assert latest(folder).name == "step-000002" and not list(folder.glob(".*"))
    _, record = fit(max_steps=5, save_every=1, resume=latest(folder))
    assert list(losses(record)) == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_really_is_full(tmp_path):
    io = FolderCheckpoints(lambda folder, states: (folder / "trainer.pt").symlink_to("/dev/full"), lambda folder: {})
    with pytest.raises(SaveError, match="cannot save step-000001"):
        io.save_checkpoint({"state_dict": {}, "x": torch.zeros(1_000_000)}, tmp_path / "step-000001")
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_stops_the_run_before_the_step_counts(fit, monkeypatch):
    from medvl.learner import module

    original, calls = module.summed_nats, []

    def poisoned(model, hidden, targets):
        calls.append(1)
        return original(model, hidden, targets) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(module, "summed_nats", poisoned)
    with pytest.raises(Diverged, match=r"the loss is not finite at step 3.*Lower optimizer\.lr"):
        fit(validation_rows=0)


def test_metrics_say_how_fast_and_how_long_data_was_waited_for(fit):
    _, record = fit(max_steps=2)
    row = read_jsonl(record.path / "metrics.jsonl")[0]
    for name in ("speed/examples_per_s", "speed/tokens_per_s", "train/lr", "train/grad_norm", "train/epoch"):
        assert row[name] > 0
    assert 0 <= row["speed/wait_share"] < 1
    assert read_jsonl(record.path / "metrics.jsonl")[-1]["val/nats_per_token"] > 0


def test_an_adapter_for_another_base_is_refused(fit, tmp_path):
    _, record = fit(max_steps=1)
    folder = latest(record.checkpoints)
    check(folder, base="nano (random weights)", base_hash="abc")
    with pytest.raises(ValueError, match="the run loads nano"):
        check(folder, base="nano", base_hash="abc")  # the same shape, but weights that mean something
    with pytest.raises(ValueError, match=r"was trained on nano \(random weights\), the run loads Qwen"):
        check(folder, base="Qwen/Qwen2.5-VL-7B-Instruct", base_hash="other")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="holds no safetensors file"):
        check(tmp_path / "nothing", base="nano", base_hash="abc")


def test_a_foreign_adapter_that_does_not_fit_is_refused(fit, load_nano):
    """Without our passport beside it, what peft makes of it decides."""
    from safetensors.torch import load_file, save_file

    _, record = fit(storage="fp32", max_steps=1)
    folder = latest(record.checkpoints)
    (folder / "medvl.json").unlink()
    check(folder, base="nano", base_hash="any")
    tensors = load_file(folder / "adapter_model.safetensors")
    key = next(name for name in tensors if "lora_A" in name)
    save_file({**tensors, key: torch.zeros(8, 99)}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="does not fit this base"):
        attach(load_nano()[0], folder)
    renamed = {name.replace("language_model.", ""): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="found their place"), pytest.warns(UserWarning, match="missing adapter keys"):
        attach(load_nano()[0], folder)


def test_a_checkpoint_for_other_targets_is_refused(fit):
    _, record = fit(max_steps=1, lora=Lora(r=8, language=["q_proj"]))
    with pytest.raises(ValueError, match="it was trained with other lora targets"):
        fit("other", max_steps=2, lora=Lora(r=8), resume=latest(record.checkpoints))


def test_trainable_parameters_and_modules_are_on_record(fit):
    _, record = fit(max_steps=1)
    config = json.loads((latest(record.checkpoints) / "adapter_config.json").read_text())
    assert config["r"] == 8 and "language_model" in config["target_modules"]


def test_pretraining_resumes_to_the_last_digit(fit):
    """Pages drawn as it goes, the curriculum, the auxiliary head and its moments, the plateau of the learning rate."""
    stages = [Stage(height_px=28, width_px=112), Stage(height_px=56, width_px=112)]
    options = {
        "storage": "fp32", "lora": FullFineTuning(), "budget": 700, "max_steps": 6, "save_every": 3, "workers": 1,
        "validation_rows": 0, "learning": {"glyphs": 1.0, "cooldown": 0.5},
        "reading": ReadingPages(stages=stages, least_rows=2, pass_mark=0.0, count=4),
    }  # fmt: skip
    _, whole = fit("whole", **options)
    _, again = fit("again", resume=whole.checkpoints / "step-000003", **options)
    rows = [read_jsonl(record.path / "metrics.jsonl")[-3:] for record in (whole, again)]
    for name in ("step", "train/nats_per_token", "train/stage", "train/accuracy", "train/glyph_accuracy", "train/lr"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]], name
    rates = [row["train/lr"] for row in read_jsonl(whole.path / "metrics.jsonl")]
    assert rates[1] == rates[2] == rates[3] > rates[4] > rates[5] > 0


def test_workers_leave_signals_to_the_run(encoder):
    """`timeout` and Slurm signal every process of a run, which saves first."""
    source = ReadingPages(stages=[Stage(height_px=28, width_px=112)], count=4)
    data = DocumentData(None, encoder, budget=700, seed=3, accumulate=1, steps=20, epochs=None, workers=1, pin=False,
                        val_rows=0, reading=source)  # fmt: skip
    data.trainer = SimpleNamespace(world_size=1, global_rank=0)
    rows = iter(data.train_dataloader())
    next(rows)
    workers = multiprocessing.active_children()
    assert workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(rows)) == 19
