"""Training in this process: loss normalisation, checkpoints, faults."""

import functools
import json

import pytest
import torch
from fitting import ADAPTER_METADATA, PLAN, adapter, losses
from peft import PeftModel

from medvl.data.datamodule import DocumentData
from medvl.hardware.plan import Device, Hardware
from medvl.model.adapters import attach, check_base
from medvl.model.loading import Model
from medvl.model.lora import FullFineTuning, Lora, LoraInit
from medvl.model.precision import Compute, Precision, Storage
from medvl.record.checkpoints import latest_checkpoint
from medvl.record.files import read_jsonl
from medvl.training.module import Diverged, Learner


def test_a_row_can_be_learnt(fit):
    _, record = fit(max_steps=30, lr=1e-2, budget=900, lora=Lora(r=32))
    curve = list(losses(record).values())
    assert len(curve) == 30 and sum(curve[-3:]) / 3 < 0.75 * curve[0]


def test_rows_of_a_window_weigh_by_their_tokens(fit, prepared):
    """Two accumulated rows of different lengths give the same step as one row with all their examples."""
    sgd = {"optimizer": torch.optim.SGD, "lr": 1.0, "max_steps": 1, "lora": Lora(r=8), "clip": 1e9}
    # SGD, whose step shows the scale of the gradient. Four pages: in one row, or in two rows of three and one.
    lengths = [example.tokens for example in prepared.examples["train"][:4]]
    together, _ = fit("one", budget=sum(lengths), only=4, **sgd)
    split, _ = fit("two", budget=sum(lengths) - 1, accumulate=2, only=4, **sgd)
    sampler = functools.partial(DocumentData.sampler, ranks=1, rank=0)
    one, two = ([row["indices"] for row in sampler(learner.trainer.datamodule)] for learner in (together, split))
    assert [len(row) for row in one] == [4] and sorted(len(row) for row in two) == [1, 3]
    for name, parameter in adapter(together).items():
        torch.testing.assert_close(parameter, adapter(split)[name], atol=1e-5, rtol=1e-3)


ADAPTERS = {
    "plain": Lora(r=4),
    "dora": Lora(r=4, dora=True),
    "pissa": Lora(r=4, init=LoraInit.pissa),
    "vision": Lora(r=4, vision=["qkv"], merger=True),
}


@pytest.mark.parametrize("lora", ADAPTERS.values(), ids=ADAPTERS)
def test_a_checkpoint_is_an_adapter_that_peft_loads_alone(fit, load_nano, encoder, examples, lora):
    from medvl.data.packing import pack
    from medvl.training.loss import answer_nats

    learner, record = fit(storage="fp32", lora=lora, max_steps=2)
    folder = latest_checkpoint(record.checkpoints)
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
    size = sum(file.stat().st_size for file in latest_checkpoint(record.checkpoints).iterdir())
    trained = sum(4 * parameter.numel() for parameter in adapter(learner).values())
    assert size < 3.2 * trained + 100_000  # the adapter plus AdamW's two moments


def test_full_fine_tuning_saves_a_model_that_loads(fit, load_nano, processor):
    learner, record = fit(storage="fp32", lora=FullFineTuning(), max_steps=1)
    folder = latest_checkpoint(record.checkpoints)
    loaded = attach(load_nano()[0], folder)
    assert all(torch.equal(a, b) for a, b in zip(learner.model.parameters(), loaded.parameters(), strict=True))
    # Also through from_pretrained, which converts old tensor names to new ones and remembers them.
    processor.save_pretrained(str(folder))
    precision = Precision(storage=Storage.fp32, compute=Compute.fp32)
    again = Model(path=str(folder)).load(precision, Hardware(device=Device.cpu), PLAN).model
    assert all(torch.equal(a, b) for a, b in zip(learner.model.parameters(), again.parameters(), strict=True))
    (folder / "old").mkdir()
    again.save_pretrained(str(folder / "old"))
    processor.save_pretrained(str(folder / "old"))
    old = Model(path=str(folder / "old")).load(precision, Hardware(device=Device.cpu), PLAN).model
    saver = Learner(
        FullFineTuning().apply(old), torch.optim.AdamW, steps=1, warmup=0, clip=1, adapter_metadata=ADAPTER_METADATA
    )
    (folder / "new").mkdir()
    saver.save_weights(folder / "new", dict(saver.named_parameters()))
    assert set(saver.read_weights(folder / "new")) == set(dict(saver.named_parameters()))
    assert attach(old, folder / "new") is old


def test_only_the_newest_checkpoints_stay(fit):
    _, record = fit(max_steps=5, save_every=1, keep=2)
    assert sorted(path.name for path in record.checkpoints.iterdir()) == ["step-000004", "step-000005"]


def test_a_loss_that_is_no_number_stops_the_run_before_the_step_counts(fit, monkeypatch):
    from medvl.training import module

    original, calls = module.summed_nats, []

    def poisoned(model, hidden, targets, fused_ops):
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
    folder = latest_checkpoint(record.checkpoints)
    check_base(folder, base="nano (random weights)", base_hash="abc")
    with pytest.raises(ValueError, match="the run loads nano"):
        check_base(folder, base="nano", base_hash="abc")  # the same shape, but trained weights
    with pytest.raises(ValueError, match=r"was trained on nano \(random weights\), the run loads Qwen"):
        check_base(folder, base="Qwen/Qwen2.5-VL-7B-Instruct", base_hash="other")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="holds no safetensors file"):
        check_base(tmp_path / "nothing", base="nano", base_hash="abc")


def test_a_foreign_adapter_that_does_not_fit_is_refused(fit, load_nano):
    """Without our metadata, the tensors decide."""
    from safetensors.torch import load_file, save_file

    _, record = fit(storage="fp32", max_steps=1)
    folder = latest_checkpoint(record.checkpoints)
    (folder / "medvl.json").unlink()
    check_base(folder, base="nano", base_hash="any")
    tensors = load_file(folder / "adapter_model.safetensors")
    key = next(name for name in tensors if "lora_A" in name)
    save_file({**tensors, key: torch.zeros(8, 99)}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="does not fit this base"):
        attach(load_nano()[0], folder)
    renamed = {name.replace("language_model.", ""): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"lacks 84 of 84 tensors"):
        attach(load_nano()[0], folder)


def test_a_checkpoint_for_other_targets_is_refused(fit):
    _, record = fit(max_steps=1, lora=Lora(r=8, language=["q_proj"]))
    with pytest.raises(ValueError, match="it was trained with other lora targets"):
        fit("other", max_steps=2, lora=Lora(r=8), resume=latest_checkpoint(record.checkpoints))


def test_trainable_parameters_and_modules_are_on_record(fit):
    _, record = fit(max_steps=1)
    config = json.loads((latest_checkpoint(record.checkpoints) / "adapter_config.json").read_text())
    assert config["r"] == 8 and "language_model" in config["target_modules"]
