"""What a resumed run reads back of its adapter: all of it, of the shapes that train now, or a sentence."""

import copy

import pytest
import torch

from medvl.hardware.plan import Device, Hardware
from medvl.model.attention import choose
from medvl.model.loading import Model
from medvl.model.lora import Lora
from medvl.model.precision import Compute, Precision, Storage
from medvl.record.checkpoints import ADAPTER as WEIGHTS
from medvl.training.module import Learner

NAMED = {"base": "nano", "base_hash": "abc"}


@pytest.fixture(scope="module")
def learner():
    hardware = Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage="fp32", attention=choose)
    nano = Model().load(Precision(storage=Storage.fp32, compute=Compute.fp32), hardware, plan).model

    def trained(lora):
        model = lora.apply(copy.deepcopy(nano))
        return Learner(model, torch.optim.AdamW, steps=1, warmup=0, clip=1, adapter_metadata=NAMED)

    return trained


@pytest.fixture
def checkpoint(learner, tmp_path):
    one = learner(Lora(r=4, language=["q_proj", "v_proj"]))
    one.save_weights(tmp_path, one.state_dict())
    return tmp_path


def test_a_resumed_run_reads_what_was_saved(learner, checkpoint):
    one = learner(Lora(r=4, language=["q_proj", "v_proj"]))
    assert one.read_weights(checkpoint).keys() == one.state_dict().keys()


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (Lora(r=4, language=["q_proj", "v_proj", "o_proj"]), r"lacks 12 of 36 tensors, such as .*o_proj"),
        (Lora(r=4, language=["q_proj"]), r"holds 12 tensors, such as .*v_proj.* that do not train here"),
        (Lora(r=8, language=["q_proj", "v_proj"]), r"holds 24 tensors, such as .* of other shapes than train here"),
    ],
)
def test_a_resumed_run_with_other_targets_is_refused(learner, checkpoint, lora, message):
    with pytest.raises(ValueError, match=message):
        learner(lora).read_weights(checkpoint)


def test_a_resumed_run_with_cut_off_weights_is_refused(learner, checkpoint):
    (checkpoint / WEIGHTS).write_bytes((checkpoint / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is cut off"):
        learner(Lora(r=4, language=["q_proj", "v_proj"])).read_weights(checkpoint)
