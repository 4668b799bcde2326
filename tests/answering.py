"""Fixtures: the nano that ships, and prompts about pages that it reads."""

import pytest
from asking import about
from PIL import Image

from medvl.documents.reading import Stage, drawn
from medvl.generation.engine import Engine
from medvl.model.precision import Compute, Precision, Storage

FP32 = Precision(storage=Storage.fp32, compute=Compute.fp32)
QUESTIONS = ("Transcribe this page.", "What is the dose?", "List every value with its unit, one a line.", "?")


@pytest.fixture(scope="module")
def reader():
    """The nano that ships, which reads, so that answers end by themselves, at many lengths."""
    from medvl.data.encoding import Encoder
    from medvl.hardware.plan import Device, Hardware
    from medvl.model.attention import choose
    from medvl.model.loading import Model

    hardware = Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage="fp32", attention=choose)
    loaded = Model().load(FP32, hardware, plan)
    return Engine(model=loaded.model.requires_grad_(False), encoder=Encoder(loaded.processor), precision=FP32)


@pytest.fixture(scope="module")
def mixed(reader, tmp_path_factory):
    """60 prompts: pages of several sizes, one or two of them, several questions about one page."""
    folder = tmp_path_factory.mktemp("pages")
    stages = [Stage(plain=0.5, prose=0.5, height_px=56 + 28 * (number % 4)) for number in range(24)]
    pages = [Image.fromarray(drawn(stage, f"mixed/{number}", None).pixels) for number, stage in enumerate(stages)]
    asked = [about([page], reader.encoder, folder) for page in pages]
    asked += [about([page], reader.encoder, folder, text) for page in pages[:8] for text in QUESTIONS[1:]]
    asked += [about(pages[at : at + 2], reader.encoder, folder) for at in range(12)]
    return asked[:60]
