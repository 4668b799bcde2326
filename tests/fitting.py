"""Runs of nano in the process of a test: a few steps of training, and what they leave."""

import functools
from dataclasses import replace

import torch

from medvl.attention import choose
from medvl.data.datamodule import DocumentData
from medvl.hardware import Device, Hardware
from medvl.learner.module import Learner
from medvl.learner.tracking import Mirror
from medvl.learner.trainer import Trainer
from medvl.lora import Lora
from medvl.record import Record, read_jsonl

PASSPORT = {"base": "nano (random weights)", "base_hash": "abc"}
PLAN = Hardware(device=Device.cpu).plan(compute="fp32", storage="fp32", attention=choose)


def train(
    load_nano, prepared, encoder, tmp_path,
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


def losses(record):
    rows = read_jsonl(record.path / "metrics.jsonl")
    return {row["step"]: row["train/nats_per_token"] for row in rows if "train/nats_per_token" in row}


def adapter(learner):
    return {name: p.detach().clone() for name, p in learner.named_parameters() if p.requires_grad}
