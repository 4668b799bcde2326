"""Runs of nano in the test's process: a few training steps and their results."""

import functools
from dataclasses import replace

import torch

from medvl.data.datamodule import DocumentData
from medvl.hardware.plan import Device, Hardware
from medvl.model.attention import choose
from medvl.model.lora import Lora
from medvl.record.directory import Record
from medvl.record.files import read_jsonl
from medvl.tracking import Tracker
from medvl.training.module import Learner
from medvl.training.trainer import Trainer

ADAPTER_METADATA = {"base": "nano (random weights)", "base_hash": "abc"}
PLAN = Hardware(device=Device.cpu).plan(compute="fp32", storage="fp32", attention=choose)


def train(
    load_nano,
    prepared,
    encoder,
    tmp_path,
    folder="run",
    storage="nf4",
    lora=None,
    budget=1500,
    lr=2e-3,
    resume=None,
    workers=0,
    only=None,
    reading=None,
    learning=None,
    **settings,
):
    optimizer, seed = settings.pop("optimizer", torch.optim.AdamW), settings.pop("seed", 1)
    torch.manual_seed(seed)
    base, _, precision = load_nano(storage)
    model = (lora or Lora(r=8, dropout=0.1)).apply(base)
    make = functools.partial(optimizer, lr=lr)
    trainer = Trainer(**{"max_steps": 4, "epochs": None, "bar": False, "validation_rows": 1, **settings})
    chosen = replace(prepared, examples={**prepared.examples, "train": prepared.examples["train"][:only]})
    data = DocumentData(
        chosen,
        encoder,
        budget=budget,
        seed=3,
        accumulate=trainer.accumulate,
        steps=trainer.max_steps,
        epochs=trainer.epochs,
        workers=workers,
        pin=False,
        val_rows=trainer.validation_rows,
        reading=reading,
    )
    sampler = data.sampler(ranks=1, rank=0)
    learner = Learner(
        model,
        make,
        steps=sampler.steps,
        warmup=0.1,
        clip=1.0,
        adapter_metadata=ADAPTER_METADATA,
        curriculum=data.curriculum,
        **(learning or {}),
    )
    record = Record(tmp_path / folder)
    trainer.fit(
        learner, data, sampler=sampler, precision=precision, plan=PLAN, record=record, tracker=Tracker(), resume=resume
    )
    return learner, record


def losses(record):
    rows = read_jsonl(record.path / "metrics.jsonl")
    return {row["step"]: row["train/nats_per_token"] for row in rows if "train/nats_per_token" in row}


def adapter(learner):
    return {name: p.detach().clone() for name, p in learner.named_parameters() if p.requires_grad}
